//! Prefixes, wildcards, `%2F`, and the destinations of users (Spring's dialect, RabbitMQ's names).

use super::case::Version::V12;
use super::case::subscribe;
use super::case::{ALL, Case, FROM_11, ONLY_12, cases, greeting, over_every_transport, send};
use crate::support::wire::{Frame, Wire};

over_every_transport!(&[("DESTINATION_RULES", OPEN)]);

/// Visitors may write to each other's queues here, which is for members otherwise.
const OPEN: &str = "all /topic/** anyone; all /queue/** anyone; send /user/** anyone";

/// A session that listens to this destination with the id `s`.
async fn listening(case: &Case, destination: &str) -> Wire {
    let mut wire = case.connect().await;
    wire.settled(subscribe("s", destination, "")).await;
    wire
}

/// A second session of the user of this CONNECTED.
async fn again(case: &Case, connected: &Frame) -> Wire {
    let secret = connected.header("visitor-token");
    let mut wire = case.open().await;
    wire.send(greeting(case.version, "").replace("token:new", &format!("token:{secret}")))
        .await;
    wire.expect("CONNECTED").await;
    wire
}

cases! {
"dest.alias" ALL, "Every prefix of a list names the same: /sub is /topic." => |case| {
    let alias = case.topic().replace("/topic/", "/sub/");
    let mut wire = listening(&case, &alias).await;
    wire.send(send(&case.topic(), "", "a")).await;
    wire.expect_message("a").await;
    wire.send(send(&alias, "", "b")).await;
    wire.expect_message("b").await;
}
"dest.written" ALL, "MESSAGE says the destination as the subscriber wrote it." => |case| {
    let alias = case.topic().replace("/topic/", "/sub/");
    let mut one = listening(&case, &alias).await;
    let mut two = listening(&case, &case.topic()).await;
    one.send(send(&alias, "", "a")).await;
    assert_eq!(one.expect_message("a").await.header("destination"), alias);
    assert_eq!(two.expect_message("a").await.header("destination"), case.topic());
}
"dest.app" ALL, "/pub is /app: features are found under both." => |case| {
    let mut wire = listening(&case, "/user/queue/errors").await;
    for to in ["/app/no.such", "/pub/no.such"] {
        wire.send(send(to, "", "{}")).await;
        assert_eq!(wire.expect("MESSAGE").await.json()["code"], "unknown_destination");
    }
}
"dest.slash" ALL, "%2F in a segment is part of the name, and no separator." => |case| {
    let mut wire = listening(&case, &format!("{}%2Fx", case.topic())).await;
    wire.send(send(&format!("{}/x", case.topic()), "", "no")).await;
    wire.send(send(&format!("{}%2Fx", case.topic()), "", "yes")).await;
    wire.expect_message("yes").await;
}
"dest.slash.case" ALL, "%2f is %2F." => |case| {
    let mut wire = listening(&case, &format!("{}%2fx", case.topic())).await;
    wire.send(send(&format!("{}%2Fx", case.topic()), "", "yes")).await;
    wire.expect_message("yes").await;
}
"wild.one" ALL, "* stands for one segment." => |case| {
    let mut wire = listening(&case, &format!("{}/*", case.topic())).await;
    for (name, body) in [("", "no"), ("/a/b", "no"), ("/a.b", "no"), ("/a", "yes")] {
        wire.send(send(&format!("{}{name}", case.topic()), "", body)).await;
    }
    wire.expect_message("yes").await;
}
"wild.middle" ALL, "It may stand in the middle, and behind a dot." => |case| {
    let mut wire = listening(&case, &format!("{}/*/x", case.topic())).await;
    wire.send(send(&format!("{}/a/y", case.topic()), "", "no")).await;
    wire.send(send(&format!("{}/a/x", case.topic()), "", "yes")).await;
    wire.expect_message("yes").await;
    let mut wire = listening(&case, &format!("{}.price.*", case.topic())).await;
    wire.send(send(&format!("{}.price.a", case.topic()), "", "dot")).await;
    wire.expect_message("dot").await;
}
"wild.rest" ALL, "** stands for the rest, however long." => |case| {
    let mut wire = listening(&case, &format!("{}/**", case.topic())).await;
    for name in ["/a", "/a/b", "/a.b/c"] {
        wire.send(send(&format!("{}{name}", case.topic()), "", name)).await;
        wire.expect_message(name).await;
    }
    wire.send(send(&format!("{}x/a", case.topic()), "", "no")).await;
    wire.send(send(&format!("{}/z", case.topic()), "", "yes")).await;
    wire.expect_message("yes").await;
}
"wild.hash" ALL, "# is ** in the names of RabbitMQ." => |case| {
    let mut wire = listening(&case, &format!("{}.#", case.topic())).await;
    for name in [".a", ".a.b"] {
        wire.send(send(&format!("{}{name}", case.topic()), "", name)).await;
        wire.expect_message(name).await;
    }
}
"wild.shown" ALL, "MESSAGE of a subscription with wildcards says where the message was sent." => |case| {
    let mut wire = listening(&case, &format!("{}/*", case.topic())).await;
    let to = format!("{}/a", case.topic());
    wire.send(send(&to, "", "x")).await;
    let message = wire.expect_message("x").await;
    assert_eq!(message.header("destination"), to);
    assert_eq!(message.header("subscription"), "s");
}
"wild.both" ALL, "A subscription with wildcards and an exact one both get a MESSAGE." => |case| {
    let mut wire = listening(&case, &format!("{}/*", case.topic())).await;
    let to = format!("{}/a", case.topic());
    wire.settled(subscribe("t", &to, "")).await;
    wire.send(send(&to, "", "x")).await;
    let one = wire.expect_message("x").await;
    let two = wire.expect_message("x").await;
    assert_ne!(one.header("subscription"), two.header("subscription"));
}
"wild.end" ALL, "After UNSUBSCRIBE of a subscription with wildcards nothing comes." => |case| {
    let mut wire = listening(&case, &format!("{}/**", case.topic())).await;
    wire.settled("UNSUBSCRIBE\nid:s\n\n\0").await;
    wire.settled(send(&format!("{}/a", case.topic()), "", "x")).await;
    wire.settled(send(&format!("{}/a", case.topic()), "", "x")).await;
}
"wild.send" ALL, "Nobody may SEND to wildcards." => |case| {
    for name in ["/*", "/**", ".#", "/*/x"] {
        let mut wire = case.connect().await;
        wire.send(send(&format!("{}{name}", case.topic()), "", "x")).await;
        wire.expect("ERROR").await;
        wire.expect_end().await;
    }
}
"wild.bad" ALL, "Something after ** is refused." => |case| {
    for name in ["/**/a", ".#.a"] {
        let mut wire = case.connect().await;
        wire.send(subscribe("s", &format!("{}{name}", case.topic()), "")).await;
        wire.expect("ERROR").await;
        wire.expect_end().await;
    }
}
"wild.user" ALL, "Wildcards do not open the destinations of users." => |case| {
    for to in ["/user/**", "/user/*/queue/notes", "/user/queue/*"] {
        let mut wire = case.connect().await;
        wire.send(subscribe("s", to, "")).await;
        wire.expect("ERROR").await;
        wire.expect_end().await;
    }
}
"wild.queue" ALL, "Queues have no wildcards." => |case| {
    let mut wire = case.connect().await;
    wire.send(subscribe("s", "/queue/*", "")).await;
    wire.expect("ERROR").await;
    wire.expect_end().await;
}
"user.own" ALL, "What is sent to /user/{name}/queue/x the user gets as /user/queue/x." => |case| {
    let (mut bob, connected) = case.connect_with(case.version, "").await;
    bob.settled(subscribe("s", "/user/queue/notes", "")).await;
    let name = connected.header("user-name").to_owned();
    let mut alice = case.connect().await;
    alice.settled(send(&format!("/user/{name}/queue/notes"), "x-a:b\n", "hi")).await;
    let message = bob.expect_message("hi").await;
    assert_eq!(message.header("destination"), "/user/queue/notes");
    assert_eq!(message.header("subscription"), "s");
    assert_eq!(message.header("x-a"), "b");
}
"user.devices" ALL, "Every session of the user gets it." => |case| {
    let (mut phone, connected) = case.connect_with(case.version, "").await;
    let mut laptop = again(&case, &connected).await;
    for wire in [&mut phone, &mut laptop] {
        wire.settled(subscribe("s", "/user/queue/notes", "")).await;
    }
    let mut alice = case.connect().await;
    let to = format!("/user/{}/queue/notes", connected.header("user-name"));
    alice.settled(send(&to, "", "hi")).await;
    phone.expect_message("hi").await;
    laptop.expect_message("hi").await;
}
"user.others" ALL, "Nobody else gets it." => |case| {
    let (mut bob, connected) = case.connect_with(case.version, "").await;
    bob.settled(subscribe("s", "/user/queue/notes", "")).await;
    let (mut eve, hers) = case.connect_with(case.version, "").await;
    eve.settled(subscribe("s", "/user/queue/notes", "")).await;
    let mut alice = case.connect().await;
    for (connected, body) in [(&connected, "to bob"), (&hers, "to eve")] {
        let to = format!("/user/{}/queue/notes", connected.header("user-name"));
        alice.settled(send(&to, "", body)).await;
    }
    bob.expect_message("to bob").await;
    eve.expect_message("to eve").await;
}
"user.session" ALL, "With the sender's own session as name only that session gets it." => |case| {
    let (mut phone, connected) = case.connect_with(case.version, "").await;
    let mut laptop = again(&case, &connected).await;
    for wire in [&mut phone, &mut laptop] {
        wire.settled(subscribe("s", "/user/queue/notes", "")).await;
    }
    let session = connected.header("session").to_owned();
    phone.send(send(&format!("/user/{session}/queue/notes"), "", "me")).await;
    phone.expect_message("me").await;
    let user = connected.header("user-name");
    phone.send(send(&format!("/user/{user}/queue/notes"), "", "all")).await;
    laptop.expect_message("all").await;
}
"user.foreign" ALL, "Nobody subscribes to the queues of another." => |case| {
    let (_bob, connected) = case.connect_with(case.version, "").await;
    let to = format!("/user/{}/queue/notes", connected.header("user-name"));
    let mut eve = case.connect().await;
    eve.send(subscribe("s", &to, "")).await;
    eve.expect("ERROR").await;
    eve.expect_end().await;
}
"user.guarded" ALL, "Nobody writes by hand to the queues that only the service fills." => |case| {
    let (mut bob, connected) = case.connect_with(case.version, "").await;
    bob.settled(subscribe("s", "/user/queue/messages", "")).await;
    for queue in ["messages", "errors", "replies"] {
        let to = format!("/user/{}/queue/{queue}", connected.header("user-name"));
        let mut eve = case.connect().await;
        eve.send(send(&to, "", "forged")).await;
        eve.expect("ERROR").await;
        eve.expect_end().await;
    }
    bob.settled(send(&case.topic(), "", "x")).await;
}
"user.version" FROM_11, "Sessions of different versions of one user both get it." => |case| {
    let (mut one, connected) = case.connect_with(V12, "").await;
    let mut two = again(&case, &connected).await;
    one.settled(subscribe("1", "/user/queue/notes", "")).await;
    two.settled(subscribe("2", "/user/queue/notes", "")).await;
    let to = format!("/user/{}/queue/notes", connected.header("user-name"));
    let mut alice = case.connect().await;
    alice.settled(send(&to, "", "hi")).await;
    assert_eq!(one.expect_message("hi").await.header("subscription"), "1");
    assert_eq!(two.expect_message("hi").await.header("subscription"), "2");
}
"dest.spring" ONLY_12, "A front end of the Spring tutorials finds its destinations: /sub/chat/room/1 and raw bodies." => |case| {
    let room = format!("/sub/chat/room/{}", case.name());
    let mut wire = listening(&case, &room).await;
    let body = "{\"roomId\":1,\"message\":\"안녕\"}";
    wire.send(send(&room, "content-type:application/json\nAuthorization:x\n", body)).await;
    assert_eq!(wire.expect_message(body).await.header("destination"), room);
}
"dest.relay" ALL, "What a tutorial's handler passes on is passed on here: /pub/chat/message to the room of its body." => |case| {
    let mut wire = listening(&case, &format!("/sub/chat/room/{}", case.name())).await;
    let body = format!("{{\"roomId\":\"{}\",\"message\":\"hi\"}}", case.name());
    wire.send(send("/pub/chat/message", "x-a:b\n", &body)).await;
    assert_eq!(wire.expect_message(&body).await.header("x-a"), "b");
}
"dest.chat" ALL, "A direct message reaches its recipient and comes back as an echo." => |case| {
    let (mut bob, connected) = case.connect_with(case.version, "").await;
    bob.settled(subscribe("s", "/user/queue/messages", "")).await;
    let mut alice = case.connect().await;
    alice.settled(subscribe("s", "/user/queue/messages", "")).await;
    let body = format!("{{\"to\":\"{}\",\"message\":\"hi\"}}", connected.header("user-name"));
    alice.send(send("/app/chat.send", "", &body)).await;
    let message = bob.expect("MESSAGE").await;
    assert_eq!(message.header("content-type"), "application/json;charset=utf-8");
    assert_eq!(message.json()["message"], "hi");
    assert_eq!(alice.expect("MESSAGE").await.json()["echo"], true);
}
}
