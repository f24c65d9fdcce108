//! Visitors of whom nothing is stored: their secret is all that there is of them until something must
//! be kept.

use std::time::Duration;

use stompbox::identity::{Handshake, Opened};
use stompbox::model::{Code, Proof, Standing};

use super::world::{World, bare, client, connected, from_page, standing, visit, world};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

async fn has_row(world: &World, opened: &Opened) -> bool {
    let row = world.store.user(&opened.principal.user_id).await.unwrap();
    row.is_some()
}

/// A page of its own at this address, with the cookie that it has just got.
fn page(world: &World, address: &str) -> Handshake {
    from_page(world, bare(address, "x"), &mut None)
}

#[tokio::test(start_paused = true)]
async fn a_visitor_who_does_nothing_leaves_no_row() {
    let world = world().await;
    let mut jar = None;
    from_page(&world, bare("198.51.100.1", "x"), &mut jar);
    let cookie = from_page(&world, bare("198.51.100.1", "x"), &mut jar);
    let requested = world.visitors.anonymous(&client(), None).await.unwrap();
    let token = requested.secret_to_tell.clone().unwrap();
    let opened = [
        visit(&world, &client(), None).await,
        visit(&world, &cookie, None).await,
        visit(&world, &cookie, None).await,
        visit(&world, &cookie, Some("new")).await,
        visit(&world, &client(), Some(&token)).await,
        requested,
    ];
    for opened in &opened {
        assert!(!has_row(&world, opened).await, "{opened:?}");
        assert!(opened.principal.made_at.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_without_a_row_ends_an_hour_after_its_last_use() {
    let world = world().await;
    let first = visit(&world, &page(&world, "198.51.100.1"), Some("new")).await;
    let mut secret = first.secret_to_tell.clone().unwrap();
    // It slides by being told anew, without anything being written.
    for _ in 0..5 {
        world.wait(HOUR - 2 * MINUTE).await;
        let again = visit(&world, &client(), Some(&secret)).await;
        assert_eq!((again.proof, again.status), (Proof::Token, None));
        assert_eq!(again.principal.user_id, first.principal.user_id);
        assert!(!has_row(&world, &again).await);
        let told = again.secret_to_tell.expect("a secret that lives longer");
        assert_ne!(told, secret);
        secret = told;
    }
    // A use within ten minutes tells nothing.
    let again = visit(&world, &client(), Some(&secret)).await;
    assert_eq!(again.secret_to_tell, None);
    // The last use is the end of the last session, on whatever node it was.
    world.wait(HOUR - 2 * MINUTE).await;
    let (again, session) = world.connect(&client(), Some(&secret)).await.unwrap();
    assert_eq!(again.proof, Proof::Token);
    world.wait(3 * HOUR).await;
    world.disconnect(&session, false).await;
    world.wait(HOUR - MINUTE).await;
    let again = visit(&world, &client(), Some(&secret)).await;
    assert_eq!(again.principal.user_id, first.principal.user_id);
    world.wait(HOUR + MINUTE).await;
    let late = visit(&world, &client(), Some(&secret)).await;
    assert_eq!(late.status, Some("rejected"));
    assert_ne!(late.principal.user_id, first.principal.user_id);
}

/// What a browser does with this cookie: a genuine one is brought, and replaced once nobody has it.
async fn reload(world: &World, jar: &mut Option<String>) -> Handshake {
    let client = bare("198.51.100.1", "x");
    if let Some(value) = &jar {
        let header = format!("sb_vid={value}");
        if world.visitors.is_cookie_over(client.address, &header).await {
            *jar = None;
        }
    }
    from_page(world, client, jar)
}

#[tokio::test(start_paused = true)]
async fn a_cookie_without_a_row_ends_an_hour_after_its_last_use() {
    let world = world().await;
    let mut jar = None;
    reload(&world, &mut jar).await;
    let given = jar.clone();
    let (first, session) = world
        .connect(&reload(&world, &mut jar).await, None)
        .await
        .unwrap();
    world.wait(3 * HOUR).await;
    world.disconnect(&session, false).await;
    // The last session counts, however old the cookie is.
    world.wait(HOUR - MINUTE).await;
    let page = reload(&world, &mut jar).await;
    assert_eq!(jar, given);
    let (again, session) = world.connect(&page, None).await.unwrap();
    assert_eq!(again.principal.user_id, first.principal.user_id);
    assert_eq!(again.proof, Proof::Token);
    world.disconnect(&session, false).await;
    world.wait(HOUR + MINUTE).await;
    // A client that keeps it all the same is a stranger each time.
    let mut kept = given.clone();
    let stubborn = from_page(&world, bare("198.51.100.1", "x"), &mut kept);
    for _ in 0..2 {
        let late = visit(&world, &stubborn, None).await;
        assert_eq!(late.proof, Proof::New);
        assert_ne!(late.principal.user_id, first.principal.user_id);
    }
    // One that obeys has a new cookie, and with it one identity.
    reload(&world, &mut jar).await;
    assert_ne!(jar, given);
    let new = visit(&world, &reload(&world, &mut jar).await, None).await;
    assert_ne!(new.principal.user_id, first.principal.user_id);
    let same = visit(&world, &reload(&world, &mut jar).await, None).await;
    assert_eq!(same.principal.user_id, new.principal.user_id);
}

#[tokio::test(start_paused = true)]
async fn a_secret_ends_after_an_hour_however_it_is_presented() {
    let world = world().await;
    let requested = world.visitors.anonymous(&client(), None).await.unwrap();
    let told = requested.secret_to_tell.unwrap();
    let address = requested.principal.user_id;
    let as_cookie = |value: &str| Handshake {
        from_page: true,
        cookie: Some(value.to_owned()),
        cookie_presented: true,
        ..client()
    };
    let soon = visit(&world, &as_cookie(&told), None).await;
    assert_eq!(soon.principal.user_id, address);
    world.wait(HOUR + 2 * MINUTE).await;
    let late = visit(&world, &as_cookie(&told), None).await;
    assert_ne!(late.principal.user_id, address);
    assert_eq!(late.proof, Proof::New);
    let header = visit(&world, &client(), Some(&told)).await;
    assert_ne!(header.principal.user_id, address);
    let rest = world.visitors.authenticate(&client(), &told).await;
    assert_eq!(rest.unwrap_err().code, Code::Unauthorized);
    let ticket = world.visitors.ticket(&client(), &told).await;
    assert_eq!(ticket.unwrap_err().code, Code::Unauthorized);
}

#[tokio::test(start_paused = true)]
async fn a_cookie_that_was_never_used_proves_nobody() {
    let world = world().await;
    let mut jar = None;
    reload(&world, &mut jar).await;
    let value = jar.clone().unwrap();
    let refused = world.visitors.authenticate(&client(), &value).await;
    assert_eq!(refused.unwrap_err().code, Code::Unauthorized);
    let header = visit(&world, &client(), Some(&value)).await;
    assert_eq!(header.status, Some("rejected"));
    // Its visitor, once there is one, is opened by it in every way.
    let page = visit(&world, &reload(&world, &mut jar).await, None).await;
    let header = visit(&world, &client(), Some(&value)).await;
    assert_eq!(header.principal.user_id, page.principal.user_id);
    let told = header.secret_to_tell.expect("a secret that proves it");
    assert_ne!(told, value);
}

#[tokio::test(start_paused = true)]
async fn a_cookie_opens_the_one_who_followed_on_an_erased_visitor_for_a_month() {
    let world = world().await;
    let mut jar = None;
    reload(&world, &mut jar).await;
    let page = reload(&world, &mut jar).await;
    let (first, session) = world.connect(&page, None).await.unwrap();
    world
        .visitors
        .erase(&first.principal.user_id)
        .await
        .unwrap();
    world.disconnect(&session, false).await;
    let (next, session) = world.connect(&page, None).await.unwrap();
    let address = next.principal.user_id.clone();
    assert_ne!(address, first.principal.user_id);
    world
        .send(&session.principal, &address, "a note")
        .await
        .unwrap();
    world.disconnect(&session, false).await;
    // What was noted of the first one is gone by then, and nobody has that address.
    world.wait(5 * HOUR).await;
    let idle_before = world.now().before(90 * 24 * HOUR);
    world.store.purge(world.now(), idle_before).await.unwrap();
    let page = reload(&world, &mut jar).await;
    let back = visit(&world, &page, None).await;
    assert_eq!(
        (&back.principal.user_id, back.proof),
        (&address, Proof::Token)
    );
}

#[tokio::test(start_paused = true)]
async fn the_first_message_keeps_its_writer_and_its_recipient() {
    let world = world().await;
    let pages = [page(&world, "198.51.100.1"), page(&world, "198.51.100.2")];
    let (from, writer) = world.connect(&pages[0], None).await.unwrap();
    let (to, reader) = world.connect(&pages[1], None).await.unwrap();
    world.disconnect(&reader, false).await;
    let address = &to.principal.user_id;
    world
        .send(&writer.principal, address, "hello")
        .await
        .unwrap();
    for opened in [&from, &to] {
        assert!(has_row(&world, opened).await);
    }
    // What is kept stays for a month after the last use.
    world.wait(29 * 24 * HOUR).await;
    let secret = to.secret_to_tell.unwrap();
    let (back, session) = world.connect(&client(), Some(&secret)).await.unwrap();
    assert_eq!(
        (&back.principal.user_id, back.proof),
        (address, Proof::Token)
    );
    assert_eq!(back.principal.made_at, None);
    let copy = world.visitors.export(&session.principal, None).await;
    assert_eq!(copy.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_erased_visitor_without_a_row_does_not_come_back() {
    let world = world().await;
    let mut jar = None;
    from_page(&world, bare("198.51.100.2", "x"), &mut jar);
    let cookie = from_page(&world, bare("198.51.100.2", "x"), &mut jar);
    let (opened, session) = world.connect(&cookie, None).await.unwrap();
    let address = opened.principal.user_id.clone();
    let friend = connected(&world, "198.51.100.1").await;
    let late = world.check(&session.principal, &address, "late").await;
    let to_them = world.check(&friend.principal, &address, "late").await;
    world.visitors.erase(&address).await.unwrap();
    world.disconnect(&session, false).await;
    assert_eq!(world.visitors.recipient(&address).await, Ok(None));
    for append in [late.unwrap(), to_them.unwrap()] {
        world.commit(append).await.unwrap();
        assert!(!has_row(&world, &opened).await, "no message brings it back");
    }
    let secret = opened.secret_to_tell.unwrap();
    let again = visit(&world, &client(), Some(&secret)).await;
    assert_eq!(again.status, Some("rejected"));
    let refused = world.visitors.authenticate(&client(), &secret).await;
    assert_eq!(refused.unwrap_err().code, Code::Unauthorized);
    // The cookie stands for somebody else from now on, and always for the same one.
    let after = visit(&world, &cookie, None).await;
    assert_ne!(after.principal.user_id, address);
    assert_eq!(after.proof, Proof::New);
    let again = visit(&world, &cookie, None).await;
    assert_eq!(again.principal.user_id, after.principal.user_id);
    assert_eq!(again.proof, Proof::Token);
}

#[tokio::test(start_paused = true)]
async fn a_secret_of_another_key_or_a_changed_one_opens_nobody() {
    let world = world().await;
    let opened = visit(&world, &page(&world, "198.51.100.1"), None).await;
    let secret = opened.secret_to_tell.unwrap();
    for at in [5, 20, 30, 40, 50] {
        let mut changed = secret.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        let refused = world.visitors.authenticate(&client(), &changed).await;
        assert_eq!(refused.unwrap_err().code, Code::Unauthorized, "{at}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_use_of_a_kept_secret_is_written_once_a_day() {
    let world = world().await;
    let page = page(&world, "198.51.100.1");
    let (opened, session) = world.connect(&page, None).await.unwrap();
    let address = opened.principal.user_id.clone();
    world
        .send(&session.principal, &address, "a note")
        .await
        .unwrap();
    world.disconnect(&session, false).await;
    let secret = opened.secret_to_tell.unwrap();
    let seen = async || world.store.user(&address).await.unwrap().unwrap().last_seen;
    let first = seen().await;
    for _ in 0..20 {
        world.wait(HOUR).await;
        visit(&world, &client(), Some(&secret)).await;
    }
    assert_eq!(seen().await, first);
    world.wait(5 * HOUR).await;
    visit(&world, &client(), Some(&secret)).await;
    assert!(seen().await > first);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_write_keeps_nobody_out() {
    let world = world().await;
    let page = page(&world, "198.51.100.1");
    let (kept, session) = world.connect(&page, None).await.unwrap();
    let address = kept.principal.user_id.clone();
    world
        .send(&session.principal, &address, "a note")
        .await
        .unwrap();
    world.disconnect(&session, false).await;
    let loose = visit(&world, &client(), None).await;
    let noted = connected(&world, "198.51.100.3").await;
    world
        .send(&noted.principal, &noted.principal.user_id, "a note")
        .await
        .unwrap();
    world.wait(2 * 24 * HOUR).await;
    let (loose_again, _) = world.connect(&client(), None).await.unwrap();
    world.wire.set_store_full(true);

    // The use of the secret is two days overdue.
    let secret = kept.secret_to_tell.unwrap();
    let (back, _) = world.connect(&client(), Some(&secret)).await.unwrap();
    assert_eq!(
        (&back.principal.user_id, back.proof),
        (&address, Proof::Token)
    );
    // That a loose one becomes firm is not written, so it stays loose, and reads what a loose one may.
    let secret = loose_again.secret_to_tell.clone().unwrap();
    let (open, session) = world.connect(&client(), Some(&secret)).await.unwrap();
    assert_eq!(open.principal.user_id, loose_again.principal.user_id);
    assert_eq!(open.proof, Proof::Token);
    assert!(open.principal.standing.is_loose());
    assert_eq!(world.visitors.is_holder(&session.principal).await, Ok(true));
    // Nobody is recognised by a fingerprint, since that would have to be written.
    let before = visit(&world, &bare("198.51.100.9", "x"), None).await;
    let after = visit(&world, &bare("198.51.100.9", "x"), None).await;
    assert_eq!(after.proof, Proof::New);
    assert_ne!(after.principal.user_id, before.principal.user_id);
    assert_ne!(loose.principal.user_id, loose_again.principal.user_id);

    world.wire.set_store_full(false);
    let (firm, _) = world.connect(&client(), Some(&secret)).await.unwrap();
    assert_eq!(firm.principal.standing, Standing::FIRM);
}

#[tokio::test(start_paused = true)]
async fn a_loose_secret_that_is_presented_while_a_neighbour_takes_the_identity_has_one_holder() {
    let (mut by_secret, mut by_hint) = (0, 0);
    for seed in 1..400 {
        let world = world().await;
        let first = visit(&world, &client(), None).await;
        let secret = first.secret_to_tell.unwrap();
        let address = first.principal.user_id;
        world.wire.seed(seed);
        let (here, there) = (client(), client());
        let late = async {
            for _ in 0..seed % 40 {
                tokio::task::yield_now().await;
            }
            world.connect(&here, Some(&secret)).await
        };
        let (owner, neighbour) = tokio::join!(late, world.connect(&there, None));
        let ids = [owner, neighbour].map(|opened| opened.unwrap().0.principal.user_id);
        assert!(
            ids.iter().filter(|id| **id == address).count() <= 1,
            "seed {seed}"
        );
        by_secret += usize::from(ids[0] == address);
        by_hint += usize::from(ids[1] == address);
    }
    assert!(by_secret > 20 && by_hint > 20, "{by_secret} and {by_hint}");
}

#[tokio::test(start_paused = true)]
async fn a_page_that_opted_out_is_firm_and_known_by_its_secret_alone() {
    let world = world().await;
    let opted_out = Handshake {
        opted_out: true,
        ..client()
    };
    let opened = visit(&world, &opted_out, None).await;
    assert_eq!(opened.principal.standing, Standing::FIRM);
    assert_eq!(
        standing(&world, &opened.principal.user_id).await,
        Standing::FIRM
    );
    let neighbour = visit(&world, &client(), None).await;
    assert_eq!(neighbour.proof, Proof::New);
}
