//! SEND, MESSAGE, SUBSCRIBE and UNSUBSCRIBE (STOMP 1.2, sections SEND, SUBSCRIBE, UNSUBSCRIBE,
//! MESSAGE).

use super::case::Version::V12;
use super::case::{ALL, FROM_11, ONLY_10, ONLY_12, cases, over_every_transport, send, subscribe};

over_every_transport!(&[]);

cases! {
"send.topic" ALL, "A SEND to a topic reaches its subscriber, the sender too." => |case| {
    let mut wire = case.subscribed(case.version).await;
    wire.send(send(&case.topic(), "", "hello")).await;
    wire.expect_message("hello").await;
}
"send.fanout" ALL, "It reaches every subscriber." => |case| {
    let mut listeners = Vec::new();
    for _ in 0..3 {
        listeners.push(case.subscribed(case.version).await);
    }
    let mut sender = case.connect().await;
    sender.settled(send(&case.topic(), "", "hello")).await;
    for listener in &mut listeners {
        listener.expect_message("hello").await;
    }
}
"send.nobody" ALL, "A SEND to a topic where nobody listens is receipted." => |case| {
    case.connect().await.settled(send(&case.topic(), "", "x")).await;
}
"send.elsewhere" ALL, "It reaches nobody who listens elsewhere." => |case| {
    let mut wire = case.subscribed(case.version).await;
    wire.send(send(&format!("{}.other", case.topic()), "", "other")).await;
    wire.send(send(&case.topic(), "", "mine")).await;
    wire.expect_message("mine").await;
}
"err.nodest" ALL, "A SEND without destination is an ERROR." => |case| {
    case.refused("SEND\nx-a:b\n\nx\0", "Missing destination", 1002).await;
}
"err.baddest" ALL, "A destination under no prefix is an ERROR." => |case| {
    for to in ["/nowhere/x", "topic/x", "x", "/TOPIC/x", "/exchanges/x"] {
        case.refused(send(to, "", "x"), "Unknown destination|Invalid destination", 1002).await;
    }
}
"err.badname" ALL, "A destination with an empty name, an empty segment or dots alone is an ERROR." => |case| {
    for to in ["/topic", "/topic/", "/topic//x", "/topic/../x", "/topic/./x", "/topic/x/"] {
        case.refused(send(to, "", "x"), "Invalid destination|Unknown destination", 1002).await;
    }
}
"err.longdest" ALL, "A destination of more than 255 octets is an ERROR." => |case| {
    let mut wire = case.connect().await;
    wire.settled(send(&format!("/topic/{}", "x".repeat(248)), "", "x")).await;
    case.refuses(wire, send(&format!("/topic/{}", "x".repeat(249)), "", "x"), "Invalid destination", 1002).await;
}
"msg.destination" ALL, "MESSAGE says the destination." => |case| {
    let mut wire = case.subscribed(case.version).await;
    wire.send(send(&case.topic(), "", "x")).await;
    assert_eq!(wire.expect_message("x").await.header("destination"), case.topic());
}
"msg.id" ALL, "Every MESSAGE has a message-id of its own." => |case| {
    let mut wire = case.subscribed(case.version).await;
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..10 {
        wire.send(send(&case.topic(), "", "x")).await;
        ids.insert(wire.expect_message("x").await.header("message-id").to_owned());
    }
    assert_eq!(ids.len(), 10, "{ids:?}");
}
"msg.subscription" ALL, "MESSAGE says the id of the subscription." => |case| {
    let mut wire = case.connect().await;
    wire.settled(subscribe("my-id", &case.topic(), "")).await;
    wire.send(send(&case.topic(), "", "x")).await;
    assert_eq!(wire.expect_message("x").await.header("subscription"), "my-id");
}
"msg.noack" ALL, "MESSAGE has no ack header when nothing is to be acknowledged." => |case| {
    let mut wire = case.connect().await;
    wire.settled(subscribe("s", &case.topic(), "ack:auto\n")).await;
    wire.send(send(&case.topic(), "", "x")).await;
    assert_eq!(wire.expect_message("x").await.get("ack"), None);
}
"sub.noid.10" ONLY_10, "1.0 needs no id; then MESSAGE has no subscription header." => |case| {
    let mut wire = case.connect().await;
    wire.settled(format!("SUBSCRIBE\ndestination:{}\n\n\0", case.topic())).await;
    wire.send(send(&case.topic(), "", "x")).await;
    assert_eq!(wire.expect_message("x").await.get("subscription"), None);
}
"err.subnoid" FROM_11, "A SUBSCRIBE without id is an ERROR." => |case| {
    let frame = format!("SUBSCRIBE\ndestination:{}\n\n\0", case.topic());
    case.refused(frame, "Missing id", 1002).await;
    let frame = format!("SUBSCRIBE\nid:\ndestination:{}\n\n\0", case.topic());
    case.refused(frame, "Missing id", 1002).await;
}
"err.subnodest" ALL, "A SUBSCRIBE without destination is an ERROR." => |case| {
    case.refused("SUBSCRIBE\nid:s\n\n\0", "Missing destination", 1002).await;
}
"err.subbaddest" ALL, "A SUBSCRIBE to no destination is an ERROR." => |case| {
    for to in ["/nowhere/x", "x", "/topic//x"] {
        case.refused(subscribe("s", to, ""), "Unknown destination|Invalid destination", 1002).await;
    }
}
"err.dupid" ALL, "A second SUBSCRIBE with the same id is an ERROR." => |case| {
    let wire = case.subscribed(case.version).await;
    let frame = subscribe("s", &format!("{}.other", case.topic()), "");
    let error = case.refuses(wire, frame, "Duplicated subscription identifier", 1002).await;
    assert_eq!(error.text(), "A subscription identified by 'T_s' already exists.\n");
}
"sub.two" ALL, "Two subscriptions to one destination both get a MESSAGE, each with its id." => |case| {
    let mut wire = case.subscribed(case.version).await;
    wire.settled(subscribe("t", &case.topic(), "")).await;
    wire.send(send(&case.topic(), "", "x")).await;
    let first = wire.expect_message("x").await;
    let second = wire.expect_message("x").await;
    let mut ids = [first.header("subscription"), second.header("subscription")];
    ids.sort_unstable();
    assert_eq!(ids, ["s", "t"]);
}
"sub.others" ALL, "Ids are of the connection: another one may use the same." => |case| {
    let _one = case.subscribed(case.version).await;
    let _two = case.subscribed(case.version).await;
}
"sub.badack" ALL, "An ack mode that nobody knows is an ERROR." => |case| {
    for mode in ["", "Auto", "maybe", "client_individual", "auto "] {
        case.refused(subscribe("s", &case.topic(), &format!("ack:{mode}\n")), "Bad ack", 1002).await;
    }
}
"sub.selector" ALL, "A selector is refused in clear words." => |case| {
    let error = case.refused(subscribe("s", &case.topic(), "selector:a = 1\n"), "Not supported", 1002).await;
    assert!(error.text().contains("selector"), "{error:?}");
}
"sub.unkept" ALL, "What would have to be kept and is not is refused: browser:true, durable:true of a topic." => |case| {
    for more in ["browser:true\n", "durable:true\n"] {
        case.refused(subscribe("s", &case.topic(), more), "Not supported", 1002).await;
    }
}
"sub.tempid" ALL, "An id that the server gives is refused." => |case| {
    let frame = subscribe("/temp-queue/x", &case.topic(), "");
    case.refused(frame, "Bad subscription identifier", 1002).await;
}
"sub.late" ALL, "Who subscribes to a topic gets nothing that was sent before." => |case| {
    let mut wire = case.connect().await;
    wire.settled(send(&case.topic(), "", "before")).await;
    wire.settled(subscribe("s", &case.topic(), "")).await;
    wire.send(send(&case.topic(), "", "after")).await;
    wire.expect_message("after").await;
}
"sub.effect" ALL, "After the RECEIPT of SUBSCRIBE nothing that is sent is missed." => |case| {
    let mut sender = case.connect().await;
    for _ in 0..5 {
        let mut wire = case.subscribed(case.version).await;
        sender.send(send(&case.topic(), "", "now")).await;
        wire.expect_message("now").await;
    }
}
"sub.longid" ALL, "An id of more than 128 octets is an ERROR." => |case| {
    let mut wire = case.connect().await;
    wire.settled(subscribe(&"i".repeat(128), &case.topic(), "")).await;
    case.refuses(wire, subscribe(&"j".repeat(129), &case.topic(), ""), "Bad subscription identifier", 1002).await;
}
"unsub.effect" ALL, "After the RECEIPT of UNSUBSCRIBE no MESSAGE comes." => |case| {
    let mut wire = case.subscribed(case.version).await;
    let mut sender = case.connect().await;
    wire.settled("UNSUBSCRIBE\nid:s\n\n\0").await;
    sender.settled(send(&case.topic(), "", "x")).await;
    wire.settled(send(&case.topic(), "", "y")).await;
    wire.settled(subscribe("s", &case.topic(), "")).await;
    wire.send(send(&case.topic(), "", "z")).await;
    wire.expect_message("z").await;
}
"unsub.other" ALL, "UNSUBSCRIBE ends one subscription, not the others." => |case| {
    let mut wire = case.subscribed(case.version).await;
    wire.settled(subscribe("t", &case.topic(), "")).await;
    wire.settled("UNSUBSCRIBE\nid:s\n\n\0").await;
    wire.send(send(&case.topic(), "", "x")).await;
    assert_eq!(wire.expect_message("x").await.header("subscription"), "t");
    wire.send(send(&case.topic(), "", "y")).await;
    assert_eq!(wire.expect_message("y").await.header("subscription"), "t");
}
"unsub.reuse" ALL, "The id is free again." => |case| {
    let mut wire = case.subscribed(case.version).await;
    for _ in 0..3 {
        wire.settled("UNSUBSCRIBE\nid:s\n\n\0").await;
        wire.settled(subscribe("s", &case.topic(), "")).await;
    }
}
"unsub.unknown" ALL, "An UNSUBSCRIBE of a subscription that does not exist is an ERROR." => |case| {
    case.refused("UNSUBSCRIBE\nid:none\n\n\0", "Subscription not found", 1002).await;
}
"unsub.noid" FROM_11, "An UNSUBSCRIBE without id is an ERROR." => |case| {
    let wire = case.subscribed(case.version).await;
    let frame = format!("UNSUBSCRIBE\ndestination:{}\n\n\0", case.topic());
    case.refuses(wire, frame, "Missing id", 1002).await;
}
"unsub.destination" ONLY_10, "1.0 may name the destination instead." => |case| {
    let mut wire = case.connect().await;
    wire.settled(format!("SUBSCRIBE\ndestination:{}\n\n\0", case.topic())).await;
    wire.settled(format!("UNSUBSCRIBE\ndestination:{}\n\n\0", case.topic())).await;
    wire.settled(send(&case.topic(), "", "x")).await;
}
"unsub.neither" ONLY_10, "An UNSUBSCRIBE of 1.0 with neither is an ERROR." => |case| {
    case.refused("UNSUBSCRIBE\n\n\0", "Missing destination|Missing id", 1002).await;
}
"unsub.twice" ALL, "UNSUBSCRIBE twice is an ERROR." => |case| {
    let mut wire = case.subscribed(case.version).await;
    wire.settled("UNSUBSCRIBE\nid:s\n\n\0").await;
    case.refuses(wire, "UNSUBSCRIBE\nid:s\n\n\0", "Subscription not found", 1002).await;
}
"sub.churn" ONLY_12, "Subscribing and unsubscribing without waiting keeps its order." => |case| {
    let mut wire = case.connect().await;
    for n in 0..20 {
        wire.send(subscribe("s", &format!("{}.{n}", case.topic()), "")).await;
        wire.send("UNSUBSCRIBE\nid:s\n\n\0").await;
    }
    wire.settled(subscribe("s", &case.topic(), "")).await;
    wire.send(send(&case.topic(), "", "x")).await;
    wire.expect_message("x").await;
    drop(case.subscribed(V12).await);
}
}
