//! Whole requests and frames, on a node: what its threads use for each.

use std::time::Duration;

use serde_json::json;

use super::{all_hold, hold};
use crate::rest::{OPEN, Visitor};
use crate::support::api::Member;
use crate::support::client::{Client, Received};
use crate::support::cpu;
use crate::support::edge::say;
use crate::support::node::Node;

/// How often each is sent in a round, and how many rounds there are.
const TIMES: u32 = 10;
const ROUNDS: usize = 3;

/// The largest body of REST, and a little less than the largest head of HTTP.
const BODY: usize = 64 << 10;
const HEAD: usize = 15 << 10;

/// A request: what it is, the head without Host and length, the body, and the bound in milliseconds.
type Case = (&'static str, String, String, f64);

/// What each request takes of a node, together with its answer.
async fn requests(node: &Node, cases: Vec<Case>) {
    let at = node.address();
    let mut results = Vec::new();
    for (name, head, body, bound_ms) in cases {
        let length = match body.len() {
            0 => String::new(),
            length => format!("Content-Type: application/json\r\nContent-Length: {length}\r\n"),
        };
        let text = format!("{head}\r\nHost: {at}\r\nConnection: close\r\n{length}\r\n{body}");
        let mut least = Duration::MAX;
        for _ in 0..ROUNDS {
            let before = cpu::of_node(node);
            for _ in 0..TIMES {
                let answer = say(at, &text).await;
                assert!((200..500).contains(&answer.status), "{name}: {answer:?}");
            }
            least = least.min((cpu::of_node(node) - before) / TIMES);
        }
        results.push(hold(name, least, bound_ms));
    }
    all_hold(results);
}

/// A JSON object with one field of this text, as large as a body may be.
fn object(head: &str, item: &str, tail: &str) -> String {
    let room = BODY - head.len() - tail.len();
    format!("{head}{}{tail}", item.repeat(room / item.len()))
}

/// The same text again and again, as long as a head may be.
fn many(item: &str) -> String {
    item.repeat(HEAD / item.len())
}

#[tokio::test]
async fn the_dearest_bodies_of_rest_cost_little() {
    let node = Node::start("costs-bodies", &OPEN).await;
    let fields: String = (0..7_000).map(|n| format!("\"{n}\":0,")).collect();
    let reset = |name, body, bound_ms| {
        let head = "POST /api/v1/auth/password/reset HTTP/1.1";
        (name, head.to_owned(), body, bound_ms)
    };
    let least = "GET /api/v1/auth/jwks HTTP/1.1".to_owned();
    let with_key = "POST /api/v1/auth/password/reset HTTP/1.1\r\nIdempotency-Key: k".to_owned();
    let arrays = object("{\"x\":[", "[],", "0]}");
    let cases = vec![
        ("REST: the least", least, String::new(), 0.5),
        reset("REST: JSON of empty arrays", arrays.clone(), 3.5),
        reset(
            "REST: JSON of empty objects",
            object("{\"x\":[", "{},", "0]}"),
            3.5,
        ),
        reset("REST: JSON of digits", object("{\"x\":", "9", "}"), 0.5),
        reset(
            "REST: JSON of numbers",
            object("{\"x\":[", "1e9,", "0]}"),
            2.0,
        ),
        reset(
            "REST: JSON of escapes",
            object("{\"x\":\"", "\\u0001", "\"}"),
            0.6,
        ),
        reset("REST: JSON of fields", format!("{{{fields}\"x\":0}}"), 6.0),
        reset(
            "REST: JSON as deep as may be",
            object("{\"x\":", "[", ""),
            0.5,
        ),
        ("REST: JSON with an Idempotency-Key", with_key, arrays, 3.5),
    ];
    requests(&node, cases).await;
}

#[tokio::test]
async fn the_dearest_heads_of_http_cost_little() {
    let mut settings = OPEN.to_vec();
    settings.push(("TRUSTED_PROXIES", "127.0.0.1,10.0.0.0/8"));
    let node = Node::start("costs-heads", &settings).await;
    // As long as a genuine one, so that its MAC is computed.
    let cookie = format!("sb_vid=sbv1.{}.{};", "A".repeat(43), "A".repeat(22));
    let lines: String = (0..58)
        .map(|n| format!("\r\nx-{n}: {}", "v".repeat(200)))
        .collect();
    let long = format!(
        "eyJhbGciOiJIUzI1NiIsImtpZCI6IngifQ.{}.{}",
        "A".repeat(7_000),
        "A".repeat(43)
    );
    let member = Member::register(node.address(), "costs@example.com").await;
    let (signed, signature) = member.access.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", signature.chars().rev().collect::<String>());
    let me = |name, lines: String, bound_ms| {
        let head = format!("GET /api/v1/me HTTP/1.1\r\n{lines}");
        (name, head, String::new(), bound_ms)
    };
    let cases = vec![
        me(
            "head: a token with a wrong signature",
            format!("Authorization: Bearer {forged}"),
            0.5,
        ),
        me(
            "head: a token of 7 KiB",
            format!("Authorization: Bearer {long}"),
            0.5,
        ),
        me("head: cookies", format!("Cookie: {}", many(&cookie)), 0.6),
        me(
            "head: cookies of one letter",
            format!("Cookie: {}", many("a=;")),
            0.6,
        ),
        me(
            "head: X-Forwarded-For",
            format!("X-Forwarded-For: {}", many(",10.0.0.1")),
            0.6,
        ),
        me("head: 60 lines", format!("X-First: x{lines}"), 0.5),
    ];
    requests(&node, cases).await;
}

#[tokio::test]
async fn the_dearest_requests_of_a_visitor_cost_little() {
    let node = Node::start("costs-visitor", &OPEN).await;
    let proof = Visitor::new(&node).await.proof;
    let own = |name, line: String, bound_ms| {
        let head = format!("{line} HTTP/1.1\r\nAuthorization: {proof}");
        (name, head, String::new(), bound_ms)
    };
    let link = "POST /api/v1/auth/link HTTP/1.1\r\nContent-Length: 0";
    let link = format!("{link}\r\nAuthorization: {proof}");
    let language = "POST /api/v1/auth/anonymous HTTP/1.1\r\nContent-Length: 0";
    let language = format!("{language}\r\nAccept-Language: {}", many("ko;q=0.1,"));
    let limits = format!("GET /api/v1/me/permissions?{}", many("limit=1&"));
    let cursor = format!("GET /api/v1/me/sessions?cursor={}", many("%41"));
    let cases = vec![
        own("head: a query", limits, 2.0),
        own("head: a query of escapes", cursor, 0.5),
        ("head: Accept-Language", language, String::new(), 2.0),
        ("a link with its QR code", link, String::new(), 5.2),
    ];
    requests(&node, cases).await;
}

#[tokio::test]
async fn the_dearest_frames_of_stomp_cost_little() {
    let settings = [
        ("RATE_ANON_PER_MIN", "0"),
        ("RATE_BURST", "0"),
        ("RATE_NET_PER_MIN", "0"),
    ];
    let node = Node::start("costs-frames", &settings).await;
    let mut client = Client::connect(node.address()).await;
    client.subscribe("/user/queue/errors").await;
    let mut results = Vec::new();
    let to = client.user().to_owned();
    let room = BODY - 200;
    let message = |text: &str| json!({"to": to, "message": text}).to_string();
    for (name, destination, body, bound_ms) in [
        (
            "SEND: marks to normalise",
            "/app/chat.send",
            message(&"\u{301}\u{316}".repeat(room / 4)),
            2.5,
        ),
        (
            "SEND: letters to compose",
            "/app/chat.send",
            message(&"e\u{301}".repeat(room / 3)),
            3.0,
        ),
        (
            "SEND: JSON of empty arrays",
            "/app/chat.send",
            object("{\"x\":[", "[],", "0]}"),
            0.8,
        ),
        (
            "SEND: JSON as deep as may be",
            "/app/chat.send",
            object("{\"x\":", "[", ""),
            1.6,
        ),
        (
            "SEND: JSON of an upgrade",
            "/app/auth.upgrade",
            object("{\"x\":[", "{},", "0]}"),
            0.5,
        ),
        (
            "SEND: a token of 64 KiB",
            "/app/auth.refresh",
            object("{\"access_token\":\"", "A", "\"}"),
            0.5,
        ),
    ] {
        let frame = format!("SEND\ndestination:{destination}\nreceipt:r\n\n{body}\0");
        let mut least = Duration::MAX;
        for _ in 0..ROUNDS {
            let before = cpu::of_node(&node);
            for _ in 0..TIMES {
                client.send(&frame).await;
                match client.next().await {
                    Received::Frame(frame) => {
                        assert_eq!(frame.command, "MESSAGE", "{name}: {frame:?}")
                    }
                    end @ (Received::Closed(..) | Received::Gone) => panic!("{name}: {end:?}"),
                }
            }
            least = least.min((cpu::of_node(&node) - before) / TIMES);
        }
        results.push(hold(name, least, bound_ms));
    }
    all_hold(results);
}
