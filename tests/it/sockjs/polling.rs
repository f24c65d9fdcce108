//! The transports whose answers hold one frame: xhr and jsonp, and what is sent beside them.

use super::raw::{Raw, ask, assert_cors, assert_not_cached, get, post};
use super::{services, session};

#[tokio::test]
async fn a_session_opens_with_any_names_and_the_servers_name_means_nothing() {
    let at = services().await;
    for path in ["/a/a", "/_/_", "/1/1", "/abcdefgh_i-j%20/abcdefg_i-j%20"] {
        let answer = post(at, &format!("/echo{path}/xhr"), "").await;
        assert_eq!(
            (answer.status(), answer.body.as_str()),
            (200, "o\n"),
            "{path}"
        );
    }
    assert_eq!(post(at, "/echo/000/same/xhr", "").await.body, "o\n");
    assert_eq!(
        post(at, "/echo/000/same/xhr_send", "[\"a\"]")
            .await
            .status(),
        204
    );
    assert_eq!(post(at, "/echo/999/same/xhr", "").await.body, "a[\"a\"]\n");
}

#[tokio::test]
async fn xhr_polls_one_frame_after_the_other() {
    let at = services().await;
    let url = session("/echo");
    let origin = "Origin: test";
    let open = ask(at, &format!("POST {url}/xhr"), &[origin], Some(b"")).await;
    assert_eq!((open.status(), open.body.as_str()), (200, "o\n"));
    assert_eq!(
        open.header("content-type"),
        Some("application/javascript; charset=UTF-8")
    );
    assert_cors(&open.head, Some("test"));
    assert_not_cached(&open.head);
    let sent = ask(
        at,
        &format!("POST {url}/xhr_send"),
        &[origin],
        Some(b"[\"x\"]"),
    )
    .await;
    assert_eq!((sent.status(), sent.body.as_str()), (204, ""));
    assert_eq!(
        sent.header("content-type"),
        Some("text/plain; charset=UTF-8")
    );
    assert_eq!(sent.header("content-length"), None);
    assert_cors(&sent.head, Some("test"));
    assert_not_cached(&sent.head);
    assert_eq!(post(at, &format!("{url}/xhr"), "").await.body, "a[\"x\"]\n");
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_and_harms_nothing() {
    let at = services().await;
    let url = session("/echo");
    let send = format!("{url}/xhr_send");
    assert_eq!(post(at, &send, "[\"x\"]").await.status(), 404);
    assert_eq!(post(at, &format!("{url}/xhr"), "").await.body, "o\n");
    let broken = post(at, &send, "[\"x").await;
    assert_eq!(
        (broken.status(), broken.body.as_str()),
        (500, "Broken JSON encoding.")
    );
    let empty = post(at, &send, "").await;
    assert_eq!(
        (empty.status(), empty.body.as_str()),
        (500, "Payload expected.")
    );
    // Refused before it is sent: nobody reads it.
    let large = ask(
        at,
        &format!("POST {send}"),
        &["Content-Length: 2000000"],
        None,
    )
    .await;
    assert_eq!(large.status(), 413);
    assert_eq!(post(at, &send, "[]").await.status(), 204);
    assert_eq!(post(at, &send, "[\"a\"]").await.status(), 204);
    assert_eq!(post(at, &format!("{url}/xhr"), "").await.body, "a[\"a\"]\n");
}

#[tokio::test]
async fn messages_are_taken_under_any_content_type() {
    let at = services().await;
    let url = session("/echo");
    post(at, &format!("{url}/xhr"), "").await;
    let types = [
        "text/plain",
        "T",
        "application/json",
        "application/xml",
        "",
        "application/json; charset=utf-8",
        "text/xml; charset=utf-8",
        "text/xml",
    ];
    for content_type in types {
        let header = format!("Content-Type: {content_type}");
        let line = format!("POST {url}/xhr_send");
        let sent = ask(at, &line, &[&header], Some(b"[\"a\"]")).await;
        assert_eq!(
            (sent.status(), sent.body.as_str()),
            (204, ""),
            "{content_type}"
        );
    }
    // They are echoed one by one; a poll takes what is there.
    let mut heard = 0;
    while heard < types.len() {
        let body = post(at, &format!("{url}/xhr"), "").await.body;
        heard += body.matches("\"a\"").count();
        assert!(
            body.starts_with("a[\"a\"") && body.ends_with("]\n"),
            "{body}"
        );
    }
}

#[tokio::test]
async fn what_browsers_mangle_comes_back_escaped() {
    let at = services().await;
    let url = session("/echo");
    post(at, &format!("{url}/xhr"), "").await;
    let mangled = |unit: &u32| matches!(unit, 0x200c..=0x200f | 0x2028..=0x202f | 0x2060..=0x206f | 0xfff0..=0xffff);
    let plain: String = (255..0x10000)
        .filter(mangled)
        .filter_map(char::from_u32)
        .collect();
    let escaped: String = (255..0x10000)
        .filter(mangled)
        .map(|unit| format!("\\u{unit:04x}"))
        .collect();
    post(at, &format!("{url}/xhr_send"), &format!("[\"{plain}\"]")).await;
    let body = post(at, &format!("{url}/xhr"), "").await.body;
    assert_eq!(body, format!("a[\"{escaped}\"]\n"));
    // And what the client escapes is read, half of a surrogate pair too.
    let every: String = (0..0x10000).map(|unit| format!("\\u{unit:04x}")).collect();
    for part in every.as_bytes().chunks(6 * 1_024) {
        let part = std::str::from_utf8(part).unwrap();
        let sent = post(at, &format!("{url}/xhr_send"), &format!("[\"{part}\"]")).await;
        assert_eq!(sent.status(), 204);
        let body = post(at, &format!("{url}/xhr"), "").await.body;
        let heard: Vec<String> = serde_json::from_str(&body[1..]).unwrap();
        let units: Vec<u16> = heard[0].encode_utf16().collect();
        for (expected, found) in part.split("\\u").skip(1).zip(&units) {
            let expected = u16::from_str_radix(expected, 16).unwrap();
            let is_surrogate = (0xd800..0xe000).contains(&expected);
            let expected = if is_surrogate { 0xfffd } else { expected };
            assert!(
                *found == expected || is_surrogate,
                "{expected:x} came back as {found:x}"
            );
        }
    }
}

#[tokio::test]
async fn jsonp_calls_a_function_and_takes_forms() {
    let at = services().await;
    let url = session("/echo");
    let poll = format!("{url}/jsonp?c=%63allback");
    let open = get(at, &poll).await;
    assert_eq!(
        (open.status(), open.body.as_str()),
        (200, "/**/callback(\"o\");\r\n")
    );
    assert_eq!(
        open.header("content-type"),
        Some("application/javascript; charset=UTF-8")
    );
    assert_not_cached(&open.head);
    let form = "Content-Type: application/x-www-form-urlencoded";
    let send = async |headers: &[&str], body: &str| {
        ask(
            at,
            &format!("POST {url}/jsonp_send"),
            headers,
            Some(body.as_bytes()),
        )
        .await
    };
    let sent = send(&[form], "d=%5B%22x%22%5D").await;
    assert_eq!((sent.status(), sent.body.as_str()), (200, "ok"));
    assert_eq!(
        sent.header("content-type"),
        Some("text/plain; charset=UTF-8")
    );
    assert_not_cached(&sent.head);
    assert_eq!(
        get(at, &poll).await.body,
        "/**/callback(\"a[\\\"x\\\"]\");\r\n"
    );
    let broken = send(&[form], "d=%5B%22x").await;
    assert_eq!(
        (broken.status(), broken.body.as_str()),
        (500, "Broken JSON encoding.")
    );
    for nothing in ["", "d=", "p=p"] {
        let empty = send(&[form], nothing).await;
        assert_eq!(
            (empty.status(), empty.body.as_str()),
            (500, "Payload expected."),
            "{nothing}"
        );
    }
    assert_eq!(send(&[form], "d=%5B%5D").await.body, "ok");
    assert_eq!(
        send(&["Content-Type: text/plain"], "[\"%61bc\"]")
            .await
            .body,
        "ok"
    );
    assert_eq!(
        get(at, &poll).await.body,
        "/**/callback(\"a[\\\"%61bc\\\"]\");\r\n"
    );
    assert_eq!(send(&[], "[\"y\"]").await.body, "ok");
    assert_eq!(
        get(at, &poll).await.body,
        "/**/callback(\"a[\\\"y\\\"]\");\r\n"
    );
}

#[tokio::test]
async fn a_callback_is_a_name_or_is_refused() {
    let at = services().await;
    let long = "x".repeat(65);
    for transport in ["jsonp", "htmlfile"] {
        let missing = get(at, &format!("/echo/a/a/{transport}")).await;
        assert_eq!(missing.status(), 500);
        assert!(missing.body.contains("\"callback\" parameter required"));
        let hostile = [
            "%20",
            "*",
            "abc(",
            "abc%28",
            "%3Cscript%3E",
            "a;alert(1)",
            "a%0Ab",
            "a%00",
            "%EA%B0%80",
            long.as_str(),
        ];
        for callback in hostile {
            let answer = get(at, &format!("/echo/a/a/{transport}?c={callback}")).await;
            assert_eq!(answer.status(), 500, "{callback}");
            assert!(answer.body.contains("invalid \"callback\" parameter"));
        }
    }
}

#[tokio::test]
async fn the_balancers_cookie_is_set_where_it_is_needed_and_echoed() {
    let at = services().await;
    for (line, opens) in [
        ("POST @/xhr", true),
        ("POST @/xhr_streaming", false),
        ("GET @/eventsource", false),
        ("GET @/htmlfile?c=%63allback", false),
        ("GET @/jsonp?c=%63allback", true),
    ] {
        for (brought, expected) in [
            (None, "JSESSIONID=dummy; path=/"),
            (
                Some("Cookie: JSESSIONID=abcdef"),
                "JSESSIONID=abcdef; path=/",
            ),
        ] {
            let line = line.replace('@', &session("/cookie_needed_echo"));
            let headers: Vec<_> = brought.into_iter().collect();
            let (_, head) = super::raw::stream(at, &line, &headers).await;
            assert_eq!(head.headers("set-cookie"), [expected], "{line} {opens}");
        }
    }
    let url = session("/cookie_needed_echo");
    get(at, &format!("{url}/jsonp?c=c")).await;
    let sent = post(at, &format!("{url}/jsonp_send"), "[\"x\"]").await;
    assert_eq!(sent.header("set-cookie"), Some("JSESSIONID=dummy; path=/"));
    let none = post(at, &format!("{}/xhr", session("/echo")), "").await;
    assert_eq!(none.header("set-cookie"), None);
}

#[tokio::test]
async fn one_connection_carries_a_whole_session() {
    let at = services().await;
    let url = session("/echo");
    let mut raw = Raw::open(at).await;
    let mut say = async |path: &str, body: &str| {
        let line = format!("POST {url}/{path} HTTP/1.1");
        raw.request(&line, &["Connection: keep-alive"], Some(body.as_bytes()))
            .await;
        let answer = raw.answer().await;
        (answer.status(), answer.body)
    };
    assert_eq!(say("xhr", "").await, (200, "o\n".to_owned()));
    for n in 0..20 {
        assert_eq!(say("xhr_send", &format!("[\"{n}\"]")).await.0, 204);
        assert_eq!(say("xhr", "").await, (200, format!("a[\"{n}\"]\n")));
    }
}
