//! The transports whose answers go on: xhr_streaming, eventsource, htmlfile.

use super::raw::{Raw, assert_cors, assert_not_cached, post, stream};
use super::{services, session};

#[tokio::test]
async fn xhr_streams_each_frame_in_a_chunk_of_its_own() {
    let at = services().await;
    let url = session("/echo");
    let line = format!("POST {url}/xhr_streaming");
    let (mut raw, head) = stream(at, &line, &["Origin: test"]).await;
    assert_eq!(head.status, 200);
    assert_eq!(
        head.header("content-type"),
        Some("application/javascript; charset=UTF-8")
    );
    assert_eq!(head.header("transfer-encoding"), Some("chunked"));
    assert_eq!(head.header("content-length"), None);
    assert_cors(&head, Some("test"));
    assert_not_cached(&head);
    assert_eq!(raw.chunk().await.unwrap(), "h".repeat(2_048) + "\n");
    assert_eq!(raw.chunk().await.unwrap(), "o\n");
    let sent = post(at, &format!("{url}/xhr_send"), "[\"x\"]").await;
    assert_eq!((sent.status(), sent.body.as_str()), (204, ""));
    assert_eq!(raw.chunk().await.unwrap(), "a[\"x\"]\n");
}

#[tokio::test]
async fn a_streamed_answer_ends_when_it_is_long_enough() {
    let at = services().await;
    let url = session("/echo");
    let (mut raw, _) = stream(at, &format!("POST {url}/xhr_streaming"), &[]).await;
    raw.chunk().await;
    assert_eq!(raw.chunk().await.unwrap(), "o\n");
    let message = format!("[\"{}\"]", "x".repeat(128));
    for _ in 0..31 {
        assert_eq!(
            post(at, &format!("{url}/xhr_send"), &message)
                .await
                .status(),
            204
        );
        assert_eq!(raw.chunk().await.unwrap(), format!("a{message}\n"));
    }
    assert_eq!(raw.chunk().await, None);
    // The session goes on in the next answer.
    let (mut raw, _) = stream(at, &format!("POST {url}/xhr_streaming"), &[]).await;
    raw.chunk().await;
    post(at, &format!("{url}/xhr_send"), "[\"y\"]").await;
    assert_eq!(raw.chunk().await.unwrap(), "a[\"y\"]\n");
}

#[tokio::test]
async fn eventsource_sends_events() {
    let at = services().await;
    let url = session("/echo");
    let (mut raw, head) = stream(at, &format!("GET {url}/eventsource"), &["Origin: test"]).await;
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    assert_not_cached(&head);
    assert_cors(&head, Some("test"));
    assert_eq!(raw.chunk().await.unwrap(), "\r\n");
    assert_eq!(raw.chunk().await.unwrap(), "data: o\r\n\r\n");
    post(at, &format!("{url}/xhr_send"), "[\"x\"]").await;
    assert_eq!(raw.chunk().await.unwrap(), "data: a[\"x\"]\r\n\r\n");
    post(at, &format!("{url}/xhr_send"), r#"["  \u0000\n\r "]"#).await;
    let expected = "data: a[\"  \\u0000\\n\\r \"]\r\n\r\n";
    assert_eq!(raw.chunk().await.unwrap(), expected);
    let long = "x".repeat(4_096);
    post(at, &format!("{url}/xhr_send"), &format!("[\"{long}\"]")).await;
    assert_eq!(
        raw.chunk().await.unwrap(),
        format!("data: a[\"{long}\"]\r\n\r\n")
    );
    assert_eq!(raw.chunk().await, None);
}

#[tokio::test]
async fn htmlfile_calls_the_page_around_it() {
    let at = services().await;
    let url = session("/echo");
    let (mut raw, head) = stream(at, &format!("GET {url}/htmlfile?c=%63allback"), &[]).await;
    assert_eq!(head.status, 200);
    assert_eq!(
        head.header("content-type"),
        Some("text/html; charset=UTF-8")
    );
    assert_not_cached(&head);
    let prelude = raw.chunk().await.unwrap();
    assert!(prelude.len() > 1_024);
    let expected = "<!doctype html>\n<html><head>\n  \
        <meta http-equiv=\"X-UA-Compatible\" content=\"IE=edge\" />\n  \
        <meta http-equiv=\"Content-Type\" content=\"text/html; charset=UTF-8\" />\n\
        </head><body><h2>Don't panic!</h2>\n  <script>\n    \
        document.domain = document.domain;\n    var c = parent.callback;\n    c.start();\n    \
        function p(d) {c.message(d);};\n    window.onload = function() {c.stop();};\n  </script>";
    assert_eq!(prelude.trim(), expected);
    assert_eq!(
        raw.chunk().await.unwrap(),
        "<script>\np(\"o\");\n</script>\r\n"
    );
    post(at, &format!("{url}/xhr_send"), "[\"x\"]").await;
    let expected = "<script>\np(\"a[\\\"x\\\"]\");\n</script>\r\n";
    assert_eq!(raw.chunk().await.unwrap(), expected);
    post(
        at,
        &format!("{url}/xhr_send"),
        "[\"</script><script>alert(1)\"]",
    )
    .await;
    let hostile = raw.chunk().await.unwrap();
    assert_eq!(hostile.matches('<').count(), 2, "{hostile}");
    let long = "x".repeat(4_096);
    post(at, &format!("{url}/xhr_send"), &format!("[\"{long}\"]")).await;
    let expected = format!("<script>\np(\"a[\\\"{long}\\\"]\");\n</script>\r\n");
    assert_eq!(raw.chunk().await.unwrap(), expected);
    assert_eq!(raw.chunk().await, None);
}

#[tokio::test]
async fn an_answer_to_http_1_0_is_not_chunked_and_closes() {
    let at = services().await;
    let line = format!("POST {}/xhr_streaming HTTP/1.0", session("/close"));
    let mut raw = Raw::open(at).await;
    raw.request(&line, &["Connection: Keep-Alive"], Some(b""))
        .await;
    let head = raw.head().await;
    assert_eq!(head.status, 200);
    assert_eq!(head.header("transfer-encoding"), None);
    assert_eq!(head.header("content-length"), None);
    let expected = "h".repeat(2_048) + "\no\nc[3000,\"Go away!\"]\n";
    assert_eq!(raw.rest().await, expected);
}
