//! Four addresses hold nearly all memory that visitors may have. A newcomer gets more than is left, and the address
//! that holds most loses it, whatever it holds: sockets, request bodies, SockJS sessions.
//!
//! The node has the smallest `MEMORY_LIMIT`. Shares of what is free leave a sixteenth to the fifth address.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use crate::support::bystanders::{metric, newcomer_talks};
use crate::support::cluster::HIGH_LIMITS;
use crate::support::node::Node;

const PATIENCE: Duration = Duration::from_secs(60);

/// What the four together have at the end: seven eighths of 64 MiB, but for a sixteenth of that.
const HELD: f64 = 52.5 * 1_048_576.0;

/// Sockets of the newcomer: 3.65 MiB, where 3.5 MiB are left and half of that would be their share. With a sixteenth of
/// the node, 4 MiB, nobody loses anything for them any more.
const SOCKETS: usize = 110;

const NEWCOMER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

fn holder(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, u8::try_from(number).unwrap())
}

async fn start() -> Node {
    start_with(&[]).await
}

async fn start_with(more: &[(&'static str, &'static str)]) -> Node {
    let mut environment = HIGH_LIMITS.to_vec();
    environment.extend(more);
    environment.extend([
        ("MEMORY_LIMIT", "64MiB"),
        ("HTTP_PER_MIN", "0"),
        ("HTTP_AUTH_PER_MIN", "0"),
        ("OUTBOX_STALL", "60s"),
        ("SOCKJS_DISCONNECT", "60s"),
    ]);
    Node::start("memory", &environment).await
}

async fn used(node: &Node) -> f64 {
    metric(node, "budget_used{pool=\"memory\"}").await
}

async fn socket(node: &Node, from: Ipv4Addr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    let connecting = socket.connect(node.address());
    timeout(PATIENCE, connecting).await.unwrap().unwrap()
}

/// The status of the next answer; nothing when the socket is closed instead.
async fn status(stream: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    let reading = async {
        while !read.windows(4).any(|four| four == b"\r\n\r\n") {
            if !matches!(stream.read_buf(&mut read).await, Ok(1..)) {
                return false;
            }
        }
        true
    };
    let is_whole = timeout(PATIENCE, reading).await.unwrap();
    let answer = String::from_utf8_lossy(&read).into_owned();
    is_whole.then(|| answer.split(' ').nth(1).unwrap_or_default().to_owned())
}

/// Whether the node has closed it, as far as that has arrived.
fn is_closed(stream: &TcpStream) -> bool {
    let mut bytes = [0; 4_096];
    loop {
        match stream.try_read(&mut bytes) {
            Ok(1..) => {}
            Ok(0) => return true,
            Err(error) => return error.kind() != ErrorKind::WouldBlock,
        }
    }
}

/// Opens sockets of a holder until the node has no more for it.
async fn fill(node: &Node, from: Ipv4Addr, request: &str) -> Vec<TcpStream> {
    let mut sockets = Vec::new();
    let mut refused = 0;
    while refused < 3 {
        for _ in 0..20 {
            let mut socket = socket(node, from).await;
            let _ = socket.write_all(request.as_bytes()).await;
            sockets.push(socket);
        }
        // A refusal is told, and the socket is closed.
        sleep(Duration::from_millis(20)).await;
        let all = sockets.len();
        sockets.retain(|socket| !is_closed(socket));
        refused += all - sockets.len();
    }
    // Refusals that a busy machine tells late.
    let mut looks = 0;
    while looks < 5 {
        sleep(Duration::from_millis(20)).await;
        let all = sockets.len();
        sockets.retain(|socket| !is_closed(socket));
        looks = if sockets.len() < all { 0 } else { looks + 1 };
    }
    sockets
}

/// A newcomer whose sockets are all served, and afterwards a session that works.
async fn newcomer_is_served(node: &Node) -> Vec<TcpStream> {
    let mut sockets = Vec::new();
    for number in 0..SOCKETS {
        let mut socket = socket(node, NEWCOMER).await;
        let ask = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
        socket.write_all(ask).await.unwrap();
        let status = status(&mut socket).await;
        assert_eq!(status.as_deref(), Some("200"), "socket {number}");
        sockets.push(socket);
    }
    newcomer_talks(node, NEWCOMER).await;
    sockets
}

async fn evictions(node: &Node) -> f64 {
    metric(node, "budget_evicted_total{pool=\"memory\"}").await
}

/// Four addresses fill the node with sockets that send this; the newcomer is served, and the first address, which
/// holds most, has paid for it.
async fn largest_address_loses(request: &str) {
    let node = start().await;
    let before = used(&node).await;
    let mut held = Vec::new();
    for number in 1..=4 {
        held.push(fill(&node, holder(number), request).await);
    }
    let full = used(&node).await;
    assert!(full > HELD * 0.95, "{full} bytes");
    let newcomers = newcomer_is_served(&node).await;
    let evicted = evictions(&node).await;
    assert!(evicted >= 20.0, "{evicted}");
    let closed = |sockets: &Vec<TcpStream>| sockets.iter().filter(|it| is_closed(it)).count();
    // A request and its socket are two charges. They are counted before the close arrives here.
    let began = Instant::now();
    let lost = loop {
        let lost: Vec<usize> = held.iter().map(closed).collect();
        if lost[0] as f64 >= evicted / 2.0 {
            break lost;
        }
        assert!(began.elapsed() < PATIENCE, "{lost:?} of {evicted}");
        sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(lost[2] + lost[3], 0, "{lost:?}");
    drop((held, newcomers));
    let began = Instant::now();
    while used(&node).await > before + (8 * (34 << 10)) as f64 {
        assert!(began.elapsed() < PATIENCE, "{}", used(&node).await);
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn sockets_of_the_largest_address_are_closed_for_a_newcomer() {
    // Waits longer than a socket without any request may.
    let head = "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n";
    largest_address_loses(head).await;
}

#[tokio::test]
async fn withheld_bodies_of_the_largest_address_fail_for_a_newcomer() {
    let body = "x".repeat(60_000 - 1);
    let head = "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n";
    largest_address_loses(&format!("{head}{body}")).await;
}

#[tokio::test]
async fn sockjs_sessions_of_the_largest_address_end_for_a_newcomer() {
    let node = start().await;
    let mut opened = Vec::new();
    for number in 1..=4 {
        let mut socket = socket(&node, holder(number)).await;
        let mut sessions = 0;
        loop {
            let path = format!("/ws-chat/000/{number}-{sessions}/xhr");
            let ask = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
            socket.write_all(ask.as_bytes()).await.unwrap();
            match status(&mut socket).await.as_deref() {
                Some("200") => sessions += 1,
                refused => break assert!(matches!(refused, Some("429" | "503")), "{refused:?}"),
            }
        }
        opened.push((socket, sessions));
    }
    let full = used(&node).await;
    assert!(full > HELD * 0.95, "{full} bytes");
    let newcomers = newcomer_is_served(&node).await;
    assert!(evictions(&node).await >= 100.0);
    // The latest ones lose; their client learns it with the next request, which is a new session, or is told.
    let (_, sessions) = opened[0];
    let gauge = metric(
        &node,
        "chat_connections_active{transport=\"sockjs-xhr\",kind=\"connecting\"}",
    )
    .await;
    let all: usize = opened.iter().map(|(_, sessions)| sessions).sum();
    assert!(
        sessions > 1_000 && gauge <= all as f64 - 100.0,
        "{gauge} of {all}"
    );
    drop(newcomers);
}

#[tokio::test]
async fn idle_sockets_of_a_trusted_proxy_take_nothing_from_anybody() {
    let proxy = Ipv4Addr::new(127, 0, 0, 9);
    let node = start_with(&[("TRUSTED_PROXIES", "127.0.0.9")]).await;
    let head = "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n";
    let mut held = Vec::new();
    for number in 1..=3 {
        held.push(fill(&node, holder(number), head).await);
    }
    let ask = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut idle = Vec::new();
    for _ in 0..2_000 {
        let mut socket = socket(&node, proxy).await;
        let _ = socket.write_all(ask.as_bytes()).await;
        idle.push(socket);
    }
    newcomer_talks(&node, NEWCOMER).await;
    assert_eq!(evictions(&node).await, 0.0);
    let closed = held.iter().flatten().filter(|socket| is_closed(socket));
    assert_eq!(closed.count(), 0);
}

/// The head of the PROXY protocol is taken off before a refusal is told; otherwise it would be read as the request.
#[tokio::test]
async fn a_client_behind_the_proxy_protocol_is_told_why_it_is_refused() {
    let proxy = Ipv4Addr::new(127, 0, 0, 9);
    let settings = [
        ("TRUSTED_PROXIES", "127.0.0.9"),
        ("PROXY_PROTOCOL", "accept"),
    ];
    let node = start_with(&settings).await;
    // Sockets whose client is not known yet have at most the memory of one address.
    let mut idle = Vec::new();
    while idle.len() < 1_500 {
        idle.push(socket(&node, proxy).await);
    }
    let head = "PROXY TCP4 192.0.2.77 198.51.100.1 40000 80\r\n";
    let request = format!("{head}GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    let began = Instant::now();
    // As long as the last idle ones are being told why, others are only closed.
    let told = loop {
        let mut refused = socket(&node, proxy).await;
        let sent = refused.write_all(request.as_bytes()).await;
        if let (Ok(()), Some(status)) = (sent, status(&mut refused).await) {
            break status;
        }
        assert!(began.elapsed() < PATIENCE, "nobody is told anything");
        sleep(Duration::from_millis(100)).await;
    };
    assert!(matches!(told.as_str(), "429" | "503"), "{told}");
}
