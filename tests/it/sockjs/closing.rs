//! How sessions end: closed by the server, cut off, left alone, asked for twice.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::raw::{Raw, get, post, stream};
use super::{services, session};

const BUSY: &str = "c[2010,\"Another connection still open\"]\n";
const INTERRUPTED: &str = "c[1002,\"Connection interrupted\"]\n";
const GO_AWAY: &str = "c[3000,\"Go away!\"]\n";

#[tokio::test]
async fn a_closed_session_says_so_until_it_is_forgotten() {
    let at = services().await;
    let url = session("/close");
    let poll = format!("{url}/xhr");
    assert_eq!(post(at, &poll, "").await.body, "o\n");
    for _ in 0..3 {
        assert_eq!(post(at, &poll, "").await.body, GO_AWAY);
    }
    assert_eq!(
        post(at, &format!("{url}/xhr_send"), "[\"a\"]")
            .await
            .status(),
        404
    );
    let url = session("/close");
    let poll = format!("{url}/jsonp?c=x");
    assert_eq!(get(at, &poll).await.body, "/**/x(\"o\");\r\n");
    for _ in 0..2 {
        assert_eq!(
            get(at, &poll).await.body,
            "/**/x(\"c[3000,\\\"Go away!\\\"]\");\r\n"
        );
    }
}

#[tokio::test]
async fn a_close_ends_a_streamed_answer_and_every_later_one() {
    let at = services().await;
    let line = format!("POST {}/xhr_streaming", session("/close"));
    let (mut first, _) = stream(at, &line, &[]).await;
    first.chunk().await;
    assert_eq!(first.chunk().await.unwrap(), "o\n");
    assert_eq!(first.chunk().await.unwrap(), GO_AWAY);
    let (mut second, _) = stream(at, &line, &[]).await;
    assert_eq!(second.chunk().await.unwrap().len(), 2_049);
    assert_eq!(second.chunk().await.unwrap(), GO_AWAY);
    assert_eq!(first.chunk().await, None);
    assert_eq!(second.chunk().await, None);
}

#[tokio::test]
async fn a_second_receiver_is_sent_away_and_the_first_goes_on() {
    let at = services().await;
    let url = session("/echo");
    let line = format!("POST {url}/xhr_streaming");
    let (mut first, _) = stream(at, &line, &[]).await;
    first.chunk().await;
    first.chunk().await;
    let (mut second, head) = stream(at, &line, &[]).await;
    assert_eq!(head.status, 200);
    second.chunk().await;
    assert_eq!(second.chunk().await.unwrap(), BUSY);
    assert_eq!(second.chunk().await, None);
    assert_eq!(post(at, &format!("{url}/xhr"), "").await.body, BUSY);
    post(at, &format!("{url}/xhr_send"), "[\"x\"]").await;
    assert_eq!(first.chunk().await.unwrap(), "a[\"x\"]\n");
}

#[tokio::test]
async fn a_receiver_that_is_cut_off_ends_the_session() {
    let at = services().await;
    let url = session("/echo");
    let line = format!("POST {url}/xhr_streaming");
    let (mut raw, _) = stream(at, &line, &[]).await;
    raw.chunk().await;
    assert_eq!(raw.chunk().await.unwrap(), "o\n");
    drop(raw);
    let (mut again, _) = stream(at, &line, &[]).await;
    again.chunk().await;
    assert_eq!(again.chunk().await.unwrap(), INTERRUPTED);
    assert_eq!(again.chunk().await, None);

    let url = session("/echo");
    assert_eq!(post(at, &format!("{url}/xhr"), "").await.body, "o\n");
    let mut raw = Raw::open(at).await;
    raw.request(&format!("POST {url}/xhr HTTP/1.1"), &[], Some(b""))
        .await;
    raw.head().await;
    assert_eq!(post(at, &format!("{url}/xhr"), "").await.body, BUSY);
    drop(raw);
    assert_eq!(post(at, &format!("{url}/xhr"), "").await.body, INTERRUPTED);
    assert_eq!(
        post(at, &format!("{url}/xhr_send"), "[\"a\"]")
            .await
            .status(),
        404
    );
}

#[tokio::test]
async fn a_session_that_nobody_receives_from_is_forgotten_after_five_seconds() {
    let at = services().await;
    let url = session("/echo");
    let began = Instant::now();
    assert_eq!(post(at, &format!("{url}/xhr"), "").await.body, "o\n");
    sleep(Duration::from_secs(4)).await;
    assert_eq!(
        post(at, &format!("{url}/xhr_send"), "[\"a\"]")
            .await
            .status(),
        204
    );
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "the machine is too slow for this test"
    );
    while post(at, &format!("{url}/xhr_send"), "[]").await.status() == 204 {
        sleep(Duration::from_millis(100)).await;
    }
    assert!(began.elapsed() >= Duration::from_secs(5));
    assert_eq!(post(at, &format!("{url}/xhr"), "").await.body, "o\n");
}
