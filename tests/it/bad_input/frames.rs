//! Frames that are broken or too large: ERROR, and the end of the session.

use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::{broken, each_ends_as_it_must, node, octets, refused, too_large};

/// A SEND with these headers and body.
fn send(rest: &str) -> String {
    format!("SEND\ndestination:/topic/x\n{rest}")
}

#[tokio::test]
async fn what_is_wrong_before_connect_ends_the_session() {
    let long = "x".repeat(8_000);
    let cases = vec![
        broken(
            "SEND first",
            "SEND\ndestination:/topic/x\n\nx\0",
            "Not connected",
        ),
        broken(
            "SUBSCRIBE first",
            "SUBSCRIBE\nid:0\ndestination:/topic/x\n\n\0",
            "Not connected",
        ),
        broken("DISCONNECT first", "DISCONNECT\n\n\0", "Not connected"),
        broken("an unknown command", "HELLO\n\n\0", "Bad command"),
        broken("HTTP", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "Bad command"),
        broken(
            "no common version",
            "CONNECT\naccept-version:2.0\n\n\0",
            "Version mismatch",
        ),
        broken(
            "a wrong heart-beat",
            "CONNECT\naccept-version:1.2\nheart-beat:soon\n\n\0",
            "Bad heart-beat",
        ),
        broken(
            "CONNECT with a body",
            "CONNECT\naccept-version:1.2\n\nbody\0",
            "Body not allowed",
        ),
        broken(
            "no blank line",
            "CONNECT\naccept-version:1.2\0",
            "Missing blank line",
        ),
        refused(
            "a password",
            "CONNECT\naccept-version:1.2\nlogin:me\npasscode:secret\n\n\0",
            "unauthorized",
            4401,
        ),
        too_large(
            "a head of 24 KB",
            format!("CONNECT\na:{long}\nb:{long}\nc:{long}\n\n\0"),
            "Head too long",
        ),
        too_large("a command of 1 KB", "X".repeat(1_000), "Bad command"),
    ];
    each_ends_as_it_must(&node().await, false, cases).await;
}

#[tokio::test]
async fn a_broken_frame_ends_the_session() {
    let mut invalid = b"SEND\ndestination:/topic/x\nx:".to_vec();
    invalid.extend(b"\xff\xfe\n\nx\0");
    let text = Frame::message(b"\xff\xfe".to_vec(), OpCode::Data(Data::Text), true);
    let reserved = Frame::message(b"x".to_vec(), OpCode::Data(Data::Reserved(3)), true);
    let cases = vec![
        broken(
            "a second CONNECT",
            "CONNECT\naccept-version:1.2\n\n\0",
            "Already connected",
        ),
        broken(
            "a second STOMP",
            "STOMP\naccept-version:1.2\n\n\0",
            "Already connected",
        ),
        broken("an unknown command", "JUMP\n\n\0", "Bad command"),
        broken("a command of the server", "MESSAGE\n\n\0", "Bad command"),
        broken("a header without colon", send("oops\n\nx\0"), "Bad header"),
        broken("a header without name", send(":x\n\nx\0"), "Bad header"),
        broken("a wrong escape", send("x:a\\tb\n\nx\0"), "Undefined escape"),
        broken(
            "a stray carriage return",
            send("x:a\rb\n\nx\0"),
            "Bad header",
        ),
        broken(
            "a negative content-length",
            send("content-length:-1\n\nx\0"),
            "Bad content-length",
        ),
        broken(
            "a word as content-length",
            send("content-length:ten\n\nx\0"),
            "Bad content-length",
        ),
        broken(
            "a content-length beyond all numbers",
            send("content-length:99999999999999999999\n\nx\0"),
            "Bad content-length",
        ),
        broken(
            "more body than content-length",
            send("content-length:1\n\nxyz\0"),
            "Missing NUL",
        ),
        broken(
            "SUBSCRIBE with a body",
            "SUBSCRIBE\nid:0\ndestination:/topic/x\n\nx\0",
            "Body not allowed",
        ),
        octets(
            "a head that is no UTF-8",
            Message::binary(invalid),
            "Invalid UTF-8",
            1002,
        ),
        octets(
            "a text message that is no UTF-8",
            Message::Frame(text),
            "bad_request",
            1007,
        ),
        octets(
            "a reserved opcode",
            Message::Frame(reserved),
            "bad_request",
            1002,
        ),
    ];
    each_ends_as_it_must(&node().await, true, cases).await;
}

#[tokio::test]
async fn an_oversized_frame_ends_the_session() {
    let long = "x".repeat(8_000);
    let many: String = (0..70).map(|n| format!("h{n}:x\n")).collect();
    let cases = vec![
        too_large(
            "a line of 16 KB",
            send(&format!("x:{long}{long}\n\nx\0")),
            "Header too long",
        ),
        too_large(
            "70 headers",
            send(&format!("{many}\n\0")),
            "Too many headers",
        ),
        too_large(
            "a head of 40 KB",
            send(&format!(
                "a:{long}\nb:{long}\nc:{long}\nd:{long}\ne:{long}\n\nx\0"
            )),
            "Head too long",
        ),
        too_large(
            "a content-length of 1 GB",
            send("content-length:1000000000\n\nx"),
            "Body too long",
        ),
        too_large(
            "a body of 65,537 octets",
            send(&format!("\n{}\0", "x".repeat(65_537))),
            "Body too long",
        ),
        too_large(
            "a message of 1 MB",
            send(&format!("\n{}\0", "x".repeat(1 << 20))),
            "payload_too_large",
        ),
    ];
    each_ends_as_it_must(&node().await, true, cases).await;
}
