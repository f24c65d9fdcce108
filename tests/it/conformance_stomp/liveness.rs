//! Heart-beats and time limits (STOMP 1.2, section Heart-beating; RabbitMQ's login timeout). The
//! node's times are short here.

use std::time::{Duration, Instant};

use tokio_tungstenite::tungstenite::Message;

use super::case::Version::V12;
use super::case::{
    ALL, FROM_11, ONLY_10, PUNCTUAL, TCP, WEBSOCKET, WITH_PINGS, cases, greeting,
    over_every_transport, send, subscribe,
};
use crate::support::wire::Heard;

over_every_transport!(&[
    ("CONNECT_TIMEOUT", "1500ms"),
    ("PARTIAL_FRAME_TIMEOUT", "1500ms"),
    ("HEART_BEAT", "300,300"),
    ("IDLE_TIMEOUT", "6s"),
    ("TRANSACTION_IDLE", "1s"),
]);

cases! {
"beat.said" FROM_11, "CONNECTED says what the server can do and wants." => |case| {
    let (_wire, connected) = case.connect_with(case.version, "heart-beat:1000,0\n").await;
    assert_eq!(connected.header("heart-beat"), "300,300");
}
"beat.server" FROM_11, "The server beats as often as the client wants, with an EOL." => |case| {
    let (mut wire, _) = case.connect_with(case.version, "heart-beat:0,300\n").await;
    for _ in 0..3 {
        assert_eq!(wire.next().await, Heard::Beat);
    }
}
"beat.slower" FROM_11, "The slower of both sides counts." => |case| {
    let (mut wire, _) = case.connect_with(case.version, "heart-beat:0,1500\n").await;
    let began = Instant::now();
    assert_eq!(wire.next().await, Heard::Beat);
    assert!(began.elapsed() > Duration::from_millis(600), "{:?}", began.elapsed());
}
"beat.none" FROM_11, "Who wants no beats gets none." => |case| {
    let (mut wire, _) = case.connect_with(case.version, "heart-beat:0,0\n").await;
    assert_eq!(wire.next_within(Duration::from_millis(1_200)).await, None);
}
"beat.absent" FROM_11, "No heart-beat header is 0,0." => |case| {
    let (mut wire, _) = case.connect_with(case.version, "").await;
    assert_eq!(wire.next_within(Duration::from_millis(1_200)).await, None);
}
"beat.none.10" ONLY_10, "A session of 1.0 has no beats." => |case| {
    let (mut wire, _) = case.connect_with(case.version, "heart-beat:300,300\n").await;
    assert_eq!(wire.next_within(Duration::from_millis(1_200)).await, None);
}
"beat.lost" FROM_11.over(PUNCTUAL), "A client that promised beats and is silent gets an ERROR, and 4408." => |case| {
    let (wire, _) = case.connect_with(case.version, "heart-beat:300,0\n").await;
    case.fails(wire, "Heart-beat lost", 4408).await;
}
"beat.pong" FROM_11.over(WEBSOCKET), "A pong excuses missing beats, since browsers slow down hidden tabs." => |case| {
    let (mut wire, _) = case.connect_with(case.version, "heart-beat:300,0\n").await;
    wire.send_message(Message::Pong(Vec::new().into())).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    wire.settled(send(&case.topic(), "", "x")).await;
}
"beat.eol" FROM_11, "An EOL is a beat." => |case| {
    let (mut wire, _) = case.connect_with(case.version, "heart-beat:300,0\n").await;
    for _ in 0..12 {
        wire.send("\n").await;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    wire.settled(send(&case.topic(), "", "x")).await;
}
"beat.any" FROM_11, "Any data counts as a beat, both ways." => |case| {
    let (mut wire, _) = case.connect_with(case.version, "heart-beat:300,300\n").await;
    wire.send(subscribe("s", &case.topic(), "")).await;
    let began = Instant::now();
    let mut messages = 0;
    while began.elapsed() < Duration::from_secs(3) {
        wire.send(send(&case.topic(), "", "x")).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        while let Some(heard) = wire.next_within(Duration::from_millis(1)).await {
            assert!(matches!(heard, Heard::Frame(_) | Heard::Beat), "{heard:?}");
            messages += 1;
        }
    }
    assert!(messages > 10, "{messages}");
}
"beat.busy" FROM_11, "Beats go on while the client sends half a frame." => |case| {
    let (mut wire, _) = case.connect_with(case.version, "heart-beat:0,300\n").await;
    wire.send("SEND\ndestination:/top").await;
    assert_eq!(wire.next().await, Heard::Beat);
}
"idle.limit" ALL.over(WITH_PINGS), "A client that promised no beats gets an ERROR after IDLE_TIMEOUT of silence, and 4408." => |case| {
    let began = Instant::now();
    let wire = case.connect().await;
    case.fails(wire, "Heart-beat lost", 4408).await;
    assert!(began.elapsed() >= Duration::from_secs(5), "{:?}", began.elapsed());
}
"idle.unpinged" ALL.over(TCP), "Over TCP, where nobody answers pings, such silence ends nothing." => |case| {
    let mut wire = case.connect().await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    wire.settled(send(&case.topic(), "", "x")).await;
}
"idle.talk" ALL, "One that says something is not idle." => |case| {
    let mut wire = case.connect().await;
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        wire.send("\n").await;
    }
    wire.settled(send(&case.topic(), "", "x")).await;
}
"lim.login" ALL, "A connection on which nothing comes gets an ERROR, and the end." => |case| {
    let wire = case.open().await;
    case.fails(wire, "Connect timeout", 1002).await;
}
"lim.login.partial" ALL, "The same with half a CONNECT, and with EOLs." => |case| {
    let mut wire = case.open().await;
    let frame = greeting(case.version, "");
    wire.send(&frame[..10]).await;
    case.fails(wire, "Connect timeout|Frame timeout", 1002).await;
    let mut wire = case.open().await;
    for _ in 0..5 {
        wire.send("\n").await;
    }
    case.fails(wire, "Connect timeout", 1002).await;
}
"lim.partial" ALL, "A frame that stays incomplete is an ERROR, and the end." => |case| {
    let mut wire = case.connect().await;
    wire.send("SEND\ndestination:/topic/x\nreceipt:r\n\nhalf").await;
    let error = case.fails(wire, "Frame timeout", 1002).await;
    assert_eq!(error.header("receipt-id"), "r");
}
"tx.idle" ALL, "A transaction that rests for TRANSACTION_IDLE is aborted." => |case| {
    let mut listener = case.subscribed(V12).await;
    let mut wire = case.connect().await;
    wire.settled("BEGIN\ntransaction:t\n\n\0").await;
    wire.settled(send(&case.topic(), "transaction:t\n", "x")).await;
    tokio::time::sleep(Duration::from_millis(2_200)).await;
    wire.send("COMMIT\ntransaction:t\n\n\0").await;
    wire.expect("ERROR").await;
    wire.expect_end().await;
    let mut other = case.connect().await;
    other.send(send(&case.topic(), "", "after")).await;
    listener.expect_message("after").await;
}
}
