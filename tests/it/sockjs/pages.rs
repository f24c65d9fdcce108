//! What an endpoint says without a session: greeting, iframe, info, preflight, paths.

use super::raw::{Raw, ask, assert_cors, assert_not_cached, get, post};
use super::services;

#[tokio::test]
async fn the_greeting_is_at_the_base_with_and_without_a_slash() {
    let at = services().await;
    for path in ["/echo", "/echo/"] {
        let answer = get(at, path).await;
        assert_eq!(
            (answer.status(), answer.body.as_str()),
            (200, "Welcome to SockJS!\n")
        );
        assert_eq!(
            answer.header("content-type"),
            Some("text/plain; charset=UTF-8")
        );
        assert_eq!(answer.header("set-cookie"), None);
    }
}

#[tokio::test]
async fn a_path_that_is_none_is_not_found() {
    let at = services().await;
    for path in [
        "/a",
        "/a.html",
        "//",
        "///",
        "/a/a",
        "/a/a/",
        "/a/",
        "/nothing/a/b/xhr/c",
    ] {
        assert_eq!(
            get(at, &format!("/echo{path}")).await.status(),
            404,
            "{path}"
        );
    }
    for path in ["//", "/a./a", "/a/a.", "/./.", "/", "///", "/a/", "//a"] {
        let path = format!("/echo{path}/xhr");
        assert_eq!(get(at, &path).await.status(), 404, "{path}");
        assert_eq!(post(at, &path, "").await.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn the_page_of_the_iframe_is_exact_and_cached_for_ever() {
    let at = services().await;
    let names = [
        "iframe.html",
        "iframe-a.html",
        "iframe-.html",
        "iframe-0.1.2.html",
        "iframe-0.1.2abc-dirty.2144.html",
        "iframe-a.html?t=1234",
        "iframe-0.1.2abc-dirty.2144.html?t=qweqweq123",
    ];
    for name in names {
        let answer = get(at, &format!("/echo/{name}")).await;
        assert_eq!(answer.status(), 200, "{name}");
        assert_eq!(
            answer.header("content-type"),
            Some("text/html; charset=UTF-8")
        );
        assert_eq!(
            answer.header("cache-control"),
            Some("public, max-age=31536000")
        );
        assert!(answer.header("expires").is_some() && answer.header("etag").is_some());
        assert_eq!(answer.header("last-modified"), None);
        assert_eq!(answer.header("set-cookie"), None);
        let expected = "<!DOCTYPE html>\n<html>\n<head>\n  \
            <meta http-equiv=\"X-UA-Compatible\" content=\"IE=edge\" />\n  \
            <meta http-equiv=\"Content-Type\" content=\"text/html; charset=UTF-8\" />\n  \
            <script src=\"https://cdn.jsdelivr.net/npm/sockjs-client@1/dist/sockjs.min.js\"></script>\n  \
            <script>\n    document.domain = document.domain;\n    SockJS.bootstrap_iframe();\n  \
            </script>\n</head>\n<body>\n  <h2>Don't panic!</h2>\n  \
            <p>This is a SockJS hidden iframe. It's used for cross domain magic.</p>\n\
            </body>\n</html>";
        assert_eq!(answer.body, expected);
    }
    for name in [
        "iframe.htm",
        "iframe",
        "IFRAME.HTML",
        "iframe.HTML",
        "iframe.xml",
        "iframe-/.html",
    ] {
        assert_eq!(
            get(at, &format!("/echo/{name}")).await.status(),
            404,
            "{name}"
        );
    }
}

#[tokio::test]
async fn the_page_of_the_iframe_that_is_known_is_not_sent_again() {
    let at = services().await;
    let first = get(at, "/echo/iframe.html").await;
    let etag = first.header("etag").unwrap();
    let known = format!("If-None-Match: {etag}");
    let again = ask(at, "GET /echo/iframe.html", &[&known], None).await;
    assert_eq!((again.status(), again.body.as_str()), (304, ""));
    assert_eq!(again.header("content-type"), None);
    assert_eq!(again.header("etag"), Some(etag));
}

#[tokio::test]
async fn info_says_what_the_endpoint_can_do() {
    let at = services().await;
    let answer = ask(at, "GET /echo/info", &["Origin: test"], None).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(
        answer.header("content-type"),
        Some("application/json; charset=UTF-8")
    );
    assert_eq!(answer.header("set-cookie"), None);
    assert_not_cached(&answer.head);
    assert_cors(&answer.head, Some("test"));
    assert_cors(&get(at, "/echo/info").await.head, None);
    let info = async |base: &str| -> serde_json::Value {
        serde_json::from_str(&get(at, &format!("{base}/info")).await.body).unwrap()
    };
    let (one, two) = (info("/echo").await, info("/echo").await);
    assert_eq!(one["websocket"], true);
    assert_eq!(one["cookie_needed"], false);
    assert_eq!(one["origins"], serde_json::json!(["*:*"]));
    assert!(one["entropy"].as_u64().unwrap() < 1 << 32);
    assert_ne!(one["entropy"], two["entropy"]);
    assert_eq!(info("/disabled_websocket_echo").await["websocket"], false);
    assert_eq!(info("/cookie_needed_echo").await["cookie_needed"], true);
    let without = get(at, "/disabled_websocket_echo/websocket").await;
    assert_eq!(without.status(), 404);
}

#[tokio::test]
async fn a_preflight_is_answered_for_a_year() {
    let at = services().await;
    for (path, methods) in [
        ("/info", "OPTIONS, GET"),
        ("/abc/abc/xhr", "OPTIONS, POST"),
        ("/abc/abc/xhr_send", "OPTIONS, POST"),
        ("/abc/abc/xhr_streaming", "OPTIONS, POST"),
        ("/abc/abc/jsonp_send", "OPTIONS, POST"),
        ("/abc/abc/eventsource", "OPTIONS, GET"),
    ] {
        for origin in [Some("test"), Some("null"), Some("http://a.b:8080"), None] {
            let line = format!("OPTIONS /echo{path}");
            let mut headers = vec!["Access-Control-Request-Method: POST".to_owned()];
            headers.extend(origin.map(|origin| format!("Origin: {origin}")));
            let headers: Vec<_> = headers.iter().map(String::as_str).collect();
            let answer = ask(at, &line, &headers, None).await;
            assert_eq!((answer.status(), answer.body.as_str()), (204, ""), "{line}");
            assert_eq!(
                answer.header("cache-control"),
                Some("public, max-age=31536000")
            );
            assert!(answer.header("expires").is_some());
            let age: u64 = answer
                .header("access-control-max-age")
                .unwrap()
                .parse()
                .unwrap();
            assert!(age > 1_000_000);
            assert_eq!(answer.header("access-control-allow-methods"), Some(methods));
            assert_cors(&answer.head, origin);
        }
    }
}

#[tokio::test]
async fn headers_are_allowed_when_they_are_asked_for() {
    let at = services().await;
    let check = async |line: &str, asked: Option<&str>, allowed: Option<&str>| {
        let asked = asked.map(|names| format!("Access-Control-Request-Headers: {names}"));
        let mut headers = vec!["Origin: test"];
        headers.extend(asked.as_deref());
        let answer = ask(at, line, &headers, line.starts_with("POST").then_some(b"")).await;
        assert_eq!(
            answer.header("access-control-allow-headers"),
            allowed,
            "{line}"
        );
        assert_cors(&answer.head, Some("test"));
    };
    for line in ["OPTIONS /echo/0/asked/xhr", "POST /echo/0/asked/xhr_send"] {
        check(line, Some("a, b, c"), Some("a, b, c")).await;
        check(line, Some(""), None).await;
        check(line, None, None).await;
    }
}

#[tokio::test]
async fn another_method_is_refused_without_a_word() {
    let at = services().await;
    for (line, allowed) in [
        ("POST /echo", "GET"),
        ("POST /echo/iframe.html", "GET"),
        ("POST /echo/info", "OPTIONS, GET"),
        ("POST /echo/0/0/websocket", "GET"),
        ("POST /echo/websocket", "GET"),
        ("GET /echo/0/0/xhr", "OPTIONS, POST"),
        ("GET /echo/0/0/xhr_send", "OPTIONS, POST"),
        ("PUT /echo/0/0/xhr_streaming", "OPTIONS, POST"),
        ("POST /echo/0/0/eventsource", "OPTIONS, GET"),
        ("POST /echo/0/0/jsonp?c=x", "OPTIONS, GET"),
    ] {
        let answer = ask(at, line, &[], None).await;
        assert_eq!((answer.status(), answer.body.as_str()), (405, ""), "{line}");
        assert_eq!(answer.header("content-type"), None, "{line}");
        assert_eq!(answer.header("allow"), Some(allowed), "{line}");
    }
}

#[tokio::test]
async fn http_1_0_and_1_1_each_get_answers_that_they_can_read() {
    let at = services().await;
    let mut old = Raw::open(at).await;
    for _ in 0..2 {
        old.request("GET /echo HTTP/1.0", &["Connection: Keep-Alive"], None)
            .await;
        let answer = old.answer().await;
        assert_eq!(answer.body, "Welcome to SockJS!\n");
        assert_eq!(answer.header("transfer-encoding"), None);
        assert_eq!(answer.header("content-length"), Some("19"));
        let kept = answer.header("connection").unwrap_or_default();
        assert_eq!(kept.to_ascii_lowercase(), "keep-alive");
    }
    let mut new = Raw::open(at).await;
    for _ in 0..2 {
        new.request("GET /echo HTTP/1.1", &["Connection: Keep-Alive"], None)
            .await;
        assert_eq!(new.answer().await.body, "Welcome to SockJS!\n");
    }
}
