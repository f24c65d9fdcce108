//! Requests that wait for their turn, on a node whose turns are given by the test.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::*;
use crate::app::AppSettings;
use crate::edge::harness::{Node, PATIENCE, VISITORS_PER_NETWORK};
use crate::edge::peer::SocketTurn;
use crate::edge::routes;
use crate::edge::settings::EdgeSettings;
use crate::session::SessionConfig;

/// A node behind a proxy on this machine.
struct Proxied {
    node: Node,
    router: Router,
}

async fn node() -> Proxied {
    let mut settings = EdgeSettings::new(SessionConfig::default());
    settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let node = Node::start(AppSettings::default(), settings).await;
    let router = routes::router(&node.edge);
    Proxied { node, router }
}

/// Sends a request of this client through a connection of its own of the proxy.
async fn ask(proxied: &Proxied, client: &str, line: &str, body: &str) -> TcpStream {
    let Proxied { node, router } = proxied;
    let (mut socket, stream, peer) = node.socket(true).await;
    let served = serve(Arc::clone(&node.edge), router.clone(), stream, peer);
    node.edge.tracker.spawn(served);
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {client}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    socket
}

/// The beginning of the answer.
async fn answer(socket: &mut TcpStream) -> String {
    let mut bytes = vec![0; 4 << 10];
    let read = timeout(PATIENCE, socket.read(&mut bytes)).await.unwrap();
    bytes.truncate(read.unwrap());
    String::from_utf8(bytes).unwrap()
}

/// Whether the answer to a request waits for a turn, and then comes.
async fn waits(proxied: &Proxied, line: &str, body: &str) -> bool {
    let mut socket = ask(proxied, "192.0.2.1", line, body).await;
    let mut first = [0];
    let answered = tokio::select! {
        read = socket.read_exact(&mut first) => {
            read.unwrap();
            false
        }
        () = proxied.node.give_turn() => {
            let read = timeout(PATIENCE, socket.read_exact(&mut first)).await;
            read.unwrap().unwrap();
            true
        }
    };
    answered
}

#[tokio::test]
async fn requests_through_a_trusted_proxy_wait_for_their_turn() {
    let proxied = node().await;
    for line in [
        "GET /",
        "GET /api/v1/me",
        "POST /api/v1/auth/anonymous",
        "GET /ws-chat/info",
        "GET /ws-chat",
        "GET /no-such-path",
    ] {
        assert!(waits(&proxied, line, "").await, "{line}");
    }
    for path in HEALTH {
        assert!(!waits(&proxied, &format!("GET {path}"), "").await, "{path}");
    }
}

#[tokio::test]
async fn a_request_waits_for_its_turn_unless_it_came_with_its_socket() {
    let Proxied { node, router } = node().await;
    let (mut socket, stream, peer) = node.socket(false).await;
    let served = serve(Arc::clone(&node.edge), router, stream, peer);
    node.edge.tracker.spawn(served);
    let request = b"GET /no-such-path HTTP/1.1\r\nHost: x\r\n\r\n";
    socket.write_all(request).await.unwrap();
    answer(&mut socket).await;
    for _ in 0..2 {
        socket.write_all(request).await.unwrap();
        node.wait_for(1).await;
        node.give_turn().await;
        answer(&mut socket).await;
    }
}

#[tokio::test]
async fn a_request_that_waits_for_too_long_is_told_to_come_again_however_long_the_silence_was() {
    let Proxied { node, router } = node().await;
    let (mut socket, stream, peer) = node.socket(false).await;
    let served = serve(Arc::clone(&node.edge), router, stream, peer);
    node.edge.tracker.spawn(served);
    let request = b"GET /no-such-path HTTP/1.1\r\nHost: x\r\n\r\n";
    socket.write_all(request).await.unwrap();
    let first = answer(&mut socket).await;
    assert!(first.starts_with("HTTP/1.1 404"), "{first}");
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(8)).await;
    socket.write_all(request).await.unwrap();
    let began = Instant::now();
    let refused = answer(&mut socket).await;
    assert!(refused.starts_with("HTTP/1.1 429"), "{refused}");
    assert!(refused.contains("retry-after: "), "{refused}");
    let waited = began.elapsed();
    assert!(waited >= Duration::from_secs(5), "{waited:?}");
    tokio::time::resume();
}

#[tokio::test]
async fn sockets_that_were_silent_wait_when_they_all_ask_at_once() {
    let Proxied { node, router } = node().await;
    let mut sockets = Vec::new();
    for _ in 0..4 {
        let (socket, stream, peer) = node.socket(false).await;
        peer.note_turn(SocketTurn::No);
        let served = serve(Arc::clone(&node.edge), router.clone(), stream, peer);
        node.edge.tracker.spawn(served);
        sockets.push(socket);
    }
    let handshake = "GET /ws-chat HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let lines = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    for (number, socket) in sockets.iter_mut().enumerate() {
        let request = if number % 2 == 0 { handshake } else { lines };
        socket.write_all(request.as_bytes()).await.unwrap();
    }
    node.wait_for(4).await;
    for _ in 0..4 {
        node.give_turn().await;
    }
    for (number, socket) in sockets.iter_mut().enumerate() {
        let expected = ["HTTP/1.1 101", "HTTP/1.1 200"][number % 2];
        let answer = answer(socket).await;
        assert!(answer.starts_with(expected), "{answer}");
    }
}

#[tokio::test]
async fn a_sockjs_session_waits_when_it_opens_and_not_afterwards() {
    let proxied = node().await;
    let mut opener = ask(&proxied, "192.0.2.1", "POST /ws-chat/000/one/xhr", "").await;
    proxied.node.wait_for(1).await;
    proxied.node.give_turn().await;
    let opened = answer(&mut opener).await;
    assert!(opened.starts_with("HTTP/1.1 200"), "{opened}");
    let connect = r#"["CONNECT\naccept-version:1.2\n\n\u0000"]"#;
    let line = "POST /ws-chat/000/one/xhr_send";
    let mut sender = ask(&proxied, "192.0.2.1", line, connect).await;
    let taken = answer(&mut sender).await;
    assert!(taken.starts_with("HTTP/1.1 204"), "{taken}");
    // The CONNECT waits for its own turn, the request that receives does not.
    let mut receiver = ask(&proxied, "192.0.2.1", "POST /ws-chat/000/one/xhr", "").await;
    proxied.node.wait_for(1).await;
    proxied.node.give_turn().await;
    let mut received = String::new();
    while !received.contains("CONNECTED") {
        received += &answer(&mut receiver).await;
    }
}

#[tokio::test]
async fn a_client_of_a_proxy_does_not_wait_behind_the_herd_of_another_network() {
    let proxied = node().await;
    let mut herd = Vec::new();
    for _ in 0..50 {
        herd.push(ask(&proxied, "192.0.2.1", "GET /ws-chat/info", "").await);
    }
    proxied.node.wait_for(50).await;
    let mut other = ask(&proxied, "198.51.100.1", "GET /api/v1/me", "").await;
    proxied.node.wait_for(51).await;
    proxied.node.give_turn().await;
    proxied.node.give_turn().await;
    assert!(answer(&mut other).await.starts_with("HTTP/1.1 401"));
    proxied.node.wait_for(49).await;
}

#[tokio::test]
async fn an_old_cookie_is_looked_up_after_the_turn_of_its_request() {
    let proxied = node().await;
    let visitors = &proxied.node.edge.visitors;
    let secret = format!("sbv1.{}", "A".repeat(43));
    let cookie = visitors.cookies().set_cookie_of(&secret, false).unwrap();
    let (cookie, _) = cookie.split_once(';').unwrap();
    let line = format!("GET /ws-chat/info HTTP/1.1\r\nCookie: {cookie}\r\nX:");
    let mut herd = Vec::new();
    for number in 1..=VISITORS_PER_NETWORK as usize {
        herd.push(ask(&proxied, "192.0.2.1", &line, "").await);
        proxied.node.wait_for(number).await;
    }
    let client = [192, 0, 2, 1].into();
    assert!(
        visitors.is_cookie_over(client, cookie).await,
        "the waiting requests have used up the quota"
    );
    // Each takes one turn and one lookup.
    for socket in &mut herd {
        proxied.node.give_turn().await;
        assert!(answer(socket).await.starts_with("HTTP/1.1 200"));
    }
    assert!(!visitors.is_cookie_over(client, cookie).await);
}

/// A request to a path that is not there, of which so much of the body comes; everything up to the end of the connection.
async fn refused(bytes: usize, length: usize) -> String {
    let Proxied { node, router } = node().await;
    let (mut socket, stream, peer) = node.socket(true).await;
    let served = serve(Arc::clone(&node.edge), router, stream, peer);
    node.edge.tracker.spawn(served);
    let head = format!(
        "POST /no-such-path HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let asked = async {
        node.wait_for(1).await;
        node.give_turn().await;
    };
    let (mut reading, mut writing) = socket.split();
    let mut answer = String::new();
    let body = vec![b'x'; bytes];
    let (.., read) = tokio::join!(asked, writing.write_all(&body), async {
        timeout(PATIENCE, reading.read_to_string(&mut answer)).await
    });
    read.expect("the connection does not end").unwrap();
    answer
}

#[tokio::test]
async fn the_rest_of_a_refused_body_is_read_before_the_answer() {
    for (bytes, length) in [
        (600_000, 600_000),
        (0, 1_000),
        (1, 1_000),
        (30_000, 600_000),
    ] {
        let answer = refused(bytes, length).await;
        assert!(
            answer.starts_with("HTTP/1.1 404"),
            "{bytes} of {length}: {answer}"
        );
    }
}

/// The stream of a proxy is of many clients, so it takes no turns; what is dropped of it takes those of the client.
#[tokio::test]
async fn what_is_left_of_a_body_through_a_proxy_is_dropped_in_the_turns_of_its_client() {
    let proxied = node().await;
    let body = "x".repeat(600_000);
    let (mut socket, stream, peer) = proxied.node.socket(true).await;
    let served = serve(
        Arc::clone(&proxied.node.edge),
        proxied.router.clone(),
        stream,
        peer,
    );
    proxied.node.edge.tracker.spawn(served);
    let head = "POST /no-such-path HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\n\
                Content-Length: 600000\r\n\r\n";
    let (mut reading, mut writing) = socket.split();
    let sent = async {
        writing.write_all(head.as_bytes()).await.unwrap();
        writing.write_all(body.as_bytes()).await.unwrap();
    };
    let mut first = [0; 12];
    let mut turns = 0;
    let answered = async {
        let answered = timeout(PATIENCE, reading.read_exact(&mut first));
        tokio::pin!(answered);
        loop {
            tokio::select! {
                biased;
                read = &mut answered => return read.unwrap().unwrap(),
                () = tokio::task::yield_now() => turns += usize::from(proxied.node.edge.turns.give_one()),
            }
        }
    };
    tokio::join!(sent, answered);
    assert_eq!(&first, b"HTTP/1.1 404");
    // One for the request, and one for each 32 KiB but for those that are free on an idle node.
    assert!((8..=20).contains(&turns), "{turns} turns");
}

#[tokio::test]
async fn a_request_has_one_host() {
    let Proxied { node, router } = node().await;
    node.give_turns();
    for (request, status) in [
        ("GET /health HTTP/1.1\r\nHost: x\r\n", 200),
        ("GET /health HTTP/1.0\r\n", 200),
        ("GET /health HTTP/1.0\r\nHost: x\r\n", 200),
        ("GET /health HTTP/1.1\r\n", 400),
        ("GET /health HTTP/1.1\r\nHost: x\r\nHost: x\r\n", 400),
        ("GET /health HTTP/1.0\r\nHost: x\r\nHost: y\r\n", 400),
        ("GET /ws-chat HTTP/1.1\r\n", 400),
    ] {
        let (mut socket, stream, peer) = node.socket(false).await;
        let served = serve(Arc::clone(&node.edge), router.clone(), stream, peer);
        node.edge.tracker.spawn(served);
        socket
            .write_all(format!("{request}\r\n").as_bytes())
            .await
            .unwrap();
        let answer = answer(&mut socket).await;
        let (_, answered) = answer.split_once(' ').unwrap();
        assert!(
            answered.starts_with(&status.to_string()),
            "{request}: {answer}"
        );
    }
}
