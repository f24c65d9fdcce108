//! The program as a process: how it starts, what it keeps, how it ends.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::support::node::Node;

const PATIENCE: Duration = Duration::from_secs(20);

/// One HTTP exchange; the whole answer.
async fn get(node: &Node, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(node.address()).await?;
    let host = node.address();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A connected STOMP client.
async fn connect(node: &Node) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(node.address()).await.unwrap();
    let opening = tokio_tungstenite::client_async(node.websocket(), stream);
    let (mut socket, _) = timeout(PATIENCE, opening).await.unwrap().unwrap();
    send(
        &mut socket,
        "CONNECT\naccept-version:1.2\nhost:x\nheart-beat:0,0\n\n\0",
    )
    .await;
    let frame = receive(&mut socket).await;
    assert!(frame.starts_with("CONNECTED\n"), "{frame}");
    socket
}

async fn send(socket: &mut WebSocketStream<TcpStream>, frame: &str) {
    socket.send(Message::text(frame)).await.unwrap();
}

/// The next message; of a close, `close <code>`.
async fn receive(socket: &mut WebSocketStream<TcpStream>) -> String {
    match timeout(PATIENCE, socket.next()).await.unwrap() {
        Some(Ok(Message::Close(Some(close)))) => format!("close {}", u16::from(close.code)),
        Some(Ok(message)) => message.into_text().unwrap().to_string(),
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn a_node_says_where_it_listens_what_it_uses_and_where_its_data_lies() {
    let node = Node::start("node", &[]).await;
    let said = node.output();
    let data = node.data_dir().display().to_string();
    for words in ["SQLite", data.as_str(), &node.url("/"), "Ctrl-C"] {
        assert!(said.contains(words), "'{words}' is missing in:\n{said}");
    }
    let answer = get(&node, "/api/v1/health/live").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn in_production_everything_that_a_node_says_is_json() {
    let json = [
        ("APP_ENV", "production"),
        ("LOG_FORMAT", "json"),
        ("LOG_LEVEL", "info"),
    ];
    let node = Node::start("node", &json).await;
    let client = connect(&node).await;
    drop(client);
    let ended = node.stop().await;
    assert!(ended.status.success(), "{}", ended.output);
    assert!(!ended.output.is_empty());
    for line in ended.output.lines() {
        let parsed = serde_json::from_str::<serde_json::Value>(line);
        assert!(
            parsed.is_ok_and(|value| value.is_object()),
            "no JSON: {line}"
        );
    }
}

#[tokio::test]
async fn a_file_limit_below_the_connections_is_said() {
    let node = Node::start("node", &[("WS_MAX_CONNECTIONS", "10000000")]).await;
    node.output_with("(not 10000000: the file limit").await;
}

#[tokio::test]
async fn a_node_keeps_its_name_and_its_secret_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let first = Node::start_in("first", folder.path(), &[]).await;
    let keep = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let (name, secret) = (keep("server-id"), keep("jwt-secret"));
    first.output_with(name.trim()).await;
    assert!(!first.output().contains(secret.trim()));
    let file = fs::metadata(folder.path().join("jwt-secret")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    assert!(first.stop().await.status.success());
    let second = Node::start_in("second", folder.path(), &[]).await;
    assert_eq!((keep("server-id"), keep("jwt-secret")), (name, secret));
    assert!(second.stop().await.status.success());
}

#[tokio::test]
async fn a_data_directory_is_for_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let _first = Node::start_in("first", folder.path(), &[]).await;
    let second = Node::try_start_in("second", folder.path(), &[]).await;
    let ended = second.expect_err("a second process opened the same database");
    assert_eq!(ended.status.code(), Some(1), "{}", ended.output);
    let last = ended.output.lines().last().unwrap_or_default();
    assert!(last.contains("DATABASE_URL"), "{}", ended.output);
}

#[tokio::test]
async fn a_port_that_is_taken_stops_the_start_with_what_to_do() {
    let first = Node::start("first", &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let port = first.address().port().to_string();
    let second = Node::try_start_in("second", folder.path(), &[("PORT", &port)]).await;
    let ended = second.expect_err("two processes listen on one port");
    assert_eq!(ended.status.code(), Some(1));
    for words in [port.as_str(), "SERVER_PORT", "--port 0"] {
        assert!(ended.output.contains(words), "{}", ended.output);
    }
}

#[tokio::test]
async fn on_sigterm_clients_are_told_to_come_back_and_the_exit_code_is_0() {
    for signal in ["TERM", "INT"] {
        let node = Node::start("node", &[]).await;
        let mut client = connect(&node).await;
        node.signal(signal);
        assert_eq!(receive(&mut client).await, "close 1012", "{signal}");
        client.close(None).await.ok();
        let ended = node.wait().await;
        assert!(ended.status.success(), "{signal}: {}", ended.output);
        assert!(
            ended.took < Duration::from_secs(10),
            "{signal}: {:?}",
            ended.took
        );
    }
}

#[tokio::test]
async fn what_was_sent_before_sigterm_is_receipted_before_the_close() {
    let node = Node::start("node", &[]).await;
    let mut client = connect(&node).await;
    send(
        &mut client,
        "SUBSCRIBE\nid:0\ndestination:/topic/x\nreceipt:sub\n\n\0",
    )
    .await;
    assert!(receive(&mut client).await.contains("receipt-id:sub"));
    for i in 0..50 {
        let frame = format!("SEND\ndestination:/topic/x\nreceipt:r{i}\n\nbody {i}\0");
        send(&mut client, &frame).await;
    }
    // The first answer shows that the node is at it; the signal comes in the middle.
    let mut seen = receive(&mut client).await;
    node.signal("TERM");
    while !seen.contains("close 1012") {
        let next = receive(&mut client).await;
        assert!(
            !next.contains("None") && !next.starts_with("Some(Err"),
            "{next}\nafter\n{seen}"
        );
        seen.push_str(&next);
        seen.push('\n');
    }
    let receipts = (0..50)
        .filter(|i| seen.contains(&format!("receipt-id:r{i}\n")))
        .count();
    let bodies = (0..50)
        .filter(|i| seen.contains(&format!("body {i}\0")))
        .count();
    assert_eq!(
        receipts, bodies,
        "a receipted message did not arrive:\n{seen}"
    );
    client.close(None).await.ok();
    assert!(node.wait().await.status.success());
}

#[tokio::test]
async fn a_client_that_does_not_close_does_not_keep_the_node() {
    let node = Node::start("node", &[("SHUTDOWN_TIMEOUT", "20s")]).await;
    let stuck = connect(&node).await;
    let ended = node.stop().await;
    drop(stuck);
    assert!(ended.status.success(), "{}", ended.output);
    assert!(ended.took < Duration::from_secs(20), "{:?}", ended.took);
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let node = Node::start("node", &[]).await;
    let stuck = connect(&node).await;
    node.signal("TERM");
    node.signal("TERM");
    // The kernel may join two signals that are not yet delivered; a later one is a second one.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let ended = node.stop_if_running().await;
    drop(stuck);
    assert!(
        ended.took < Duration::from_secs(3),
        "{:?}: {}",
        ended.took,
        ended.output
    );
}

#[tokio::test]
async fn a_frozen_node_goes_on_when_it_is_let() {
    let node = Node::start("node", &[]).await;
    node.pause();
    let asked = timeout(
        Duration::from_millis(500),
        get(&node, "/api/v1/health/live"),
    )
    .await;
    assert!(asked.is_err(), "a frozen process answered");
    node.resume();
    let answer = timeout(PATIENCE, get(&node, "/api/v1/health/live")).await;
    assert!(answer.unwrap().unwrap().starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_killed_node_starts_again_on_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let first = Node::start_in("first", folder.path(), &[]).await;
    let pid = first.pid();
    let ended = first.kill().await;
    assert!(!ended.status.success());
    let second = Node::start_in("second", folder.path(), &[]).await;
    assert_ne!(second.pid(), pid);
    let answer = get(&second, "/api/v1/health/ready").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}
