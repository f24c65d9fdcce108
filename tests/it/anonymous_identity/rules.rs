//! The rules of anonymous identity, one after the other, on the whole service in memory.

use std::time::Duration;

use stompbox::identity::{Handshake, Recognition, VisitorSettings};
use stompbox::model::{Code, Kind, Principal, Problem, Proof, Standing, UserId};

use super::world::{Session, World, bare, from_page};

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn world() -> World {
    World::new(VisitorSettings::default()).await
}

fn client() -> Handshake {
    bare("192.0.2.7", "browser")
}

/// Connects, and goes again after a minute.
async fn visit(
    world: &World,
    handshake: &Handshake,
    token: Option<&str>,
) -> stompbox::identity::Opened {
    let (opened, session) = world.connect(handshake, token).await.unwrap();
    world.wait(Duration::from_secs(60)).await;
    world.disconnect(&session, false).await;
    opened
}

async fn standing(world: &World, user_id: &UserId) -> Standing {
    let recipient = world.visitors.recipient(user_id).await.unwrap();
    recipient.unwrap().standing
}

#[tokio::test(start_paused = true)]
async fn a_secret_presented_back_makes_its_visitor_firm_for_ever() {
    let world = world().await;
    let first = visit(&world, &client(), None).await;
    let user_id = first.principal.user_id;
    assert_eq!(first.proof, Proof::New);
    assert_eq!(first.expires_in_s, 30 * 24 * 60 * 60);
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
    // After its secret has expired the cookie is bound to somebody new.
    world.wait(30 * DAY).await;
    let later = visit(&world, &handshake, None).await;
    assert_eq!((later.proof, later.status), (Proof::New, None));
    let again = visit(&world, &handshake, None).await;
    assert_eq!(again.principal.user_id, later.principal.user_id);
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
async fn two_connections_of_one_page_at_once_are_one_visitor() {
    let world = world().await;
    for seed in 1..200 {
        let mut jar = None;
        let handshake = from_page(&world, bare("198.51.100.1", "x"), &mut jar);
        world.wait(Duration::from_secs(3600)).await;
        world.wire.seed(seed);
        let connect = || world.visitors.connect(&handshake, None, None);
        let (one, two) = tokio::join!(connect(), connect());
        world.wire.seed(0);
        assert_eq!(
            one.unwrap().principal.user_id,
            two.unwrap().principal.user_id
        );
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_who_take_an_identity_over_at_once_one_gets_it() {
    let mut shared = 0;
    for seed in 1..200 {
        let world = world().await;
        let before = visit(&world, &client(), None).await.principal.user_id;
        world.wire.seed(seed);
        let handshake = client();
        let connect = || world.connect(&handshake, None);
        let (one, two) = tokio::join!(connect(), connect());
        let ids = [one, two].map(|connected| connected.unwrap().0.principal.user_id);
        assert_ne!(ids[0], ids[1]);
        shared += usize::from(ids.contains(&before));
    }
    assert!(shared > 190, "{shared}");
}

#[tokio::test(start_paused = true)]
async fn a_session_registered_late_and_a_neighbour_never_both_hold_an_identity() {
    let mut taken = 0;
    for seed in 1..400 {
        let world = world().await;
        let (opened, session) = world.connect_unregistered(&client()).await;
        world.wait(Duration::from_secs(11)).await;
        world.wire.seed(seed);
        let late = async {
            for _ in 0..seed % 50 {
                tokio::task::yield_now().await;
            }
            world.register(&session).await;
            world.visitors.is_holder(&session.principal).await.unwrap()
        };
        let handshake = client();
        let (is_holder, neighbour) = tokio::join!(late, world.connect(&handshake, None));
        let neighbours = neighbour.unwrap().0.principal.user_id;
        let is_taken = neighbours == opened.principal.user_id;
        assert!(!(is_holder && is_taken), "both hold it with seed {seed}");
        taken += usize::from(is_taken);
    }
    assert!(taken > 20 && taken < 380, "{taken}");
}

#[tokio::test(start_paused = true)]
async fn the_late_end_of_a_former_holder_is_not_the_end_of_the_present_one() {
    let world = world().await;
    let (_, former) = world.connect(&client(), None).await.unwrap();
    world.wait(Duration::from_secs(60)).await;
    world.disconnect(&former, true).await;
    let (present, session) = world.connect_unregistered(&client()).await;
    assert_eq!(present.proof, Proof::Hint);
    world.wait(Duration::from_secs(1)).await;
    world
        .visitors
        .disconnected(&former.principal)
        .await
        .unwrap();
    // The present holder's session is being registered: nobody may slip in.
    let (neighbour, _) = world.connect(&client(), None).await.unwrap();
    assert_ne!(neighbour.principal.user_id, session.principal.user_id);
}

#[tokio::test(start_paused = true)]
async fn what_was_meant_for_the_former_holder_is_refused_even_when_the_address_is_firm() {
    let world = world().await;
    let friend = connected(&world, "198.51.100.1").await;
    let first = visit(&world, &client(), None).await;
    let address = first.principal.user_id;
    let refused = world
        .send(&friend.principal, &address, "are you there?")
        .await;
    assert_eq!(
        code(refused),
        Some(Code::RecipientOffline),
        "nobody is there"
    );

    let (taken, present) = world.connect(&client(), None).await.unwrap();
    assert_eq!(present.principal.user_id, address);
    let refused = world.send(&friend.principal, &address, "it is me").await;
    assert_eq!(
        code(refused),
        Some(Code::RecipientOffline),
        "meant for the former holder"
    );
    world.wait(Duration::from_secs(60)).await;
    world.disconnect(&present, false).await;

    let secret = taken.secret_to_tell.unwrap();
    let (_, present) = world.connect(&client(), Some(&secret)).await.unwrap();
    assert!(!standing(&world, &address).await.is_loose());
    let refused = world.send(&friend.principal, &address, "still me").await;
    assert_eq!(code(refused), Some(Code::RecipientOffline));
    world.wait(Duration::from_secs(1)).await;
    let friends = friend.principal.user_id.clone();
    world
        .send(&present.principal, &friends, "hello")
        .await
        .unwrap();
    world
        .send(&friend.principal, &address, "hello you")
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_written_to_the_former_holder_of_ones_own_address_opens_nobody() {
    let world = world().await;
    let friends = visit(&world, &bare("198.51.100.1", "x"), None).await;
    assert_eq!(friends.proof, Proof::New);
    let friend = connected_as(&world, "198.51.100.1", Proof::Hint).await;
    let former = connected(&world, "192.0.2.7").await;
    world.wait(Duration::from_secs(60)).await;
    // The friend writes to the former holder, who goes; a neighbour gets that address.
    let address = former.principal.user_id.clone();
    world
        .send(&friend.principal, &address, "hello")
        .await
        .unwrap();
    world.disconnect(&former, false).await;
    let neighbour = connected_as(&world, "192.0.2.7", Proof::Hint).await;
    assert_eq!(neighbour.principal.user_id, address);
    let sent = world
        .send(
            &neighbour.principal,
            &friend.principal.user_id,
            "whoever you are",
        )
        .await;
    assert_eq!(code(sent), Some(Code::RecipientOffline));
}

#[tokio::test(start_paused = true)]
async fn an_own_copy_leaves_out_what_is_the_former_holders() {
    let world = world().await;
    let friend = connected(&world, "198.51.100.1").await;
    let former = connected(&world, "192.0.2.7").await;
    let address = former.principal.user_id.clone();
    world
        .send(&friend.principal, &address, "for the first")
        .await
        .unwrap();
    world.wait(Duration::from_secs(60)).await;
    world.disconnect(&former, false).await;
    let present = connected_as(&world, "192.0.2.7", Proof::Hint).await;
    world.wait(Duration::from_secs(1)).await;
    let friends = friend.principal.user_id.clone();
    world
        .send(&present.principal, &friends, "by the second")
        .await
        .unwrap();

    let texts = |principal: Principal| {
        let world = &world;
        async move {
            let copy = world.visitors.export(&principal, None).await.unwrap();
            copy.into_iter().map(|m| m.text).collect::<Vec<_>>()
        }
    };
    assert_eq!(texts(present.principal.clone()).await, ["by the second"]);
    assert_eq!(
        texts(friend.principal).await,
        ["for the first", "by the second"]
    );
    world.visitors.erase(&address).await.unwrap();
    assert_eq!(world.visitors.recipient(&address).await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn a_network_creates_so_many_visitors_and_no_more() {
    let world = world().await;
    let new = || world.visitors.connect(&PAGE, Some("new"), None);
    for _ in 0..30 {
        new().await.unwrap();
    }
    let refused = new().await.unwrap_err();
    assert_eq!(refused.code, Code::TryLater);
    assert!(
        refused
            .retry_after_ms
            .is_some_and(|ms| ms > 0 && ms <= 20_000)
    );
    // The neighbours' network has its own share, and whoever has a secret needs none.
    let other = visit(&world, &bare("198.51.100.1", "x"), None).await;
    let secret = other.secret_to_tell.unwrap();
    visit(&world, &PAGE, Some(&secret)).await;
    new().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_node_creates_so_many_visitors_and_no_more() {
    let world = World::new(VisitorSettings {
        mint_per_net: 0,
        mint_per_node_hour: 40,
        ..VisitorSettings::default()
    })
    .await;
    for _ in 0..40 {
        world
            .visitors
            .connect(&PAGE, Some("new"), None)
            .await
            .unwrap();
    }
    let refused = world.visitors.connect(&PAGE, Some("new"), None).await;
    let refused = refused.unwrap_err();
    assert_eq!(
        (refused.code, refused.retry_after_ms),
        (Code::TryLater, Some(90_000))
    );
}

#[tokio::test(start_paused = true)]
async fn without_location_the_known_are_let_in_and_the_new_asked_to_wait() {
    let world = world().await;
    let known = visit(&world, &client(), None).await;
    let secret = known.secret_to_tell.unwrap();
    world.wire.set_location_away(true);
    let opened = world.visitors.connect(&client(), Some(&secret), None).await;
    assert_eq!(opened.unwrap().principal.user_id, known.principal.user_id);
    let mut jar = None;
    let page = from_page(&world, client(), &mut jar);
    for (handshake, token) in [(&client(), None), (&page, None), (&page, Some("new"))] {
        let refused = world.visitors.connect(handshake, token, None).await;
        let refused = refused.unwrap_err();
        let told = (refused.code, refused.retry_after_ms);
        assert_eq!(told, (Code::TryLater, Some(5_000)), "{token:?}");
    }
    world.wire.set_location_away(false);
    visit(&world, &page, None).await;
}

#[tokio::test(start_paused = true)]
async fn switched_off_means_nobody_is_let_in_without_an_account() {
    let world = World::new(VisitorSettings {
        enabled: false,
        ..VisitorSettings::default()
    })
    .await;
    let check = async |token: Option<&str>, expected: Code| {
        let refused = world.visitors.connect(&client(), token, None).await;
        assert_eq!(refused.unwrap_err().code, expected, "{token:?}");
    };
    check(None, Code::Unauthorized).await;
    check(Some("new"), Code::Unauthorized).await;
    check(Some("sbv1.x"), Code::AnonymousNotAllowed).await;
    let refused = world.visitors.anonymous(&client(), None).await;
    assert_eq!(refused.unwrap_err().code, Code::Unauthorized);
    let refused = world.visitors.authenticate(&client(), "sbv1.x").await;
    assert_eq!(refused.unwrap_err().code, Code::AnonymousNotAllowed);
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
async fn a_recipient_is_read_fresh_until_he_is_firm() {
    let world = world().await;
    let nobody: UserId = "user_nobody".parse().unwrap();
    assert_eq!(world.visitors.recipient(&nobody).await, Ok(None));
    let first = visit(&world, &client(), None).await;
    let address = first.principal.user_id;
    assert_eq!(standing(&world, &address).await.taken_at(), None);
    let present = connected_as(&world, "192.0.2.7", Proof::Hint).await;
    assert_eq!(standing(&world, &address).await, present.principal.standing);
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

/// A page of which cookies do not count.
static PAGE: std::sync::LazyLock<Handshake> = std::sync::LazyLock::new(|| Handshake {
    from_page: true,
    ..client()
});

async fn connected(world: &World, address: &str) -> Session {
    connected_as(world, address, Proof::New).await
}

async fn connected_as(world: &World, address: &str, proof: Proof) -> Session {
    let handshake = bare(
        address,
        if address == "192.0.2.7" {
            "browser"
        } else {
            "x"
        },
    );
    let (opened, session) = world.connect(&handshake, None).await.unwrap();
    assert_eq!(opened.proof, proof);
    session
}

fn code(sent: Result<(), Problem>) -> Option<Code> {
    sent.err().map(|problem| problem.code)
}
