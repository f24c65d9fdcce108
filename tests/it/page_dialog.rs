//! The dialog of accounts on the demo page: with a keyboard, on a phone, in both languages.
//!
//! Not here: what it does (`page_accounts`).

use serde_json::json;

use crate::support::chromium::Browser;
use crate::support::node::Node;
use crate::support::page::{LEFT, SMALL_PHONE, browser_at};
use crate::support::sheet::Sheet;

#[tokio::test]
async fn the_dialog_is_for_keyboards_and_input_methods_too() {
    let node = Node::start("page", &[]).await;
    let (mut browser, page) = browser_at(&node).await;
    let mut sheet = Sheet::of(&mut browser, &page, LEFT).await;
    let labelled = "document.getElementById(document.querySelector('#sheet')
        .getAttribute('aria-labelledby')).textContent.startsWith('Guest')";
    assert_eq!(sheet.evaluate(labelled).await, true);
    sheet.click("Create account").await;
    let fields = "[...document.querySelectorAll('#sheet input')].map((it) =>
        [it.labels.length > 0, it.autocomplete])";
    let expected = json!([[true, "email"], [true, "new-password"], [true, "nickname"]]);
    assert_eq!(sheet.evaluate(fields).await, expected);
    let focused = "document.activeElement.name";
    assert_eq!(sheet.evaluate(focused).await, "email");

    // While a syllable is being put together, Enter and Esc belong to the input method.
    let composing = "(() => {
        const name = document.querySelector('#sheet [name=name]');
        name.dispatchEvent(new CompositionEvent('compositionstart', {bubbles: true}));
        const enter = new KeyboardEvent('keydown',
            {key: 'Enter', isComposing: true, bubbles: true, cancelable: true});
        return [name.dispatchEvent(enter),
            document.querySelector('#sheet').dispatchEvent(new Event('cancel', {cancelable: true}))];
    })()";
    assert_eq!(sheet.evaluate(composing).await, json!([false, false]));
    let composed = "document.querySelector('#sheet [name=name]')
        .dispatchEvent(new CompositionEvent('compositionend', {bubbles: true}))";
    sheet.evaluate(composed).await;
    browser.press_escape(&page).await;
    browser
        .wait_for(&page, "!document.querySelector('#sheet').open")
        .await;
    let returned = "document.activeElement.matches('#pane-first .account')";
    assert_eq!(browser.evaluate(&page, returned).await, true);
    // What was typed into a form does not stay in the page.
    let gone = "!document.querySelector('#sheet input')";
    browser.wait_for(&page, gone).await;
}

#[tokio::test]
async fn a_phone_has_room_for_every_view_in_both_languages() {
    let node = Node::start("page", &[]).await;
    let mut browser = Browser::start().await;
    let page = browser.open(&node.url("/"), SMALL_PHONE, true).await;
    LEFT.is_ready(&mut browser, &page).await;
    let fits = "[document.documentElement, document.querySelector('#sheet')]
        .every((it) => it.scrollWidth <= it.clientWidth) &&
        [...document.querySelectorAll('#sheet button, #sheet input, .account')]
        .every((it) => !it.offsetParent || (it.offsetHeight >= 20 && it.offsetWidth >= 20
            && Math.max(it.offsetHeight, it.parentElement.offsetHeight) >= 24))";
    for language in ["en", "ko"] {
        let speak = format!("document.querySelector('[data-language={language}]').click()");
        browser.evaluate(&page, &speak).await;
        for action in [None, Some(1), Some(2), Some(3)] {
            let mut sheet = Sheet::of(&mut browser, &page, LEFT).await;
            if let Some(nth) = action {
                let open =
                    format!("document.querySelector('#sheet .actions :nth-child({nth})').click()");
                sheet.evaluate(&open).await;
                sheet
                    .wait_for("!document.querySelector('#sheet .back').hidden")
                    .await;
            }
            assert_eq!(sheet.evaluate(fits).await, true, "{language} {action:?}");
            sheet
                .evaluate("document.querySelector('#sheet .shut').click()")
                .await;
            sheet.closes().await;
        }
    }
}

#[tokio::test]
async fn both_languages_have_the_same_words_with_the_same_gaps() {
    let node = Node::start("page", &[]).await;
    let (mut browser, page) = browser_at(&node).await;
    let different = "(async () => {
        const [{en}, {ko}] = await Promise.all(
            [import('/assets/words-en.js'), import('/assets/words-ko.js')]);
        const gaps = (text) => (text?.match(/\\{\\w+\\}/g) ?? []).sort().join();
        const keys = new Set([...Object.keys(en), ...Object.keys(ko)]);
        const marked = [...document.querySelectorAll('[data-words], [data-label]')]
            .flatMap((it) => [it.dataset.words, it.dataset.label]).filter(Boolean);
        const server = ['anonymous', 'member', 'bot', 'admin'].map((kind) => `kind_${kind}`);
        return [
            ...[...keys].filter((key) => !en[key] || !ko[key] || gaps(en[key]) !== gaps(ko[key])),
            ...[...marked, ...server].filter((key) => !en[key]),
        ];
    })()";
    assert_eq!(browser.evaluate(&page, different).await, json!([]));
    // Every word that a script asks for by its whole name is there.
    let missing = "(async () => {
        const {hasWords} = await import('/assets/words.js');
        const scripts = ['main', 'pane', 'person', 'sheet', 'strength', 'dom', 'problems'];
        const texts = await Promise.all(scripts.map(
            async (name) => (await fetch(`/assets/${name}.js`)).text()));
        const asked = texts.flatMap((text) => [...text.matchAll(/words\\('(\\w+)'/g)]);
        return asked.map(([, key]) => key).filter((key) => !hasWords(key));
    })()";
    assert_eq!(browser.evaluate(&page, missing).await, json!([]));
}
