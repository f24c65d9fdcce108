//! What clients get wrong, over a real WebSocket: each mistake has its answer, and nobody else
//! notices.

use futures_util::future::join_all;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::support::bystanders::Bystanders;
use crate::support::client::{Client, Opening, Received};
use crate::support::cluster::HIGH_LIMITS;
use crate::support::node::Node;

/// A mistake that ends the session, and how.
struct Fatal {
    what: &'static str,
    input: Message,
    /// The header `message` of the ERROR frame.
    message: &'static str,
    /// The close.
    code: u16,
    /// Its reason.
    reason: &'static str,
}

/// STOMP that is broken.
fn broken(what: &'static str, input: impl Into<String>, message: &'static str) -> Fatal {
    Fatal {
        what,
        input: Message::text(input.into()),
        message,
        code: 1002,
        reason: "bad_request",
    }
}

/// STOMP that is too large.
fn too_large(what: &'static str, input: impl Into<String>, message: &'static str) -> Fatal {
    Fatal {
        code: 1009,
        reason: "payload_too_large",
        ..broken(what, input, message)
    }
}

/// A request that is refused.
fn refused(what: &'static str, input: &str, problem: &'static str, code: u16) -> Fatal {
    Fatal {
        code,
        reason: problem,
        ..broken(what, input, problem)
    }
}

/// Other octets than text.
fn octets(what: &'static str, input: Message, message: &'static str, code: u16) -> Fatal {
    Fatal {
        input,
        code,
        ..broken(what, "", message)
    }
}

async fn node() -> Node {
    Node::start("node", &HIGH_LIMITS).await
}

/// Makes each mistake on a session of its own and looks at its end, and at the bystanders.
async fn each_ends_as_it_must(node: &Node, is_connected: bool, cases: Vec<Fatal>) {
    let mut bystanders = Bystanders::on(node).await;
    for case in cases {
        let what = case.what;
        let mut client = match is_connected {
            true => Client::connect(node.address()).await,
            false => Client::open(node.address()).await,
        };
        client.send_message(case.input).await;
        let ending = client.end().await;
        let Some(error) = &ending.error else {
            panic!("{what}: no ERROR frame, but {ending:?}");
        };
        assert_eq!(error.header("message"), case.message, "{what}: {error:?}");
        assert!(!error.body.trim().is_empty(), "{what}: no words for people");
        let close = (ending.code, ending.reason.as_str());
        assert_eq!(close, (case.code, case.reason), "{what}");
        bystanders.talk(what).await;
    }
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
    let long = "x".repeat(8_000);
    let send = |rest: &str| format!("SEND\ndestination:/topic/x\n{rest}");
    let many: String = (0..70).map(|n| format!("h{n}:x\n")).collect();
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

#[tokio::test]
async fn a_request_that_cannot_be_granted_ends_the_session() {
    let subscribe = |destination: &str| format!("SUBSCRIBE\nid:0\ndestination:{destination}\n\n\0");
    let twice = subscribe("/topic/x").repeat(2);
    let somebody = subscribe("/user/user_0000000000000/queue/messages");
    let long = "r".repeat(300);
    let cases = vec![
        refused("SUBSCRIBE to somebody else", &somebody, "forbidden", 4403),
        refused(
            "SUBSCRIBE to a reserved topic",
            &subscribe("/topic/room.1"),
            "forbidden",
            4403,
        ),
        refused(
            "SUBSCRIBE to no queue of one's own",
            &subscribe("/user/queue/x"),
            "unknown_destination",
            1008,
        ),
        refused(
            "SUBSCRIBE to /app",
            &subscribe("/app/chat.send"),
            "unknown_destination",
            1008,
        ),
        refused(
            "SUBSCRIBE to /queue",
            &subscribe("/queue/x"),
            "unknown_destination",
            1008,
        ),
        refused(
            "SUBSCRIBE with a wildcard",
            &subscribe("/topic/*"),
            "validation_failed",
            1008,
        ),
        broken(
            "SUBSCRIBE to nowhere",
            subscribe("/nowhere"),
            "Invalid destination",
        ),
        broken(
            "the same id twice",
            twice,
            "Duplicated subscription identifier",
        ),
        broken(
            "SUBSCRIBE without id",
            "SUBSCRIBE\ndestination:/topic/x\n\n\0",
            "Missing id",
        ),
        broken(
            "UNSUBSCRIBE from nothing",
            "UNSUBSCRIBE\nid:9\n\n\0",
            "Subscription not found",
        ),
        broken(
            "SUBSCRIBE with ack:client",
            "SUBSCRIBE\nid:0\nack:client\ndestination:/topic/x\n\n\0",
            "Not supported",
        ),
        broken("BEGIN", "BEGIN\ntransaction:t\n\n\0", "Not supported"),
        broken(
            "SEND without destination",
            "SEND\n\nx\0",
            "Missing destination",
        ),
        broken(
            "SEND to a path with ..",
            "SEND\ndestination:/topic/../x\n\nx\0",
            "Invalid destination",
        ),
        broken(
            "a receipt of 300 octets",
            format!("SEND\ndestination:/topic/x\nreceipt:{long}\n\nx\0"),
            "Header too long",
        ),
        // Nobody listens to /user/queue/errors, so the client must not wait for ever.
        refused(
            "SEND to unknown /app/x",
            "SEND\ndestination:/app/x\n\n{}\0",
            "unknown_destination",
            1008,
        ),
        refused(
            "a message to nobody",
            "SEND\ndestination:/app/chat.send\n\n{\"to\":\"user_0000000000000\",\"message\":\"x\"}\0",
            "not_found",
            1008,
        ),
    ];
    each_ends_as_it_must(&node().await, true, cases).await;
}

#[tokio::test]
async fn an_error_frame_names_the_receipt_that_will_not_come() {
    let node = node().await;
    for frame in [
        "SEND\ndestination:/app/x\nreceipt:mine\n\n{}\0",
        "SEND\nreceipt:mine\n\nx\0",
        "SEND\ndestination:/topic/x\nreceipt:mine\ncontent-length:1\n\nxyz\0",
    ] {
        let mut client = Client::connect(node.address()).await;
        client.send(frame).await;
        let error = client.end().await.error.expect("an ERROR frame");
        assert_eq!(error.header("receipt-id"), "mine", "{frame:?}: {error:?}");
    }
}

#[tokio::test]
async fn what_a_client_can_put_right_is_a_problem_and_the_session_lives_on() {
    let node = node().await;
    let mut bystanders = Bystanders::on(&node).await;
    let mut client = Client::connect(node.address()).await;
    client.subscribe("/user/queue/errors").await;
    let me = client.user().to_owned();
    let chat = |to: &str, message: &str| json!({"to": to, "message": message}).to_string();
    let with_bad_id = json!({"to": me, "message": "x", "client_id": "a b"}).to_string();
    let to = "/app/chat.send";
    let cases = [
        ("/app/x", "{}".to_owned(), "unknown_destination", 404, ""),
        (
            to,
            chat("user_0000000000000", "hello"),
            "not_found",
            404,
            "to",
        ),
        (to, chat("", "hello"), "validation_failed", 422, "to"),
        (to, chat("a/b", "hello"), "validation_failed", 422, "to"),
        (to, chat(&me, ""), "validation_failed", 422, "message"),
        (
            to,
            chat(&me, " \n\t\u{3000}"),
            "validation_failed",
            422,
            "message",
        ),
        (
            to,
            chat(&me, &"x".repeat(4_001)),
            "validation_failed",
            422,
            "message",
        ),
        (
            to,
            chat(&me, &"가".repeat(5_500)),
            "validation_failed",
            422,
            "message",
        ),
        (to, with_bad_id, "validation_failed", 422, "client_id"),
        (to, String::new(), "bad_request", 400, ""),
        (to, "no JSON".to_owned(), "bad_request", 400, ""),
        (to, "[]".to_owned(), "bad_request", 400, ""),
        (to, "{\"to\":1}".to_owned(), "bad_request", 400, ""),
        ("/topic/room.1", "x".to_owned(), "forbidden", 403, ""),
        ("/topic/announce", "x".to_owned(), "forbidden", 403, ""),
        ("/topic/a%2fb", "x".to_owned(), "validation_failed", 422, ""),
        ("/queue/x", "x".to_owned(), "unknown_destination", 404, ""),
        ("/user/queue/messages", "x".to_owned(), "forbidden", 403, ""),
        (
            "/user/user_0000000000000/queue/messages",
            "x".to_owned(),
            "forbidden",
            403,
            "",
        ),
    ];
    for (destination, body, code, status, field) in cases {
        let what = format!(
            "{} to {destination}",
            body.chars().take(60).collect::<String>()
        );
        let receipt = client.publish(destination, &body).await;
        let frame = client.frame().await;
        assert_eq!(
            frame.header("destination"),
            "/user/queue/errors",
            "{what}: {frame:?}"
        );
        let problem = frame.json();
        assert_eq!(problem["code"], code, "{what}: {problem}");
        assert_eq!(problem["status"], status, "{what}");
        assert_eq!(
            problem["type"],
            format!("urn:stompbox:problem:{code}"),
            "{what}"
        );
        assert_eq!(problem["destination"], destination, "{what}");
        assert_eq!(problem["receipt_id"], receipt, "{what}");
        assert_eq!(
            problem["errors"][0]["field"].as_str().unwrap_or(""),
            field,
            "{what}"
        );
        let receipt = client.publish("/topic/alive", "x").await;
        assert_eq!(client.frame().await.receipt(), receipt, "{what}");
        bystanders.talk(&what).await;
    }
}

#[tokio::test]
async fn what_is_just_within_the_limits_passes() {
    let node = node().await;
    let mut client = Client::connect(node.address()).await;
    let body = "x".repeat(65_536);
    let headers: String = (0..61)
        .map(|n| format!("h{n}:{}\n", "y".repeat(400)))
        .collect();
    let send =
        format!("SEND\ndestination:/topic/x\nreceipt:r\n{headers}content-length:65536\n\n{body}\0");
    client.send(&send).await;
    assert_eq!(client.frame().await.receipt(), "r");
    let me = client.user().to_owned();
    client.say(&me, &"가".repeat(4_000)).await;
    assert_eq!(client.frame().await.command, "RECEIPT");
    // Octet by octet, and many frames in one message.
    for octet in b"SEND\r\ndestination:/topic/x\r\nreceipt:slow\r\n\r\nx\0" {
        client.send_octets(&[*octet]).await;
    }
    assert_eq!(client.frame().await.receipt(), "slow");
    let both = ["a", "b"].map(|r| format!("SEND\ndestination:/topic/x\nreceipt:{r}\n\nx\0\n\n"));
    client.send(&both.concat()).await;
    assert_eq!(client.frame().await.receipt(), "a");
    assert_eq!(client.frame().await.receipt(), "b");
    client.disconnect().await;
}

#[tokio::test]
async fn pages_of_other_origins_do_not_come_in() {
    let mut environment = HIGH_LIMITS.to_vec();
    environment.push(("CORS_ORIGINS", "https://chat.example"));
    let node = Node::start("node", &environment).await;
    let own = format!("http://{}", node.address());
    for (origin, expected) in [
        (own.as_str(), 101),
        ("https://chat.example", 101),
        ("https://chat.example.evil", 403),
        ("http://chat.example", 403),
        ("https://evil.example", 403),
        ("null", 403),
        ("", 403),
    ] {
        let headers = [("Origin", origin)];
        let opening = Opening {
            headers: &headers,
            ..Opening::default()
        };
        let status = Client::try_open(node.address(), &opening).await;
        assert_eq!(status.err().unwrap_or(101), expected, "Origin: {origin}");
    }
    environment.push(("ALLOW_NO_ORIGIN", "false"));
    let strict = Node::start("strict", &environment).await;
    let refused = Client::try_open(strict.address(), &Opening::default()).await;
    assert_eq!(refused.err(), Some(403), "a client without Origin");
}

/// Many at once, each with another mistake, none of which slows the others.
#[tokio::test]
async fn mistakes_at_the_same_time_do_not_disturb_each_other() {
    let node = node().await;
    let mut bystanders = Bystanders::on(&node).await;
    let clients = (0..60).map(async |number: usize| {
        let mut client = Client::connect(node.address()).await;
        let frame = ["JUMP\n\n\0", "SEND\n\nx\0", "SEND\noops\n\nx\0"][number % 3];
        client.send(frame).await;
        client.end().await
    });
    for ending in join_all(clients).await {
        assert_eq!(ending.code, 1002, "{ending:?}");
    }
    bystanders.talk("sixty mistakes at once").await;
    let mut late = Client::connect(node.address()).await;
    late.send("DISCONNECT\n\n\0SEND\ndestination:/topic/x\nreceipt:late\n\nx\0")
        .await;
    assert!(
        matches!(late.next().await, Received::Closed(1000, _)),
        "nothing follows DISCONNECT"
    );
}
