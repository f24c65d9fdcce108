//! How often: by network, by token, by principal; and that no header of a client chooses a bucket.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::timeout;

use super::{Visitor, ask};
use crate::support::api::{Answered, Member, call};
use crate::support::edge::say;
use crate::support::node::Node;

/// Small numbers, so that a test meets them.
const SMALL: [(&str, &str); 7] = [
    ("HTTP_PER_MIN", "40"),
    ("HTTP_AUTH_PER_MIN", "10"),
    ("HTTP_AUTH_PER_NET", "10"),
    ("LOGIN_FAILURES", "0"),
    ("LOGIN_FAILURES_PER_NET", "0"),
    ("LOGIN_PER_NET", "0"),
    ("VISITORS_PER_NETWORK", "0"),
];

async fn refresh(node: &Node, headers: &[(&str, &str)], path: &str) -> Answered {
    let body = json!({"email": "a@example.com", "token": "x", "new": "correct horse battery"});
    call(node.address(), "POST", path, headers, Some(&body)).await
}

/// Each exchange of a refresh token brings another token, which no limit by token sees.
#[tokio::test]
async fn a_network_exchanges_refresh_tokens_a_fifth_of_its_requests_whatever_they_are() {
    // A fifth is 60 in a minute, of which ten at once.
    let node = Node::start("rest-limits", &[("HTTP_PER_NET", "300")]).await;
    let mut refused_after = None;
    for number in 0..40 {
        let body = json!({"refresh_token": format!("sbr1.{number:043}")});
        let path = "/api/v1/auth/refresh";
        let answer = call(node.address(), "POST", path, &[], Some(&body)).await;
        if answer.status == 429 {
            assert_eq!(answer.problem(429), "rate_limited");
            refused_after = Some(number);
            break;
        }
        assert_eq!(answer.status, 401, "{answer:?}");
    }
    // One comes back in a second.
    assert!(matches!(refused_after, Some(10..14)), "{refused_after:?}");
}

const FORGOT: &str = "/api/v1/auth/password/reset";

#[tokio::test]
async fn a_network_may_try_secrets_ten_times_a_minute() {
    let node = Node::start("rest-limits", &SMALL).await;
    let first = refresh(&node, &[], FORGOT).await;
    assert_eq!(first.problem(410), "expired");
    assert_eq!(first.header("ratelimit-policy"), Some("\"auth\";q=10;w=60"));
    assert_eq!(first.header("ratelimit"), Some("\"auth\";r=9;t=6"));
    let mut last = first;
    // The bucket refills while the machine is busy, so a few more than ten may pass.
    for number in 0..40 {
        // A peer that is no trusted proxy says nothing about addresses.
        let spoofed = format!("203.0.113.{number}");
        let forwarded = format!("for={spoofed}");
        let headers = [
            ("X-Forwarded-For", spoofed.as_str()),
            ("X-Real-IP", spoofed.as_str()),
            ("Forwarded", forwarded.as_str()),
        ];
        last = refresh(&node, &headers, FORGOT).await;
        if last.status == 429 {
            assert!((9..25).contains(&number), "refused after {number}");
            break;
        }
    }
    assert_eq!(last.problem(429), "rate_limited");
    assert!(last.body["retry_after_ms"].as_u64().unwrap() <= 6_000);
    let seconds: u64 = last.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=6).contains(&seconds));
    assert!(
        last.header("ratelimit")
            .unwrap()
            .starts_with("\"auth\";r=0;t=")
    );
    // Another user agent, another path of the class, a wrong token: one bucket.
    let agent = refresh(&node, &[("User-Agent", "another")], "/api/v1/auth/login").await;
    assert_eq!(agent.status, 429);
    let stranger = ask(&node, "GET /me", "Bearer nonsense", None).await;
    assert_eq!(stranger.problem(429), "rate_limited");
    // Health is for orchestrators, and is never counted.
    for _ in 0..50 {
        let live = ask(&node, "GET /health/live", "", None).await.expect(200);
        assert_eq!(live.header("ratelimit"), None);
    }
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_rightmost_hop_counts() {
    let mut settings = SMALL.to_vec();
    settings.push(("TRUSTED_PROXIES", "127.0.0.1"));
    let node = Node::start("rest-limits-proxy", &settings).await;
    let mut refused = 0;
    for number in 0..30 {
        let hops = format!("203.0.113.{number}, 198.51.100.7");
        let answer = refresh(&node, &[("X-Forwarded-For", &hops)], FORGOT).await;
        refused += u32::from(answer.status == 429);
    }
    assert!(
        refused >= 5,
        "what a client writes to the left of its hop counts for nothing"
    );
    let answer = refresh(&node, &[("X-Forwarded-For", "198.51.100.8")], FORGOT).await;
    assert_eq!(
        answer.status, 410,
        "another client of the proxy has a bucket of its own"
    );
}

#[tokio::test]
async fn an_office_behind_one_address_does_not_starve() {
    let node = Node::start("rest-limits-office", &SMALL).await;
    for number in 0..20 {
        let visitor = Visitor::new(&node).await;
        let ticket = ask(&node, "POST /auth/ticket", &visitor.proof, None).await;
        assert_eq!(ticket.status, 201, "visitor {number}: {ticket:?}");
        assert!(ticket.header("ratelimit").unwrap().starts_with("\"token\""));
    }
    // One of them alone meets the limit.
    let visitor = Visitor::new(&node).await;
    let mut statuses = Vec::new();
    for _ in 0..25 {
        statuses.push(
            ask(&node, "POST /auth/ticket", &visitor.proof, None)
                .await
                .status,
        );
    }
    assert!(statuses.contains(&429), "{statuses:?}");
}

#[tokio::test]
async fn a_person_has_a_bucket_of_his_own() {
    let node = Node::start("rest-limits-person", &SMALL).await;
    let one = Member::register(node.address(), "one@example.com").await;
    let two = Member::register(node.address(), "two@example.com").await;
    let (one, two) = (
        format!("Bearer {}", one.access),
        format!("Bearer {}", two.access),
    );
    let mut refused = false;
    for _ in 0..80 {
        let answer = ask(&node, "GET /me/permissions", &one, None).await;
        assert_eq!(
            answer.header("ratelimit-policy"),
            Some("\"user\";q=40;w=60")
        );
        refused |= answer.status == 429;
    }
    assert!(refused);
    ask(&node, "GET /me/permissions", &two, None)
        .await
        .expect(200);
}

/// A request whose body never comes; the status of the answer.
async fn withheld(node: &Node, method: &str, path: &str) -> u16 {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{",
        node.address()
    );
    // Far less than the time that a request may take, which is 30 s.
    let answer = timeout(Duration::from_secs(10), say(node.address(), &request));
    let answer = answer
        .await
        .unwrap_or_else(|_| panic!("{method} {path} waits for the body"));
    answer.status
}

#[tokio::test]
async fn beyond_the_limit_of_a_network_no_body_is_awaited() {
    let settings = [("HTTP_PER_MIN", "1"), ("HTTP_PER_NET", "20")];
    let node = Node::start("rest-limits-bodies", &settings).await;
    let document = ask(&node, "GET /openapi.json", "", None).await.expect(200);
    let mut taking = Vec::new();
    for (path, methods) in document.body["paths"].as_object().unwrap() {
        for (method, route) in methods.as_object().unwrap() {
            if route.get("requestBody").is_some() {
                let path = path.replace(['{', '}'], "");
                taking.push((method.to_uppercase(), path));
            }
        }
    }
    assert!(taking.len() > 10, "{taking:?}");
    let mut left = 1_000;
    loop {
        let answer = ask(&node, "GET /auth/jwks", "", None).await;
        let limit = answer.header("ratelimit").unwrap_or_default();
        if limit.starts_with("\"network\";r=0;") {
            break;
        }
        left -= 1;
        assert!(left > 0, "the bucket of the network is never empty");
    }
    // All at once: an answer takes as long as a withheld body is waited for, and the bucket fills up meanwhile.
    let answers = taking.into_iter().map(async |(method, path)| {
        let status = withheld(&node, &method, &path).await;
        assert_eq!(status, 429, "{method} {path}");
    });
    join_all(answers).await;
}
