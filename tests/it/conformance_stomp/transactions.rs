//! BEGIN, COMMIT and ABORT (STOMP 1.2, sections BEGIN, COMMIT, ABORT).

use super::case::Version::V12;
use super::case::{ALL, Case, FROM_11, ack, cases, nack, over_every_transport, send, subscribe};
use crate::support::wire::Wire;

over_every_transport!(&[]);

const IN_T: &str = "transaction:t\n";

/// A frame of the transaction `t`.
fn of_t(command: &str) -> String {
    format!("{command}\ntransaction:t\n\n\0")
}

/// A frame with one more header.
fn within_t(frame: &str) -> String {
    frame.replacen('\n', "\ntransaction:t\n", 1)
}

/// A session that has begun `t`, and another that listens to the topic.
async fn begun(case: &Case) -> (Wire, Wire) {
    let listener = case.subscribed(V12).await;
    let mut wire = case.connect().await;
    wire.settled(of_t("BEGIN")).await;
    (wire, listener)
}

cases! {
"tx.commit" ALL, "What is sent in a transaction is delivered at COMMIT, and not before." => |case| {
    let (mut wire, mut listener) = begun(&case).await;
    wire.settled(send(&case.topic(), IN_T, "a")).await;
    wire.settled(send(&case.topic(), IN_T, "b")).await;
    wire.settled(send(&case.topic(), "", "outside")).await;
    wire.settled(of_t("COMMIT")).await;
    for body in ["outside", "a", "b"] {
        listener.expect_message(body).await;
    }
}
"tx.abort" ALL, "After ABORT nothing of it is delivered." => |case| {
    let (mut wire, mut listener) = begun(&case).await;
    wire.settled(send(&case.topic(), IN_T, "a")).await;
    wire.settled(of_t("ABORT")).await;
    wire.settled(send(&case.topic(), "", "after")).await;
    listener.expect_message("after").await;
}
"tx.disconnect" ALL, "DISCONNECT aborts." => |case| {
    let (mut wire, mut listener) = begun(&case).await;
    wire.settled(send(&case.topic(), IN_T, "a")).await;
    wire.settled("DISCONNECT\n\n\0").await;
    case.ends(wire, 1000).await;
    let mut other = case.connect().await;
    other.settled(send(&case.topic(), "", "after")).await;
    listener.expect_message("after").await;
}
"tx.lost" ALL, "A lost session aborts." => |case| {
    let (mut wire, mut listener) = begun(&case).await;
    wire.settled(send(&case.topic(), IN_T, "a")).await;
    drop(wire);
    let mut other = case.connect().await;
    other.settled(send(&case.topic(), "", "after")).await;
    listener.expect_message("after").await;
}
"tx.noid" ALL, "BEGIN, COMMIT and ABORT without transaction are an ERROR." => |case| {
    for command in ["BEGIN", "COMMIT", "ABORT"] {
        let error = case.refused(format!("{command}\n\n\0"), "Missing transaction", 1002).await;
        assert!(error.text().contains("transaction"), "{error:?}");
    }
}
"tx.dup" ALL, "BEGIN of a transaction that is open is an ERROR." => |case| {
    let (wire, _listener) = begun(&case).await;
    case.refuses(wire, of_t("BEGIN"), "Bad transaction", 1002).await;
}
"tx.unknown" ALL, "COMMIT and ABORT of a transaction that is not open are an ERROR." => |case| {
    for command in ["COMMIT", "ABORT"] {
        case.refused(of_t(command), "Bad transaction", 1002).await;
    }
}
"tx.unknown.send" ALL, "A SEND in a transaction that is not open is an ERROR." => |case| {
    case.refused(send(&case.topic(), IN_T, "x"), "Bad transaction", 1002).await;
}
"tx.unknown.ack" ALL, "An ACK in a transaction that is not open is an ERROR." => |case| {
    let mut wire = case.connect().await;
    wire.settled(subscribe("s", &case.queue(), "ack:client\n")).await;
    wire.send(send(&case.queue(), "", "x")).await;
    let message = wire.expect_message("x").await;
    case.refuses(wire, within_t(&ack(case.version, &message)), "Bad transaction", 1002).await;
}
"tx.reuse" ALL, "After COMMIT or ABORT its name is free." => |case| {
    let (mut wire, mut listener) = begun(&case).await;
    for body in ["a", "b"] {
        wire.settled(send(&case.topic(), IN_T, body)).await;
        wire.settled(of_t("COMMIT")).await;
        listener.expect_message(body).await;
        wire.settled(of_t("BEGIN")).await;
    }
    wire.settled(of_t("ABORT")).await;
    wire.settled(of_t("BEGIN")).await;
}
"tx.twice" ALL, "COMMIT twice is an ERROR." => |case| {
    let (mut wire, _listener) = begun(&case).await;
    wire.settled(of_t("COMMIT")).await;
    case.refuses(wire, of_t("COMMIT"), "Bad transaction", 1002).await;
}
"tx.two" ALL, "Two transactions are independent." => |case| {
    let (mut wire, mut listener) = begun(&case).await;
    wire.settled("BEGIN\ntransaction:u\n\n\0").await;
    wire.settled(send(&case.topic(), IN_T, "of t")).await;
    wire.settled(send(&case.topic(), "transaction:u\n", "of u")).await;
    wire.settled("COMMIT\ntransaction:u\n\n\0").await;
    listener.expect_message("of u").await;
    wire.settled(of_t("ABORT")).await;
    wire.settled(send(&case.topic(), "", "after")).await;
    listener.expect_message("after").await;
}
"tx.sessions" ALL, "Names of transactions are of the session." => |case| {
    let (_one, _listener) = begun(&case).await;
    let (_two, _other) = begun(&case).await;
}
"tx.empty" ALL, "An empty transaction commits." => |case| {
    let (mut wire, _listener) = begun(&case).await;
    wire.settled(of_t("COMMIT")).await;
}
"tx.queue" ALL, "A queue gets what was committed, in order." => |case| {
    let mut wire = case.connect().await;
    wire.settled(of_t("BEGIN")).await;
    for body in ["a", "b", "c"] {
        wire.send(send(&case.queue(), IN_T, body)).await;
    }
    wire.settled(send(&case.queue(), "", "outside")).await;
    wire.settled(of_t("COMMIT")).await;
    wire.send(subscribe("s", &case.queue(), "")).await;
    for body in ["outside", "a", "b", "c"] {
        wire.expect_message(body).await;
    }
}
"tx.receipt" ALL, "A SEND in a transaction is receipted when it was taken, COMMIT when it has had its effect." => |case| {
    let mut wire = case.connect().await;
    wire.settled(of_t("BEGIN")).await;
    wire.settled(send(&case.queue(), IN_T, "safe")).await;
    wire.settled(of_t("COMMIT")).await;
    drop(wire);
    let mut other = case.connect().await;
    other.send(subscribe("s", &case.queue(), "")).await;
    other.expect_message("safe").await;
}
"tx.stripped" ALL, "transaction does not reach subscribers." => |case| {
    let (mut wire, mut listener) = begun(&case).await;
    wire.send(send(&case.topic(), IN_T, "a")).await;
    wire.settled(of_t("COMMIT")).await;
    let message = listener.expect_message("a").await;
    assert_eq!(message.get("transaction"), None);
    assert_eq!(message.get("receipt"), None);
}
"tx.ack.commit" ALL, "An ACK in a transaction counts at COMMIT." => |case| {
    let mut wire = case.connect().await;
    wire.settled(send(&case.queue(), "", "a")).await;
    wire.send(subscribe("s", &case.queue(), "ack:client\n")).await;
    let message = wire.expect_message("a").await;
    wire.settled(of_t("BEGIN")).await;
    wire.settled(within_t(&ack(case.version, &message))).await;
    wire.settled(of_t("COMMIT")).await;
    wire.settled("DISCONNECT\n\n\0").await;
    let mut other = case.connect().await;
    other.settled(send(&case.queue(), "", "b")).await;
    other.send(subscribe("s", &case.queue(), "")).await;
    other.expect_message("b").await;
}
"tx.ack.abort" ALL, "After ABORT the message is unacknowledged." => |case| {
    let mut wire = case.connect().await;
    wire.settled(send(&case.queue(), "", "a")).await;
    wire.send(subscribe("s", &case.queue(), "ack:client\n")).await;
    let message = wire.expect_message("a").await;
    wire.settled(of_t("BEGIN")).await;
    wire.settled(within_t(&ack(case.version, &message))).await;
    wire.settled(of_t("ABORT")).await;
    wire.settled("DISCONNECT\n\n\0").await;
    let mut other = case.connect().await;
    other.send(subscribe("s", &case.queue(), "")).await;
    assert_eq!(other.expect_message("a").await.header("redelivered"), "true");
}
"tx.nack" FROM_11, "NACK may be in a transaction." => |case| {
    let mut wire = case.connect().await;
    wire.settled(send(&case.queue(), "", "a")).await;
    wire.send(subscribe("s", &case.queue(), "ack:client-individual\n")).await;
    let message = wire.expect_message("a").await;
    wire.settled(of_t("BEGIN")).await;
    wire.settled(within_t(&nack(case.version, &message))).await;
    wire.send(of_t("COMMIT")).await;
    assert_eq!(wire.expect_message("a").await.header("redelivered"), "true");
}
"tx.all" ALL, "COMMIT does everything or nothing: one refused SEND, and no other is delivered." => |case| {
    let (mut wire, mut listener) = begun(&case).await;
    wire.send(send(&case.topic(), IN_T, "a")).await;
    wire.send(send("/topic/announce", IN_T, "no")).await;
    wire.send(of_t("COMMIT")).await;
    wire.expect("ERROR").await;
    wire.expect_end().await;
    let mut other = case.connect().await;
    other.settled(send(&case.topic(), "", "after")).await;
    listener.expect_message("after").await;
}
"tx.baddest" ALL, "What breaks the protocol is an ERROR at once, in a transaction too." => |case| {
    let (wire, _listener) = begun(&case).await;
    case.refuses(wire, send("", IN_T, "x"), "", 1002).await;
}
}
