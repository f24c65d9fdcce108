//! Spring's dialect by settings: queues that fan out, prefixes of one's own.

use super::case::Version::V12;
use super::case::{ALL, cases, over_every_transport, send, subscribe};

over_every_transport!(&[
    ("QUEUE_MODE", "fan-out"),
    ("PREFIX_APP", "/publish"),
    ("PREFIX_TOPIC", "/subscribe,/topic"),
]);

cases! {
"fan.every" ALL, "With QUEUE_MODE=fan-out a queue goes to every subscriber." => |case| {
    let mut listeners = Vec::new();
    for _ in 0..2 {
        let mut wire = case.connect().await;
        wire.settled(subscribe("s", &case.queue(), "")).await;
        listeners.push(wire);
    }
    let mut sender = case.connect().await;
    sender.settled(send(&case.queue(), "", "x")).await;
    for listener in &mut listeners {
        let message = listener.expect_message("x").await;
        assert_eq!(message.header("destination"), case.queue());
    }
}
"fan.kept" ALL, "Then it keeps nothing." => |case| {
    let mut wire = case.connect().await;
    wire.settled(send(&case.queue(), "", "before")).await;
    wire.settled(subscribe("s", &case.queue(), "")).await;
    wire.send(send(&case.queue(), "", "after")).await;
    wire.expect_message("after").await;
}
"prefix.own" ALL, "Prefixes are settings; each of a list names the same." => |case| {
    let own = case.topic().replace("/topic/", "/subscribe/");
    let mut one = case.connect().await;
    let mut two = case.subscribed(V12).await;
    one.settled(subscribe("s", &own, "")).await;
    one.send(send(&own, "", "x")).await;
    assert_eq!(one.expect_message("x").await.header("destination"), own);
    assert_eq!(two.expect_message("x").await.header("destination"), case.topic());
}
"prefix.unset" ALL, "A prefix that is not set is no destination." => |case| {
    for to in ["/sub/x", "/app/chat.send"] {
        case.refused(send(to, "", "x"), "Unknown destination", 1002).await;
    }
}
"prefix.app" ALL, "Features are found under the prefix that is set." => |case| {
    let (mut wire, connected) = case.connect_with(case.version, "").await;
    wire.settled(subscribe("s", "/user/queue/messages", "")).await;
    let body = format!("{{\"to\":\"{}\",\"message\":\"hi\"}}", connected.header("user-name"));
    wire.send(send("/publish/chat.send", "", &body)).await;
    assert_eq!(wire.expect("MESSAGE").await.json()["message"], "hi");
}
}
