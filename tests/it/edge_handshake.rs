//! The opening handshake of a WebSocket: which pages may open one, cookies, subprotocols.
//!
//! Not here: what is said over it and how it closes (`edge_websocket`).

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use stompbox::identity::{FingerprintKey, VisitorCookies};
use stompbox::model::UnixMillis;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;

use crate::support::edge::{Client, ask, upgrade, upgrade_at};
use crate::support::node::Node;

#[tokio::test]
async fn only_allowed_origins_get_a_websocket_and_only_they_a_cookie() {
    let node = Node::start("origin", &[("CORS_ORIGINS", "https://good.com")]).await;
    let at = node.address();
    let own = format!("Origin: http://{at}");
    let check = async |origin: Option<&str>, status: u16, has_cookie: bool| {
        let lines: Vec<_> = origin.into_iter().collect();
        let (_, answer) = upgrade(at, &lines).await;
        assert_eq!(answer.status, status, "{origin:?}");
        let cookie = answer.header("set-cookie").unwrap_or_default();
        assert_eq!(
            cookie.starts_with("sb_vid="),
            has_cookie,
            "{origin:?}: {cookie}"
        );
        assert!(cookie.is_empty() || cookie.contains("HttpOnly"), "{cookie}");
    };
    check(Some(&own), 101, true).await;
    check(Some("Origin: https://good.com"), 101, true).await;
    check(None, 101, false).await;
    for foreign in [
        "Origin: https://evil.com",
        "Origin: https://good.com.evil.com",
        "Origin: https://evilgood.com",
        "Origin: http://good.com",
        "Origin: https://GOOD.com",
        "Origin: https://good.com.",
        "Origin: null",
        "Origin:",
        "Origin: https://good.com\r\nOrigin: https://good.com",
    ] {
        check(Some(foreign), 403, false).await;
    }
}

#[tokio::test]
async fn without_an_origin_nobody_comes_in_where_that_is_forbidden() {
    let node = Node::start("origin", &[("ALLOW_NO_ORIGIN", "false")]).await;
    let (_, answer) = upgrade(node.address(), &[]).await;
    assert_eq!(answer.status, 403);
    let own = format!("Origin: http://{}", node.address());
    assert_eq!(upgrade(node.address(), &[&own]).await.1.status, 101);
}

#[tokio::test]
async fn a_genuine_cookie_is_given_again_and_an_invented_one_replaced() {
    let node = Node::start("cookie", &[]).await;
    let at = node.address();
    let own = format!("Origin: http://{at}");
    let cookie = async |sent: Option<&str>| {
        let line = sent.map(|value| format!("Cookie: other=1; {value}"));
        let lines: Vec<_> = [Some(own.as_str()), line.as_deref()]
            .into_iter()
            .flatten()
            .collect();
        let (_, answer) = upgrade(at, &lines).await;
        let set = answer.header("set-cookie").unwrap().to_owned();
        set.split(';').next().unwrap().to_owned()
    };
    let first = cookie(None).await;
    assert_ne!(first, cookie(None).await);
    assert_eq!(first, cookie(Some(&first)).await);
    assert_ne!(
        "sb_vid=sbv1.invented",
        cookie(Some("sb_vid=sbv1.invented")).await
    );
}

#[tokio::test]
async fn a_cookie_that_stands_for_nobody_any_more_is_replaced() {
    const KEY: &str = "a key of the cluster, of 32 bytes";
    let node = Node::start("old-cookie", &[("FP_KEY", KEY)]).await;
    let at = node.address();
    let own = format!("Origin: http://{at}");
    // As the node gave it so long ago.
    let given = |age: Duration| {
        let key = FingerprintKey::from_bytes(KEY.as_bytes());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let then = u64::try_from((now - age).as_millis()).unwrap();
        let life = Duration::from_secs(3_600);
        let cookies = VisitorCookies::new(key, life, Arc::new(move || UnixMillis(then)));
        format!("sb_vid={}", cookies.cookie_for(None).unwrap().0)
    };
    let info = async |cookie: &str, path: &str| {
        let line = format!("Cookie: {cookie}");
        let answer = match path {
            "/info" => ask(at, "GET /ws-chat/info", &[&own, &line]).await,
            _ => upgrade(at, &[&own, &line]).await.1,
        };
        let set = answer.header("set-cookie").unwrap();
        set.split(';').next().unwrap().to_owned()
    };
    for path in ["/info", ""] {
        let (young, old) = (
            given(Duration::from_secs(3_500)),
            given(Duration::from_secs(3_700)),
        );
        assert_eq!(info(&young, path).await, young, "{path}");
        let fresh = info(&old, path).await;
        assert_ne!(fresh, old, "{path}");
        assert_eq!(info(&fresh, path).await, fresh, "{path}");
    }
}

#[tokio::test]
async fn the_highest_subprotocol_is_answered_and_an_unknown_one_is_not() {
    let node = Node::start("subprotocol", &[]).await;
    let check = async |offered: &str, answered: Option<&str>| {
        let line = format!("Sec-WebSocket-Protocol: {offered}");
        let (socket, answer) = upgrade(node.address(), &[&line]).await;
        assert!(socket.is_some());
        assert_eq!(
            answer.header("sec-websocket-protocol"),
            answered,
            "{offered}"
        );
    };
    check("v10.stomp, v11.stomp, v12.stomp", Some("v12.stomp")).await;
    check("v11.stomp, v10.stomp", Some("v11.stomp")).await;
    check("mqtt", None).await;
}

/// CONNECT without a secret; the answer.
async fn introduced(socket: Option<WebSocketStream<TcpStream>>) -> String {
    let mut client = Client(socket.expect("a WebSocket"));
    client.send("CONNECT\naccept-version:1.2\n\n\0").await;
    client.receive().await
}

#[tokio::test]
async fn a_secret_may_come_as_a_subprotocol_and_is_never_answered_or_logged() {
    let node = Node::start("bearer", &[("LOG_LEVEL", "trace")]).await;
    let at = node.address();
    let (mut client, user) = Client::connect(at).await;
    client.send("DISCONNECT\n\n\0").await;
    let anonymous = ask(at, "POST /api/v1/auth/anonymous", &["Content-Length: 0"]).await;
    let secret = anonymous.json()["visitor_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let known = anonymous.json()["user_id"].as_str().unwrap().to_owned();
    assert_ne!(user, known);

    for offered in ["v12.stomp, bearer.", "bearer."] {
        let line = format!("Sec-WebSocket-Protocol: {offered}{secret}");
        let (socket, answer) = upgrade(at, &[&line]).await;
        let echoed = answer.header("sec-websocket-protocol");
        assert_eq!(echoed, offered.contains("v12").then_some("v12.stomp"));
        let connected = introduced(socket).await;
        assert!(
            connected.contains(&format!("user-name:{known}\n")),
            "{connected}"
        );
    }
    // Whoever brings another kind of token is no visitor unawares.
    let (socket, _) = upgrade(at, &["Sec-WebSocket-Protocol: v12.stomp, bearer.a.b.c"]).await;
    let error = introduced(socket).await;
    assert!(error.contains("message:unauthorized"), "{error}");

    let authorization = format!("Authorization: Visitor {secret}");
    let headers = ["Content-Length: 0", authorization.as_str()];
    let ticket = ask(at, "POST /api/v1/auth/ticket", &headers).await.json();
    let ticket = ticket["ticket"].as_str().unwrap().to_owned();
    for expected in [
        format!("user-name:{known}\n"),
        "message:unauthorized".to_owned(),
    ] {
        let path = format!("/ws-chat?ticket={ticket}&frame=text");
        let (socket, _) = upgrade_at(at, &path, &[]).await;
        let answer = introduced(socket).await;
        assert!(answer.contains(&expected), "{expected}: {answer}");
    }
    let (_, answer) = upgrade_at(at, &format!("/ws-chat?ticket={secret}"), &[]).await;
    assert_eq!(answer.status, 400);
    assert!(!node.output().contains(&secret), "the secret is in the log");
}
