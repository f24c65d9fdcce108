//! SockJS over WebSocket, with its frames and without.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::raw::{Raw, ask, get};
use super::{services, session};
use crate::support::edge::PATIENCE;

/// A WebSocket at a path.
pub(super) async fn open(address: SocketAddr, path: &str) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    let url = format!("ws://{address}{path}");
    tokio_tungstenite::client_async(url, stream)
        .await
        .unwrap()
        .0
}

/// The next text; of a close `close <code> <reason>`; at the end `gone`.
pub(super) async fn next(socket: &mut WebSocketStream<TcpStream>) -> String {
    loop {
        match timeout(PATIENCE, socket.next())
            .await
            .expect("nothing comes")
        {
            Some(Ok(Message::Text(text))) => return text.to_string(),
            Some(Ok(Message::Close(Some(close)))) => {
                return format!("close {} {}", u16::from(close.code), close.reason);
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(other)) => panic!("{other:?}"),
            Some(Err(_)) | None => return "gone".to_owned(),
        }
    }
}

#[tokio::test]
async fn what_is_no_websocket_is_refused() {
    let at = services().await;
    for path in ["/echo/0/0/websocket", "/echo/websocket"] {
        let plain = get(at, path).await;
        assert_eq!(plain.status(), 400);
        assert_eq!(plain.body, "Can \"Upgrade\" only to \"WebSocket\".");
        let line = format!("GET {path}");
        let headers = ["Upgrade: WebSocket", "Connection: close"];
        let broken = ask(at, &line, &headers, None).await;
        assert_eq!(broken.status(), 400);
        assert!(broken.body.contains("\"Connection\" must be \"Upgrade\""));
        for upgrade in ["%", "websocket websocket", "\u{7f}", "h2c", ""] {
            let upgrade = format!("Upgrade: {upgrade}");
            let headers = [upgrade.as_str(), "Connection: Upgrade"];
            let mut raw = Raw::open(at).await;
            raw.request(&format!("GET {path} HTTP/1.1"), &headers, None)
                .await;
            assert_eq!(raw.head().await.status, 400, "{upgrade}");
        }
    }
    assert_eq!(get(at, "/echo").await.status(), 200);
}

#[tokio::test]
async fn the_handshake_is_that_of_rfc_6455() {
    let at = services().await;
    for connection in ["Upgrade", "keep-alive, Upgrade"] {
        let mut raw = Raw::open(at).await;
        let connection = format!("Connection: {connection}");
        let headers = [
            "Upgrade: websocket",
            &connection,
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==",
        ];
        let line = format!("GET {}/websocket HTTP/1.1", session("/echo"));
        raw.request(&line, &headers, None).await;
        let head = raw.head().await;
        assert_eq!(head.status, 101);
        let accept = head.header("sec-websocket-accept");
        assert_eq!(accept, Some("HSmrc0sMlYUkAGmm5OPpG2HaGWk="));
        let is = |name| head.header(name).unwrap().to_ascii_lowercase();
        assert_eq!(
            (is("connection"), is("upgrade")),
            ("upgrade".into(), "websocket".into())
        );
        assert_eq!(head.header("content-length"), None);
    }
}

#[tokio::test]
async fn frames_travel_in_messages_and_a_name_may_be_shared() {
    let at = services().await;
    let path = format!("{}/websocket", session("/echo"));
    let mut one = open(at, &path).await;
    let mut two = open(at, &path).await;
    assert_eq!(next(&mut one).await, "o");
    assert_eq!(next(&mut two).await, "o");
    one.send(Message::text("[\"a\"]")).await.unwrap();
    assert_eq!(next(&mut one).await, "a[\"a\"]");
    // A string alone, several at once, nothing at all.
    two.send(Message::text("\"b\"")).await.unwrap();
    assert_eq!(next(&mut two).await, "a[\"b\"]");
    two.send(Message::text("")).await.unwrap();
    two.send(Message::text("[]")).await.unwrap();
    two.send(Message::text("[\"c\",\"d\"]")).await.unwrap();
    assert_eq!(next(&mut two).await, "a[\"c\"]");
    assert_eq!(next(&mut two).await, "a[\"d\"]");
    one.close(None).await.unwrap();
    drop(one);
    let mut again = open(at, &path).await;
    assert_eq!(next(&mut again).await, "o");
    again.send(Message::text("[\"e\"]")).await.unwrap();
    assert_eq!(next(&mut again).await, "a[\"e\"]");
}

#[tokio::test]
async fn a_close_is_a_frame_and_then_a_close() {
    let at = services().await;
    let mut socket = open(at, &format!("{}/websocket", session("/close"))).await;
    assert_eq!(next(&mut socket).await, "o");
    assert_eq!(next(&mut socket).await, "c[3000,\"Go away!\"]");
    assert_eq!(next(&mut socket).await, "close 3000 Go away!");
    assert_eq!(next(&mut socket).await, "gone");
}

#[tokio::test]
async fn broken_json_ends_the_line_abruptly() {
    let at = services().await;
    for broken in ["[\"a", "a", "{}", "[1]", "[\"a\"]]"] {
        let mut socket = open(at, &format!("{}/websocket", session("/echo"))).await;
        assert_eq!(next(&mut socket).await, "o");
        socket.send(Message::text(broken)).await.unwrap();
        assert_eq!(next(&mut socket).await, "gone", "{broken}");
    }
}

#[tokio::test]
async fn a_raw_websocket_has_no_frames() {
    let at = services().await;
    let mut socket = open(at, "/echo/websocket").await;
    for text in ["Hello world!\u{ffff}", "[\"a\"]", "x"] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(next(&mut socket).await, text);
    }
    let mut socket = open(at, "/close/websocket").await;
    assert_eq!(next(&mut socket).await, "close 3000 Go away!");
}

#[tokio::test]
async fn the_other_services_do_what_they_say() {
    let at = services().await;
    let mut ticker = open(at, "/ticker/websocket").await;
    assert_eq!(next(&mut ticker).await, "tick!");
    let mut amplify = open(at, "/amplify/websocket").await;
    for (said, heard) in [("3", 8), ("19", 1 << 19), ("20", 2), ("-1", 2), ("x", 2)] {
        amplify.send(Message::text(said)).await.unwrap();
        assert_eq!(next(&mut amplify).await.len(), heard, "{said}");
    }
    let mut one = open(at, "/broadcast/websocket").await;
    let mut two = open(at, "/broadcast/websocket").await;
    for socket in [&mut one, &mut two] {
        // The subscription is there once something of one's own came back.
        socket.send(Message::text("here")).await.unwrap();
        assert_eq!(next(socket).await, "here");
    }
    two.send(Message::text("hello")).await.unwrap();
    for socket in [&mut one, &mut two] {
        while next(socket).await != "hello" {}
    }
}
