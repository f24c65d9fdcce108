//! STOMP over every transport of SockJS, on a node.

use std::time::Duration;

use futures_util::SinkExt as _;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;

use super::raw::{Raw, get, post, stream};
use super::session;
use super::talker::{TRANSPORTS, Talker};
use crate::support::bystanders::metric_becomes;
use crate::support::edge::{Client, PATIENCE};
use crate::support::node::Node;

const SUBSCRIBE: &str = "SUBSCRIBE\nid:s\ndestination:/topic/a\nreceipt:r1\n\n\0";

#[tokio::test]
async fn a_conversation_is_the_same_over_every_transport() {
    let node = Node::start("sockjs", &[]).await;
    for transport in TRANSPORTS {
        let mut talker = Talker::open(node.address(), transport, &[]).await;
        talker.connect("heart-beat:0,0\n").await;
        // One frame in three messages, then two frames in one.
        talker
            .send(&[&SUBSCRIBE[..10], &SUBSCRIBE[10..20], &SUBSCRIBE[20..]])
            .await;
        assert_eq!(
            talker.message().await,
            "RECEIPT\nreceipt-id:r1\n\n\0",
            "{transport}"
        );
        let text = "안녕 \u{2028}\"</script>\\😀";
        let send = format!("SEND\ndestination:/topic/a\n\n{text}\0");
        talker.send(&[&format!("{send}\n{send}")]).await;
        for _ in 0..2 {
            let message = talker.message().await;
            assert!(message.starts_with("MESSAGE\n"), "{transport}: {message}");
            assert!(
                message.ends_with(&format!("\n\n{text}\0")),
                "{transport}: {message}"
            );
        }
        talker.send(&["DISCONNECT\nreceipt:r2\n\n\0"]).await;
        assert_eq!(
            talker.message().await,
            "RECEIPT\nreceipt-id:r2\n\n\0",
            "{transport}"
        );
        assert_eq!(talker.message().await, "c[1000,\"bye\"]", "{transport}");
    }
}

#[tokio::test]
async fn whoever_breaks_the_protocol_is_told_why_before_the_close() {
    let node = Node::start("sockjs", &[]).await;
    for transport in TRANSPORTS {
        let mut talker = Talker::open(node.address(), transport, &[]).await;
        talker.connect("heart-beat:0,0\n").await;
        talker.send(&["NONSENSE\n\n\0"]).await;
        let error = talker.message().await;
        assert!(error.starts_with("ERROR\n"), "{transport}: {error}");
        let close = talker.message().await;
        assert!(close.starts_with("c[1002,"), "{transport}: {close}");
    }
}

#[tokio::test]
async fn stomp_beats_travel_as_messages_and_replace_those_of_sockjs() {
    let settings = [("HEART_BEAT", "1500,25000"), ("SOCKJS_HEARTBEAT", "1s")];
    let node = Node::start("sockjs", &settings).await;
    for transport in ["websocket", "xhr_streaming", "xhr"] {
        let mut quiet = Talker::open(node.address(), transport, &[]).await;
        quiet.connect("heart-beat:0,0\n").await;
        let began = Instant::now();
        assert_eq!(quiet.frame().await, "h", "{transport}");
        assert!(
            began.elapsed() >= Duration::from_millis(700),
            "{:?}",
            began.elapsed()
        );
        assert_eq!(quiet.frame().await, "h", "{transport}");

        let mut lively = Talker::open(node.address(), transport, &[]).await;
        let connected = lively.connect("heart-beat:0,1500\n").await;
        assert!(
            connected.contains("\nheart-beat:1500,25000\n"),
            "{connected}"
        );
        // Less often than `h` would come, and yet no `h` comes.
        for _ in 0..2 {
            assert_eq!(lively.frame().await, "a[\"\\n\"]", "{transport}");
        }
    }
}

#[tokio::test]
async fn octets_that_are_no_text_come_replaced_and_end_nobodys_session() {
    let node = Node::start("sockjs", &[]).await;
    let mut talker = Talker::open(node.address(), "xhr_streaming", &[]).await;
    talker.connect("heart-beat:0,0\n").await;
    talker.send(&[SUBSCRIBE]).await;
    talker.message().await;
    let (mut publisher, _) = Client::connect(node.address()).await;
    let mut frame = b"SEND\ndestination:/topic/a\ncontent-length:4\n\n".to_vec();
    frame.extend(b"\xff\0\xc3\x28\0");
    publisher.0.send(Message::binary(frame)).await.unwrap();
    publisher
        .send("SEND\ndestination:/topic/a\n\nafter\0")
        .await;
    let replaced = talker.message().await;
    assert!(
        replaced.ends_with("\n\n\u{fffd}\0\u{fffd}(\0"),
        "{replaced:?}"
    );
    assert!(replaced.contains("\ncontent-length:8\n"), "{replaced:?}");
    assert!(
        replaced.contains("\noctets-replaced:true\n"),
        "{replaced:?}"
    );
    assert!(talker.message().await.ends_with("\n\nafter\0"));
}

#[tokio::test]
async fn a_node_that_ends_tells_those_that_need_requests_at_once() {
    let node = Node::start("sockjs", &[]).await;
    let mut talkers = Vec::new();
    for transport in TRANSPORTS {
        let mut talker = Talker::open(node.address(), transport, &[]).await;
        talker.connect("heart-beat:0,0\n").await;
        talkers.push(talker);
    }
    let waiting = talkers.iter_mut().map(|talker| async {
        let frame = timeout(PATIENCE, talker.frame())
            .await
            .expect("nothing is said");
        assert_eq!(frame, "c[1012,\"draining\"]");
    });
    let ending = async {
        // Their requests have to be there.
        tokio::time::sleep(Duration::from_millis(300)).await;
        node.stop().await
    };
    let (_, ended) = tokio::join!(futures_util::future::join_all(waiting), ending);
    assert!(ended.status.success(), "{}", ended.output);
}

#[tokio::test]
async fn every_transport_is_counted_under_its_name() {
    let node = Node::start("sockjs", &[]).await;
    let mut talkers = Vec::new();
    for transport in TRANSPORTS {
        talkers.push(Talker::open(node.address(), transport, &[]).await);
    }
    for transport in TRANSPORTS {
        let label = transport.replace('_', "-");
        let gauge =
            format!("chat_connections_active{{transport=\"sockjs-{label}\",kind=\"connecting\"}}");
        metric_becomes(&node, &gauge, 1.0).await;
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_and_its_memory_given_back() {
    let settings = [
        ("OUTBOX_STALL", "500ms"),
        ("OUTBOX_FRAMES", "65536"),
        ("RATE_ANON_PER_MIN", "0"),
    ];
    let node = Node::start("sockjs", &settings).await;
    let mut talker = Talker::open(node.address(), "xhr_streaming", &[]).await;
    talker.connect("heart-beat:0,0\n").await;
    talker.send(&[SUBSCRIBE]).await;
    talker.message().await;
    let (mut publisher, _) = Client::connect(node.address()).await;
    let body = "x".repeat(60_000);
    let began = Instant::now();
    loop {
        for _ in 0..8 {
            let frame = format!("SEND\ndestination:/topic/a\n\n{body}\0");
            publisher.send(&frame).await;
        }
        publisher
            .send("SEND\ndestination:/topic/b\nreceipt:r\n\n\0")
            .await;
        publisher.receive().await;
        let metrics = get(node.address(), "/metrics").await.body;
        if metrics.contains("ws_close_total{code=\"4490\"} 1") {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{metrics}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn an_endpoint_is_as_its_settings_say() {
    let settings = [
        ("SOCKJS_CLIENT_URL", "/own/sockjs.js"),
        ("SOCKJS_COOKIE_NEEDED", "true"),
        ("SOCKJS_RESPONSE_BYTES", "4KiB"),
        ("SOCKJS_DISCONNECT", "200ms"),
    ];
    let node = Node::start("sockjs", &settings).await;
    let at = node.address();
    let page = get(at, "/ws-chat/iframe.html").await.body;
    assert!(
        page.contains("<script src=\"/own/sockjs.js\"></script>"),
        "{page}"
    );
    let info = get(at, "/ws-chat/info").await.body;
    assert!(info.contains("\"cookie_needed\":true"), "{info}");
    let url = session("/ws-chat");
    let (mut raw, head) = stream(at, &format!("POST {url}/xhr_streaming"), &[]).await;
    assert_eq!(head.headers("set-cookie"), ["JSESSIONID=dummy; path=/"]);
    assert_eq!(raw.chunk().await.unwrap().len(), 2_049);
    assert_eq!(raw.chunk().await.unwrap(), "o\n");
    let send = format!(
        "SEND\\ndestination:/topic/a\\n\\n{}\\u0000",
        "x".repeat(4_096)
    );
    let connect = "CONNECT\\nheart-beat:0,0\\n\\n\\u0000";
    let subscribe = "SUBSCRIBE\\nid:s\\ndestination:/topic/a\\n\\n\\u0000";
    for frame in [connect, subscribe, &send] {
        let sent = post(at, &format!("{url}/xhr_send"), &format!("[\"{frame}\"]")).await;
        assert_eq!(sent.status(), 204);
        if frame == connect {
            // Awaited, because what comes close together is given out in one array.
            assert!(raw.chunk().await.unwrap().starts_with("a[\"CONNECTED\\n"));
        }
    }
    assert!(raw.chunk().await.unwrap().starts_with("a[\"MESSAGE\\n"));
    assert_eq!(raw.chunk().await, None, "long enough");
    let began = Instant::now();
    while post(at, &format!("{url}/xhr_send"), "[\"\\n\"]")
        .await
        .status()
        == 204
    {
        assert!(began.elapsed() < PATIENCE, "the session does not end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_websocket_with_frames_has_the_subprotocols_of_stomp() {
    let node = Node::start("sockjs", &[]).await;
    let mut raw = Raw::open(node.address()).await;
    let headers = [
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol: v10.stomp, v11.stomp",
    ];
    let line = format!("GET {}/websocket HTTP/1.1", session("/ws-chat"));
    raw.request(&line, &headers, None).await;
    let head = raw.head().await;
    assert_eq!(
        (head.status, head.header("sec-websocket-protocol")),
        (101, Some("v11.stomp"))
    );
    // A ticket that is none is refused before anything opens.
    let line = format!("{}/xhr?ticket=sbv1.secret", session("/ws-chat"));
    assert_eq!(post(node.address(), &line, "").await.status(), 400);
}

#[tokio::test]
async fn a_lively_conversation_by_polls_is_no_abuse() {
    let settings = [("RATE_ANON_PER_MIN", "0"), ("RATE_BURST", "0")];
    let node = Node::start("sockjs", &settings).await;
    for transport in ["xhr", "jsonp"] {
        let mut talker = Talker::open(node.address(), transport, &[]).await;
        talker.connect("heart-beat:0,0\n").await;
        talker.send(&[SUBSCRIBE]).await;
        talker.message().await;
        // More polls than messages without a frame are allowed in that time.
        for n in 0..200 {
            talker
                .send(&[&format!("SEND\ndestination:/topic/a\n\n{n}\0")])
                .await;
            let message = talker.message().await;
            assert!(
                message.ends_with(&format!("\n\n{n}\0")),
                "{transport}: {message}"
            );
        }
    }
}
