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

/// What one request takes of a node, together with its answer.
async fn request(
    node: &Node,
    name: &str,
    head: &str,
    body: &str,
    bound_ms: f64,
) -> Result<(), String> {
    let at = node.address();
    let length = match body {
        "" => String::new(),
        body => format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        ),
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
    hold(name, least, bound_ms)
}

/// A JSON object with one field of this text, as large as a body may be.
fn object(head: &str, item: &str, tail: &str) -> String {
    let room = BODY - head.len() - tail.len();
    format!("{head}{}{tail}", item.repeat(room / item.len()))
}

#[tokio::test]
async fn the_dearest_bodies_of_rest_cost_little() {
    let node = Node::start("costs-bodies", &OPEN).await;
    let node = &node;
    let reset = "POST /api/v1/auth/password/reset HTTP/1.1";
    let fields: String = (0..7_000).map(|n| format!("\"{n}\":0,")).collect();
    let key = "Idempotency-Key: k";
    all_hold([
        request(
            node,
            "REST: the least",
            "GET /api/v1/auth/jwks HTTP/1.1",
            "",
            0.5,
        )
        .await,
        request(
            node,
            "REST: JSON of empty arrays",
            reset,
            &object("{\"x\":[", "[],", "0]}"),
            3.5,
        )
        .await,
        request(
            node,
            "REST: JSON of empty objects",
            reset,
            &object("{\"x\":[", "{},", "0]}"),
            3.5,
        )
        .await,
        request(
            node,
            "REST: JSON of digits",
            reset,
            &object("{\"x\":", "9", "}"),
            0.5,
        )
        .await,
        request(
            node,
            "REST: JSON of numbers",
            reset,
            &object("{\"x\":[", "1e9,", "0]}"),
            2.0,
        )
        .await,
        request(
            node,
            "REST: JSON of escapes",
            reset,
            &object("{\"x\":\"", "\\u0001", "\"}"),
            0.6,
        )
        .await,
        request(
            node,
            "REST: JSON of fields",
            reset,
            &format!("{{{fields}\"x\":0}}"),
            6.0,
        )
        .await,
        request(
            node,
            "REST: JSON as deep as may be",
            reset,
            &object("{\"x\":", "[", ""),
            0.5,
        )
        .await,
        request(
            node,
            "REST: JSON with an Idempotency-Key",
            &format!("{reset}\r\n{key}"),
            &object("{\"x\":[", "[],", "0]}"),
            0.6,
        )
        .await,
    ]);
}

#[tokio::test]
async fn the_dearest_heads_of_http_cost_little() {
    let mut settings = OPEN.to_vec();
    settings.push(("TRUSTED_PROXIES", "127.0.0.1,10.0.0.0/8"));
    let node = Node::start("costs-heads", &settings).await;
    let node = &node;
    let visitor = Visitor::new(node).await;
    let of = |line: &str| format!("GET /api/v1/me HTTP/1.1\r\n{line}");
    let many = |item: &str| item.repeat(HEAD / item.len());
    // As long as a genuine one, so that its MAC is computed.
    let cookie = format!("sb_vid=sbv1.{}.{};", "A".repeat(43), "A".repeat(22));
    let lines: String = (0..58)
        .map(|n| format!("x-{n}: {}\r\n", "v".repeat(200)))
        .collect();
    let token = format!(
        "{}.{}.{}",
        "eyJhbGciOiJIUzI1NiIsImtpZCI6IngifQ",
        "A".repeat(7_000),
        "A".repeat(43)
    );
    let member = Member::register(node.address(), "costs@example.com").await;
    let (signed, signature) = member.access.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", signature.chars().rev().collect::<String>());
    all_hold([
        request(
            node,
            "head: a token with a wrong signature",
            &of(&format!("Authorization: Bearer {forged}")),
            "",
            0.5,
        )
        .await,
        request(
            node,
            "head: cookies",
            &of(&format!("Cookie: {}", many(&cookie))),
            "",
            0.6,
        )
        .await,
        request(
            node,
            "head: cookies of one letter",
            &of(&format!("Cookie: {}", many("a=;"))),
            "",
            0.6,
        )
        .await,
        request(
            node,
            "head: X-Forwarded-For",
            &of(&format!("X-Forwarded-For: {}", many(",10.0.0.1"))),
            "",
            0.6,
        )
        .await,
        request(node, "head: 60 lines", &of(lines.trim_end()), "", 0.5).await,
        request(
            node,
            "head: a token of 7 KiB",
            &of(&format!("Authorization: Bearer {token}")),
            "",
            0.5,
        )
        .await,
        request(
            node,
            "head: Accept-Language",
            &format!(
                "POST /api/v1/auth/anonymous HTTP/1.1\r\nContent-Length: 0\r\nAccept-Language: {}",
                many("ko;q=0.1,")
            ),
            "",
            2.0,
        )
        .await,
        request(
            node,
            "head: a query",
            &format!(
                "GET /api/v1/me/permissions?{} HTTP/1.1\r\nAuthorization: {}",
                many("limit=1&"),
                visitor.proof
            ),
            "",
            2.0,
        )
        .await,
        request(
            node,
            "head: a query of escapes",
            &format!(
                "GET /api/v1/me/sessions?cursor={} HTTP/1.1\r\nAuthorization: {}",
                many("%41"),
                visitor.proof
            ),
            "",
            0.5,
        )
        .await,
        request(
            node,
            "a link with its QR code",
            &format!(
                "POST /api/v1/auth/link HTTP/1.1\r\nContent-Length: 0\r\nAuthorization: {}",
                visitor.proof
            ),
            "",
            5.2,
        )
        .await,
    ]);
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
