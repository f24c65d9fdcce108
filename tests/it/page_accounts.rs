//! Accounts on the demo page, in real Chromiums: each browser of a test has a profile of its own.

use crate::support::chromium::{Browser, Tab};
use crate::support::cli::stompbox;
use crate::support::node::Node;
use crate::support::page::{DESK, LEFT, RIGHT, browser_at, talk};
use crate::support::sheet::{PASSWORD, Sheet};

const MINA: &str = "mina@example.org";

#[tokio::test]
async fn a_visitor_becomes_a_member_on_the_connection_that_he_has() {
    let node = Node::start("page", &[]).await;
    let (mut browser, page) = browser_at(&node).await;
    talk(&mut browser, &page, LEFT, RIGHT, "As a visitor").await;
    let was = LEFT.address(&mut browser, &page).await;
    assert_eq!(browser.sockets_opened(&page).await, 2);

    LEFT.creates_account(&mut browser, &page, MINA, "Mina")
        .await;
    let said = "document.querySelector('#pane-first .outcome').textContent
        .includes('The conversation goes on')";
    browser.wait_for(&page, said).await;
    talk(&mut browser, &page, LEFT, RIGHT, "As a member").await;
    talk(&mut browser, &page, RIGHT, LEFT, "Hello, Mina").await;
    assert_eq!(LEFT.count(&mut browser, &page, "As a visitor").await, 1);
    assert_eq!(LEFT.address(&mut browser, &page).await, was);
    assert_eq!(
        browser.sockets_opened(&page).await,
        2,
        "nobody has reconnected"
    );
    // The other side learns the name with the first message.
    let named = "document.querySelector('#pane-second textarea').placeholder.includes('Mina')";
    browser.wait_for(&page, named).await;
    let may = "document.querySelector('#pane-first .may .grant.no') === null
        && document.querySelector('#pane-second .may .grant.no') !== null";
    browser.wait_for(&page, may).await;

    // Permissions for what is not offered are not shown.
    let tags = "document.querySelectorAll('#pane-first .may .grant').length";
    assert_eq!(browser.evaluate(&page, tags).await, 3);
    Sheet::of(&mut browser, &page, LEFT).await;
    let listed = "document.querySelector('#sheet .permissions').innerText";
    let listed = browser.evaluate(&page, listed).await.to_string();
    assert!(listed.contains("Write to people"), "{listed}");
    for unknown in ["may_", "room", "Upload"] {
        assert!(!listed.contains(unknown), "{unknown}: {listed}");
    }
    browser.press_escape(&page).await;

    // The account is kept in this browser, and so is what was written before it.
    browser.reload(&page).await;
    let reloaded = "document.querySelector('#pane-first[data-state=connected]')";
    browser.wait_for(&page, reloaded).await;
    LEFT.is_kind(&mut browser, &page, "member").await;
    LEFT.knows_stored(&mut browser, &page, "As a visitor").await;
    assert_eq!(LEFT.address(&mut browser, &page).await, was);
    // The right side recalls messages that carry the name of a visitor, and one of the right visitor is
    // answered by the member: the newest name is shown.
    RIGHT.reads(&mut browser, &page, "As a member").await;
    let titled = "document.querySelector('#pane-first h2').textContent === 'Mina'";
    browser.wait_for(&page, titled).await;
    let order = "import('/assets/words.js').then(({call, nameOf}) => {
        call('user_x', 'Guest abcd', 1); call('user_x', 'Late', 30); call('user_x', 'Early', 20);
        return nameOf('user_x');
    })";
    assert_eq!(browser.evaluate(&page, order).await, "Late");
    assert_eq!(browser.complaints(), [] as [String; 0]);
}

#[tokio::test]
async fn a_second_browser_signs_in_and_shows_the_same_until_it_is_signed_out() {
    let node = Node::start("page", &[]).await;
    let (mut first, desk) = browser_at(&node).await;
    talk(&mut first, &desk, LEFT, RIGHT, "Before the account").await;
    LEFT.creates_account(&mut first, &desk, MINA, "Mina").await;
    talk(&mut first, &desk, RIGHT, LEFT, "After it").await;

    let (mut second, couch) = browser_at(&node).await;
    LEFT.signs_in(&mut second, &couch, MINA, None).await;
    LEFT.knows_stored(&mut second, &couch, "Before the account")
        .await;
    LEFT.reads(&mut second, &couch, "After it").await;
    let mina = LEFT.address(&mut first, &desk).await;
    assert_eq!(LEFT.address(&mut second, &couch).await, mina);

    talk(&mut first, &desk, RIGHT, LEFT, "To both").await;
    LEFT.reads(&mut second, &couch, "To both").await;
    LEFT.writes(&mut second, &couch, "From the couch").await;
    LEFT.knows_stored(&mut second, &couch, "From the couch")
        .await;
    RIGHT.reads(&mut first, &desk, "From the couch").await;
    LEFT.knows_stored(&mut first, &desk, "From the couch").await;
    for text in [
        "Before the account",
        "After it",
        "To both",
        "From the couch",
    ] {
        assert_eq!(LEFT.count(&mut first, &desk, text).await, 1, "{text}");
        assert_eq!(LEFT.count(&mut second, &couch, text).await, 1, "{text}");
    }

    let mut sheet = Sheet::of(&mut first, &desk, LEFT).await;
    sheet.click("Devices").await;
    let both = "document.querySelectorAll('#sheet .devices li').length === 2";
    sheet.wait_for(both).await;
    let end_other = "[...document.querySelectorAll('#sheet .devices li')]
        .find((it) => !it.textContent.includes('this browser')).querySelector('button').click()";
    sheet.evaluate(end_other).await;
    sheet.says("Signed out: ").await;
    sheet
        .wait_for("document.querySelectorAll('#sheet .devices li').length === 1")
        .await;
    LEFT.is_told(&mut second, &couch, "This device was signed out")
        .await;
    LEFT.is(&mut first, &desk, "connected").await;
    // He goes on there as somebody new, who has nothing of hers.
    let go_on = "[...document.querySelectorAll('#pane-first .ways button')].at(-1).click()";
    second.evaluate(&couch, go_on).await;
    LEFT.is_ready(&mut second, &couch).await;
    LEFT.is_kind(&mut second, &couch, "anonymous").await;
    assert_eq!(LEFT.count(&mut second, &couch, "To both").await, 0);
}

#[tokio::test]
async fn whoever_signs_in_takes_his_conversation_along_if_he_wants_to() {
    let node = Node::start("page", &[]).await;
    let (mut first, desk) = browser_at(&node).await;
    talk(&mut first, &desk, LEFT, RIGHT, "Of the account").await;
    LEFT.creates_account(&mut first, &desk, MINA, "Mina").await;
    let mina = LEFT.address(&mut first, &desk).await;

    let (mut second, couch) = browser_at(&node).await;
    talk(&mut second, &couch, LEFT, RIGHT, "Of the visitor").await;
    // Nothing is chosen for him.
    let mut sheet = Sheet::of(&mut second, &couch, LEFT).await;
    sheet.click("Sign in").await;
    sheet.fill("email", MINA).await;
    sheet.fill("password", PASSWORD).await;
    sheet.click("Sign in").await;
    sheet.says("Choose one of the two").await;
    second.press_escape(&couch).await;
    LEFT.signs_in(&mut second, &couch, MINA, Some("yes")).await;
    assert_eq!(LEFT.address(&mut second, &couch).await, mina);

    LEFT.knows_stored(&mut second, &couch, "Of the visitor")
        .await;
    let other = RIGHT.address(&mut first, &desk).await;
    let other = format!("Guest {}", &other[other.len() - 4..]);
    LEFT.looks_at(&mut second, &couch, &other).await;
    LEFT.knows_stored(&mut second, &couch, "Of the account")
        .await;

    // The other side of the visitor's conversation goes on with the account, everywhere.
    talk_on(&mut second, &couch, "Still there?").await;
    let peer = RIGHT.address(&mut second, &couch).await;
    let peer = format!("Guest {}", &peer[peer.len() - 4..]);
    LEFT.looks_at(&mut second, &couch, &peer).await;
    LEFT.reads(&mut second, &couch, "Still there?").await;
    LEFT.looks_at(&mut first, &desk, &peer).await;
    LEFT.reads(&mut first, &desk, "Still there?").await;
}

/// The one on the right writes in the conversation that he has.
async fn talk_on(browser: &mut Browser, page: &Tab, text: &str) {
    assert_eq!(RIGHT.count(browser, page, "Of the visitor").await, 1);
    RIGHT.writes(browser, page, text).await;
    RIGHT.knows_stored(browser, page, text).await;
}

#[tokio::test]
async fn what_is_refused_is_said_in_words() {
    let node = Node::start("page", &[]).await;
    let (mut browser, page) = browser_at(&node).await;
    LEFT.creates_account(&mut browser, &page, MINA, "Mina")
        .await;

    let mut sheet = Sheet::of(&mut browser, &page, RIGHT).await;
    sheet.click("Create account").await;
    sheet.fill("email", "not an address").await;
    sheet.fill("password", "short").await;
    sheet.click("Create account").await;
    sheet.says("a whole e-mail address").await;
    sheet.says("At least 10 characters").await;
    sheet.fill("email", "noa@example.org").await;
    sheet.fill("password", "password12").await;
    sheet.click("Create account").await;
    sheet.says("too easy to guess").await;
    let invalid =
        "document.querySelector('#sheet [name=password]').matches('[aria-invalid=true]:focus')";
    sheet.wait_for(invalid).await;
    sheet.fill("email", MINA).await;
    sheet.fill("password", PASSWORD).await;
    sheet.click("Create account").await;
    sheet.says("There is an account with this e-mail").await;

    sheet
        .evaluate("document.querySelector('#sheet .back').click()")
        .await;
    sheet.click("Sign in").await;
    sheet.fill("email", MINA).await;
    sheet.fill("password", "a wrong password").await;
    sheet.click("Sign in").await;
    sheet.says("E-mail or password is wrong").await;
    // An address that nobody has is answered in the same words.
    sheet.fill("email", "nobody@example.org").await;
    sheet.click("Sign in").await;
    sheet.says("E-mail or password is wrong").await;
    sheet.click("Forgotten the password?").await;
    sheet.fill("email", "nobody@example.org").await;
    sheet.click("Send the link").await;
    sheet.says("If there is an account").await;
}

#[tokio::test]
async fn a_forgotten_password_is_set_anew_by_the_link_of_a_letter() {
    // Without a mail server a developer reads the letter in the log.
    let node = Node::start("page", &[("APP_ENV", "development")]).await;
    let (mut browser, page) = browser_at(&node).await;
    LEFT.creates_account(&mut browser, &page, MINA, "Mina")
        .await;
    let mut sheet = Sheet::of(&mut browser, &page, RIGHT).await;
    sheet.click("Sign in").await;
    sheet.click("Forgotten the password?").await;
    sheet.fill("email", MINA).await;
    sheet.click("Send the link").await;
    sheet.says("If there is an account").await;
    let letter = node.output_with("/#reset=").await;
    let (_, rest) = letter.split_once("/#reset=").unwrap();
    let token = rest.split_whitespace().next().unwrap();

    let mut second = Browser::start().await;
    let link = node.url(&format!("/#reset={token}"));
    let late = second.open(&link, DESK, false).await;
    let mut sheet = Sheet::shown(&mut second, &late).await;
    sheet.fill("new", "another horse battery staple").await;
    sheet.click("Set password").await;
    sheet.says("The new password counts").await;
    sheet.fill("email", MINA).await;
    sheet.fill("password", "another horse battery staple").await;
    sheet.click("Sign in").await;
    sheet.closes().await;
    LEFT.is_kind(&mut second, &late, "member").await;
    let hash = second.evaluate(&late, "location.href").await;
    assert_eq!(hash, node.url("/"));
    // Whoever knew the old one is signed out, and the letter is good once.
    LEFT.is_told(&mut browser, &page, "This device was signed out")
        .await;
    let again = second.open(&link, DESK, false).await;
    let mut sheet = Sheet::shown(&mut second, &again).await;
    sheet.fill("new", "a third horse battery staple").await;
    sheet.click("Set password").await;
    sheet.says("This link was used before").await;
}

#[tokio::test]
async fn whoever_is_muted_or_banned_reads_until_when() {
    let secret = "a secret of this test, which is long enough";
    let node = Node::start("page", &[("JWT_SECRET", secret)]).await;
    let (mut browser, page) = browser_at(&node).await;
    let left = LEFT.address(&mut browser, &page).await;
    let url = node.url("");
    let mut words = vec!["ban", "add", "--user", &left, "--seconds", "3600"];
    words.extend(["--reason", "spam", "--url", &url]);
    let muting: Vec<_> = words.iter().copied().chain(["--mute"]).collect();
    let done = stompbox(&muting, &[("JWT_SECRET", secret)]).await;
    assert!(done.status.success(), "{done:?}");
    let told = "document.querySelector('#pane-first .problem span').textContent
        .startsWith('You may not write until ')";
    browser.wait_for(&page, told).await;
    RIGHT.is(&mut browser, &page, "connected").await;

    let done = stompbox(&words, &[("JWT_SECRET", secret)]).await;
    assert!(done.status.success(), "{done:?}");
    LEFT.is_told(&mut browser, &page, "Banned until ").await;
    RIGHT.is(&mut browser, &page, "connected").await;
}

#[tokio::test]
async fn an_access_token_is_renewed_on_the_open_connection() {
    let node = Node::start("page", &[("JWT_ACCESS_TTL", "20s")]).await;
    let (mut browser, page) = browser_at(&node).await;
    LEFT.creates_account(&mut browser, &page, MINA, "Mina")
        .await;
    // Twice: the second proves that the successor of the refresh token is good too.
    let renewed = "performance.getEntriesByType('resource')
        .filter(({name}) => name.endsWith('/auth/refresh')).length >= 2";
    browser.wait_for(&page, renewed).await;
    talk(
        &mut browser,
        &page,
        LEFT,
        RIGHT,
        "Still the same connection",
    )
    .await;
    assert_eq!(browser.sockets_opened(&page).await, 2);
    assert_eq!(browser.complaints(), [] as [String; 0]);
}
