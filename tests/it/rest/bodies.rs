//! What is not as it must be, before any handler: media types, sizes, methods, names of requests.

use super::OPEN;
use crate::support::edge::{ask, say};
use crate::support::node::Node;

#[tokio::test]
async fn a_body_that_is_not_as_it_must_be_says_so() {
    let node = Node::start("rest-bodies", &OPEN).await;
    let at = node.address();
    let check = async |media: &str, body: &str, status: u16, code: &str| {
        let media = if media.is_empty() {
            String::new()
        } else {
            format!("Content-Type: {media}\r\n")
        };
        let request = format!(
            "POST /api/v1/auth/login HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n{media}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = say(at, &request).await;
        assert_eq!(answer.status, status, "{media} {body:.40}: {answer:?}");
        assert_eq!(answer.json()["code"], code, "{media} {body:.40}");
        assert_eq!(
            answer.json()["trace_id"],
            answer.header("x-request-id").unwrap()
        );
        answer.json()
    };
    let json = "application/json";
    check(json, "", 400, "bad_request").await;
    check(json, "{\"email\":", 400, "bad_request").await;
    check(json, "[]", 422, "validation_failed").await;
    check("", "{}", 415, "unsupported_media").await;
    check("text/plain", "{}", 415, "unsupported_media").await;
    check(
        "application/x-www-form-urlencoded",
        "email=a",
        415,
        "unsupported_media",
    )
    .await;
    let missing = check(
        json,
        "{\"email\":\"a@example.com\"}",
        422,
        "validation_failed",
    )
    .await;
    assert_eq!(missing["errors"][0]["field"], "password");
    let secret = check(
        json,
        "{\"email\":\"a\",\"password\":[\"hunter2\"]}",
        422,
        "validation_failed",
    )
    .await;
    assert!(!secret.to_string().contains("hunter2"), "{secret}");
    let long = format!("{{\"email\":\"{}\"}}", "a".repeat(70_000));
    check(json, &long, 413, "payload_too_large").await;
    let deep = format!("{{\"email\":{}", "[".repeat(10_000));
    check(json, &deep, 400, "bad_request").await;
    let chunked = format!(
        "POST /api/v1/auth/login HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\nContent-Type: {json}\r\n\
         Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        80_000,
        "a".repeat(80_000)
    );
    assert_eq!(say(at, &chunked).await.status, 413);
    assert!(!node.output().contains("hunter2"));
}

#[tokio::test]
async fn a_request_has_a_name_that_can_be_found_in_the_log() {
    let node = Node::start("rest-names", &OPEN).await;
    let at = node.address();
    let answer = ask(at, "GET /api/v1/me", &["X-Request-Id: my.request-1"]).await;
    assert_eq!(answer.header("x-request-id"), Some("my.request-1"));
    assert_eq!(answer.json()["trace_id"], "my.request-1");
    node.output_with("my.request-1").await;
    let answer = ask(at, "GET /api/v1/me", &["X-Request-Id: a b\"c"]).await;
    let made = answer.header("x-request-id").unwrap().to_owned();
    assert!(made.len() == 16 && !made.contains(' '), "{made}");
    let answer = ask(at, "PATCH /api/v1/me", &[]).await;
    assert_eq!(answer.status, 405);
    let allowed = answer.header("allow").unwrap().to_owned();
    for method in ["GET", "PUT", "DELETE"] {
        assert!(allowed.contains(method), "{allowed}");
    }
    let answer = ask(
        at,
        "GET /api/v1/me/sessions/%00%ff",
        &["Authorization: Bearer x"],
    )
    .await;
    assert_eq!(answer.status, 405);
}

#[tokio::test]
async fn pages_of_listed_origins_hear_what_they_may_read() {
    let mut settings = OPEN.to_vec();
    settings.push(("CORS_ORIGINS", "https://good.example"));
    let node = Node::start("rest-cors", &settings).await;
    let at = node.address();
    let good = "Origin: https://good.example";
    let preflight = ["Access-Control-Request-Method: PATCH", good];
    let answer = ask(at, "OPTIONS /api/v1/auth/login", &preflight).await;
    assert_eq!(answer.status, 204);
    let headers = answer
        .header("access-control-allow-headers")
        .unwrap()
        .to_owned();
    for name in [
        "authorization",
        "content-type",
        "idempotency-key",
        "x-csrf-token",
        "x-request-id",
    ] {
        assert!(headers.contains(name), "{headers}");
    }
    assert!(
        answer
            .header("access-control-allow-methods")
            .unwrap()
            .contains("PATCH")
    );
    let answer = ask(
        at,
        "POST /api/v1/auth/anonymous",
        &[good, "Content-Length: 0"],
    )
    .await;
    assert_eq!(answer.status, 201);
    let exposed = answer
        .header("access-control-expose-headers")
        .unwrap()
        .to_owned();
    for name in [
        "ratelimit",
        "ratelimit-policy",
        "retry-after",
        "x-request-id",
        "location",
    ] {
        assert!(exposed.contains(name), "{exposed}");
    }
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    for evil in [
        "https://evil.example",
        "https://good.example.evil.example",
        "null",
        "http://good.example",
    ] {
        let evil = format!("Origin: {evil}");
        let answer = ask(
            at,
            "POST /api/v1/auth/anonymous",
            &[&evil, "Content-Length: 0"],
        )
        .await;
        assert_eq!(answer.status, 403, "{evil}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
}
