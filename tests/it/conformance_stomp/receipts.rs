//! RECEIPT, DISCONNECT and ERROR: what is answered, and how a session ends (STOMP 1.2, sections
//! Standard Headers, DISCONNECT, RECEIPT, ERROR).

use super::case::Version::{V10, V11, V12};
use super::case::{ALL, FROM_11, ONLY_12, cases, over_every_transport, send, subscribe};
use crate::support::wire::Transport as Over;

over_every_transport!(&[]);

cases! {
"receipt.send" ALL, "A SEND with receipt gets a RECEIPT with that receipt-id." => |case| {
    let mut wire = case.connect().await;
    wire.send(send(&case.topic(), "receipt:my receipt\n", "x")).await;
    wire.expect_receipt("my receipt").await;
}
"receipt.subscribe" ALL, "So do SUBSCRIBE and UNSUBSCRIBE." => |case| {
    let mut wire = case.subscribed(case.version).await;
    wire.settled("UNSUBSCRIBE\nid:s\n\n\0").await;
}
"receipt.transaction" ALL, "So do BEGIN, COMMIT and ABORT." => |case| {
    let mut wire = case.connect().await;
    for last in ["COMMIT", "ABORT"] {
        wire.settled("BEGIN\ntransaction:t\n\n\0").await;
        wire.settled(format!("{last}\ntransaction:t\n\n\0")).await;
    }
}
"receipt.none" ALL, "Nothing is receipted that did not ask." => |case| {
    let mut wire = case.connect().await;
    wire.send(subscribe("s", &case.topic(), "")).await;
    wire.send("UNSUBSCRIBE\nid:s\n\n\0").await;
    wire.send(send(&case.topic(), "", "x")).await;
    wire.settled(send(&case.topic(), "", "y")).await;
}
"receipt.order" ALL, "RECEIPTs come in the order of the frames." => |case| {
    let mut wire = case.connect().await;
    let mut asked = Vec::new();
    for n in 0..30 {
        let id = n.to_string();
        asked.push(match n % 3 {
            0 => wire.ask(subscribe(&id, &format!("{}.{n}", case.topic()), "")).await,
            1 => wire.ask(send(&case.queue(), "", "x")).await,
            _ => wire.ask(send(&format!("{}.none", case.topic()), "", "x")).await,
        });
    }
    for id in asked {
        wire.expect_receipt(&id).await;
    }
}
"receipt.escaped" FROM_11, "A receipt with escapes comes back with them." => |case| {
    let mut wire = case.connect().await;
    wire.send(send(&case.topic(), "receipt:a\\cb\\\\c\n", "x")).await;
    wire.expect_receipt("a\\cb\\\\c").await;
}
"receipt.same" ALL, "The same receipt twice is answered twice." => |case| {
    let mut wire = case.connect().await;
    for _ in 0..2 {
        wire.send(send(&case.topic(), "receipt:same\n", "x")).await;
    }
    wire.expect_receipt("same").await;
    wire.expect_receipt("same").await;
}
"receipt.long" ALL, "A receipt of more than 255 octets is an ERROR." => |case| {
    let mut wire = case.connect().await;
    let at_most = "r".repeat(255);
    wire.send(send(&case.topic(), &format!("receipt:{at_most}\n"), "x")).await;
    wire.expect_receipt(&at_most).await;
    let frame = send(&case.topic(), &format!("receipt:{at_most}r\n"), "x");
    case.refuses(wire, frame, "Header too long", 1002).await;
}
"receipt.handed" ALL, "When the RECEIPT of a SEND is there, the message is on its way to every subscriber." => |case| {
    let mut listener = case.subscribed(V12).await;
    let mut sender = case.connect().await;
    sender.settled(send(&case.topic(), "", "x")).await;
    drop(sender);
    listener.expect_message("x").await;
}
"disc.receipt" ALL, "DISCONNECT with receipt gets its RECEIPT, then the close 1000." => |case| {
    let mut wire = case.connect().await;
    wire.settled("DISCONNECT\n\n\0").await;
    case.ends(wire, 1000).await;
}
"disc.noreceipt" ALL, "DISCONNECT without receipt is closed with 1000." => |case| {
    let mut wire = case.connect().await;
    wire.send("DISCONNECT\n\n\0").await;
    case.ends(wire, 1000).await;
}
"disc.after" ALL, "What follows DISCONNECT has no effect." => |case| {
    let mut listener = case.subscribed(V12).await;
    let mut wire = case.connect().await;
    wire.send(format!("DISCONNECT\n\n\0{}FOO\n\n\0", send(&case.topic(), "", "late"))).await;
    case.ends(wire, 1000).await;
    let mut other = case.connect().await;
    other.send(send(&case.topic(), "", "other")).await;
    listener.expect_message("other").await;
}
"disc.before" ALL, "What came before DISCONNECT is settled first." => |case| {
    let mut wire = case.connect().await;
    wire.send(format!("{}DISCONNECT\nreceipt:b\n\n\0", send(&case.queue(), "receipt:a\n", "x"))).await;
    wire.expect_receipt("a").await;
    wire.expect_receipt("b").await;
    case.ends(wire, 1000).await;
}
"disc.again" ALL, "The user may come back at once." => |case| {
    let (mut wire, connected) = case.connect_with(case.version, "").await;
    let secret = connected.header("visitor-token").to_owned();
    wire.settled("DISCONNECT\n\n\0").await;
    let again = super::case::greeting(case.version, "").replace("token:new", &format!("token:{secret}"));
    let mut wire = case.open().await;
    wire.send(again).await;
    wire.expect("CONNECTED").await;
}
"err.receipt" ALL, "An ERROR names the receipt of its cause." => |case| {
    let unknown = "UNSUBSCRIBE\nid:none\nreceipt:r1\n\n\0";
    let error = case.refused(unknown, "Subscription not found", 1002).await;
    assert_eq!(error.header("receipt-id"), "r1");
    let error = case.refused("SEND\nreceipt:r2\n\nx\0", "Missing destination", 1002).await;
    assert_eq!(error.header("receipt-id"), "r2");
    let error = case.refused("SEND\nreceipt:r3\ncontent-length:x\n\nx\0", "", 1002).await;
    assert_eq!(error.header("receipt-id"), "r3");
}
"err.noreceipt" ALL, "An ERROR whose cause had no receipt names none." => |case| {
    let error = case.refused("UNSUBSCRIBE\nid:none\n\n\0", "", 1002).await;
    assert_eq!(error.get("receipt-id"), None);
}
"err.words" ALL, "An ERROR says what in message, and why in a text." => |case| {
    let error = case.refused("SEND\n\nx\0", "Missing destination", 1002).await;
    assert!(error.header("content-type").starts_with("text/plain"), "{error:?}");
    assert_eq!(error.header("content-length"), error.body.len().to_string());
    assert!(error.text().contains("destination"), "{error:?}");
}
"err.reason" ALL, "The close says in its reason which code it was." => |case| {
    let mut wire = case.connect().await;
    wire.send("SEND\n\nx\0").await;
    wire.expect("ERROR").await;
    let end = case.ends(wire, 1002).await;
    if case.transport != Over::Tcp {
        assert_eq!(end.reason, "bad_request");
    }
}
"err.async" ALL, "An ERROR that comes later than its cause reaches the client too." => |case| {
    let mut wire = case.connect().await;
    wire.send(subscribe("s", "/topic/room.x", "receipt:r\n")).await;
    let error = wire.expect("ERROR").await;
    assert_eq!(error.header("receipt-id"), "r");
    wire.expect_end().await;
}
"err.pending" ALL, "RECEIPTs that were due come before the ERROR." => |case| {
    let mut wire = case.connect().await;
    wire.send(subscribe("s", &case.topic(), "receipt:a\n")).await;
    wire.expect_receipt("a").await;
    case.refuses(wire, "FOO\n\n\0", "Bad command", 1002).await;
}
"err.queued" ALL, "An ERROR is the last frame, whatever is on its way." => |case| {
    let mut wire = case.subscribed(case.version).await;
    let mut sender = case.connect().await;
    for _ in 0..20 {
        sender.send(send(&case.topic(), "", "x")).await;
    }
    sender.settled(send(&case.topic(), "", "x")).await;
    wire.send("FOO\n\n\0").await;
    let error = loop {
        let frame = wire.frame().await;
        match frame.command.as_str() {
            "MESSAGE" => {}
            _ => break frame,
        }
    };
    assert_eq!(error.header("message"), "Bad command");
    case.ends(wire, 1002).await;
}
"err.reserved" ALL, "A reserved destination is refused with forbidden and 4403." => |case| {
    for to in ["/topic/room.x", "/topic/stream.x", "/topic/announce", "/topic/presence.x"] {
        let error = case.refused(subscribe("s", to, ""), "forbidden", 4403).await;
        assert_eq!(error.json()["code"], "forbidden");
    }
}
"err.sendreserved" ALL, "The same for SEND, when the session does not listen to its errors." => |case| {
    let frame = send("/topic/announce", "receipt:r\n", "x");
    let error = case.refused(frame, "forbidden", 4403).await;
    assert_eq!(error.header("receipt-id"), "r");
}
"soft.send" ALL, "A session that listens to /user/queue/errors is told there, without RECEIPT, and goes on." => |case| {
    let mut wire = case.connect().await;
    wire.settled(subscribe("e", "/user/queue/errors", "")).await;
    wire.send(send("/topic/announce", "receipt:r\n", "x")).await;
    let message = wire.expect("MESSAGE").await;
    assert_eq!(message.header("subscription"), "e");
    assert_eq!(message.header("destination"), "/user/queue/errors");
    let body = message.json();
    assert_eq!(body["code"], "forbidden");
    assert_eq!(body["type"], "urn:stompbox:problem:forbidden");
    assert_eq!(body["status"], 403);
    assert_eq!(body["receipt_id"], "r");
    assert_eq!(body["destination"], "/topic/announce");
    wire.settled(send(&case.topic(), "", "x")).await;
}
"soft.unknown" ALL, "A feature that does not exist is unknown_destination." => |case| {
    let mut wire = case.connect().await;
    wire.settled(subscribe("e", "/user/queue/errors", "")).await;
    wire.send(send("/app/no.such.thing", "", "{}")).await;
    assert_eq!(wire.expect("MESSAGE").await.json()["code"], "unknown_destination");
    case.refused(send("/app/no.such.thing", "", "{}"), "unknown_destination", 1008).await;
}
"soft.reply" ALL, "A SEND with correlation-id is answered on /user/queue/replies." => |case| {
    let mut wire = case.connect().await;
    wire.settled(subscribe("e", "/user/queue/replies", "")).await;
    wire.send(send("/app/no.such.thing", "correlation-id:c\n", "{}")).await;
    let body = wire.expect("MESSAGE").await.json();
    assert_eq!(body["type"], "REPLY");
    assert_eq!(body["correlation_id"], "c");
    assert_eq!(body["ok"], false);
    assert_eq!(body["error"]["code"], "unknown_destination");
}
"soft.subscribe" ALL, "With x-soft-errors:true a refused SUBSCRIBE is told softly, and is gone." => |case| {
    let (mut wire, _) = case.connect_with(case.version, "x-soft-errors:true\n").await;
    wire.settled(subscribe("e", "/user/queue/errors", "")).await;
    wire.send(subscribe("s", "/topic/announce", "receipt:r\n")).await;
    let body = wire.expect("MESSAGE").await.json();
    assert_eq!(body["code"], "forbidden");
    assert_eq!(body["receipt_id"], "r");
    wire.settled(subscribe("s", &case.topic(), "")).await;
}
"soft.ack" ALL, "So is an ACK of what was never delivered." => |case| {
    let (mut wire, _) = case.connect_with(case.version, "x-soft-errors:true\n").await;
    wire.settled(subscribe("e", "/user/queue/errors", "")).await;
    wire.settled(subscribe("s", &case.queue(), "ack:client\n")).await;
    let named = match case.version {
        V10 => "message-id:none",
        V11 => "message-id:none\nsubscription:s",
        V12 => "id:none",
    };
    wire.send(format!("ACK\n{named}\nreceipt:r\n\n\0")).await;
    let message = wire.expect("MESSAGE").await;
    assert_eq!(message.header("subscription"), "e");
    assert_eq!(message.json()["receipt_id"], "r");
    wire.settled(send(&case.topic(), "", "x")).await;
}
"soft.done" ALL, "A SEND with correlation-id that succeeds is answered with its result." => |case| {
    let (mut wire, connected) = case.connect_with(case.version, "").await;
    wire.settled(subscribe("r", "/user/queue/replies", "")).await;
    let body = format!("{{\"to\":\"{}\",\"message\":\"hi\"}}", connected.header("user-name"));
    wire.send(send("/app/chat.send", "correlation-id:c\n", &body)).await;
    let reply = wire.expect("MESSAGE").await.json();
    assert_eq!(reply["correlation_id"], "c");
    assert_eq!(reply["ok"], true);
    assert_eq!(reply["result"]["seq"], 1);
}
"soft.hard" ONLY_12, "Without it a refused SUBSCRIBE is an ERROR, also for who listens." => |case| {
    let mut wire = case.connect().await;
    wire.settled(subscribe("e", "/user/queue/errors", "")).await;
    case.refuses(wire, subscribe("s", "/topic/announce", ""), "forbidden", 4403).await;
}
"soft.protocol" ALL, "What breaks the protocol is an ERROR whatever CONNECT said." => |case| {
    let (mut wire, _) = case.connect_with(case.version, "x-soft-errors:true\n").await;
    wire.settled(subscribe("e", "/user/queue/errors", "")).await;
    case.refuses(wire, "SUBSCRIBE\nid:s\n\n\0", "Missing destination", 1002).await;
}
}
