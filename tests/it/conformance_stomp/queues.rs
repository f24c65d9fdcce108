//! `/queue/**`: competing consumers, kept while nobody listens, bounded; `/temp-queue/**` and
//! `reply-to` (RabbitMQ's STOMP adapter).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::case::Version::V12;
use super::case::{ALL, FROM_11, ONLY_12, cases, over_every_transport, send, subscribe};

over_every_transport!(&[]);

cases! {
"queue.kept" ALL, "A queue keeps what is sent while nobody listens, in order." => |case| {
    let mut wire = case.connect().await;
    for body in ["a", "b", "c"] {
        wire.settled(send(&case.queue(), "", body)).await;
    }
    wire.send(subscribe("s", &case.queue(), "")).await;
    for body in ["a", "b", "c"] {
        wire.expect_message(body).await;
    }
}
"queue.receipt" ALL, "The RECEIPT of a SEND says that the message is in the queue." => |case| {
    let mut wire = case.connect().await;
    wire.settled(send(&case.queue(), "", "safe")).await;
    drop(wire);
    let mut other = case.connect().await;
    other.send(subscribe("s", &case.queue(), "")).await;
    other.expect_message("safe").await;
}
"queue.compete" ALL, "Each message goes to one of the consumers." => |case| {
    let mut consumers = Vec::new();
    for _ in 0..3 {
        let mut wire = case.connect().await;
        wire.settled(subscribe("s", &case.queue(), "ack:client\nprefetch-count:2\n")).await;
        consumers.push(wire);
    }
    let mut sender = case.connect().await;
    for n in 0..6 {
        sender.settled(send(&case.queue(), "", &n.to_string())).await;
    }
    let mut bodies = Vec::new();
    for consumer in &mut consumers {
        bodies.push(consumer.expect("MESSAGE").await.text());
        bodies.push(consumer.expect("MESSAGE").await.text());
    }
    bodies.sort_unstable();
    assert_eq!(bodies, ["0", "1", "2", "3", "4", "5"]);
}
"queue.order" ALL, "One consumer gets the messages of one sender in order." => |case| {
    let mut wire = case.connect().await;
    wire.settled(subscribe("s", &case.queue(), "")).await;
    let mut sender = case.connect().await;
    for n in 0..200 {
        sender.send(send(&case.queue(), "", &n.to_string())).await;
    }
    for n in 0..200 {
        wire.expect_message(&n.to_string()).await;
    }
}
"queue.frame" ALL, "MESSAGE of a queue says destination, message-id, subscription and the sender's headers." => |case| {
    let mut wire = case.connect().await;
    wire.settled(subscribe("s", &case.queue(), "")).await;
    let more = "content-type:text/plain\nx-a:b\npersistent:true\n";
    wire.send(send(&case.queue(), more, "x")).await;
    let message = wire.expect_message("x").await;
    assert_eq!(message.header("destination"), case.queue());
    assert_eq!(message.header("subscription"), "s");
    assert_eq!(message.header("content-type"), "text/plain");
    assert_eq!(message.header("x-a"), "b");
    assert!(!message.header("message-id").is_empty());
}
"queue.binary" ALL, "A queue keeps any body, NULs too." => |case| {
    let mut wire = case.connect().await;
    wire.settled(send(&case.queue(), "content-length:3\n", "a\0b")).await;
    wire.send(subscribe("s", &case.queue(), "")).await;
    wire.expect_message("a\0b").await;
}
"queue.versions" ALL, "A queue serves all versions, with the header values of each." => |case| {
    let mut sender = case.connect_as(V12).await;
    sender.settled(send(&case.queue(), "x-a:a\\cb\n", "x")).await;
    let mut wire = case.connect().await;
    wire.send(subscribe("s", &case.queue(), "")).await;
    let expected = if case.version.text() == "1.0" { "a:b" } else { "a\\cb" };
    assert_eq!(wire.expect_message("x").await.header("x-a"), expected);
}
"queue.full" FROM_11, "A queue that is full refuses, and says so to the sender." => |case| {
    let mut wire = case.connect().await;
    wire.settled(subscribe("e", "/user/queue/errors", "")).await;
    let more = "ack:client\nprefetch-count:1\nx-max-length:2\n";
    wire.settled(subscribe("s", &case.queue(), more)).await;
    for n in 0..10 {
        wire.send(send(&case.queue(), "", &n.to_string())).await;
    }
    loop {
        let message = wire.expect("MESSAGE").await;
        if message.header("subscription") == "e" {
            assert_eq!(message.json()["code"], "limit_exceeded");
            break;
        }
    }
}
"queue.arguments" FROM_11, "Who names a queue with other arguments than it has is refused." => |case| {
    let mut wire = case.connect().await;
    wire.settled(subscribe("s", &case.queue(), "x-max-length:5\n")).await;
    let mut other = case.connect().await;
    other.send(subscribe("s", &case.queue(), "x-max-length:6\n")).await;
    other.expect("ERROR").await;
    other.expect_end().await;
    wire.settled(send(&case.queue(), "", "x")).await;
}
"queue.badarguments" ALL, "Arguments of a queue are numbers." => |case| {
    for name in ["x-message-ttl", "x-expires", "x-max-length"] {
        for value in ["x", "-1", ""] {
            case.refused(subscribe("s", &case.queue(), &format!("{name}:{value}\n")), "Bad queue argument", 1002).await;
        }
    }
}
"queue.ttl" FROM_11, "After x-message-ttl a message is gone." => |case| {
    let mut wire = case.connect().await;
    wire.settled(subscribe("s", &case.queue(), "ack:client\nx-message-ttl:300\n")).await;
    wire.settled("UNSUBSCRIBE\nid:s\n\n\0").await;
    wire.settled(send(&case.queue(), "", "old")).await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    wire.settled(send(&case.queue(), "", "new")).await;
    wire.send(subscribe("s", &case.queue(), "ack:client\nx-message-ttl:300\n")).await;
    wire.expect_message("new").await;
}
"queue.expiration" FROM_11, "After its expiration, or after expires, a message is gone." => |case| {
    let mut wire = case.connect().await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    wire.settled(send(&case.queue(), "expiration:300\n", "short")).await;
    wire.settled(send(&case.queue(), &format!("expires:{}\n", now + 300), "dated")).await;
    wire.settled(send(&case.queue(), &format!("expires:{}\n", now + 600_000), "good")).await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    wire.send(subscribe("s", &case.queue(), "")).await;
    wire.expect_message("good").await;
}
"temp.reply" ALL, "reply-to:/temp-queue/x makes a place for answers, which come with that subscription." => |case| {
    let mut service = case.connect().await;
    service.settled(subscribe("s", &case.queue(), "")).await;
    let mut client = case.connect().await;
    client.settled(send(&case.queue(), "reply-to:/temp-queue/x\ncorrelation-id:7\n", "ask")).await;
    let asked = service.expect_message("ask").await;
    let to = asked.header("reply-to").to_owned();
    assert!(to.starts_with("/reply-queue/"), "{to}");
    service.settled(send(&to, "", "answer")).await;
    let answer = client.expect_message("answer").await;
    assert_eq!(answer.header("subscription"), "/temp-queue/x");
    assert_eq!(answer.header("destination"), "/temp-queue/x");
}
"temp.topic" FROM_11, "The same by a topic, and many answers come." => |case| {
    let mut service = case.subscribed(case.version).await;
    let mut client = case.connect().await;
    for n in 0..3 {
        client.settled(send(&case.topic(), "reply-to:/temp-queue/x\n", &n.to_string())).await;
        let to = service.expect_message(&n.to_string()).await.header("reply-to").to_owned();
        service.settled(send(&to, "", &format!("answer {n}"))).await;
        client.expect_message(&format!("answer {n}")).await;
    }
}
"temp.own" FROM_11, "Two sessions with the same name have different places." => |case| {
    let mut service = case.subscribed(case.version).await;
    let mut one = case.connect().await;
    let mut two = case.connect().await;
    one.settled(send(&case.topic(), "reply-to:/temp-queue/x\n", "1")).await;
    let first = service.expect_message("1").await.header("reply-to").to_owned();
    two.settled(send(&case.topic(), "reply-to:/temp-queue/x\n", "2")).await;
    let second = service.expect_message("2").await.header("reply-to").to_owned();
    assert_ne!(first, second);
    service.settled(send(&second, "", "to two")).await;
    two.expect_message("to two").await;
    service.settled(send(&first, "", "to one")).await;
    one.expect_message("to one").await;
}
"temp.end" ALL, "UNSUBSCRIBE of the place ends it." => |case| {
    let mut service = case.subscribed(case.version).await;
    let mut client = case.connect().await;
    client.settled(send(&case.topic(), "reply-to:/temp-queue/x\n", "ask")).await;
    let to = service.expect_message("ask").await.header("reply-to").to_owned();
    client.settled("UNSUBSCRIBE\nid:/temp-queue/x\n\n\0").await;
    service.send(send(&to, "", "late")).await;
    client.settled(send(&format!("{}.none", case.topic()), "", "x")).await;
    client.settled(send(&format!("{}.none", case.topic()), "", "x")).await;
}
"queue.dead" ALL, "Nobody sends to dead letters." => |case| {
    let mut wire = case.connect().await;
    wire.send(send(&format!("/queue/DLQ.{}", case.name()), "", "x")).await;
    wire.expect("ERROR").await;
    wire.expect_end().await;
}
"temp.subscribe" ALL, "Nobody can SUBSCRIBE to a temp-queue or a reply-queue." => |case| {
    for to in ["/temp-queue/x", "/reply-queue/x"] {
        let mut wire = case.connect().await;
        wire.send(subscribe("s", to, "")).await;
        wire.expect("ERROR").await;
        wire.expect_end().await;
    }
}
"temp.send" ALL, "Nobody can SEND to a temp-queue." => |case| {
    let mut wire = case.connect().await;
    wire.send(send("/temp-queue/x", "", "x")).await;
    wire.expect("ERROR").await;
    wire.expect_end().await;
}
"temp.other" ALL, "Any other reply-to passes through as it is." => |case| {
    let mut wire = case.subscribed(case.version).await;
    wire.send(send(&case.topic(), "reply-to:/queue/answers\n", "x")).await;
    assert_eq!(wire.expect_message("x").await.header("reply-to"), "/queue/answers");
}
"queue.gone" ONLY_12, "A consumer that goes takes no message with it." => |case| {
    let mut sender = case.connect().await;
    for n in 0..20 {
        sender.settled(send(&case.queue(), "", &n.to_string())).await;
    }
    for _ in 0..3 {
        let mut wire = case.connect().await;
        wire.send(subscribe("s", &case.queue(), "ack:client\nprefetch-count:5\n")).await;
        wire.expect("MESSAGE").await;
        drop(wire);
    }
    let mut wire = case.connect().await;
    wire.send(subscribe("s", &case.queue(), "")).await;
    let mut bodies = std::collections::BTreeSet::new();
    while bodies.len() < 20 {
        bodies.insert(wire.expect("MESSAGE").await.text());
    }
}
}
