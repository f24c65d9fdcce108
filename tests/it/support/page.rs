//! The demo page as its users handle it: who writes what to whom, and what they see.
//!
//! Not here: the browser (`chromium`). The words are the English ones.

use serde_json::json;

use super::chromium::{Browser, Tab};
use super::node::Node;

/// A window on a desk, in CSS pixels.
pub(crate) const DESK: (u32, u32) = (1280, 860);
/// The smallest phone that the page is made for.
pub(crate) const SMALL_PHONE: (u32, u32) = (360, 740);

/// One visitor of the page, by the id of his part of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visitor(pub(crate) &'static str);

/// The one on the left.
pub(crate) const LEFT: Visitor = Visitor("#pane-first");
/// The one on the right.
pub(crate) const RIGHT: Visitor = Visitor("#pane-second");
/// The one who followed a link.
pub(crate) const GUEST: Visitor = Visitor(".guest .pane");

impl Visitor {
    /// Waits until he is connected and has somebody to write to.
    pub(crate) async fn is_ready(self, browser: &mut Browser, tab: &Tab) {
        let pane = self.0;
        let ready = format!(
            "document.querySelector('{pane}[data-state=connected]')
             && !document.querySelector('{pane} .hello').hidden"
        );
        browser.wait_for(tab, &ready).await;
    }

    /// Types a message and presses Enter.
    pub(crate) async fn writes(self, browser: &mut Browser, tab: &Tab, text: &str) {
        let focus = format!("document.querySelector('{} textarea').focus()", self.0);
        browser.evaluate(tab, &focus).await;
        browser.write(tab, text).await;
        browser.press_enter(tab).await;
    }

    /// Waits until he has received this message.
    pub(crate) async fn reads(self, browser: &mut Browser, tab: &Tab, text: &str) {
        self.sees(browser, tab, "li.other", text).await;
    }

    /// Waits until his own message is stored and has its place.
    pub(crate) async fn knows_stored(self, browser: &mut Browser, tab: &Tab, text: &str) {
        self.sees(browser, tab, "li.own.stored", text).await;
    }

    /// Waits until his own message waits for the connection.
    pub(crate) async fn keeps(self, browser: &mut Browser, tab: &Tab, text: &str) {
        self.sees(browser, tab, "li.own.queued", text).await;
    }

    /// Waits until his connection is in this state.
    pub(crate) async fn is(self, browser: &mut Browser, tab: &Tab, state: &str) {
        let is = format!("document.querySelector('{}[data-state={state}]')", self.0);
        browser.wait_for(tab, &is).await;
    }

    /// How many messages he sees with this text, his own or others'.
    pub(crate) async fn count(self, browser: &mut Browser, tab: &Tab, text: &str) -> u64 {
        let counted = format!(
            "[...document.querySelectorAll('{} li p')].filter((p) => p.textContent === {}).length",
            self.0,
            json!(text)
        );
        browser.evaluate(tab, &counted).await.as_u64().unwrap()
    }

    async fn sees(self, browser: &mut Browser, tab: &Tab, item: &str, text: &str) {
        let seen = format!(
            "[...document.querySelectorAll('{} {item} p')].some((p) => p.textContent === {})",
            self.0,
            json!(text)
        );
        browser.wait_for(tab, &seen).await;
    }
}

/// A browser of its own with the page in it, and both visitors there.
pub(crate) async fn browser_at(node: &Node) -> (Browser, Tab) {
    let mut browser = Browser::start().await;
    let page = browser.open(&node.url("/"), DESK, false).await;
    LEFT.is_ready(&mut browser, &page).await;
    RIGHT.is_ready(&mut browser, &page).await;
    (browser, page)
}

/// One of a browser writes to another of the same.
pub(crate) async fn talk(
    browser: &mut Browser,
    page: &Tab,
    from: Visitor,
    to: Visitor,
    text: &str,
) {
    from.writes(browser, page, text).await;
    from.knows_stored(browser, page, text).await;
    to.reads(browser, page, text).await;
}
