//! Everything that a client can make grow has a limit, and says so (RabbitMQ lets most of these
//! pass in silence).

use super::case::{ALL, cases, greeting, over_every_transport, send, subscribe};

over_every_transport!(&[
    ("MAX_SUBSCRIPTIONS", "10"),
    ("MAX_TRANSACTIONS", "2"),
    ("TRANSACTION_FRAMES", "3"),
    ("TRANSACTION_BYTES", "2KiB"),
    ("MAX_FRAME_BYTES", "4KiB"),
    ("MESSAGE_BYTES", "4KiB"),
    ("PREFETCH_DEFAULT", "5"),
    ("PREFETCH_MAX", "5"),
]);

cases! {
"lim.body" ALL, "A body beyond MAX_FRAME_BYTES is an ERROR and 1009." => |case| {
    let error = case.refused(send(&case.topic(), "", &"x".repeat(4_097)), "Body too long", 1009).await;
    assert!(error.text().contains("4096"), "the limit is not named: {error:?}");
}
"lim.body.exact" ALL, "A body of exactly so many octets passes." => |case| {
    let mut wire = case.connect().await;
    wire.settled(send(&case.topic(), "", &"x".repeat(4_096))).await;
}
"lim.body.declared" ALL, "A content-length beyond it is refused before the body comes." => |case| {
    let head = format!("SEND\ndestination:{}\ncontent-length:4097\n\n", case.topic());
    case.refused(head, "Body too long", 1009).await;
}
"lim.body.pieces" ALL, "The limit is of the frame, in however many messages it comes." => |case| {
    let mut wire = case.connect().await;
    let frame = send(&case.topic(), "receipt:r\n", &"x".repeat(4_000));
    for piece in frame.as_bytes().chunks(100) {
        wire.send(piece).await;
    }
    wire.expect_receipt("r").await;
    let frame = send(&case.topic(), "", &"x".repeat(4_200));
    for piece in frame.as_bytes().chunks(100) {
        wire.send(piece).await;
    }
    case.fails(wire, "Body too long", 1009).await;
}
"lim.message" ALL, "Many small frames in one large message are within the limit." => |case| {
    let mut wire = case.connect().await;
    let frames: String = (0..20).map(|_| send(&case.topic(), "", &"x".repeat(1_000))).collect();
    wire.send(frames).await;
    wire.settled(send(&case.topic(), "", "x")).await;
}
"lim.headers" ALL, "More than 64 headers are an ERROR and 1009." => |case| {
    let more: String = (0..64).map(|n| format!("x-{n}:a\n")).collect();
    case.refused(send(&case.topic(), &more, "x"), "Too many headers", 1009).await;
    let same = "x-a:a\n".repeat(64);
    case.refused(send(&case.topic(), &same, "x"), "Too many headers", 1009).await;
}
"lim.headers.exact" ALL, "64 headers pass." => |case| {
    let mut wire = case.connect().await;
    let more: String = (0..62).map(|n| format!("x-{n}:a\n")).collect();
    wire.settled(send(&case.topic(), &more, "x")).await;
}
"lim.hdrline" ALL, "A header line of more than 8 KiB is an ERROR and 1009, before its end." => |case| {
    let frame = send(&case.topic(), &format!("x-a:{}\n", "y".repeat(8_192)), "x");
    case.refused(frame, "Header too long", 1009).await;
    let open = format!("SEND\nx-a:{}", "y".repeat(8_300));
    case.refused(open, "Header too long", 1009).await;
}
"lim.head" ALL, "Headers of more than 32 KiB together are an ERROR and 1009." => |case| {
    let more: String = (0..5).map(|n| format!("x-{n}:{}\n", "y".repeat(7_000))).collect();
    case.refused(send(&case.topic(), &more, "x"), "Head too long", 1009).await;
}
"lim.head.early" ALL, "Before CONNECTED 16 KiB are the limit." => |case| {
    let mut wire = case.open().await;
    let more: String = (0..3).map(|n| format!("x-{n}:{}\n", "y".repeat(6_000))).collect();
    wire.send(greeting(case.version, &more)).await;
    case.fails(wire, "Head too long", 1009).await;
}
"lim.command" ALL, "A command of more than 32 octets is an ERROR and 1009, before its end." => |case| {
    case.refused("X".repeat(33), "Bad command", 1009).await;
    let mut wire = case.open().await;
    wire.send("Y".repeat(40)).await;
    case.fails(wire, "Bad command", 1009).await;
}
"lim.subscriptions" ALL, "Subscriptions beyond MAX_SUBSCRIPTIONS are limit_exceeded and 1008." => |case| {
    let mut wire = case.connect().await;
    for n in 0..10 {
        wire.settled(subscribe(&n.to_string(), &format!("{}.{n}", case.topic()), "")).await;
    }
    let error = case.refuses(wire, subscribe("x", &case.topic(), ""), "limit_exceeded", 1008).await;
    assert_eq!(error.json()["code"], "limit_exceeded");
}
"lim.subscriptions.again" ALL, "What was unsubscribed does not count." => |case| {
    let mut wire = case.connect().await;
    for n in 0..30 {
        wire.settled(subscribe("s", &format!("{}.{n}", case.topic()), "")).await;
        wire.settled("UNSUBSCRIBE\nid:s\n\n\0").await;
    }
}
"lim.alike" ALL, "A session subscribes to one destination eight times at most." => |case| {
    let mut wire = case.connect().await;
    for n in 0..8 {
        wire.settled(subscribe(&n.to_string(), "/user/queue/errors", "")).await;
    }
    wire.settled(subscribe("8", "/user/queue/replies", "")).await;
    case.refuses(wire, subscribe("x", "/user/queue/errors", ""), "limit_exceeded", 1008).await;
}
"lim.transactions" ALL, "Open transactions beyond MAX_TRANSACTIONS are limit_exceeded." => |case| {
    let mut wire = case.connect().await;
    for name in ["a", "b"] {
        wire.settled(format!("BEGIN\ntransaction:{name}\n\n\0")).await;
    }
    case.refuses(wire, "BEGIN\ntransaction:c\n\n\0", "limit_exceeded", 1008).await;
}
"lim.transactions.again" ALL, "Transactions that have ended do not count." => |case| {
    let mut wire = case.connect().await;
    for n in 0..10 {
        wire.settled(format!("BEGIN\ntransaction:{n}\n\n\0")).await;
        wire.settled(format!("ABORT\ntransaction:{n}\n\n\0")).await;
    }
}
"lim.txframes" ALL, "Frames in one transaction beyond TRANSACTION_FRAMES are limit_exceeded." => |case| {
    let mut wire = case.connect().await;
    wire.settled("BEGIN\ntransaction:t\n\n\0").await;
    for _ in 0..3 {
        wire.settled(send(&case.topic(), "transaction:t\n", "x")).await;
    }
    let frame = send(&case.topic(), "transaction:t\n", "x");
    case.refuses(wire, frame, "limit_exceeded", 1008).await;
}
"lim.txbytes" ALL, "Octets in one transaction beyond TRANSACTION_BYTES are limit_exceeded." => |case| {
    let mut wire = case.connect().await;
    wire.settled("BEGIN\ntransaction:t\n\n\0").await;
    let frame = send(&case.topic(), "transaction:t\n", &"x".repeat(3_000));
    case.refuses(wire, frame, "limit_exceeded", 1008).await;
}
"lim.prefetch" ALL, "A prefetch-count beyond PREFETCH_MAX is PREFETCH_MAX." => |case| {
    let mut wire = case.connect().await;
    wire.settled(subscribe("s", &case.queue(), "ack:client\nprefetch-count:1000\n")).await;
    let mut sender = case.connect().await;
    for n in 0..8 {
        sender.settled(send(&case.queue(), "", &n.to_string())).await;
    }
    for n in 0..5 {
        wire.expect_message(&n.to_string()).await;
    }
    wire.settled(send(&case.topic(), "", "x")).await;
    wire.settled(send(&case.topic(), "", "x")).await;
}
}
