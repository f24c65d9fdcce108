//! The demo page in a real Chromium, served by the real binary.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::chromium::{Browser, PLAIN_NAME};
use crate::support::node::Node;
use crate::support::page::{GUEST, LEFT, RIGHT, talk};
use crate::support::proxy::{Network, Proxy};

const DESK: (u32, u32) = (1280, 860);
const PHONE: (u32, u32) = (390, 844);

/// Where pictures go: into the build's folder, and over those of the documentation when
/// `STOMPBOX_PICTURES=docs` asks for it.
fn picture(name: &str) -> PathBuf {
    match std::env::var("STOMPBOX_PICTURES").as_deref() {
        Ok("docs") => Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("docs/images")
            .join(name),
        _ => Path::new(env!("CARGO_TARGET_TMPDIR")).join(name),
    }
}

#[tokio::test]
async fn two_visitors_of_the_page_talk_and_a_third_joins_by_the_link() {
    let node = Node::start("page", &[]).await;
    let mut browser = Browser::start().await;
    let page = browser.open(&node.url("/"), DESK, false).await;
    LEFT.is_ready(&mut browser, &page).await;
    RIGHT.is_ready(&mut browser, &page).await;

    for (from, to, text) in [
        (LEFT, RIGHT, "Is this really one small binary?"),
        (
            RIGHT,
            LEFT,
            "It is. No Redis, no RabbitMQ, nothing to set up.",
        ),
        (LEFT, RIGHT, "And when I start more of them?"),
        (
            RIGHT,
            LEFT,
            "Then it is a cluster, and you still get every message once, in order.",
        ),
        (LEFT, RIGHT, "한국어도 되네요!"),
    ] {
        from.writes(&mut browser, &page, text).await;
        from.knows_stored(&mut browser, &page, text).await;
        to.reads(&mut browser, &page, text).await;
        assert_eq!(from.count(&mut browser, &page, text).await, 1);
        assert_eq!(to.count(&mut browser, &page, text).await, 1);
    }
    browser.picture(&page, &picture("page.png")).await;
    browser.prefer_colours(&page, "dark").await;
    browser.picture(&page, &picture("page-dark.png")).await;

    let link = browser
        .evaluate(&page, "document.getElementById('link').value")
        .await;
    let guest = browser.open(link.as_str().unwrap(), PHONE, true).await;
    GUEST.is_ready(&mut browser, &guest).await;
    GUEST
        .writes(&mut browser, &guest, "Hello from my phone")
        .await;
    GUEST
        .knows_stored(&mut browser, &guest, "Hello from my phone")
        .await;
    // The conversation with the neighbour is in front; the guest's shows how much is unread.
    let unread = "document.querySelector('#pane-first .peers b')?.textContent === '1'";
    browser.wait_for(&page, unread).await;
    browser
        .evaluate(
            &page,
            "document.querySelector('#pane-first .peers b').parentElement.click()",
        )
        .await;
    LEFT.reads(&mut browser, &page, "Hello from my phone").await;
    LEFT.writes(&mut browser, &page, "Welcome").await;
    GUEST.reads(&mut browser, &guest, "Welcome").await;
    browser.picture(&guest, &picture("page-phone.png")).await;
    assert_eq!(
        RIGHT
            .count(&mut browser, &page, "Hello from my phone")
            .await,
        0
    );
    assert_eq!(browser.complaints(), [] as [String; 0]);
}

#[tokio::test]
async fn a_guest_is_the_same_person_after_a_reload_and_another_one_in_another_tab() {
    let node = Node::start("page", &[]).await;
    let mut browser = Browser::start().await;
    let page = browser.open(&node.url("/"), DESK, false).await;
    LEFT.is_ready(&mut browser, &page).await;
    let link = browser
        .evaluate(&page, "document.getElementById('link').value")
        .await;
    let link = link.as_str().unwrap();
    let who = "document.querySelector('.pane h2').title";
    let first = browser.open(link, DESK, false).await;
    GUEST.is_ready(&mut browser, &first).await;
    let was = browser.evaluate(&first, who).await;
    browser.reload(&first).await;
    browser
        .wait_for(&first, "document.querySelector('.pane')")
        .await;
    GUEST.is_ready(&mut browser, &first).await;
    assert_eq!(browser.evaluate(&first, who).await, was);
    let second = browser.open(link, DESK, false).await;
    GUEST.is_ready(&mut browser, &second).await;
    assert_ne!(browser.evaluate(&second, who).await, was);
}

#[tokio::test]
async fn a_phone_shows_one_visitor_and_a_switch() {
    let node = Node::start("page", &[]).await;
    let mut browser = Browser::start().await;
    let page = browser.open(&node.url("/"), PHONE, true).await;
    LEFT.is_ready(&mut browser, &page).await;
    RIGHT.is_ready(&mut browser, &page).await;
    let shown = "[...document.querySelectorAll('.pane')].map((pane) => pane.offsetWidth > 0)";
    assert_eq!(browser.evaluate(&page, shown).await, json!([true, false]));
    let overflow = "document.documentElement.scrollWidth > innerWidth";
    assert_eq!(browser.evaluate(&page, overflow).await, false);
    LEFT.writes(&mut browser, &page, "Over there?").await;
    browser
        .wait_for(
            &page,
            "document.querySelector('#switch b')?.textContent === '1'",
        )
        .await;
    browser
        .evaluate(
            &page,
            "document.querySelectorAll('#switch button')[1].click()",
        )
        .await;
    assert_eq!(browser.evaluate(&page, shown).await, json!([false, true]));
    RIGHT.reads(&mut browser, &page, "Over there?").await;
    let focused = "document.activeElement.matches('#pane-second textarea')";
    assert_eq!(browser.evaluate(&page, focused).await, true);
    browser
        .evaluate(
            &page,
            "document.querySelector('[data-language=ko]').click()",
        )
        .await;
    assert_eq!(
        browser
            .evaluate(&page, "document.documentElement.lang")
            .await,
        "ko"
    );
    browser
        .wait_for(
            &page,
            "document.querySelector('#pane-second h2').textContent.startsWith('손님')",
        )
        .await;
}

#[tokio::test]
async fn enter_does_not_send_while_an_input_method_composes() {
    let node = Node::start("page", &[]).await;
    let mut browser = Browser::start().await;
    let page = browser.open(&node.url("/"), DESK, false).await;
    LEFT.is_ready(&mut browser, &page).await;
    browser
        .evaluate(
            &page,
            "document.querySelector('#pane-first textarea').focus()",
        )
        .await;
    browser.write(&page, "안녕").await;
    let composing =
        "document.querySelector('#pane-first textarea').dispatchEvent(new KeyboardEvent(
        'keydown', {key: 'Enter', isComposing: true, bubbles: true, cancelable: true}))";
    assert_eq!(browser.evaluate(&page, composing).await, true);
    assert_eq!(LEFT.count(&mut browser, &page, "안녕").await, 0);
    browser.press_enter(&page).await;
    LEFT.knows_stored(&mut browser, &page, "안녕").await;
}

#[tokio::test]
async fn what_is_written_while_the_node_restarts_is_sent_afterwards_once() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let port = crate::support::ports::free().to_string();
    let environment = [("SERVER_PORT", port.as_str())];
    let node = Node::start_in("before", &data, &environment).await;
    let mut browser = Browser::start().await;
    let page = browser.open(&node.url("/"), DESK, false).await;
    LEFT.is_ready(&mut browser, &page).await;
    RIGHT.is_ready(&mut browser, &page).await;
    let who = "[...document.querySelectorAll('.pane h2')].map((name) => name.title)";
    let were = browser.evaluate(&page, who).await;

    let ended = node.stop().await;
    assert!(ended.status.success(), "{}", ended.output);
    LEFT.is(&mut browser, &page, "offline").await;
    LEFT.writes(&mut browser, &page, "Are you still there?")
        .await;
    LEFT.keeps(&mut browser, &page, "Are you still there?")
        .await;

    let node = Node::start_in("after", &data, &environment).await;
    LEFT.knows_stored(&mut browser, &page, "Are you still there?")
        .await;
    let count = LEFT
        .count(&mut browser, &page, "Are you still there?")
        .await;
    assert_eq!(count, 1);
    RIGHT.is(&mut browser, &page, "connected").await;
    let are = browser.evaluate(&page, who).await;
    assert_eq!(are, were, "the same visitors came back");
    LEFT.writes(&mut browser, &page, "Good to see you").await;
    RIGHT.reads(&mut browser, &page, "Good to see you").await;
    drop(node);
}

#[tokio::test]
async fn plain_http_under_another_name_has_history_and_permissions_after_a_reload() {
    let node = Node::start("page", &[]).await;
    let mut browser = Browser::start().await;
    let url = format!("http://{PLAIN_NAME}:{}/", node.address().port());
    let page = browser.open(&url, DESK, false).await;
    LEFT.is_ready(&mut browser, &page).await;
    RIGHT.is_ready(&mut browser, &page).await;
    assert_eq!(browser.evaluate(&page, "isSecureContext").await, false);
    talk(&mut browser, &page, LEFT, RIGHT, "From the sofa").await;

    browser.reload(&page).await;
    let reloaded = "document.querySelector('#pane-first[data-state=connected]')";
    browser.wait_for(&page, reloaded).await;
    LEFT.knows_stored(&mut browser, &page, "From the sofa")
        .await;
    let may = "document.querySelector('#pane-first .may .grant')";
    browser.wait_for(&page, may).await;
    assert_eq!(browser.complaints(), [] as [String; 0]);
}

#[tokio::test]
async fn a_silent_line_shows_reconnecting_and_is_replaced() {
    let node = Node::start("page", &[]).await;
    let proxy = Proxy::to(node.address().port()).await;
    let mut browser = Browser::start().await;
    let url = format!("http://127.0.0.1:{}/", proxy.port());
    let page = browser.open(&url, DESK, false).await;
    LEFT.is_ready(&mut browser, &page).await;
    RIGHT.is_ready(&mut browser, &page).await;

    // A heart-beat that is only late ends nothing.
    let opened = browser.sockets_opened(&page).await;
    proxy.set(Network::Blackhole);
    LEFT.is(&mut browser, &page, "reconnecting").await;
    proxy.set(Network::Pass);
    LEFT.is(&mut browser, &page, "connected").await;
    assert_eq!(browser.sockets_opened(&page).await, opened);

    // Beyond the patience of this wait the browser would still wait for the answer to its close.
    proxy.set(Network::Blackhole);
    LEFT.is(&mut browser, &page, "offline").await;
    RIGHT.is(&mut browser, &page, "offline").await;
    proxy.set(Network::Pass);
    LEFT.is(&mut browser, &page, "connected").await;
    RIGHT.is(&mut browser, &page, "connected").await;
    talk(&mut browser, &page, LEFT, RIGHT, "Here again").await;
}

#[tokio::test]
async fn a_refused_message_says_why_and_without_stomp_js_the_page_says_what_to_do() {
    let node = Node::start("page", &[("MESSAGE_CHARS", "10")]).await;
    let mut browser = Browser::start().await;
    let page = browser.open(&node.url("/"), DESK, false).await;
    LEFT.is_ready(&mut browser, &page).await;
    LEFT.writes(&mut browser, &page, "Far too many characters")
        .await;
    browser
        .wait_for(&page, "document.querySelector('#pane-first li.failed')")
        .await;
    browser
        .wait_for(
            &page,
            "!document.querySelector('#pane-first .problem').hidden",
        )
        .await;

    browser.block(&page, &["*stomp.umd.min.js*"]).await;
    browser.reload(&page).await;
    browser
        .wait_for(&page, "document.querySelector('#missing:not([hidden])')")
        .await;
}
