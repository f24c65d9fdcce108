//! When visitors are not let in: limits, an engine that is away, and the switch.

use std::sync::LazyLock;

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
