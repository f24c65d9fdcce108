//! When visitors are not let in: limits, an engine that is away, and the switch.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use stompbox::budget::Multiples;
use stompbox::identity::{Handshake, VisitorSettings};
use stompbox::model::Code;

use super::world::{World, bare, client, from_page, visit, world};

/// A page of which cookies do not count.
static PAGE: LazyLock<Handshake> = LazyLock::new(|| Handshake {
    from_page: true,
    ..client()
});

#[tokio::test(start_paused = true)]
async fn a_network_creates_so_many_visitors_and_no_more() {
    let world = World::new(VisitorSettings {
        per_network: 30,
        ..VisitorSettings::default()
    })
    .await;
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

/// So many new visitors may come from this address at once.
async fn new_visitors(world: &World, addresses: impl Iterator<Item = String>) -> usize {
    let mut let_in = 0;
    for address in addresses {
        let page = Handshake {
            from_page: true,
            ..bare(&address, "browser")
        };
        let_in += usize::from(
            world
                .visitors
                .connect(&page, Some("new"), None)
                .await
                .is_ok(),
        );
    }
    let_in
}

#[tokio::test(start_paused = true)]
async fn a_crowd_behind_one_address_gets_in_with_the_defaults() {
    let world = world().await;
    let school = || (0..6_000).map(|_| "192.0.2.7".to_owned());
    assert_eq!(new_visitors(&world, school()).await, 5_000);
    // A minute brings the next thousand.
    world.wait(Duration::from_secs(60)).await;
    assert_eq!(new_visitors(&world, school().take(1_001)).await, 1_000);
}

#[tokio::test(start_paused = true)]
async fn an_ipv6_network_has_a_level_for_each_width_and_empties_nothing_but_itself() {
    let limited = || {
        World::new(VisitorSettings {
            per_network: 200,
            ..VisitorSettings::default()
        })
    };
    let world = limited().await;
    let one_64 = (0..150).map(|n| format!("2001:db8::{n:x}"));
    assert_eq!(new_visitors(&world, one_64).await, 100);
    let one_56 = (0..500).map(|n| format!("2001:db8:0:{:x}::{n:x}", n % 250));
    assert_eq!(new_visitors(&world, one_56).await, 50, "a /56 has 150");
    let one_48 = (0..900).map(|n| format!("2001:db8:0:{n:x}00::1"));
    assert_eq!(
        new_visitors(&world, one_48.take(250)).await,
        50,
        "a /48 has 200"
    );
    for elsewhere in ["2001:db8:1::1", "192.0.2.7"] {
        assert_eq!(
            new_visitors(&world, [elsewhere.to_owned()].into_iter()).await,
            1
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_named_network_may_bring_more_visitors() {
    let world = World::new(VisitorSettings {
        per_network: 200,
        multiples: Arc::new(Multiples::new(vec![("192.0.2.0/24".parse().unwrap(), 3)])),
        ..VisitorSettings::default()
    })
    .await;
    let arrivals = |address: &str| vec![address.to_owned(); 400].into_iter();
    assert_eq!(new_visitors(&world, arrivals("192.0.2.7")).await, 300);
    assert_eq!(new_visitors(&world, arrivals("198.51.100.1")).await, 100);
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
