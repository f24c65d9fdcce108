//! Header lines: escapes, repetition, white space, and what travels from one client to another
//! (STOMP 1.2, sections Value Encoding and Repeated Header Entries).

use super::case::Version::{V10, V11, V12};
use super::case::{ALL, BINARY, FROM_11, ONLY_10, ONLY_11, ONLY_12, cases, over_every_transport};
use super::case::{send, subscribe};

over_every_transport!(&[]);

cases! {
"esc.lf" FROM_11, "\\n in a value is a line feed, and goes out escaped." => |case| {
    let mut wire = case.subscribed(case.version).await;
    wire.send(send(&case.topic(), "x-a:a\\nb\n", "x")).await;
    assert_eq!(wire.expect_message("x").await.header("x-a"), "a\\nb");
}
"esc.colon" FROM_11, "\\c is a colon, and goes out escaped." => |case| {
    let mut wire = case.subscribed(case.version).await;
    wire.send(send(&case.topic(), "x-a:a\\cb\n", "x")).await;
    assert_eq!(wire.expect_message("x").await.header("x-a"), "a\\cb");
}
"esc.backslash" FROM_11, "\\\\ is a backslash, and goes out escaped." => |case| {
    let mut wire = case.subscribed(case.version).await;
    wire.send(send(&case.topic(), "x-a:a\\\\nb\n", "x")).await;
    assert_eq!(wire.expect_message("x").await.header("x-a"), "a\\\\nb");
}
"esc.cr" ONLY_12, "\\r is a carriage return in 1.2, and goes out escaped." => |case| {
    let mut wire = case.subscribed(V12).await;
    wire.send(send(&case.topic(), "x-a:a\\rb\n", "x")).await;
    assert_eq!(wire.expect_message("x").await.header("x-a"), "a\\rb");
}
"esc.cr.11" ONLY_11, "\\r is not an escape of 1.1: an ERROR." => |case| {
    case.refused(send(&case.topic(), "x-a:a\\rb\n", "x"), "Undefined escape", 1002).await;
}
"esc.bad" FROM_11, "An escape that the version does not define is an ERROR." => |case| {
    for value in ["\\t", "a\\0b", "\\N", "\\C", "\\ ", "\\\\\\x"] {
        let frame = send(&case.topic(), &format!("x-a:{value}\n"), "x");
        case.refused(frame, "Undefined escape", 1002).await;
    }
}
"esc.dangling" FROM_11, "A backslash at the end of a line is an ERROR." => |case| {
    case.refused(send(&case.topic(), "x-a:b\\\n", "x"), "Undefined escape", 1002).await;
    case.refused(send(&case.topic(), "x-a\\:b\n", "x"), "Undefined escape", 1002).await;
}
"esc.name" FROM_11, "Names are escaped as values are." => |case| {
    let mut wire = case.subscribed(case.version).await;
    wire.send(send(&case.topic(), "x\\cy:b\n", "x")).await;
    assert_eq!(wire.expect_message("x").await.header("x\\cy"), "b");
}
"esc.all" FROM_11, "Every escape in one value comes back as it went." => |case| {
    let mut wire = case.subscribed(case.version).await;
    wire.send(send(&case.topic(), "x-a:\\\\\\c\\n\\\\c\\\\n\n", "x")).await;
    assert_eq!(wire.expect_message("x").await.header("x-a"), "\\\\\\c\\n\\\\c\\\\n");
}
"esc.none" ONLY_10, "1.0 has no escapes: a backslash is a backslash." => |case| {
    let mut old = case.subscribed(V10).await;
    let mut new = case.subscribed(V12).await;
    old.send(send(&case.topic(), "x-a:a\\nb\\q\\\n", "x")).await;
    assert_eq!(old.expect_message("x").await.header("x-a"), "a\\nb\\q\\");
    assert_eq!(new.expect_message("x").await.header("x-a"), "a\\\\nb\\\\q\\\\");
}
"esc.cross.lf" FROM_11, "A line feed never reaches a session of 1.0 raw: no header is smuggled." => |case| {
    let mut old = case.subscribed(V10).await;
    let mut sender = case.connect().await;
    sender.send(send(&case.topic(), "x-a:a\\nsubscription\\cz\nx\\nsender:b\n", "x")).await;
    let message = old.expect_message("x").await;
    assert_ne!(message.get("subscription"), Some("z"), "{message:?}");
    assert_eq!(message.get("sender"), None, "{message:?}");
}
"esc.cross.cr" ONLY_12, "A carriage return never reaches an older session so that it ends a line." => |case| {
    let mut mid = case.subscribed(V11).await;
    let mut old = case.subscribed(V10).await;
    let mut sender = case.connect().await;
    sender.send(send(&case.topic(), "x-a:a\\r\\nx-b\\cz\n", "x")).await;
    assert_eq!(mid.expect_message("x").await.get("x-b"), None);
    assert_eq!(old.expect_message("x").await.get("x-b"), None);
}
"esc.cross.backslash" FROM_11, "A backslash from a newer session is one backslash in 1.0." => |case| {
    let mut old = case.subscribed(V10).await;
    let mut sender = case.connect().await;
    sender.send(send(&case.topic(), "x-a:a\\\\b\\cc\n", "x")).await;
    assert_eq!(old.expect_message("x").await.header("x-a"), "a\\b:c");
}
"hdr.nocolon" ALL, "A header line without a colon is an ERROR." => |case| {
    case.refused(send(&case.topic(), "nonsense\n", "x"), "Bad header", 1002).await;
}
"hdr.noname" ALL, "A header without a name is an ERROR." => |case| {
    case.refused(send(&case.topic(), ":x\n", "x"), "Bad header", 1002).await;
}
"hdr.empty" ALL, "A header may have an empty value." => |case| {
    let mut wire = case.subscribed(case.version).await;
    wire.send(send(&case.topic(), "x-a:\n", "x")).await;
    assert_eq!(wire.expect_message("x").await.header("x-a"), "");
}
"hdr.colon" ALL, "A value may have colons that nobody escaped." => |case| {
    let mut wire = case.subscribed(case.version).await;
    wire.send(send(&case.topic(), "x-a:b:c:\n", "x")).await;
    let expected = if case.version == V10 { "b:c:" } else { "b\\cc\\c" };
    assert_eq!(wire.expect_message("x").await.header("x-a"), expected);
}
"hdr.repeat" ALL, "Of a repeated header the first counts." => |case| {
    let mut wire = case.subscribed(case.version).await;
    let more = "destination:/topic/elsewhere\nx-a:first\nx-a:second\n";
    wire.send(send(&case.topic(), more, "x")).await;
    assert_eq!(wire.expect_message("x").await.header("x-a"), "first");
}
"hdr.trim" FROM_11, "White space belongs to the value." => |case| {
    let mut wire = case.subscribed(case.version).await;
    wire.send(send(&case.topic(), "x-a: b \n", "x")).await;
    assert_eq!(wire.expect_message("x").await.header("x-a"), " b ");
}
"hdr.space" ONLY_10, "In 1.0 one space after the colon is dropped." => |case| {
    let mut wire = case.connect().await;
    let to = case.topic();
    wire.settled(format!("SUBSCRIBE\nid: s\ndestination: {to}\n\n\0")).await;
    wire.send(format!("SEND\ndestination: {to}\nx-a:  b\n\nx\0")).await;
    let message = wire.expect_message("x").await;
    assert_eq!((message.header("x-a"), message.header("subscription")), (" b", "s"));
}
"hdr.case" ALL, "Header names are case-sensitive." => |case| {
    let frame = format!("SEND\nDestination:{}\n\nx\0", case.topic());
    case.refused(frame, "Missing destination", 1002).await;
}
"hdr.utf8" ALL, "Names and values are UTF-8." => |case| {
    let mut wire = case.subscribed(case.version).await;
    wire.send(send(&case.topic(), "x-이름:값 🙂\n", "본문")).await;
    assert_eq!(wire.expect_message("본문").await.header("x-이름"), "값 🙂");
}
"hdr.badutf8" ALL.over(BINARY), "A head that is not UTF-8 is an ERROR." => |case| {
    let frame = [b"SEND\ndestination:/topic/x\nx-a:", &b"\xff\xfe"[..], b"\n\nx\0"].concat();
    case.refused(frame, "Invalid UTF-8", 1002).await;
}
"hdr.user" ALL, "Headers of the sender's own reach every subscriber." => |case| {
    let mut wire = case.subscribed(case.version).await;
    let more = "x-a:1\ncorrelation:2\npriority:3\ntype:4\n";
    wire.send(send(&case.topic(), more, "x")).await;
    let message = wire.expect_message("x").await;
    for (name, value) in [("x-a", "1"), ("correlation", "2"), ("priority", "3"), ("type", "4")] {
        assert_eq!(message.header(name), value);
    }
}
"hdr.type" ALL, "content-type passes on." => |case| {
    let mut wire = case.subscribed(case.version).await;
    wire.send(send(&case.topic(), "content-type:application/json;charset=utf-8\n", "{}")).await;
    let found = wire.expect_message("{}").await;
    assert_eq!(found.header("content-type"), "application/json;charset=utf-8");
}
"hdr.noreceipt" ALL, "receipt of a SEND does not reach subscribers." => |case| {
    let mut listener = case.subscribed(V12).await;
    let mut sender = case.connect().await;
    sender.settled(send(&case.topic(), "", "x")).await;
    assert_eq!(listener.expect_message("x").await.get("receipt"), None);
}
"hdr.control" ALL, "What the server says of a message no sender can say." => |case| {
    let mut wire = case.subscribed(case.version).await;
    let more = "subscription:fake\nmessage-id:fake\nack:fake\nuser-name:fake\nsender:fake\nx-sb-a:fake\n";
    wire.send(send(&case.topic(), more, "x")).await;
    let message = wire.expect_message("x").await;
    assert!(message.headers.iter().all(|(_, value)| value != "fake"), "{message:?}");
    assert_eq!(message.header("subscription"), "s");
}
"hdr.redelivered" ALL, "redelivered and the like are said by the server only." => |case| {
    let mut wire = case.subscribed(case.version).await;
    wire.send(send(&case.topic(), "redelivered:true\n", "x")).await;
    assert_ne!(wire.expect_message("x").await.get("redelivered"), Some("true"));
}
"hdr.once" ALL, "MESSAGE has each header of the server once." => |case| {
    let mut wire = case.subscribed(case.version).await;
    wire.send(send(&case.topic(), "content-length:1\nsubscription:a\n", "x")).await;
    let message = wire.expect_message("x").await;
    for name in ["destination", "message-id", "subscription", "content-length"] {
        let count = message.headers.iter().filter(|(known, _)| known == name).count();
        assert_eq!(count, 1, "{name} in {message:?}");
    }
}
"hdr.subid" FROM_11, "A subscription id with escapes comes back with them." => |case| {
    let mut wire = case.connect().await;
    wire.settled(subscribe("a\\cb\\\\", &case.topic(), "")).await;
    wire.send(send(&case.topic(), "", "x")).await;
    assert_eq!(wire.expect_message("x").await.header("subscription"), "a\\cb\\\\");
}
"hdr.unknown" ALL, "Headers that nobody knows disturb no command." => |case| {
    let mut wire = case.connect().await;
    wire.settled(subscribe("s", &case.topic(), "x-mine:1\nactivemq.prefetchSize:1\n")).await;
    wire.settled("UNSUBSCRIBE\nid:s\nx-mine:2\n\n\0").await;
}
}
