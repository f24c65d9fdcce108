//! Commands, lines, bodies and `content-length` (STOMP 1.2, sections STOMP Frames and Body).

use super::case::Version::{V11, V12};
use super::case::{ALL, BINARY, ONLY_11, ONLY_12, UP_TO_11, cases, greeting, over_every_transport};
use super::case::{send, subscribe};

over_every_transport!(&[]);

/// The commands of a client that have no body.
const BODILESS: [&str; 8] = [
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "ACK",
    "NACK",
    "BEGIN",
    "COMMIT",
    "ABORT",
    "DISCONNECT",
];

cases! {
"frame.unknown" ALL, "A command that nobody knows is the ERROR Bad command, and the end." => |case| {
    let error = case.refused("FOO\nreceipt:r\n\n\0", "Bad command", 1002).await;
    assert_eq!(error.text(), "Could not interpret command \"FOO\"\n");
}
"frame.case" ALL, "Commands are case-sensitive." => |case| {
    for command in ["send", "Send", "sEND"] {
        case.refused(format!("{command}\ndestination:/topic/x\n\nx\0"), "Bad command", 1002).await;
    }
}
"frame.server" ALL, "A command of the server from a client is an ERROR." => |case| {
    for command in ["CONNECTED", "MESSAGE", "RECEIPT", "ERROR"] {
        let frame = format!("{command}\ndestination:/topic/x\nmessage-id:1\n\n\0");
        case.refused(frame, "Bad command", 1002).await;
    }
}
"frame.space" ALL, "A command with a space before or behind it is not known." => |case| {
    case.refused(" SEND\ndestination:/topic/x\n\nx\0", "Bad command", 1002).await;
    case.refused("SEND \ndestination:/topic/x\n\nx\0", "Bad command", 1002).await;
}
"frame.nul" ALL, "A NUL where a command should be is an ERROR." => |case| {
    case.refused("\0", "", 1002).await;
}
"frame.eol" ALL, "EOLs between frames are passed over, LF and CR LF." => |case| {
    let mut wire = case.connect().await;
    wire.send("\n\n\r\n\n").await;
    wire.settled(format!("SEND\ndestination:{}\n\nx\0\n\r\n\n", case.topic())).await;
    wire.settled(send(&case.topic(), "", "x")).await;
}
"frame.crlf" ONLY_12, "In 1.2 lines may end with CR LF." => |case| {
    let mut wire = case.subscribed(V12).await;
    let to = case.topic();
    wire.send(format!("SEND\r\ndestination:{to}\r\nx-a:b\r\n\r\nbody\r\n\0")).await;
    let message = wire.expect_message("body\r\n").await;
    assert_eq!(message.header("x-a"), "b");
}
"frame.cr" UP_TO_11, "In 1.0 and 1.1 a CR before LF belongs to the value." => |case| {
    let mut wire = case.subscribed(case.version).await;
    wire.send(format!("SEND\ndestination:{}\nx-a:b\r\n\nbody\0", case.topic())).await;
    let message = wire.expect_message("body").await;
    assert!(message.header("x-a").starts_with('b'), "{message:?}");
    assert_ne!(message.header("x-a"), "b", "{message:?}");
}
"frame.cr.middle" ONLY_12, "In 1.2 a CR inside of a line is an ERROR." => |case| {
    let frame = format!("SEND\ndestination:{}\nx-a:b\rc\n\nx\0", case.topic());
    case.refused(frame, "Bad header", 1002).await;
}
"frame.split" ALL, "A frame may come octet by octet." => |case| {
    let mut wire = case.subscribed(case.version).await;
    for octet in send(&case.topic(), "x-a:b\n", "split").as_bytes() {
        wire.send([*octet]).await;
    }
    assert_eq!(wire.expect_message("split").await.header("x-a"), "b");
}
"frame.halves" ALL, "Two frames cut anywhere give the same." => |case| {
    let mut wire = case.subscribed(case.version).await;
    let one = send(&case.topic(), "content-length:3\n", "one");
    let both = format!("{one}\n{}", send(&case.topic(), "", "two"));
    for cut in (1..both.len()).step_by(7) {
        wire.send(&both.as_bytes()[..cut]).await;
        wire.send(&both.as_bytes()[cut..]).await;
        wire.expect_message("one").await;
        wire.expect_message("two").await;
    }
}
"frame.joined" ALL, "Many frames may come at once, and go out one by one." => |case| {
    let mut wire = case.subscribed(case.version).await;
    let frames: String = (0..50).map(|n| send(&case.topic(), "", &format!("n{n}"))).collect();
    wire.send(frames).await;
    for n in 0..50 {
        wire.expect_message(&format!("n{n}")).await;
    }
}
"frame.order" ALL, "What one session sends to one destination arrives in order." => |case| {
    let mut listener = case.subscribed(V12).await;
    let mut sender = case.connect().await;
    for n in 0..300 {
        sender.send(send(&case.topic(), "", &n.to_string())).await;
    }
    for n in 0..300 {
        listener.expect_message(&n.to_string()).await;
    }
}
"frame.noblank" ALL, "A NUL before the blank line is an ERROR." => |case| {
    case.refused(format!("SEND\ndestination:{}\0", case.topic()), "Missing blank line", 1002).await;
}
"body.nul" ALL, "With content-length a body may hold NULs." => |case| {
    let mut wire = case.subscribed(case.version).await;
    wire.send(send(&case.topic(), "content-length:5\n", "a\0b\0\0")).await;
    wire.expect_message("a\0b\0\0").await;
}
"body.nocl" ALL, "Without content-length the first NUL ends the body." => |case| {
    let mut wire = case.subscribed(case.version).await;
    wire.send(send(&case.topic(), "", "line\n\nline: x")).await;
    wire.expect_message("line\n\nline: x").await;
}
"body.length" ALL, "MESSAGE always says its content-length, in octets." => |case| {
    let mut wire = case.subscribed(case.version).await;
    for body in ["", "abc", "한글 🙂"] {
        wire.send(send(&case.topic(), "", body)).await;
        let message = wire.expect_message(body).await;
        assert_eq!(message.header("content-length"), body.len().to_string());
    }
}
"body.empty" ALL, "A body may be empty." => |case| {
    let mut wire = case.subscribed(case.version).await;
    wire.send(send(&case.topic(), "content-length:0\n", "")).await;
    wire.expect_message("").await;
}
"body.binary" ALL.over(BINARY), "A body is any octets." => |case| {
    let mut wire = case.subscribed(case.version).await;
    let body: Vec<u8> = (0..=255).collect();
    let head = format!("SEND\ndestination:{}\ncontent-length:256\n\n", case.topic());
    wire.send([head.as_bytes(), &body, b"\0"].concat()).await;
    assert_eq!(wire.expect("MESSAGE").await.body, body);
}
"body.forbidden" ALL, "Only SEND has a body." => |case| {
    for command in BODILESS {
        let head = format!("{command}\nid:1\ndestination:/topic/x\ntransaction:t\nmessage-id:1");
        case.refused(format!("{head}\n\nbody\0"), "Body not allowed", 1002).await;
    }
}
"body.large" ALL, "A body of 64 KiB passes, however it is cut." => |case| {
    let mut wire = case.subscribed(case.version).await;
    let body = "x".repeat(65_536);
    let frame = send(&case.topic(), "content-length:65536\n", &body);
    for piece in frame.as_bytes().chunks(8_192) {
        wire.send(piece).await;
    }
    assert_eq!(wire.expect("MESSAGE").await.body.len(), 65_536);
}
"body.large.nocl" ALL, "The same without content-length." => |case| {
    let mut wire = case.subscribed(case.version).await;
    wire.send(send(&case.topic(), "", &"y".repeat(65_536))).await;
    assert_eq!(wire.expect("MESSAGE").await.body.len(), 65_536);
}
"body.crlf" ALL, "Line ends in a body are left alone." => |case| {
    let mut wire = case.subscribed(case.version).await;
    wire.send(send(&case.topic(), "", "\na\r\nb\r\r\n")).await;
    wire.expect_message("\na\r\nb\r\r\n").await;
}
"body.frame" ALL, "A body that looks like a frame is a body." => |case| {
    let mut wire = case.subscribed(case.version).await;
    let inner = "MESSAGE\nsubscription:s\n\nfake\0\n";
    let more = format!("content-length:{}\n", inner.len());
    wire.send(send(&case.topic(), &more, inner)).await;
    wire.expect_message(inner).await;
}
"cl.any" ALL, "Any frame may have a content-length." => |case| {
    let mut wire = case.connect().await;
    wire.settled(subscribe("s", &case.topic(), "content-length:0\n")).await;
}
"cl.short" ALL, "A content-length shorter than the body is an ERROR." => |case| {
    case.refused(send(&case.topic(), "content-length:2\n", "abc"), "Missing NUL", 1002).await;
}
"cl.long" ALL, "A content-length longer than the body is an ERROR, not the loss of the next frame." => |case| {
    let frame = send(&case.topic(), "content-length:9\n", "abc");
    case.refused(format!("{frame}{}", send(&case.topic(), "", "next")), "Missing NUL", 1002).await;
}
"cl.bad" ALL, "A content-length that is no number of octets is an ERROR." => |case| {
    for length in ["-1", "abc", "", "1e3", "0x1", "+3", "3.0", "３"] {
        let frame = send(&case.topic(), &format!("content-length:{length}\n"), "abc");
        case.refused(frame, "Bad content-length", 1002).await;
    }
}
"cl.space" ONLY_11, "White space around the number is an ERROR." => |case| {
    for length in [" 3", "3 ", "3\t"] {
        let frame = send(&case.topic(), &format!("content-length:{length}\n"), "abc");
        case.refused(frame, "Bad content-length", 1002).await;
    }
}
"cl.huge" ALL, "A content-length beyond the limit is an ERROR at once, before the body comes." => |case| {
    for length in ["65537", "4294967296", "18446744073709551616", "99999999999999999999999"] {
        let head = format!("SEND\ndestination:{}\ncontent-length:{length}\n\n", case.topic());
        let wire = case.connect().await;
        let mut wire = wire;
        wire.send(head).await;
        let error = wire.expect("ERROR").await;
        let said = error.header("message");
        assert!(matches!(said, "Body too long" | "Bad content-length"), "{error:?}");
        let code = if said == "Body too long" { 1009 } else { 1002 };
        case.ends(wire, code).await;
    }
}
"cl.repeat" ALL, "Of two content-lengths the first counts." => |case| {
    let mut wire = case.subscribed(case.version).await;
    wire.send(send(&case.topic(), "content-length:3\ncontent-length:1\n", "a\0b")).await;
    wire.expect_message("a\0b").await;
}
"cl.zeros" ALL, "Leading zeros are a number." => |case| {
    let mut wire = case.subscribed(case.version).await;
    wire.send(send(&case.topic(), "content-length:0003\n", "a\0b")).await;
    wire.expect_message("a\0b").await;
}
"frame.after" ALL, "After an ERROR nothing more is taken: the next frame has no effect." => |case| {
    let mut listener = case.subscribed(V11).await;
    let both = format!("FOO\n\n\0{}", send(&case.topic(), "", "too late"));
    case.refused(both, "Bad command", 1002).await;
    let mut other = case.connect().await;
    other.settled(send(&case.topic(), "", "in time")).await;
    listener.expect_message("in time").await;
}
"frame.before" ALL, "What came before the broken frame has its effect." => |case| {
    let mut listener = case.subscribed(V11).await;
    let both = format!("{}FOO\n\n\0", send(&case.topic(), "", "good"));
    case.refused(both, "Bad command", 1002).await;
    listener.expect_message("good").await;
}
"frame.neighbour" ALL, "A broken frame ends its own session only." => |case| {
    let mut other = case.subscribed(case.version).await;
    case.refused("FOO\n\n\0", "Bad command", 1002).await;
    other.send(send(&case.topic(), "", "alive")).await;
    other.expect_message("alive").await;
}
"frame.early" ALL, "A broken frame instead of CONNECT is an ERROR too." => |case| {
    for octets in ["GET / HTTP/1.1\r\n\r\n", "\0", "CONNECT\nx\n\n\0", "CONNECT\n:x\n\n\0"] {
        let mut wire = case.open().await;
        wire.send(octets).await;
        case.fails(wire, "", 1002).await;
    }
    let mut wire = case.open().await;
    wire.send(format!("connect{}", &greeting(case.version, "")[7..])).await;
    case.fails(wire, "Bad command", 1002).await;
}
}
