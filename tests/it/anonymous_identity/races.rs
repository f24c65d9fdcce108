//! Clients who ask for the same identity at once, interleaved in some hundred ways.

use std::time::Duration;

use stompbox::model::Proof;

use super::world::{bare, client, from_page, visit, world};

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
        .disconnected(&former.principal, client().address)
        .await
        .unwrap();
    // The present holder's session is being registered: nobody may slip in.
    let (neighbour, _) = world.connect(&client(), None).await.unwrap();
    assert_ne!(neighbour.principal.user_id, session.principal.user_id);
}
