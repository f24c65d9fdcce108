//! The link of the page that continues a conversation in another browser, in real Chromiums.
//!
//! Not here: accounts (`page_accounts`). Invariant: a link works once, and the conversation that it brings stays in
//! view, whatever else arrives meanwhile.

use crate::support::chromium::{Browser, Tab};
use crate::support::node::Node;
use crate::support::page::{DESK, LEFT, RIGHT, SMALL_PHONE, browser_at, talk};
use crate::support::sheet::Sheet;

/// The link that the sheet of an open dialog shows.
async fn link_of(browser: &mut Browser, page: &Tab) -> String {
    let mut sheet = Sheet::of(browser, page, LEFT).await;
    sheet.click("Continue in another browser").await;
    sheet
        .wait_for("document.querySelector('#sheet .qr')?.naturalWidth > 0")
        .await;
    let link = sheet
        .evaluate("document.querySelector('#sheet .copying input').value")
        .await;
    link.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_link_carries_a_conversation_to_another_browser_once() {
    let node = Node::start("page", &[]).await;
    let (mut first, desk) = browser_at(&node).await;
    talk(&mut first, &desk, LEFT, RIGHT, "Begun at the desk").await;
    let was = LEFT.address(&mut first, &desk).await;
    let link = link_of(&mut first, &desk).await;
    let (page, token) = link.split_once("#link=").unwrap();
    assert_eq!(page, node.url("/"));

    // A preview bot that opens it uses nothing up: only the click does.
    let mut second = Browser::start().await;
    let phone = second.open(&link, SMALL_PHONE, true).await;
    Sheet::shown(&mut second, &phone).await;
    assert_eq!(second.sockets_opened(&phone).await, 0);
    let mut sheet = Sheet::shown(&mut second, &phone).await;
    sheet.click("Continue here").await;
    sheet.closes().await;
    LEFT.is(&mut second, &phone, "connected").await;
    LEFT.knows_stored(&mut second, &phone, "Begun at the desk")
        .await;
    assert_eq!(LEFT.address(&mut second, &phone).await, was);
    let hash = second.evaluate(&phone, "location.href").await;
    assert_eq!(hash, node.url("/"));
    LEFT.is_told(&mut first, &desk, "Continued in another browser")
        .await;

    first.press_escape(&desk).await;
    RIGHT
        .writes(&mut first, &desk, "Are you on the phone now?")
        .await;
    LEFT.reads(&mut second, &phone, "Are you on the phone now?")
        .await;

    let mut third = Browser::start().await;
    let late = third.open(&link, DESK, false).await;
    let mut sheet = Sheet::shown(&mut third, &late).await;
    sheet.click("Continue here").await;
    sheet.says("This link was used before").await;
    assert!(!node.output().contains(token), "a link is a secret");
}

#[tokio::test]
async fn the_conversation_of_a_link_stays_in_view_when_the_other_visitor_arrives() {
    let node = Node::start("page", &[]).await;
    let (mut first, desk) = browser_at(&node).await;
    talk(&mut first, &desk, LEFT, RIGHT, "Begun at the desk").await;
    let link = link_of(&mut first, &desk).await;

    let mut second = Browser::start().await;
    let phone = second.open(&link, SMALL_PHONE, true).await;
    let mut sheet = Sheet::shown(&mut second, &phone).await;
    // The second socket of the page, which is the other visitor's, opens when the test says so.
    let held = "globalThis.WebSocket = class extends globalThis.WebSocket {
            static count = 0;
            number = (WebSocket.count += 1);
            set onopen(opened) {
                super.onopen = (event) => {
                    if (this.number === 1) opened(event);
                    else globalThis.arrive = () => opened(event);
                };
            }
        }, 0";
    sheet.evaluate(held).await;
    sheet.click("Continue here").await;
    sheet.closes().await;
    LEFT.knows_stored(&mut second, &phone, "Begun at the desk")
        .await;
    second.wait_for(&phone, "globalThis.arrive").await;
    second.evaluate(&phone, "arrive()").await;
    RIGHT.is_ready(&mut second, &phone).await;
    let both = "document.querySelectorAll('#pane-first .peers button').length === 2";
    second.wait_for(&phone, both).await;
    assert_eq!(
        LEFT.count(&mut second, &phone, "Begun at the desk").await,
        1
    );
}
