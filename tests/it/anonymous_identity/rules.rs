//! The rules by which a client gets an identity, one after the other.

use std::time::Duration;

use stompbox::identity::{Handshake, Recognition, VisitorSettings};
use stompbox::model::{Code, Kind, Proof, Standing};

use super::world::{World, client, from_page, standing, visit, world};

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[tokio::test(start_paused = true)]
async fn a_secret_presented_back_makes_its_visitor_firm_for_ever() {
    let world = world().await;
    let first = visit(&world, &client(), None).await;
    let user_id = first.principal.user_id;
    assert_eq!(first.proof, Proof::New);
    assert_eq!(first.expires_in_s, 60 * 60, "nothing is kept of them");
    assert!(standing(&world, &user_id).await.is_loose());

    let secret = first.secret_to_tell.unwrap();
    let second = visit(&world, &client(), Some(&secret)).await;
    assert_eq!((second.proof, second.status), (Proof::Token, None));
    assert_eq!(second.principal.user_id, user_id);
    assert_eq!(second.secret_to_tell, None, "whoever presents it knows it");
    assert_eq!(standing(&world, &user_id).await, Standing::FIRM);

    // No fingerprint opens it any more.
    let third = visit(&world, &client(), None).await;
    assert_eq!(third.proof, Proof::New);
    assert_ne!(third.principal.user_id, user_id);
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_opens_nothing_is_rejected_and_the_visitor_let_in() {
    let world = world().await;
    let first = visit(&world, &client(), None).await;
    let secret = first.secret_to_tell.unwrap();
    world.wait(30 * DAY).await;
    let never_given = format!("sbv1.{}", "A".repeat(43));
    for token in [secret.as_str(), &never_given, "garbage", "", "NEW"] {
        let opened = visit(&world, &client(), Some(token)).await;
        assert_eq!(opened.status, Some("rejected"), "{token}");
        assert_ne!(opened.principal.user_id, first.principal.user_id, "{token}");
        assert!(opened.secret_to_tell.is_some_and(|told| told != token));
        world.wait(HOUR).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_lives_as_long_as_it_is_used() {
    let world = world().await;
    let first = visit(&world, &client(), None).await;
    let secret = first.secret_to_tell.unwrap();
    let address = first.principal.user_id.clone();
    let (kept, session) = world.connect(&client(), Some(&secret)).await.unwrap();
    world
        .send(&session.principal, &address, "a note")
        .await
        .unwrap();
    world.disconnect(&session, false).await;
    assert_eq!(kept.principal.user_id, address);
    for _ in 0..4 {
        world.wait(29 * DAY).await;
        let again = visit(&world, &client(), Some(&secret)).await;
        assert_eq!(again.principal.user_id, first.principal.user_id);
    }
}

#[tokio::test(start_paused = true)]
async fn a_taken_over_identity_no_longer_opens_for_the_secret_before() {
    let world = world().await;
    let first = visit(&world, &client(), None).await;
    let second = visit(&world, &client(), None).await;
    assert_eq!(second.proof, Proof::Hint);
    assert_eq!(second.principal.user_id, first.principal.user_id);
    assert!(second.principal.standing.taken_at().is_some());
    let (old, new) = (
        first.secret_to_tell.unwrap(),
        second.secret_to_tell.unwrap(),
    );
    assert_ne!(old, new);
    let former = visit(&world, &client(), Some(&new)).await;
    assert_eq!(former.proof, Proof::Token);
    let former = visit(&world, &client(), Some(&old)).await;
    assert_eq!(former.status, Some("rejected"));
    assert_ne!(former.principal.user_id, first.principal.user_id);
}

#[tokio::test(start_paused = true)]
async fn a_fingerprint_opens_nothing_while_somebody_is_there_or_several_are_meant() {
    let world = world().await;
    let (one, session) = world.connect(&client(), None).await.unwrap();
    world.wait(HOUR / 2).await;
    let two = visit(&world, &client(), None).await;
    assert_eq!(two.proof, Proof::New, "the first one is connected");
    world.disconnect(&session, false).await;
    let three = visit(&world, &client(), None).await;
    assert_eq!(three.proof, Proof::New, "there are two of them");
    world.wait(HOUR + Duration::from_secs(1)).await;
    let four = visit(&world, &client(), None).await;
    assert_eq!(four.proof, Proof::New, "all of it was too long ago");
    let five = visit(&world, &client(), None).await;
    assert_eq!(five.principal.user_id, four.principal.user_id);
    assert_ne!(five.principal.user_id, one.principal.user_id);
}

#[tokio::test(start_paused = true)]
async fn in_token_mode_a_fingerprint_opens_nothing() {
    let world = World::new(VisitorSettings {
        mode: Recognition::Token,
        ..VisitorSettings::default()
    })
    .await;
    let first = visit(&world, &client(), None).await;
    let second = visit(&world, &client(), None).await;
    assert_eq!(second.proof, Proof::New);
    let secret = first.secret_to_tell.unwrap();
    let third = visit(&world, &client(), Some(&secret)).await;
    assert_eq!(third.principal.user_id, first.principal.user_id);
}

#[tokio::test(start_paused = true)]
async fn who_asks_not_to_be_recognised_is_not() {
    let world = world().await;
    let known = visit(&world, &client(), None).await;
    let opted_out = Handshake {
        opted_out: true,
        ..client()
    };
    let opened = visit(&world, &opted_out, None).await;
    assert_eq!(opened.proof, Proof::New);
    // His secret counts all the same.
    let secret = opened.secret_to_tell.unwrap();
    let again = visit(&world, &opted_out, Some(&secret)).await;
    assert_eq!(again.principal.user_id, opened.principal.user_id);
    let neighbour = visit(&world, &client(), None).await;
    assert_eq!(neighbour.principal.user_id, known.principal.user_id);
}

#[tokio::test(start_paused = true)]
async fn a_page_is_known_by_its_cookie_from_the_first_connect_on() {
    let world = world().await;
    let mut jar = None;
    let handshake = from_page(&world, client(), &mut jar);
    assert!(!handshake.cookie_presented);
    let first = visit(&world, &handshake, None).await;
    assert_eq!(first.proof, Proof::New);
    assert_eq!(first.principal.standing, Standing::FIRM);

    let handshake = from_page(&world, client(), &mut jar);
    assert!(handshake.cookie_presented);
    let second = visit(&world, &handshake, None).await;
    assert_eq!(second.proof, Proof::Token);
    assert_eq!(second.principal.user_id, first.principal.user_id);

    // The cookie holds the secret that CONNECTED told.
    let secret = first.secret_to_tell.unwrap();
    let third = visit(&world, &client(), Some(&secret)).await;
    assert_eq!(third.principal.user_id, first.principal.user_id);

    // Without an Origin the same cookie counts for nothing.
    let elsewhere = Handshake {
        from_page: false,
        ..from_page(&world, client(), &mut jar)
    };
    assert_eq!(visit(&world, &elsewhere, None).await.proof, Proof::New);
}

#[tokio::test(start_paused = true)]
async fn a_genuine_cookie_that_nobody_knows_is_bound_and_not_rejected() {
    let world = world().await;
    let mut jar = None;
    from_page(&world, client(), &mut jar);
    let handshake = from_page(&world, client(), &mut jar);
    assert!(handshake.cookie_presented);
    let first = visit(&world, &handshake, None).await;
    assert_eq!((first.proof, first.status), (Proof::New, None));
    let again = visit(&world, &handshake, None).await;
    assert_eq!(again.principal.user_id, first.principal.user_id);
    // After its secret has expired the cookie stands for nobody, and the next handshake gives another.
    world.wait(30 * DAY).await;
    let later = visit(&world, &handshake, None).await;
    assert_eq!((later.proof, later.status), (Proof::New, None));
    assert_ne!(later.principal.user_id, first.principal.user_id);
    let header = format!("sb_vid={}", jar.unwrap());
    let address = client().address;
    assert!(world.visitors.is_cookie_over(address, &header).await);
}

#[tokio::test(start_paused = true)]
async fn a_tab_of_its_own_neither_binds_nor_replaces_the_cookie() {
    let world = world().await;
    let mut jar = None;
    let handshake = from_page(&world, client(), &mut jar);
    let tab = visit(&world, &handshake, Some("new")).await;
    assert_eq!((tab.proof, tab.status), (Proof::New, None));
    let main = visit(&world, &handshake, None).await;
    assert_eq!(main.proof, Proof::New, "the cookie was still free");
    assert_ne!(main.principal.user_id, tab.principal.user_id);

    let other = visit(&world, &handshake, Some("new")).await;
    assert_eq!(other.proof, Proof::New);
    let again = visit(&world, &handshake, None).await;
    assert_eq!(again.principal.user_id, main.principal.user_id);
    let secret = tab.secret_to_tell.unwrap();
    let again = visit(&world, &handshake, Some(&secret)).await;
    assert_eq!(again.principal.user_id, tab.principal.user_id);
    // A tab whose secret has ended does not slip into the cookie's identity.
    let stale = visit(&world, &handshake, Some("sbv1.gone")).await;
    assert_eq!((stale.proof, stale.status), (Proof::New, Some("rejected")));
    assert_ne!(stale.principal.user_id, main.principal.user_id);
}

#[tokio::test(start_paused = true)]
async fn a_request_creates_a_firm_visitor_whose_secret_authenticates() {
    let world = world().await;
    visit(&world, &client(), None).await;
    let opened = world.visitors.anonymous(&client(), Some("ko-KR")).await;
    let opened = opened.unwrap();
    assert_eq!(
        opened.proof,
        Proof::New,
        "never somebody found by fingerprint"
    );
    assert_eq!(opened.principal.standing, Standing::FIRM);
    assert_eq!(opened.principal.kind, Kind::Anonymous);
    assert!(opened.principal.name.starts_with("손님 "));
    let secret = opened.secret_to_tell.unwrap();
    let principal = world.visitors.authenticate(&client(), &secret).await;
    assert_eq!(principal.unwrap().user_id, opened.principal.user_id);
    for wrong in ["", "new", "sbv1.x", &format!("sbv1.{}", "A".repeat(43))] {
        let refused = world.visitors.authenticate(&client(), wrong).await;
        assert_eq!(refused.unwrap_err().code, Code::Unauthorized, "{wrong}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_that_is_shown_of_an_opening_has_the_secret() {
    let world = world().await;
    let mut jar = None;
    let handshake = from_page(&world, client(), &mut jar);
    let opened = visit(&world, &handshake, None).await;
    let secret = opened.secret_to_tell.clone().unwrap();
    for shown in [
        format!("{opened:?}"),
        format!("{handshake:?}"),
        format!("{:?}", world.visitors),
    ] {
        assert!(!shown.contains(&secret[5..]), "{shown}");
        assert!(!shown.contains("192.0.2.7"), "{shown}");
    }
}
