//! Which requests of SockJS wait for a turn, and how many a network may send, on a node whose turns are given by
//! the test.
//!
//! Each request comes through a connection of its own of a trusted proxy, so that none has its turn from its socket.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::app::AppSettings;
use crate::edge::harness::{Node, PATIENCE};
use crate::edge::settings::EdgeSettings;
use crate::edge::{http, routes};
use crate::session::SessionConfig;

const OWNER: &str = "192.0.2.1";
const OTHER: &str = "198.51.100.1";

/// The body of a request that brings a heart-beat of STOMP.
const BEAT: &str = r#"["\n"]"#;

struct Proxied {
    node: Node,
    router: axum::Router,
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// It waited for a turn, and got this status then.
    Waited(u16),
    /// It got this status at once.
    AtOnce(u16),
}
use Outcome::{AtOnce, Waited};

impl Proxied {
    async fn start(http_per_net: u32) -> Self {
        let mut settings = EdgeSettings::new(SessionConfig::default());
        settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        settings.http_per_net = http_per_net;
        let node = Node::start(AppSettings::default(), settings).await;
        let router = routes::router(&node.edge);
        Self { node, router }
    }

    /// Sends a request of a client, whose body may be shorter than it says.
    async fn ask(&self, client: &str, line: &str, length: usize, body: &str) -> TcpStream {
        let (mut socket, stream, peer) = self.node.socket(true).await;
        let edge = std::sync::Arc::clone(&self.node.edge);
        let served = http::serve(edge, self.router.clone(), stream, peer);
        self.node.edge.tracker.spawn(served);
        let request = format!(
            "{line} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {client}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        socket
    }

    /// What becomes of a whole request.
    async fn outcome(&self, client: &str, line: &str, body: &str) -> Outcome {
        let mut socket = self.ask(client, line, body.len(), body).await;
        self.outcome_of(&mut socket).await
    }

    async fn outcome_of(&self, socket: &mut TcpStream) -> Outcome {
        tokio::select! {
            answer = answer(socket) => AtOnce(status(&answer)),
            () = self.node.wait_for(1) => {
                self.node.give_turn().await;
                Waited(status(&answer(socket).await))
            }
        }
    }

    /// A session of [`OWNER`].
    async fn open(&self, name: &str) -> String {
        let path = format!("/ws-chat/000/{name}");
        let line = format!("POST {path}/xhr");
        assert_eq!(self.outcome(OWNER, &line, "").await, Waited(200));
        path
    }
}

/// The beginning of the answer, with its head.
async fn answer(socket: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let read = async {
        while !text.windows(4).any(|four| four == b"\r\n\r\n") {
            assert_ne!(socket.read_buf(&mut text).await.unwrap(), 0);
        }
    };
    timeout(PATIENCE, read).await.unwrap();
    String::from_utf8(text).unwrap()
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn only_the_requests_that_an_open_session_awaits_of_its_owner_go_without_a_turn() {
    let proxied = Proxied::start(0).await;
    let path = proxied.open("one").await;
    let (receive, send) = (format!("POST {path}/xhr"), format!("POST {path}/xhr_send"));
    for _ in 0..3 {
        assert_eq!(proxied.outcome(OWNER, &send, BEAT).await, AtOnce(204));
    }
    for (client, line, body, status) in [
        (OTHER, send.as_str(), BEAT, 404),
        (OTHER, &receive, "", 404),
        (OWNER, &format!("OPTIONS {path}/xhr_send"), "", 204),
        (OWNER, &format!("OPTIONS {path}/xhr"), "", 204),
        (OWNER, &format!("PUT {path}/xhr_send"), BEAT, 405),
        (OWNER, &format!("GET {path}/xhr"), "", 405),
        (OWNER, "GET /ws-chat/a/b/c/d", "", 404),
        (OWNER, "GET /ws-chat/no-such-place", "", 404),
        (OWNER, "POST /ws-chat/000/none/xhr_send", BEAT, 404),
        (
            OWNER,
            &format!("{send} HTTP/1.1\r\nOrigin: https://evil.example\r\nX:"),
            BEAT,
            403,
        ),
    ] {
        let outcome = proxied.outcome(client, line, body).await;
        assert_eq!(outcome, Waited(status), "{client} {line}");
    }
}

#[tokio::test]
async fn a_second_request_in_the_same_direction_takes_a_turn() {
    let proxied = Proxied::start(0).await;
    let path = proxied.open("two").await;
    let send = format!("POST {path}/xhr_send");
    // Its last byte is withheld.
    let mut first = proxied
        .ask(OWNER, &send, BEAT.len(), &BEAT[..BEAT.len() - 1])
        .await;
    let session_awaits =
        async { while proxied.outcome(OWNER, &send, BEAT).await == AtOnce(204) {} };
    timeout(PATIENCE, session_awaits).await.unwrap();
    assert_eq!(proxied.outcome(OWNER, &send, BEAT).await, Waited(204));
    first.write_all(b"]").await.unwrap();
    assert_eq!(status(&answer(&mut first).await), 204);
    assert_eq!(proxied.outcome(OWNER, &send, BEAT).await, AtOnce(204));

    let receive = format!("POST {path}/xhr_streaming");
    let mut receiver = proxied.ask(OWNER, &receive, 0, "").await;
    assert_eq!(proxied.outcome_of(&mut receiver).await, AtOnce(200));
    assert_eq!(proxied.outcome(OWNER, &receive, "").await, Waited(200));
}

#[tokio::test]
async fn a_long_body_waits_for_a_turn_before_its_messages_are_read() {
    let proxied = Proxied::start(0).await;
    let path = proxied.open("long").await;
    let send = format!("POST {path}/xhr_send");
    // So few bytes of STOMP that the session itself needs no turn for them.
    let body = |length: usize| format!("[\"{}\"]", "\\u000a".repeat(length / 6 - 1));
    assert_eq!(
        proxied.outcome(OWNER, &send, &body(32 << 10)).await,
        AtOnce(204)
    );
    assert_eq!(
        proxied.outcome(OWNER, &send, &body(34 << 10)).await,
        Waited(204)
    );
}

#[tokio::test]
async fn beyond_the_rate_of_a_network_requests_are_refused_in_their_turn_with_their_bodies_unread()
{
    // Four times as many for SockJS in a minute, a sixth of them at once.
    let proxied = Proxied::start(6).await;
    let path = proxied.open("rate").await;
    let send = format!("POST {path}/xhr_send");
    for _ in 0..3 {
        assert_eq!(proxied.outcome(OWNER, &send, BEAT).await, AtOnce(204));
    }
    let mut refused = proxied.ask(OWNER, &send, 300_000, "").await;
    proxied.node.wait_for(1).await;
    proxied.node.give_turn().await;
    let refused = answer(&mut refused).await;
    assert_eq!(status(&refused), 429, "{refused}");
    assert!(
        refused.to_lowercase().contains("\r\nretry-after: 3\r\n"),
        "{refused}"
    );
    let info = "GET /ws/info";
    assert_eq!(
        proxied.outcome(OWNER, info, "").await,
        Waited(429),
        "one bucket for all endpoints"
    );
    assert_eq!(proxied.outcome(OTHER, info, "").await, Waited(200));
}

#[tokio::test]
async fn bodies_without_messages_are_counted_and_end_their_session() {
    let proxied = Proxied::start(0).await;
    let path = proxied.open("broken").await;
    let send = format!("POST {path}/xhr_send");
    for body in ["[\"x", "", "[\"x\"", "[1]"] {
        assert_eq!(proxied.outcome(OWNER, &send, body).await, AtOnce(500));
        assert_eq!(proxied.outcome(OWNER, &send, BEAT).await, AtOnce(204));
    }
    assert_eq!(proxied.outcome(OWNER, &send, "x").await, AtOnce(500));
    assert_eq!(proxied.outcome(OWNER, &send, BEAT).await, Waited(404));
    let receive = format!("POST {path}/xhr");
    let mut receiver = proxied.ask(OWNER, &receive, 0, "").await;
    let mut text = String::new();
    while !text.contains("c[1002,\"Too many broken requests\"]") {
        let mut bytes = vec![0; 1_024];
        let read = timeout(PATIENCE, receiver.read(&mut bytes))
            .await
            .unwrap()
            .unwrap();
        assert_ne!(read, 0, "{text}");
        text += std::str::from_utf8(&bytes[..read]).unwrap();
    }
}
