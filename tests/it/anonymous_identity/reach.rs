//! What reaches the holder of an identity that was somebody else's before.

use std::time::Duration;

use stompbox::model::{Code, Principal, Problem, Proof, UserId};

use super::world::{bare, client, connected, connected_as, standing, visit, world};

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
async fn what_changes_hands_between_the_check_and_the_commit_is_refused() {
    let world = world().await;
    let friend = connected(&world, "198.51.100.1").await;
    let former = connected(&world, "192.0.2.7").await;
    let (friends, address) = (&friend.principal.user_id, &former.principal.user_id);
    let to_him = world.check(&friend.principal, address, "it is me").await;
    let by_him = world.check(&former.principal, friends, "it is me").await;
    world.wait(Duration::from_secs(60)).await;
    world.disconnect(&former, false).await;
    let neighbour = connected_as(&world, "192.0.2.7", Proof::Hint).await;
    assert_eq!(neighbour.principal.user_id, *address);
    for late in [to_him, by_him] {
        let refused = world.commit(late.unwrap()).await;
        assert_eq!(refused.as_ref(), Err(address));
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

fn code(sent: Result<(), Problem>) -> Option<Code> {
    sent.err().map(|problem| problem.code)
}
