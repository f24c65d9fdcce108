//! WebSocket at the edge: who may open one, what becomes of clients that misbehave, how it closes.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpSocket;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use crate::support::bystanders::metric_becomes;
use crate::support::edge::{Client, PATIENCE, ask, upgrade, upgrade_at};
use crate::support::node::Node;

#[tokio::test]
async fn places_are_limited_per_node_and_per_network_and_come_back() {
    let node = Node::start("full", &[("WS_MAX_CONNECTIONS", "2")]).await;
    let at = node.address();
    let first = Client::open(at).await;
    let _second = Client::open(at).await;
    let (_, answer) = upgrade(at, &[]).await;
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("5"))
    );
    assert_eq!(
        ask(at, "GET /health", &[]).await.status,
        200,
        "HTTP still answers"
    );
    drop(first);
    let began = Instant::now();
    while upgrade(at, &[]).await.1.status != 101 {
        assert!(began.elapsed() < PATIENCE, "the place does not come back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    let node = Node::start("net", &[("CONNECTIONS_PER_NET", "2")]).await;
    let at = node.address();
    let _first = Client::open(at).await;
    let _second = Client::open(at).await;
    let (_, answer) = upgrade(at, &[]).await;
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (429, Some("10"))
    );

    let environment = [
        ("CONNECTIONS_PER_NET", "1"),
        ("TRUSTED_PROXIES", "127.0.0.0/8"),
    ];
    let node = Node::start("proxied", &environment).await;
    let at = node.address();
    let from = async |client: &str| upgrade(at, &[&format!("X-Forwarded-For: {client}")]).await;
    let (one, _) = from("203.0.113.1").await;
    assert!(one.is_some());
    assert_eq!(from("203.0.113.1").await.1.status, 429);
    assert_eq!(from("9.9.9.9, 203.0.113.1").await.1.status, 429);
    assert_eq!(from("203.0.113.2").await.1.status, 101);
}

/// Sends something wrong, and expects an ERROR with these words and this close.
async fn is_fatal(node: &Node, wrong: Message, words: &str, close: &str) {
    let mut client = Client::open(node.address()).await;
    client.0.send(wrong).await.unwrap();
    let all = client.receive_all().await;
    let [error, end] = &all[..] else {
        panic!("{all:?}")
    };
    assert!(
        error.starts_with("ERROR\n") && error.contains(words),
        "{error}"
    );
    assert!(end.starts_with(close), "{end}");
}

#[tokio::test]
async fn whoever_breaks_the_rules_is_told_which_and_closed_and_disturbs_nobody() {
    let node = Node::start("rules", &[]).await;
    let (mut neighbour, user) = Client::connect(node.address()).await;
    let early = Message::text("SEND\ndestination:/topic/x\n\nhello\0");
    is_fatal(&node, early, "message:", "close 1002").await;
    let garbage = Message::text("NONSENSE\n\n\0");
    is_fatal(&node, garbage, "message:", "close 1002").await;
    let long = Message::text("x".repeat(200_000));
    is_fatal(&node, long, "message:", "close 1009").await;
    let text = Message::Frame(not_utf8());
    is_fatal(&node, text, "UTF-8", "close 1007").await;
    neighbour
        .send("SUBSCRIBE\nid:0\ndestination:/user/queue/messages\nreceipt:s\n\n\0")
        .await;
    assert!(neighbour.receive().await.starts_with("RECEIPT\n"));
    let send = format!(
        "SEND\ndestination:/app/chat.send\n\n{{\"to\":\"{user}\",\"message\":\"to myself\"}}\0"
    );
    neighbour.send(&send).await;
    assert!(neighbour.receive().await.contains("to myself"));
}

/// A text message whose octets are no text.
fn not_utf8() -> tokio_tungstenite::tungstenite::protocol::frame::Frame {
    use tokio_tungstenite::tungstenite::protocol::frame::Frame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
    Frame::message(&b"CONNECT\n\xff\xfe"[..], OpCode::Data(Data::Text), true)
}

#[tokio::test]
async fn a_frame_that_is_not_masked_ends_the_connection() {
    let node = Node::start("unmasked", &[]).await;
    let mut client = Client::open(node.address()).await;
    // FIN and text, length 5, no mask: only a server may send this.
    client
        .0
        .get_mut()
        .write_all(b"\x81\x05hello")
        .await
        .unwrap();
    let all = client.receive_all().await;
    assert!(all.last().unwrap().starts_with("close 1002"), "{all:?}");
}

#[tokio::test]
async fn pings_without_end_are_refused() {
    let node = Node::start("pings", &[]).await;
    let (mut client, _) = Client::connect(node.address()).await;
    for _ in 0..150 {
        // Once it is refused, what was not read is lost; that is the point.
        let _ = client.0.send(Message::Ping("".into())).await;
    }
    let all = client.receive_all().await;
    assert!(
        all.iter().any(|message| message.starts_with("ERROR\n")),
        "{all:?}"
    );
    assert!(all.last().unwrap().starts_with("close 4429"), "{all:?}");
}

#[tokio::test]
async fn disconnect_is_receipted_before_the_close() {
    let node = Node::start("disconnect", &[]).await;
    let (mut client, _) = Client::connect(node.address()).await;
    client.send("DISCONNECT\nreceipt:bye\n\n\0").await;
    let all = client.receive_all().await;
    let [receipt, close] = &all[..] else {
        panic!("{all:?}")
    };
    assert!(
        receipt.starts_with("RECEIPT\nreceipt-id:bye\n"),
        "{receipt}"
    );
    assert!(close.starts_with("close 1000"), "{close}");
}

#[tokio::test]
async fn a_client_that_never_reads_is_cut_and_others_are_served() {
    let environment = [
        ("OUTBOX_STALL", "2s"),
        ("RATE_NET_PER_MIN", "0"),
        ("RATE_ANON_PER_MIN", "0"),
    ];
    let node = Node::start("stalled", &environment).await;
    let at = node.address();
    // A small window, so that the kernel takes little for a client that does not read.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 << 10).unwrap();
    let stream = socket.connect(at).await.unwrap();
    let url = format!("ws://{at}/ws-chat");
    let (stalled, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    let mut stalled = Client(stalled);
    let connect = "CONNECT\naccept-version:1.2\nvisitor-token:new\n\n\0";
    stalled.send(connect).await;
    assert!(stalled.receive().await.starts_with("CONNECTED\n"));
    let subscribe = "SUBSCRIBE\nid:0\ndestination:/topic/loud\nreceipt:s\n\n\0";
    stalled.send(subscribe).await;
    assert!(stalled.receive().await.starts_with("RECEIPT\n"));

    let (mut reader, _) = Client::connect(at).await;
    reader.send(subscribe).await;
    assert!(reader.receive().await.starts_with("RECEIPT\n"));
    let (mut loud, _) = Client::connect(at).await;
    let body = "x".repeat(60_000);
    let began = Instant::now();
    for n in 0..40 {
        loud.send(&format!(
            "SEND\ndestination:/topic/loud\nreceipt:{n}\n\n{body}\0"
        ))
        .await;
        assert!(reader.receive().await.starts_with("MESSAGE\n"));
        assert!(loud.receive().await.starts_with("RECEIPT\n"));
    }
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );

    metric_becomes(&node, "ws_close_total{code=\"4490\"}", 1.0).await;
    loud.send("SEND\ndestination:/topic/loud\nreceipt:last\n\nstill here\0")
        .await;
    assert!(reader.receive().await.contains("still here"));
}

#[tokio::test]
async fn a_drain_tells_every_client_to_come_back() {
    let node = Node::start("drain", &[]).await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(Client::connect(node.address()).await.0);
    }
    let mut not_connected = Client::open(node.address()).await;
    let told = async {
        for client in &mut clients {
            let all = client.receive_all().await;
            assert_eq!(all, ["close 1012 draining"]);
        }
        let all = not_connected.receive_all().await;
        assert!(all.last().unwrap().starts_with("close 1012"), "{all:?}");
    };
    let (ended, ()) = tokio::join!(node.stop(), told);
    assert!(ended.status.success(), "{}", ended.output);
}

#[tokio::test]
async fn a_client_gets_its_frames_as_it_wants_them() {
    for (setting, query, is_text) in [
        ("auto", "", true),
        ("text", "", true),
        ("binary", "", false),
        ("auto", "?frame=binary", false),
        ("binary", "?frame=text", true),
        ("binary", "?x=y&frame=auto", true),
    ] {
        let node = Node::start("kinds", &[("WS_FRAME", setting)]).await;
        let path = format!("/ws-chat{query}");
        let (socket, answer) = upgrade_at(node.address(), &path, &[]).await;
        let mut client = Client(socket.unwrap_or_else(|| panic!("{answer:?}")));
        client
            .send("CONNECT\naccept-version:1.2\nvisitor-token:new\n\n\0")
            .await;
        let connected = client.0.next().await.unwrap().unwrap();
        assert_eq!(connected.is_text(), is_text, "{setting} {query}");
        client
            .send("SUBSCRIBE\nid:1\ndestination:/topic/x\n\n\0")
            .await;
        let octets = b"SEND\ndestination:/topic/x\n\n\xff\xfe\0".to_vec();
        client.0.send(Message::binary(octets)).await.unwrap();
        let message = client.0.next().await.unwrap().unwrap();
        assert!(message.is_binary(), "{setting} {query}: {message:?}");
    }
}

#[tokio::test]
async fn a_kind_of_message_that_there_is_not_is_refused_in_words() {
    let node = Node::start("kinds", &[]).await;
    let asking = [
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    let answer = ask(node.address(), "GET /ws?frame=utf-16", &asking).await;
    assert_eq!(answer.status, 400);
    let words = answer.json()["detail"].to_string();
    assert!(words.contains("auto, text and binary"), "{words}");
}
