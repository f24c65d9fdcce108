//! HTTP at the edge: health, problems, security headers, visitors by REST, requests that never end.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::support::bystanders::metric_becomes;
use crate::support::edge::{PATIENCE, ask, say};
use crate::support::node::Node;

#[tokio::test]
async fn health_says_what_is_up_in_the_shape_that_is_documented() {
    let node = Node::start("health", &[]).await;
    let at = node.address();
    let live = ask(at, "GET /api/v1/health/live", &[]).await;
    assert_eq!((live.status, &live.json()["status"]), (200, &"ok".into()));
    assert!(live.json()["timestamp"].as_str().unwrap().ends_with('Z'));
    for path in ["/health", "/api/v1/health/ready"] {
        let ready = ask(at, &format!("GET {path}"), &[]).await;
        assert_eq!(ready.status, 200);
        assert_eq!(ready.json()["status"], "ok");
        assert_eq!(ready.json()["info"]["database"]["status"], "up");
        assert_eq!(ready.json()["info"]["redis"]["status"], "not_used");
        assert_eq!(ready.json()["info"]["rabbitmq"]["status"], "not_used");
    }
}

#[tokio::test]
async fn every_answer_is_guarded_and_every_error_is_a_problem() {
    let node = Node::start("problems", &[]).await;
    let at = node.address();
    let check = async |line: &str, headers: &[&str], status: u16, code: Option<&str>| {
        let answer = ask(at, line, headers).await;
        assert_eq!(answer.status, status, "{line}: {answer:?}");
        assert_eq!(
            answer.header("x-content-type-options"),
            Some("nosniff"),
            "{line}"
        );
        assert_eq!(answer.header("x-frame-options"), Some("DENY"), "{line}");
        assert_eq!(
            answer.header("referrer-policy"),
            Some("no-referrer"),
            "{line}"
        );
        let policy = answer.header("content-security-policy").unwrap();
        assert!(
            policy.contains("default-src 'none'") && !policy.contains("unsafe"),
            "{line}"
        );
        if let Some(code) = code {
            assert_eq!(
                answer.header("content-type"),
                Some("application/problem+json"),
                "{line}"
            );
            assert_eq!(answer.json()["code"], code, "{line}");
            assert_eq!(answer.json()["status"], status, "{line}");
        }
    };
    check("GET /", &[], 200, None).await;
    check("GET /metrics", &[], 200, None).await;
    check("GET /ws-chat", &[], 200, None).await;
    check("POST /ws-chat", &["Content-Length: 0"], 405, None).await;
    check("GET /nothing", &[], 404, Some("not_found")).await;
    check("GET /assets/../Cargo.toml", &[], 404, Some("not_found")).await;
    check("GET /ws-chat/nothing", &[], 404, None).await;
    check("DELETE /health", &[], 405, Some("bad_request")).await;
    check("GET /api/v1/me/export", &[], 401, Some("unauthorized")).await;
    let wrong = "Authorization: Visitor sbv1.nonsense";
    check("GET /api/v1/me/export", &[wrong], 401, Some("unauthorized")).await;
    let foreign = "Origin: https://evil.example";
    check(
        "POST /api/v1/auth/anonymous",
        &[foreign],
        403,
        Some("forbidden"),
    )
    .await;
    let broken = ["Upgrade: websocket", "Sec-WebSocket-Version: 13"];
    check("GET /ws-chat", &broken, 400, Some("bad_request")).await;
}

#[tokio::test]
async fn a_visitor_gets_a_secret_his_own_copy_and_is_forgotten() {
    let node = Node::start("visitor", &[]).await;
    let at = node.address();
    let made = ask(at, "POST /api/v1/auth/anonymous", &["Accept-Language: ko"]).await;
    assert_eq!(made.status, 201);
    let made = made.json();
    assert_eq!(
        (&made["kind"], &made["proof"]),
        (&"anonymous".into(), &"new".into())
    );
    assert!(made["name"].as_str().unwrap().starts_with("손님 "));
    let token = format!(
        "Authorization: Visitor {}",
        made["visitor_token"].as_str().unwrap()
    );
    let ticket = ask(at, "POST /api/v1/auth/ticket", &[&token]).await;
    assert_eq!(
        (ticket.status, &ticket.json()["expires_in"]),
        (201, &30.into())
    );
    assert_eq!(ask(at, "POST /api/v1/auth/ticket", &[]).await.status, 401);
    let copy = ask(at, "GET /api/v1/me/export", &[&token]).await;
    assert_eq!(copy.status, 200);
    assert_eq!(copy.json()["user_id"], made["user_id"]);
    assert_eq!(copy.json()["items"], serde_json::json!([]));
    assert_eq!(ask(at, "DELETE /api/v1/me", &[&token]).await.status, 204);
    assert_eq!(
        ask(at, "GET /api/v1/me/export", &[&token]).await.status,
        401
    );
}

#[tokio::test]
async fn pages_of_listed_origins_may_use_rest() {
    let node = Node::start("cors", &[("CORS_ORIGINS", "https://good.example")]).await;
    let at = node.address();
    let origin = "Origin: https://good.example";
    let preflight = ["Access-Control-Request-Method: DELETE", origin];
    let answer = ask(at, "OPTIONS /api/v1/me", &preflight).await;
    assert_eq!(answer.status, 204);
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some("https://good.example")
    );
    assert!(
        answer
            .header("access-control-allow-methods")
            .unwrap()
            .contains("DELETE")
    );
    let answer = ask(at, "POST /api/v1/auth/anonymous", &[origin]).await;
    assert_eq!(answer.status, 201);
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some("https://good.example")
    );
    let foreign = [
        "Access-Control-Request-Method: DELETE",
        "Origin: https://evil.example",
    ];
    assert_eq!(ask(at, "OPTIONS /api/v1/me", &foreign).await.status, 403);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_answered_431() {
    let node = Node::start("head", &[]).await;
    let at = node.address();
    let many: String = (0..65).map(|n| format!("X-{n}: y\r\n")).collect();
    let request = format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n");
    assert_eq!(say(at, &request).await.status, 431);
    let long = "y".repeat(20_000);
    let request = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n");
    assert_eq!(say(at, &request).await.status, 431);
}

#[tokio::test]
async fn a_request_that_never_ends_is_closed_and_disturbs_nobody() {
    let node = Node::start("slow", &[]).await;
    let mut slow = TcpStream::connect(node.address()).await.unwrap();
    let mut silent = TcpStream::connect(node.address()).await.unwrap();
    slow.write_all(b"GET /ws-chat HTTP/1.1\r\nHost: x\r\nUpgrade: web")
        .await
        .unwrap();
    let began = Instant::now();
    assert_eq!(ask(node.address(), "GET /health", &[]).await.status, 200);
    for stream in [&mut slow, &mut silent] {
        let mut rest = Vec::new();
        let closed = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        let _ = closed.expect("it is never closed");
    }
    let took = began.elapsed();
    assert!(
        took > Duration::from_secs(5) && took < Duration::from_secs(25),
        "{took:?}"
    );
}

#[tokio::test]
async fn metrics_have_the_documented_names_and_nothing_that_a_client_writes() {
    let node = Node::start("metrics", &[]).await;
    let at = node.address();
    let (mut client, _) = crate::support::edge::Client::connect(at).await;
    client
        .send("SEND\ndestination:/app/secret-name\nreceipt:1\n\nx\0")
        .await;
    let all = client.receive_all().await;
    assert!(all[0].starts_with("ERROR\n"), "{all:?}");
    for (name, expected) in [
        ("stomp_frames_total{dir=\"in\",command=\"CONNECT\"}", 1.0),
        ("stomp_frames_total{dir=\"out\",command=\"CONNECTED\"}", 1.0),
        ("stomp_errors_total{code=\"unknown_destination\"}", 1.0),
        ("ws_close_total{code=\"1008\"}", 1.0),
        (
            "chat_connections_active{transport=\"websocket\",kind=\"anonymous\"}",
            0.0,
        ),
    ] {
        metric_becomes(&node, name, expected).await;
    }
    let text = ask(at, "GET /metrics", &[]).await.body;
    // It is there, and not only 0 because it is missing.
    assert!(text.contains("chat_connections_active{transport=\"websocket\",kind=\"anonymous\"} 0"));
    assert!(!text.contains("secret-name"));
}
