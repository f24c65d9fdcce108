//! ACK, NACK and redelivery (STOMP 1.2, sections SUBSCRIBE, ACK, NACK; RabbitMQ for `requeue`,
//! `redelivered` and `prefetch-count`).

use std::time::Duration;

use super::case::Version::{V10, V11, V12};
use super::case::{ALL, Case, FROM_11, ONLY_10, ONLY_11, ONLY_12, ack, cases, nack};
use super::case::{over_every_transport, send, subscribe, verdict};
use crate::support::wire::{Frame, Heard, Wire};

over_every_transport!(&[]);

const CLIENT: &str = "ack:client\n";
const INDIVIDUAL: &str = "ack:client-individual\n";

/// A session that consumes the queue of the case with the id `s`. What the queue has may come at
/// once, so no RECEIPT is asked for.
async fn consumer(case: &Case, more: &str) -> Wire {
    let mut wire = case.connect().await;
    wire.send(subscribe("s", &case.queue(), more)).await;
    wire
}

/// Puts messages with these bodies into the queue of the case.
async fn fill(case: &Case, bodies: &[&str]) {
    let mut wire = case.connect().await;
    for body in bodies {
        wire.settled(send(&case.queue(), "", body)).await;
    }
    wire.settled("DISCONNECT\n\n\0").await;
}

/// The next messages, which have these bodies.
async fn take(wire: &mut Wire, bodies: &[&str]) -> Vec<Frame> {
    let mut messages = Vec::new();
    for body in bodies {
        messages.push(wire.expect_message(body).await);
    }
    messages
}

/// The bodies that a queue still has, sorted, by a consumer who takes up to its end.
async fn rest(case: &Case) -> Vec<String> {
    let mut wire = case.connect_as(V12).await;
    let mut sender = case.connect_as(V12).await;
    sender.settled(send(&case.queue(), "", "(end)")).await;
    wire.send(subscribe(
        "rest",
        &case.queue(),
        "ack:client\nprefetch-count:1000\n",
    ))
    .await;
    let mut bodies = Vec::new();
    loop {
        match wire.expect("MESSAGE").await.text() {
            end if end == "(end)" => break,
            body => bodies.push(body),
        }
    }
    bodies.sort_unstable();
    bodies
}

/// Ends a session so that everything before it is done.
async fn bye(case: &Case, mut wire: Wire) {
    wire.settled("DISCONNECT\n\n\0").await;
    case.ends(wire, 1000).await;
}

cases! {
"ack.header" ONLY_12, "MESSAGE has an ack header when it is to be acknowledged." => |case| {
    fill(&case, &["a", "b"]).await;
    let mut wire = consumer(&case, CLIENT).await;
    let messages = take(&mut wire, &["a", "b"]).await;
    assert_ne!(messages[0].header("ack"), messages[1].header("ack"));
}
"ack.individual" FROM_11, "In client-individual mode ACK speaks for one message." => |case| {
    fill(&case, &["a", "b", "c"]).await;
    let mut wire = consumer(&case, INDIVIDUAL).await;
    let messages = take(&mut wire, &["a", "b", "c"]).await;
    wire.settled(ack(case.version, &messages[1])).await;
    bye(&case, wire).await;
    assert_eq!(rest(&case).await, ["a", "c"]);
}
"ack.client.cumulative" ALL, "In client mode ACK speaks for the message and every earlier one." => |case| {
    fill(&case, &["a", "b", "c"]).await;
    let mut wire = consumer(&case, CLIENT).await;
    let messages = take(&mut wire, &["a", "b", "c"]).await;
    wire.settled(ack(case.version, &messages[1])).await;
    bye(&case, wire).await;
    assert_eq!(rest(&case).await, ["c"]);
}
"ack.persubscription" FROM_11, "Cumulative is within one subscription." => |case| {
    fill(&case, &["a"]).await;
    let other = format!("{}.other", case.queue());
    let mut wire = consumer(&case, CLIENT).await;
    take(&mut wire, &["a"]).await;
    wire.settled(subscribe("t", &other, CLIENT)).await;
    wire.settled(send(&other, "", "b")).await;
    let b = wire.expect_message("b").await;
    wire.settled(ack(case.version, &b)).await;
    bye(&case, wire).await;
    assert_eq!(rest(&case).await, ["a"]);
}
"ack.auto" ALL, "In auto mode what was delivered is acknowledged." => |case| {
    fill(&case, &["a", "b"]).await;
    let mut wire = consumer(&case, "").await;
    take(&mut wire, &["a", "b"]).await;
    bye(&case, wire).await;
    assert_eq!(rest(&case).await, [""; 0]);
}
"ack.lost" ALL, "What a lost session has not acknowledged is delivered again, and says so." => |case| {
    fill(&case, &["a", "b"]).await;
    let mut wire = consumer(&case, CLIENT).await;
    let messages = take(&mut wire, &["a", "b"]).await;
    assert_ne!(messages[0].get("redelivered"), Some("true"));
    let mut other = consumer(&case, CLIENT).await;
    drop(wire);
    for message in take(&mut other, &["a", "b"]).await {
        assert_eq!(message.header("redelivered"), "true");
    }
}
"ack.disconnect" ALL, "The same after DISCONNECT." => |case| {
    fill(&case, &["a"]).await;
    let mut wire = consumer(&case, CLIENT).await;
    take(&mut wire, &["a"]).await;
    bye(&case, wire).await;
    let mut other = consumer(&case, CLIENT).await;
    assert_eq!(other.expect_message("a").await.header("redelivered"), "true");
}
"ack.unsubscribe" ALL, "The same after UNSUBSCRIBE." => |case| {
    fill(&case, &["a"]).await;
    let mut wire = consumer(&case, CLIENT).await;
    take(&mut wire, &["a"]).await;
    wire.settled("UNSUBSCRIBE\nid:s\n\n\0").await;
    let mut other = consumer(&case, CLIENT).await;
    assert_eq!(other.expect_message("a").await.header("redelivered"), "true");
}
"ack.noid" ALL, "An ACK that names no message is an ERROR." => |case| {
    for command in if case.version == V10 { &["ACK"][..] } else { &["ACK", "NACK"] } {
        let wire = consumer(&case, CLIENT).await;
        case.refuses(wire, format!("{command}\nsubscription:s\n\n\0"), "Missing id|Missing message-id", 1002).await;
    }
}
"ack.nosubscription" ONLY_11, "In 1.1 ACK names the subscription too." => |case| {
    fill(&case, &["a"]).await;
    let mut wire = consumer(&case, CLIENT).await;
    let id = take(&mut wire, &["a"]).await[0].header("message-id").to_owned();
    case.refuses(wire, format!("ACK\nmessage-id:{id}\n\n\0"), "Missing subscription", 1002).await;
}
"ack.wrongheader" ONLY_12, "In 1.2 message-id names nothing: ACK has an id." => |case| {
    fill(&case, &["a"]).await;
    let mut wire = consumer(&case, CLIENT).await;
    let id = take(&mut wire, &["a"]).await[0].header("message-id").to_owned();
    case.refuses(wire, format!("ACK\nmessage-id:{id}\nsubscription:s\n\n\0"), "Missing id", 1002).await;
}
"ack.unknown" ALL, "An ACK of a message that was never delivered is an ERROR." => |case| {
    let wire = consumer(&case, CLIENT).await;
    let frame = match case.version {
        V10 => "ACK\nmessage-id:none\n\n\0",
        V11 => "ACK\nmessage-id:none\nsubscription:s\n\n\0",
        V12 => "ACK\nid:none\n\n\0",
    };
    let mut wire = wire;
    wire.send(frame).await;
    let error = wire.expect("ERROR").await;
    assert!(!error.header("message").is_empty());
    wire.expect_end().await;
}
"ack.again" FROM_11, "An ACK of what is settled already has no effect." => |case| {
    fill(&case, &["a", "b"]).await;
    let mut wire = consumer(&case, INDIVIDUAL).await;
    let messages = take(&mut wire, &["a", "b"]).await;
    for _ in 0..2 {
        wire.settled(ack(case.version, &messages[0])).await;
    }
    bye(&case, wire).await;
    assert_eq!(rest(&case).await, ["b"]);
}
"ack.receipt" ALL, "The RECEIPT of ACK says that it has had its effect." => |case| {
    fill(&case, &["a"]).await;
    let mut wire = consumer(&case, CLIENT).await;
    let messages = take(&mut wire, &["a"]).await;
    wire.settled(ack(case.version, &messages[0])).await;
    drop(wire);
    assert_eq!(rest(&case).await, [""; 0]);
}
"ack.topic" ALL, "A subscription to a topic may acknowledge too." => |case| {
    let mut wire = case.connect().await;
    wire.settled(subscribe("s", &case.topic(), CLIENT)).await;
    wire.send(send(&case.topic(), "", "a")).await;
    let message = wire.expect_message("a").await;
    wire.settled(ack(case.version, &message)).await;
}
"ack.topic.prefetch" FROM_11, "There too no more is delivered than prefetch-count says." => |case| {
    let mut wire = case.connect().await;
    wire.settled(subscribe("s", &case.topic(), "ack:client\nprefetch-count:1\n")).await;
    let mut sender = case.connect().await;
    sender.settled(send(&case.topic(), "", "a")).await;
    sender.settled(send(&case.topic(), "", "b")).await;
    let message = wire.expect_message("a").await;
    wire.settled(send(&format!("{}.none", case.topic()), "", "x")).await;
    wire.send(ack(case.version, &message)).await;
    wire.expect_message("b").await;
}
"prefetch.one" ALL, "With prefetch-count:1 the next comes after the ACK." => |case| {
    fill(&case, &["a", "b", "c"]).await;
    let mut wire = consumer(&case, "ack:client\nprefetch-count:1\n").await;
    for body in ["a", "b", "c"] {
        let message = wire.expect_message(body).await;
        wire.settled(send(&format!("{}.none", case.topic()), "", "x")).await;
        wire.send(ack(case.version, &message)).await;
    }
}
"prefetch.share" FROM_11, "What one consumer may not take another gets." => |case| {
    let mut one = consumer(&case, "ack:client\nprefetch-count:1\n").await;
    let mut two = consumer(&case, "ack:client\nprefetch-count:1\n").await;
    fill(&case, &["a", "b"]).await;
    let mut bodies = [one.expect("MESSAGE").await.text(), two.expect("MESSAGE").await.text()];
    bodies.sort_unstable();
    assert_eq!(bodies, ["a", "b"]);
}
"prefetch.bad" ALL, "A prefetch-count that is no number is an ERROR." => |case| {
    for count in ["x", "-1", "1.5", ""] {
        let more = format!("ack:client\nprefetch-count:{count}\n");
        case.refused(subscribe("s", &case.queue(), &more), "Bad prefetch-count", 1002).await;
    }
}
"nack.requeue" FROM_11, "NACK gives the message back; it comes again with redelivered:true." => |case| {
    fill(&case, &["a"]).await;
    let mut wire = consumer(&case, INDIVIDUAL).await;
    let messages = take(&mut wire, &["a"]).await;
    wire.send(nack(case.version, &messages[0])).await;
    let again = wire.expect_message("a").await;
    assert_eq!(again.header("redelivered"), "true");
    wire.settled(ack(case.version, &again)).await;
    bye(&case, wire).await;
    assert_eq!(rest(&case).await, [""; 0]);
}
"nack.drop" FROM_11, "NACK with requeue:false makes a dead letter." => |case| {
    fill(&case, &["a"]).await;
    let mut wire = consumer(&case, INDIVIDUAL).await;
    let messages = take(&mut wire, &["a"]).await;
    wire.settled(verdict("NACK", case.version, &messages[0], "requeue:false\n")).await;
    bye(&case, wire).await;
    let mut dead = case.connect().await;
    dead.send(subscribe("d", &format!("/queue/DLQ.{}", case.name()), "")).await;
    dead.expect_message("a").await;
    assert_eq!(rest(&case).await, [""; 0]);
}
"nack.third" FROM_11, "The third NACK makes a dead letter." => |case| {
    fill(&case, &["a"]).await;
    let mut wire = consumer(&case, INDIVIDUAL).await;
    for _ in 0..3 {
        let message = wire.expect_message("a").await;
        wire.send(nack(case.version, &message)).await;
    }
    let mut dead = case.connect().await;
    dead.send(subscribe("d", &format!("/queue/DLQ.{}", case.name()), "")).await;
    dead.expect_message("a").await;
}
"nack.cumulative" FROM_11, "In client mode NACK speaks for every earlier message too." => |case| {
    fill(&case, &["a", "b", "c"]).await;
    let mut wire = consumer(&case, CLIENT).await;
    let messages = take(&mut wire, &["a", "b", "c"]).await;
    wire.settled(verdict("NACK", case.version, &messages[1], "requeue:false\n")).await;
    bye(&case, wire).await;
    assert_eq!(rest(&case).await, ["c"]);
}
"nack.10" ONLY_10, "1.0 has no NACK: an ERROR." => |case| {
    fill(&case, &["a"]).await;
    let mut wire = consumer(&case, CLIENT).await;
    let id = take(&mut wire, &["a"]).await[0].header("message-id").to_owned();
    case.refuses(wire, format!("NACK\nmessage-id:{id}\n\n\0"), "Bad command", 1002).await;
}
"nack.other" FROM_11, "What one consumer gives back another may get." => |case| {
    let mut one = consumer(&case, "ack:client-individual\nprefetch-count:1\n").await;
    fill(&case, &["a", "b"]).await;
    let first = one.expect_message("a").await;
    let mut two = consumer(&case, INDIVIDUAL).await;
    two.expect_message("b").await;
    one.send("UNSUBSCRIBE\nid:s\n\n\0").await;
    assert_eq!(two.expect_message("a").await.header("redelivered"), "true");
    drop(first);
}
"ack.byother" FROM_11, "Nobody acknowledges what was delivered to another session." => |case| {
    fill(&case, &["a"]).await;
    let mut wire = consumer(&case, INDIVIDUAL).await;
    let messages = take(&mut wire, &["a"]).await;
    let mut other = consumer(&case, INDIVIDUAL).await;
    other.send(ack(case.version, &messages[0])).await;
    other.expect("ERROR").await;
    other.expect_end().await;
    bye(&case, wire).await;
    assert_eq!(rest(&case).await, ["a"]);
}
"ack.failed" ALL, "A session that has failed consumes nothing more, however long its goodbye takes." => |case| {
    for _ in 0..5 {
        let mut bad = case.connect().await;
        let named = if case.version == V10 { "message-id:none" } else { "id:none" };
        let failing = format!("ACK\n{named}\nmessage-id:none\nsubscription:s\n\n\0");
        bad.send(format!("{}{failing}", subscribe("s", &case.queue(), CLIENT))).await;
        // What it is told is not read, so nobody answers its close.
        let mut good = consumer(&case, "prefetch-count:1\n").await;
        fill(&case, &["a", "b"]).await;
        for body in ["a", "b"] {
            let heard = good.next_within(Duration::from_secs(3)).await;
            let frame = heard.unwrap_or_else(|| panic!("{body} was given to the failed session"));
            assert!(matches!(&frame, Heard::Frame(frame) if frame.text() == body), "{frame:?}");
        }
        drop(bad);
    }
}
"ack.badrequeue" FROM_11, "requeue is true or false." => |case| {
    fill(&case, &["a"]).await;
    let mut wire = consumer(&case, INDIVIDUAL).await;
    let messages = take(&mut wire, &["a"]).await;
    wire.send(verdict("NACK", case.version, &messages[0], "requeue:true\n")).await;
    let again = wire.expect_message("a").await;
    case.refuses(wire, verdict("NACK", case.version, &again, "requeue:perhaps\n"), "Bad requeue", 1002).await;
}
}
