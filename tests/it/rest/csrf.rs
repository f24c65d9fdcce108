//! The visitor's cookie on REST: it counts for a page of an allowed origin that sends the token twice,
//! and for nobody else.

use serde_json::json;

use super::{OPEN, Visitor, ask as asked};
use crate::support::api::{PASSWORD, call};
use crate::support::edge::{Answer, ask};
use crate::support::node::Node;

/// A page's browser: the cookies of a visitor who was carried into it, and the token.
struct Browser {
    visitor: Visitor,
    cookie: String,
    token: String,
}

impl Browser {
    async fn new(node: &Node) -> Self {
        let origin = format!("http://{}", node.address());
        let visitor = Visitor::new(node).await;
        let link = asked(node, "POST /auth/link", &visitor.proof, None)
            .await
            .expect(201);
        let body = json!({"link_token": link.text("link_token")});
        let headers = [("Origin", origin.as_str())];
        let path = "/api/v1/auth/link/redeem";
        let opened = call(node.address(), "POST", path, &headers, Some(&body))
            .await
            .expect(200);
        let set = opened.header("set-cookie").unwrap();
        assert!(set.contains("HttpOnly"), "{set}");
        let vid = set.split(';').next().unwrap().to_owned();
        let csrf = ask(node.address(), "GET /api/v1/auth/csrf", &[]).await;
        let set = csrf.header("set-cookie").unwrap();
        assert!(
            set.contains("SameSite=Strict") && !set.contains("HttpOnly"),
            "{set}"
        );
        let token = csrf.json()["csrf_token"].as_str().unwrap().to_owned();
        assert!(set.starts_with(&format!("sb_csrf={token};")), "{set}");
        Self {
            visitor,
            cookie: format!("Cookie: {vid}; sb_csrf={token}"),
            token: format!("X-CSRF-Token: {token}"),
        }
    }
}

async fn link(node: &Node, headers: &[&str]) -> Answer {
    let mut all = vec!["Content-Length: 0"];
    all.extend(headers);
    ask(node.address(), "POST /api/v1/auth/link", &all).await
}

#[tokio::test]
async fn a_cookie_counts_with_an_allowed_origin_and_the_token() {
    let mut settings = OPEN.to_vec();
    settings.push(("CORS_ORIGINS", "https://good.example"));
    let node = Node::start("rest-csrf", &settings).await;
    let browser = Browser::new(&node).await;
    let (cookie, token) = (browser.cookie.as_str(), browser.token.as_str());
    let own = format!("Origin: http://{}", node.address());
    let (listed, evil) = (
        "Origin: https://good.example",
        "Origin: https://evil.example",
    );
    let wrong = "X-CSRF-Token: 00000000000000000000000000000000";
    let only_vid = cookie.split("; sb_csrf").next().unwrap();
    let empty = format!("{only_vid}; sb_csrf=");
    let check = async |headers: &[&str], status: u16| {
        let answer = link(&node, headers).await;
        assert_eq!(answer.status, status, "{headers:?}: {answer:?}");
    };
    check(&[cookie, &own, token], 201).await;
    check(&[cookie, listed, token], 201).await;
    check(&[cookie, &own], 403).await;
    check(&[cookie, &own, wrong], 403).await;
    check(&[cookie, &own, "X-CSRF-Token:"], 403).await;
    check(&[&empty, &own, "X-CSRF-Token:"], 403).await;
    check(&[only_vid, &own, token], 403).await;
    check(&[cookie, token], 403).await;
    check(&[cookie, evil, token], 403).await;
    check(&[cookie, "Origin: null", token], 403).await;
    check(&[token, &own], 401).await;
    // What is presented in the header wins, and a wrong one is not made good by the cookie.
    check(
        &[cookie, &own, token, "Authorization: Visitor sbv1.nonsense"],
        401,
    )
    .await;
    check(&[cookie, &own, token, "Authorization: Basic YTpi"], 401).await;

    let read = async |headers: &[&str]| ask(node.address(), "GET /api/v1/me", headers).await;
    let me = read(&[cookie, token, "Sec-Fetch-Site: same-origin"]).await;
    assert_eq!(
        (me.status, &me.json()["user_id"]),
        (200, &json!(browser.visitor.user_id))
    );
    assert_eq!(
        read(&[cookie, token, "Sec-Fetch-Site: cross-site"])
            .await
            .status,
        403
    );
    assert_eq!(
        read(&[cookie, "Sec-Fetch-Site: same-origin"]).await.status,
        403
    );
}

#[tokio::test]
async fn a_read_without_origin_and_fetch_metadata_is_proven_by_the_token() {
    // A browser on plain HTTP under a name that is not localhost sends neither on a GET.
    for (csrf, origin) in [("true", "true"), ("false", "true"), ("true", "false")] {
        let mut settings = OPEN.to_vec();
        settings.extend([("CSRF_ENABLED", csrf), ("ALLOW_NO_ORIGIN", origin)]);
        let node = Node::start("rest-csrf-plain", &settings).await;
        let browser = Browser::new(&node).await;
        let (cookie, token) = (browser.cookie.as_str(), browser.token.as_str());
        let evil = "Origin: http://evil.example";
        let read = async |route: &str, headers: &[&str], status: u16| {
            let answer = ask(node.address(), route, headers).await;
            assert_eq!(
                answer.status, status,
                "{csrf} {route} {headers:?}: {answer:?}"
            );
        };
        for path in ["me", "me/export", "me/permissions"] {
            let route = format!("GET /api/v1/{path}");
            read(&route, &[cookie, token], 200).await;
            read(&route, &[cookie], 403).await;
            read(&route, &[cookie, "X-CSRF-Token:"], 403).await;
            read(&route, &[cookie, token, evil], 403).await;
            read(&route, &[cookie, token, "Origin: null"], 403).await;
            for site in ["cross-site", "same-site", "none"] {
                let site = format!("Sec-Fetch-Site: {site}");
                read(&route, &[cookie, token, &site], 403).await;
            }
        }
        if csrf == "true" {
            let wrong = "X-CSRF-Token: 00000000000000000000000000000000";
            read("GET /api/v1/me", &[cookie, wrong], 403).await;
        }
        // Browsers send `Origin` with every request that changes something.
        assert_eq!(link(&node, &[cookie, token]).await.status, 403);
        // A page of another origin would have to ask first whether it may send the header.
        let asks = [
            evil,
            "Access-Control-Request-Method: GET",
            "Access-Control-Request-Headers: x-csrf-token",
        ];
        let preflight = ask(node.address(), "OPTIONS /api/v1/me/export", &asks).await;
        assert_eq!(preflight.status, 403);
        for allows in [
            "access-control-allow-origin",
            "access-control-allow-headers",
        ] {
            assert_eq!(preflight.header(allows), None, "{preflight:?}");
        }
    }
}

#[tokio::test]
async fn an_upgrade_by_the_cookie_takes_the_cookie_back() {
    let node = Node::start("rest-csrf-upgrade", &OPEN).await;
    let browser = Browser::new(&node).await;
    let origin = format!("http://{}", node.address());
    let cookie = browser.cookie.strip_prefix("Cookie: ").unwrap();
    let token = browser.token.strip_prefix("X-CSRF-Token: ").unwrap();
    let headers = [
        ("Origin", origin.as_str()),
        ("Cookie", cookie),
        ("X-CSRF-Token", token),
    ];
    let body = json!({"email": "kim@example.com", "password": PASSWORD});
    let path = "/api/v1/auth/upgrade";
    let forged = call(node.address(), "POST", path, &headers[..2], Some(&body)).await;
    assert_eq!(forged.problem(403), "forbidden");
    let done = call(node.address(), "POST", path, &headers, Some(&body))
        .await
        .expect(200);
    assert_eq!(done.body["user_id"], browser.visitor.user_id.as_str());
    assert!(
        done.header("set-cookie")
            .unwrap()
            .starts_with("sb_vid=; Path=/; Max-Age=0")
    );
    // Another pane's secret ends without touching the cookie of the browser.
    let other = Visitor::new(&node).await;
    let body = json!({"email": "lee@example.com", "password": PASSWORD});
    let done = asked(&node, "POST /auth/upgrade", &other.proof, Some(&body))
        .await
        .expect(200);
    assert_eq!(done.header("set-cookie"), None);
}

#[tokio::test]
async fn the_token_can_be_switched_off_and_the_origin_cannot() {
    let mut settings = OPEN.to_vec();
    settings.push(("CSRF_ENABLED", "false"));
    let node = Node::start("rest-csrf-off", &settings).await;
    let browser = Browser::new(&node).await;
    let own = format!("Origin: http://{}", node.address());
    assert_eq!(link(&node, &[&browser.cookie, &own]).await.status, 201);
    assert_eq!(link(&node, &[&browser.cookie]).await.status, 403);
    assert_eq!(
        link(&node, &[&browser.cookie, "Origin: https://evil.example"])
            .await
            .status,
        403
    );
}

#[tokio::test]
async fn https_behind_an_untrusted_proxy_names_trusted_proxies() {
    let node = Node::start("rest-proto", &OPEN).await;
    let own = format!("Origin: https://{}", node.address());
    let by_tls = "X-Forwarded-Proto: https";
    let refused = async |headers: &[&str]| {
        let answer = link(&node, headers).await;
        assert_eq!(answer.status, 403, "{answer:?}");
        answer.json()["detail"].as_str().unwrap().to_owned()
    };
    assert!(refused(&[&own, by_tls]).await.contains("TRUSTED_PROXIES"));
    assert!(refused(&[&own]).await.contains("CORS_ORIGINS"));
    let foreign = "Origin: https://evil.example";
    assert!(refused(&[foreign, by_tls]).await.contains("CORS_ORIGINS"));
    // The handshake of a WebSocket, which is what the page tries first.
    let upgrade = [
        own.as_str(),
        by_tls,
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    let answer = ask(node.address(), "GET /ws-chat", &upgrade).await;
    assert_eq!(answer.status, 403, "{answer:?}");
    assert!(answer.body.contains("TRUSTED_PROXIES"), "{answer:?}");
    // And SockJS, which it tries next.
    let headers = [own.as_str(), by_tls, "Content-Length: 0"];
    let answer = ask(node.address(), "POST /ws-chat/000/abc/xhr", &headers).await;
    assert_eq!(answer.status, 403, "{answer:?}");
    assert!(answer.body.contains("TRUSTED_PROXIES"), "{answer:?}");
    // Once the proxy is trusted, the page is this server's own.
    let mut settings = OPEN.to_vec();
    settings.push(("TRUSTED_PROXIES", "127.0.0.1"));
    let node = Node::start("rest-proto-trusted", &settings).await;
    let own = format!("Origin: https://{}", node.address());
    assert_eq!(link(&node, &[&own, by_tls]).await.status, 401);
}
