//! The nginx file of a deployment in front of two real nodes.
//!
//! Not here: whether it names what the composition has (`deployment_files`).

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::support::nginx::Nginx;
use crate::support::node::Node;

/// One HTTP exchange; the whole answer.
async fn get(address: SocketAddr, path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(Duration::from_secs(20), stream.read_to_end(&mut answer))
        .await
        .unwrap()
        .unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// A socket from this address of the machine.
async fn socket(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    socket.connect(to).await.unwrap()
}

/// The status of a WebSocket handshake from this address.
async fn handshake(from: Ipv4Addr, to: SocketAddr) -> (String, TcpStream) {
    let mut stream = socket(from, to).await;
    let request = format!(
        "GET /ws-chat HTTP/1.1\r\nHost: {to}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    let reading = timeout(Duration::from_secs(20), stream.read_exact(&mut status));
    reading.await.unwrap().unwrap();
    (String::from_utf8_lossy(&status[9..]).into_owned(), stream)
}

/// Connects by STOMP through this address; the CONNECTED frame.
async fn connected(address: SocketAddr, headers: &[(&'static str, &str)]) -> String {
    let mut request = format!("ws://{address}/ws-chat")
        .into_client_request()
        .unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let stream = TcpStream::connect(address).await.unwrap();
    let opening = tokio_tungstenite::client_async(request, stream);
    let (mut socket, answer) = timeout(Duration::from_secs(20), opening)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer.status(), 101);
    let frame = "CONNECT\naccept-version:1.2\nhost:stompbox\nheart-beat:0,0\n\n\0";
    socket.send(Message::text(frame)).await.unwrap();
    let answer = timeout(Duration::from_secs(20), socket.next())
        .await
        .unwrap();
    let text = answer.unwrap().unwrap().into_text().unwrap().to_string();
    assert!(text.starts_with("CONNECTED\n"), "{text}");
    text
}

/// The value of a header of a frame.
fn header<'a>(frame: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = frame.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}

#[tokio::test]
async fn nginx_stands_in_front_of_two_nodes() {
    let trusted = ("TRUSTED_PROXIES", "127.0.0.1");
    let a = Node::start("node-a", &[("SERVER_ID", "node-a"), trusted]).await;
    let b = Node::start("node-b", &[("SERVER_ID", "node-b"), trusted]).await;
    let nginx = Nginx::start(&[a.address(), b.address()]).await;
    let front = nginx.address();

    let health = get(front, "/api/v1/health/ready", "").await;
    assert!(health.starts_with("HTTP/1.1 200 "), "{health}");

    // A page that nginx serves is of the same origin as the service behind it: Host is passed on.
    let origin = format!("http://{front}");
    let mut met = BTreeSet::new();
    for _ in 0..6 {
        let frame = connected(front, &[("origin", &origin)]).await;
        met.insert(header(&frame, "node").unwrap().to_owned());
    }
    let both = BTreeSet::from(["node-a".to_owned(), "node-b".to_owned()]);
    assert_eq!(met, both, "connections are spread over the nodes");

    // A page of another origin stays out, through nginx as without.
    let refused = get(
        front,
        "/ws-chat",
        "Origin: http://evil.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    )
    .await;
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");

    // One node ends: those that come now are served by the other.
    let ended = a.stop().await;
    assert!(ended.status.success(), "{}", ended.output);
    for _ in 0..4 {
        let frame = connected(front, &[("origin", &origin)]).await;
        assert_eq!(header(&frame, "node"), Some("node-b"));
    }
}

#[tokio::test]
async fn behind_nginx_a_client_cannot_choose_its_address() {
    // With one connection allowed per network, a client that names another address in each request
    // would get two if its word counted.
    let node = Node::start(
        "node",
        &[
            ("TRUSTED_PROXIES", "127.0.0.1"),
            ("CONNECTIONS_PER_NET", "1"),
        ],
    )
    .await;
    let nginx = Nginx::start(&[node.address(), node.address()]).await;
    let open = |spoofed: &'static str| {
        let address = nginx.address();
        async move {
            let mut request = format!("ws://{address}/ws-chat")
                .into_client_request()
                .unwrap();
            let headers = request.headers_mut();
            headers.insert("x-forwarded-for", spoofed.parse().unwrap());
            let stream = TcpStream::connect(address).await.unwrap();
            tokio_tungstenite::client_async(request, stream).await
        }
    };
    let first = open("192.0.2.1").await;
    assert!(first.is_ok(), "{:?}", first.err());
    let second = open("192.0.2.2").await;
    let refusal = second
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    assert!(refusal.contains("429"), "'{refusal}'");
}

/// nginx leaves out a node that answers 503 twice, and what one client can cause must not look so.
#[tokio::test]
async fn an_address_that_has_used_its_share_takes_no_node_away_from_others() {
    let (holder, newcomer) = (Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3));
    let settings = [
        ("TRUSTED_PROXIES", "127.0.0.1"),
        ("MEMORY_LIMIT", "64MiB"),
        ("HTTP_PER_NET", "0"),
        ("HTTP_AUTH_PER_NET", "0"),
    ];
    let (a, b) = tokio::join!(
        Node::start("node-a", &settings),
        Node::start("node-b", &settings)
    );
    let nginx = Nginx::start(&[a.address(), b.address()]).await;
    // Not through nginx, which would keep the bodies itself.
    let head = "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n";
    let withheld = format!("{head}{}", "x".repeat(59_999));
    let mut held = Vec::new();
    for number in 0..900 {
        let node = [&a, &b][number % 2];
        let mut stream = socket(holder, node.address()).await;
        let _refused_at_the_end = stream.write_all(withheld.as_bytes()).await;
        held.push(stream);
    }
    let began = Instant::now();
    let mut sessions = Vec::new();
    let mut refused = 0;
    while refused < 20 {
        assert!(began.elapsed() < Duration::from_secs(60), "{refused}");
        let (status, stream) = handshake(holder, nginx.address()).await;
        match status.as_str() {
            "101" => sessions.push(stream),
            "429" => refused += 1,
            other => panic!("{other} after {} sessions", sessions.len()),
        }
    }
    for number in 0..10 {
        let (status, _stream) = handshake(newcomer, nginx.address()).await;
        assert_eq!(status, "101", "newcomer {number}");
    }
}

/// A node that closed a socket with a body unread would look like a failure to nginx, whatever it has answered.
#[tokio::test]
async fn long_bodies_that_are_refused_take_no_node_away_from_others() {
    let trusted = [("TRUSTED_PROXIES", "127.0.0.1")];
    let (a, b) = tokio::join!(
        Node::start("node-a", &trusted),
        Node::start("node-b", &trusted)
    );
    let nginx = Nginx::start(&[a.address(), b.address()]).await;
    let (attacker, newcomer) = (Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3));
    let paths = [
        ("/ws-chat/000/nobody/xhr_send", 660_000),
        ("/nothing/here", 60_000),
        ("/ws-chat", 60_000),
        ("/api/v1/auth/login", 990_000),
    ];
    for number in 0..40 {
        let (path, length) = paths[number % paths.len()];
        let mut stream = socket(attacker, nginx.address()).await;
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let _refused_meanwhile = stream.write_all(&vec![b'x'; length]).await;
        let mut status = [0; 12];
        let reading = timeout(Duration::from_secs(20), stream.read_exact(&mut status));
        if let Ok(Ok(_)) = reading.await {
            let status = String::from_utf8_lossy(&status[9..]).into_owned();
            assert!(
                ["400", "404", "405", "413", "415", "429"].contains(&&*status),
                "{path}: {status}"
            );
        }
        let (status, _stream) = handshake(newcomer, nginx.address()).await;
        assert_eq!(status, "101", "a newcomer after {number} bodies");
        let info = get(nginx.address(), "/ws-chat/000/other/xhr", "").await;
        assert!(!info.starts_with("HTTP/1.1 502"), "{info}");
    }
}
