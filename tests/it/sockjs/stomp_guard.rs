//! Who may not: pages of other origins, people who know a session's name, networks with too many.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::raw::{ask, assert_cors, get, post};
use super::session;
use super::talker::Talker;
use crate::support::edge::{Client, PATIENCE};
use crate::support::node::Node;

const HOSTILE: [&str; 7] = [
    "https://evil.example",
    "https://good.com.evil.com",
    "https://evilgood.com",
    "null",
    "https://Good.com",
    "https://good.com.",
    "http://good.com",
];

#[tokio::test]
async fn pages_of_other_origins_are_refused_at_every_path() {
    let node = Node::start("sockjs", &[("CORS_ORIGINS", "https://good.com")]).await;
    let at = node.address();
    let url = session("/ws-chat");
    post(at, &format!("{url}/xhr"), "").await;
    let paths = [
        "GET /ws-chat",
        "GET /ws-chat/",
        "GET /ws-chat/info",
        "OPTIONS /ws-chat/info",
        "GET /ws-chat/iframe.html",
        "GET /ws-chat/websocket",
        "GET @/websocket",
        "POST @/xhr",
        "OPTIONS @/xhr",
        "POST @/xhr_streaming",
        "POST @/xhr_send",
        "OPTIONS @/xhr_send",
        "GET @/eventsource",
        "GET @/htmlfile?c=x",
        "GET @/jsonp?c=x",
        "POST @/jsonp_send",
    ];
    for origin in HOSTILE {
        let origin = format!("Origin: {origin}");
        for path in paths {
            let line = path.replace('@', &url);
            let answer = ask(at, &line, &[&origin], Some(b"[\"a\"]")).await;
            assert_eq!(answer.status(), 403, "{line} {origin}");
            assert_eq!(answer.header("access-control-allow-origin"), None, "{line}");
            assert_eq!(answer.header("set-cookie"), None, "{line}");
        }
    }
    for (origin, line) in [
        (
            "https://good.com".to_owned(),
            format!("POST {}/xhr", session("/ws-chat")),
        ),
        (
            format!("http://{at}"),
            format!("POST {}/xhr", session("/ws-chat")),
        ),
    ] {
        let answer = ask(at, &line, &[&format!("Origin: {origin}")], Some(b"")).await;
        assert_eq!(answer.body, "o\n");
        assert_cors(&answer.head, Some(&origin));
    }
    assert_cors(
        &post(at, &format!("{}/xhr", session("/ws-chat")), "")
            .await
            .head,
        None,
    );
}

#[tokio::test]
async fn only_pages_that_may_talk_to_the_node_may_hold_its_iframe() {
    let node = Node::start("sockjs", &[("CORS_ORIGINS", "https://good.com")]).await;
    let page = get(node.address(), "/ws-chat/iframe.html").await;
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.ends_with("frame-ancestors 'self' https://good.com:443"),
        "{policy}"
    );
    assert!(
        policy.contains("default-src 'none'") && !policy.contains("unsafe"),
        "{policy}"
    );
    for path in [
        "/ws-chat",
        "/ws-chat/iframe.html",
        "/ws-chat/info",
        "/ws-chat/a/b/jsonp?c=x",
    ] {
        let answer = get(node.address(), path).await;
        assert_eq!(
            answer.header("x-content-type-options"),
            Some("nosniff"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn the_greeting_is_at_every_endpoint_and_a_websocket_too() {
    let node = Node::start("sockjs", &[]).await;
    for base in ["/ws-chat", "/ws-stomp", "/ws"] {
        for path in [base.to_owned(), format!("{base}/")] {
            let answer = get(node.address(), &path).await;
            assert_eq!(
                (answer.status(), answer.body.as_str()),
                (200, "Welcome to SockJS!\n")
            );
        }
    }
    // Without frames, with the subprotocols of STOMP.
    let mut socket = super::websocket::open(node.address(), "/ws-chat/websocket").await;
    use futures_util::SinkExt as _;
    let connect = tokio_tungstenite::tungstenite::Message::text("CONNECT\n\n\0");
    socket.send(connect).await.unwrap();
    assert!(
        super::websocket::next(&mut socket)
            .await
            .starts_with("CONNECTED\n")
    );
}

/// The status that a session answers with to a message of somebody with these headers. Who may not
/// speak may not listen either.
async fn spoken(node: &Node, url: &str, headers: &[&str]) -> u16 {
    let send = format!("POST {url}/xhr_send");
    let status = ask(node.address(), &send, headers, Some(b"[\"\\n\"]"))
        .await
        .status();
    if status != 204 {
        let poll = format!("POST {url}/xhr");
        let polled = ask(node.address(), &poll, headers, Some(b"")).await;
        assert_eq!(polled.status(), status, "{headers:?}");
    }
    status
}

#[tokio::test]
async fn knowing_the_name_of_a_session_opens_nothing() {
    let node = Node::start("sockjs", &[("TRUSTED_PROXIES", "127.0.0.1")]).await;
    let at = node.address();
    let (mine, other) = (
        "X-Forwarded-For: 192.0.2.1",
        "X-Forwarded-For: 198.51.100.7",
    );
    // Who keeps no cookies is known by his network.
    let url = session("/ws-chat");
    let opened = ask(at, &format!("POST {url}/xhr"), &[mine], Some(b"")).await;
    assert_eq!(opened.body, "o\n");
    assert_eq!(spoken(&node, &url, &[other]).await, 404);
    assert_eq!(spoken(&node, &url, &[mine]).await, 204);
    // Who keeps them is known by his, from wherever he comes.
    let page = format!("Origin: http://{at}");
    let cookie = async || {
        let info = ask(at, "GET /ws-chat/info", &[&page, mine], None).await;
        let set = info.header("set-cookie").unwrap().to_owned();
        assert!(
            set.starts_with("sb_vid=") && set.contains("HttpOnly"),
            "{set}"
        );
        format!("Cookie: {}", set.split(';').next().unwrap())
    };
    let (own, strange) = (cookie().await, cookie().await);
    let url = session("/ws-chat");
    let line = format!("POST {url}/xhr");
    let opened = ask(at, &line, &[&page, mine, &own], Some(b"")).await;
    assert_eq!(opened.body, "o\n");
    for headers in [
        &[page.as_str(), mine][..],
        &[page.as_str(), mine, &strange],
        &[page.as_str(), other, &strange],
        &[mine],
    ] {
        assert_eq!(spoken(&node, &url, headers).await, 404, "{headers:?}");
    }
    assert_eq!(spoken(&node, &url, &[&page, other, &own]).await, 204);
    // A form of a page that hides where it is.
    let hidden = [
        "Origin: null",
        "Sec-Fetch-Site: same-origin",
        other,
        own.as_str(),
    ];
    assert_eq!(spoken(&node, &url, &hidden).await, 204);
    let foreign = [
        "Origin: null",
        "Sec-Fetch-Site: cross-site",
        other,
        own.as_str(),
    ];
    assert_eq!(spoken(&node, &url, &foreign).await, 403);
    // No page, no cookie.
    assert_eq!(get(at, "/ws-chat/info").await.header("set-cookie"), None);
}

#[tokio::test]
async fn the_identity_of_a_session_is_that_of_the_request_that_opens_it() {
    let node = Node::start("sockjs", &[]).await;
    let at = node.address();
    let page = format!("Origin: http://{at}");
    let info = ask(at, "GET /ws-chat/info", &[&page], None).await;
    let cookie = info
        .header("set-cookie")
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let cookie = format!("Cookie: {cookie}");
    let mut users = Vec::new();
    for transport in ["xhr", "jsonp", "eventsource", "xhr_streaming"] {
        let mut talker = Talker::open(at, transport, &[&page, &cookie]).await;
        let connected = talker.connect("heart-beat:0,0\n").await;
        let user = connected
            .lines()
            .find(|line| line.starts_with("user-name:"))
            .unwrap();
        users.push(user.to_owned());
        talker.send(&["DISCONNECT\n\n\0"]).await;
    }
    assert!(users.windows(2).all(|two| two[0] == two[1]), "{users:?}");
    let (_, other) = Client::connect(at).await;
    assert_ne!(users[0], format!("user-name:{other}"));
}

#[tokio::test]
async fn sessions_over_one_socket_count_for_their_network() {
    let node = Node::start("sockjs", &[("CONNECTIONS_PER_NET", "5")]).await;
    let mut raw = super::raw::Raw::open(node.address()).await;
    let mut statuses = Vec::new();
    for _ in 0..6 {
        let line = format!("POST {}/xhr HTTP/1.1", session("/ws-chat"));
        raw.request(&line, &[], Some(b"")).await;
        statuses.push(raw.answer().await.status());
    }
    // The socket has a place of its own.
    assert_eq!(statuses, [200, 200, 200, 200, 429, 429]);
}

#[tokio::test]
async fn a_session_that_is_left_alone_gives_its_places_back() {
    let settings = [("SOCKJS_DISCONNECT", "300ms"), ("WS_MAX_CONNECTIONS", "2")];
    let node = Node::start("sockjs", &settings).await;
    let open = async || {
        let line = format!("POST {}/xhr", session("/ws-chat"));
        ask(node.address(), &line, &[], Some(b"")).await.status()
    };
    assert_eq!([open().await, open().await, open().await], [200, 200, 503]);
    let began = Instant::now();
    while open().await != 200 {
        assert!(began.elapsed() < PATIENCE, "the places are not given back");
        sleep(Duration::from_millis(50)).await;
    }
}
