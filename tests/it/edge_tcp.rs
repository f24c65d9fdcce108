//! STOMP over TCP: the same sessions as over WebSocket, over nothing but octets.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, sleep, timeout};

use crate::support::bystanders::metric_becomes;
use crate::support::client::Client;
use crate::support::cluster::HIGH_LIMITS;
use crate::support::node::Node;
use crate::support::ports;
use crate::support::stream::Wire;

/// A node that speaks STOMP over TCP, and where.
pub(crate) async fn node(settings: &[(&str, &str)]) -> (Node, SocketAddr) {
    let port = ports::free();
    let text = port.to_string();
    let mut environment = vec![("STOMP_TCP_PORT", text.as_str())];
    let high = HIGH_LIMITS.iter().copied();
    environment.extend(high.filter(|(name, _)| settings.iter().all(|(other, _)| other != name)));
    environment.extend(settings);
    let node = Node::start("tcp", &environment).await;
    (node, (Ipv4Addr::LOCALHOST, port).into())
}

/// The body of the next MESSAGE; a RECEIPT may come before it.
async fn message(client: &mut Client) -> String {
    loop {
        let frame = client.frame().await;
        if frame.command == "MESSAGE" {
            return frame.body;
        }
    }
}

#[tokio::test]
async fn a_session_over_tcp_is_a_session_like_any_other() {
    let (node, at) = node(&[]).await;
    let mut wire = Wire::open(at).await;
    wire.send("\n\nSTOMP\naccept-version:1.0,1.1,1.2\nvisitor-token:new\n\n\0\n")
        .await;
    let connected = wire.frame().await;
    assert_eq!(connected.header("version"), "1.2");
    assert_eq!(connected.header("kind"), "anonymous");
    let gauge = "chat_connections_active{transport=\"tcp\",kind=\"anonymous\"}";
    metric_becomes(&node, gauge, 1.0).await;

    wire.subscribe("/topic/both").await;
    let mut client = Client::connect(node.address()).await;
    client.subscribe("/topic/both").await;
    client.publish("/topic/both", "from a WebSocket").await;
    assert_eq!(wire.frame().await.body, "from a WebSocket");
    assert_eq!(message(&mut client).await, "from a WebSocket");
    // Two publishers of a topic have no order between them, so the second one waits for that.
    wire.send("SEND\ndestination:/topic/both\ncontent-length:3\n\na\0b\0")
        .await;
    assert_eq!(message(&mut client).await, "a\0b");

    wire.send("DISCONNECT\nreceipt:bye\n\n\0").await;
    let ended = wire.end().await;
    assert!(ended.is_orderly && ended.error.is_none(), "{ended:?}");
}

#[tokio::test]
async fn frames_may_be_cut_anywhere_and_come_many_at_once() {
    let (_node, at) = node(&[]).await;
    let mut wire = Wire::connect(at).await;
    wire.subscribe("/topic/pieces").await;
    let frame = "SEND\ndestination:/topic/pieces\nreceipt:r\n\nnot all at once\0\n";
    for octet in frame.chars() {
        wire.send(&octet.to_string()).await;
    }
    let mut commands = [wire.frame().await.command, wire.frame().await.command];
    commands.sort();
    assert_eq!(commands, ["MESSAGE", "RECEIPT"]);
    wire.send(&frame.repeat(50)).await;
    for _ in 0..100 {
        wire.frame().await;
    }
    let long = "x".repeat(60_000);
    wire.send(&format!("SEND\ndestination:/topic/pieces\n\n{long}\0"))
        .await;
    assert_eq!(wire.frame().await.body, long);
}

#[tokio::test]
async fn an_error_is_read_to_its_last_octet_before_the_end() {
    let (_node, at) = node(&[]).await;
    for (frames, message) in [
        ("BLAH\n\n\0", "Bad command"),
        (
            "SEND\ndestination:/topic/x\nreceipt:r\n\n\0SUBSCRIBE\n\n\0",
            "",
        ),
        ("ACK\n\n\0", ""),
    ] {
        let mut wire = Wire::connect(at).await;
        // What follows is never read by the session, and must not cost the client the ERROR.
        wire.send(&format!("{frames}{}", "SEND\n\n\0".repeat(20_000)))
            .await;
        let ended = wire.end().await;
        assert!(ended.is_orderly && ended.error.is_some(), "{ended:?}");
        assert!(
            message.is_empty() || ended.message() == message,
            "{ended:?}"
        );
    }
    // A WebSocket at the wrong door.
    let mut wire = Wire::open(at).await;
    wire.send("GET /ws-chat HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(wire.end().await.error.is_some());
}

#[tokio::test]
async fn who_says_nothing_or_half_a_frame_is_told_so_and_closed() {
    let (_node, at) = node(&[
        ("CONNECT_TIMEOUT", "500ms"),
        ("PARTIAL_FRAME_TIMEOUT", "500ms"),
    ])
    .await;
    for beginning in ["", "\n", "CONNECT\naccept"] {
        let mut wire = Wire::open(at).await;
        wire.send(beginning).await;
        let ended = wire.end().await;
        assert_eq!(
            ended.message(),
            "Connect timeout",
            "{beginning:?} {ended:?}"
        );
        assert!(ended.is_orderly);
    }
    let mut wire = Wire::connect(at).await;
    wire.send("SEND\ndestination:/topic/x\ncontent-length:10\n\nfive")
        .await;
    assert_eq!(wire.end().await.message(), "Frame timeout");
}

#[tokio::test]
async fn a_client_that_never_reads_is_cut_and_does_not_stay() {
    let (node, at) = node(&[("OUTBOX_STALL", "1s")]).await;
    let mut deaf = Wire::open_deaf(at).await;
    assert_eq!(deaf.introduce().await.command, "CONNECTED");
    deaf.subscribe("/topic/flood").await;
    let mut writer = Client::connect(node.address()).await;
    let body = "x".repeat(32 << 10);
    for _ in 0..200 {
        let receipt = writer.publish("/topic/flood", &body).await;
        assert_eq!(writer.frame().await.receipt(), receipt);
    }
    let gauge = "chat_connections_active{transport=\"tcp\",kind=\"anonymous\"}";
    metric_becomes(&node, gauge, 0.0).await;
    metric_becomes(&node, "ws_close_total{code=\"4490\"}", 1.0).await;
}

#[tokio::test]
async fn places_are_limited_over_tcp_as_over_websocket() {
    let (node, at) = node(&[("WS_MAX_CONNECTIONS", "2")]).await;
    let _first = Wire::connect(at).await;
    let second = Client::connect(node.address()).await;
    let mut third = Wire::open(at).await;
    let ended = third.end().await;
    assert_eq!(ended.message(), "try_later", "{ended:?}");
    let problem = ended.error.unwrap().json();
    assert_eq!(problem["retry_after_ms"], 5_000, "{problem}");
    drop(second);
    let began = Instant::now();
    loop {
        let mut wire = Wire::open(at).await;
        if wire.introduce().await.command == "CONNECTED" {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "it stays full");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_network_has_its_limit_over_tcp() {
    let (_node, at) = node(&[("CONNECTIONS_PER_NET", "1")]).await;
    let _first = Wire::connect(at).await;
    let ended = Wire::open(at).await.end().await;
    assert_eq!(ended.message(), "try_later", "{ended:?}");
}

#[tokio::test]
async fn a_client_without_a_page_is_loose_and_gets_no_more_than_its_own() {
    let (_node, at) = node(&[]).await;
    let mut wire = Wire::open(at).await;
    wire.send("CONNECT\naccept-version:1.2\n\n\0").await;
    let first = wire.frame().await;
    assert_eq!(first.header("proof"), "new");
    let secret = first.header("visitor-token").to_owned();
    wire.send("DISCONNECT\nreceipt:x\n\n\0").await;
    wire.end().await;
    let mut again = Wire::open(at).await;
    again
        .send(&format!(
            "CONNECT\naccept-version:1.2\nvisitor-token:{secret}\n\n\0"
        ))
        .await;
    let second = again.frame().await;
    assert_eq!(second.header("user-name"), first.header("user-name"));
    assert_eq!(second.header("proof"), "token");
}

#[tokio::test]
async fn beats_are_kept_and_a_silent_client_that_promised_some_is_cut() {
    let (node, at) = node(&[("HEART_BEAT", "100,100")]).await;
    let mut wire = Wire::open(at).await;
    wire.send("CONNECT\naccept-version:1.2\nheart-beat:200,100\n\n\0")
        .await;
    assert_eq!(wire.frame().await.command, "CONNECTED");
    let before = wire.heard;
    let began = Instant::now();
    let ended = wire.end().await;
    assert!(ended.is_orderly, "{ended:?}");
    assert_eq!(ended.message(), "Heart-beat lost");
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(wire.heard - before >= 5, "{} beats", wire.heard - before);
    metric_becomes(&node, "ws_close_total{code=\"4408\"}", 1.0).await;
}

#[tokio::test]
async fn a_drain_ends_tcp_in_order() {
    let (node, at) = node(&[]).await;
    let mut wire = Wire::connect(at).await;
    wire.subscribe("/topic/x").await;
    node.signal("TERM");
    let ended = timeout(Duration::from_secs(20), wire.end()).await.unwrap();
    assert!(ended.is_orderly, "{ended:?}");
    wire.stream.shutdown().await.ok();
    let ended = node.wait().await;
    assert!(ended.status.success(), "{}", ended.output);
}

#[tokio::test]
async fn the_port_is_said_and_one_that_is_taken_is_an_error_at_the_start() {
    let (node, at) = node(&[]).await;
    node.output_with(&format!("STOMP      {at} over TCP")).await;
    let folder = tempfile::tempdir().unwrap();
    let port = at.port().to_string();
    let environment = [("STOMP_TCP_PORT", port.as_str())];
    let ended = Node::try_start_in("second", &folder.path().join("data"), &environment).await;
    let output = ended.unwrap_err().output;
    assert!(output.contains("STOMP_TCP_PORT: cannot listen"), "{output}");
}
