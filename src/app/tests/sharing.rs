//! What one session may use of what all share.

use super::rig::{Client, Rig, Shape};
use crate::app::AppSettings;
use crate::model::{AckMode, Code, QueueArguments};

async fn rig() -> Rig {
    let settings = AppSettings {
        session_patterns_max: 2,
        session_consumers_max: 2,
        ..AppSettings::default()
    };
    let shape = Shape {
        settings,
        ..Shape::default()
    };
    Rig::new(shape).await
}

async fn refused(client: &Client, to: &str) -> String {
    let plain = QueueArguments::default();
    let subscribed = client.try_subscribe(to, AckMode::Auto, 1, plain).await;
    let problem = subscribed.await.unwrap_err();
    assert_eq!(problem.code, Code::LimitExceeded, "{to}");
    problem.detail.into_owned()
}

#[tokio::test(start_paused = true)]
async fn one_session_does_not_use_up_what_all_share() {
    let rig = rig().await;
    let (client, other) = (rig.client(0).await, rig.client(0).await);
    for [one, two, three, said] in [
        ["/topic/a.*", "/topic/b.#", "/topic/c/**", "with wildcards"],
        ["/queue/a", "/queue/b", "/queue/c", "to queues"],
    ] {
        client.subscribe(one, AckMode::Auto, 1).await;
        client.subscribe(two, AckMode::Client, 1).await;
        let words = refused(&client, three).await;
        assert!(
            words.contains(&format!("at most 2 subscriptions {said}")),
            "{words}"
        );
        other.subscribe(three, AckMode::Auto, 1).await;
        client.unsubscribe(one).await;
        client.subscribe(three, AckMode::Auto, 1).await;
        refused(&client, one).await;
    }
    for n in 0..20 {
        client
            .subscribe(&format!("/topic/{n}"), AckMode::Auto, 1)
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscribe_that_is_refused_elsewhere_does_not_count() {
    let rig = rig().await;
    let client = rig.client(0).await;
    let too_many = QueueArguments {
        length_max: Some(u32::MAX),
        ..QueueArguments::default()
    };
    for n in 0..5 {
        let to = format!("/queue/{n}");
        let subscribed = client.try_subscribe(&to, AckMode::Auto, 1, too_many).await;
        subscribed.await.unwrap_err();
    }
    client.subscribe("/queue/a", AckMode::Auto, 1).await;
    client.subscribe("/queue/b", AckMode::Auto, 1).await;
    refused(&client, "/queue/c").await;
}
