//! The dialog of the page, as people handle it: opened for one of those on the screen, read, filled in.
//!
//! Not here: the browser (`chromium`), conversations (`page`). The words are the English ones.

use serde_json::json;

use super::chromium::{Browser, Tab};
use super::page::Visitor;

/// A password that is good enough for everybody.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// The dialog of a tab.
#[derive(Debug)]
pub(crate) struct Sheet<'a> {
    browser: &'a mut Browser,
    tab: &'a Tab,
}

impl<'a> Sheet<'a> {
    /// Opens it for somebody.
    pub(crate) async fn of(browser: &'a mut Browser, tab: &'a Tab, visitor: Visitor) -> Self {
        let button = format!("document.querySelector('{} .account')", visitor.0);
        let open = format!("{button}.focus(), {button}.click()");
        browser.evaluate(tab, &open).await;
        Self::shown(browser, tab).await
    }

    /// Waits until the page shows it by itself.
    pub(crate) async fn shown(browser: &'a mut Browser, tab: &'a Tab) -> Self {
        browser
            .wait_for(tab, "document.querySelector('#sheet')?.open")
            .await;
        Self { browser, tab }
    }

    /// Waits for a button with these words and clicks it: the last of them, as the one that a form
    /// ends with stands below its heading.
    pub(crate) async fn click(&mut self, words: &str) {
        let found = format!(
            "[...document.querySelectorAll('#sheet button')]
                .filter((it) => it.textContent === {} && !it.disabled).at(-1)",
            json!(words)
        );
        self.browser.wait_for(self.tab, &found).await;
        let click = format!("{found}.click()");
        self.browser.evaluate(self.tab, &click).await;
    }

    /// Writes into the input of this name, over what is there.
    pub(crate) async fn fill(&mut self, name: &str, text: &str) {
        let input = format!("document.querySelector('#sheet [name={name}]')");
        self.browser.wait_for(self.tab, &input).await;
        let select = format!("{input}.focus(), {input}.select()");
        self.browser.evaluate(self.tab, &select).await;
        self.browser.write(self.tab, text).await;
    }

    /// Waits until it says something with these words in it: an outcome, or what is wrong.
    pub(crate) async fn says(&mut self, words: &str) {
        let said = format!(
            "[...document.querySelectorAll('#sheet :is(.outcome, .alert, .wrong)')]
                .some((it) => !it.hidden && it.textContent.includes({}))",
            json!(words)
        );
        self.browser.wait_for(self.tab, &said).await;
    }

    /// Waits until it is closed.
    pub(crate) async fn closes(self) {
        let closed = "!document.querySelector('#sheet').open";
        self.browser.wait_for(self.tab, closed).await;
    }

    /// Waits until an expression is true.
    pub(crate) async fn wait_for(&mut self, expression: &str) {
        self.browser.wait_for(self.tab, expression).await;
    }

    /// The value of an expression.
    pub(crate) async fn evaluate(&mut self, expression: &str) -> serde_json::Value {
        self.browser.evaluate(self.tab, expression).await
    }
}

impl Visitor {
    /// Makes an account of himself.
    pub(crate) async fn creates_account(
        self,
        browser: &mut Browser,
        tab: &Tab,
        email: &str,
        name: &str,
    ) {
        let mut sheet = Sheet::of(browser, tab, self).await;
        sheet.click("Create account").await;
        sheet.fill("email", email).await;
        sheet.fill("password", PASSWORD).await;
        sheet.fill("name", name).await;
        sheet.click("Create account").await;
        sheet.closes().await;
        self.is_kind(browser, tab, "member").await;
    }

    /// Signs in; `merge` answers the question of a visitor who has written.
    pub(crate) async fn signs_in(
        self,
        browser: &mut Browser,
        tab: &Tab,
        email: &str,
        merge: Option<&str>,
    ) {
        let mut sheet = Sheet::of(browser, tab, self).await;
        sheet.click("Sign in").await;
        sheet.fill("email", email).await;
        sheet.fill("password", PASSWORD).await;
        if let Some(answer) = merge {
            let choose = format!("document.querySelector('#sheet [value={answer}]').click()");
            sheet.evaluate(&choose).await;
        }
        sheet.click("Sign in").await;
        sheet.closes().await;
        self.is_kind(browser, tab, "member").await;
        self.is(browser, tab, "connected").await;
    }

    /// Waits until he is of this kind.
    pub(crate) async fn is_kind(self, browser: &mut Browser, tab: &Tab, kind: &str) {
        let is = format!("document.querySelector('{}[data-kind={kind}]')", self.0);
        browser.wait_for(tab, &is).await;
    }

    /// His address.
    pub(crate) async fn address(self, browser: &mut Browser, tab: &Tab) -> String {
        let title = format!("document.querySelector('{} h2').title", self.0);
        let address = browser.evaluate(tab, &title).await;
        address.as_str().unwrap().to_owned()
    }

    /// What he is told about his connection.
    pub(crate) async fn is_told(self, browser: &mut Browser, tab: &Tab, words: &str) {
        let told = format!(
            "document.querySelector('{} .state').textContent.includes({})",
            self.0,
            json!(words)
        );
        browser.wait_for(tab, &told).await;
    }

    /// Shows the conversation in which this was written last.
    pub(crate) async fn looks_at(self, browser: &mut Browser, tab: &Tab, name: &str) {
        let button = format!(
            "[...document.querySelectorAll('{} .peers button')]
                .find((it) => it.firstChild.textContent === {})",
            self.0,
            json!(name)
        );
        browser.wait_for(tab, &button).await;
        browser.evaluate(tab, &format!("{button}.click()")).await;
    }
}
