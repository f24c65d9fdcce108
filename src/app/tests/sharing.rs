//! What one session, one user and one network may use of what all share.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::rig::{Client, Rig, Shape};
use crate::app::{AppSettings, PoolSizes, Pools, StoreSizes, Stored};
use crate::model::{AckMode, CloseReason, Code, Destination, Network, Problem, QueueArguments};
use crate::policy::bucket::Rate;
use crate::store::MemoryStore;

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

const NO_RATE: Rate = Rate {
    capacity: 0,
    per_10_min: 0,
};

async fn sharing(sizes: PoolSizes) -> Rig {
    let settings = AppSettings {
        session_patterns_max: 100,
        session_consumers_max: 100,
        rate_frames: NO_RATE,
        pools: Pools::new(sizes),
        ..AppSettings::default()
    };
    let shape = Shape {
        settings,
        ..Shape::default()
    };
    Rig::new(shape).await
}

async fn tries(client: &Client, to: &str) -> Result<(), Problem> {
    let plain = QueueArguments::default();
    let subscribed = client.try_subscribe(to, AckMode::Auto, 1, plain).await;
    subscribed.await.map(drop)
}

/// Subscribes until it is refused. Returns how often it was not, and what the refusal says.
async fn take_all(client: &Client, prefix: &str) -> (usize, String) {
    let mut taken = 0;
    loop {
        match tries(client, &format!("{prefix}{taken}")).await {
            Ok(()) => taken += 1,
            Err(problem) => {
                assert_eq!(problem.code, Code::LimitExceeded);
                assert!(problem.retry_after_ms.is_some());
                return (taken, problem.detail.into_owned());
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_address_leaves_consumers_to_others_and_gives_them_back() {
    let rig = sharing(PoolSizes {
        consumers: 20,
        ..PoolSizes::default()
    })
    .await;
    let mut clients = Vec::new();
    let mut taken = 0;
    for number in 0..10 {
        let client = rig.neighbour("192.0.2.1").await;
        let (some, words) = take_all(&client, &format!("/queue/{number}.")).await;
        let whose = [
            "You have as many queue consumers",
            "Your network has as many",
        ];
        assert!(
            whose.iter().any(|whose| words.starts_with(whose)),
            "{words}"
        );
        taken += some;
        clients.push(client);
    }
    assert_eq!(taken, 8, "half of what visitors have");
    let elsewhere = rig.neighbour("198.51.100.1").await;
    tries(&elsewhere, "/queue/elsewhere").await.unwrap();
    let consumers = &rig.nodes[0].settings.pools.consumers;
    assert_eq!(consumers.used(), 9);
    for client in clients {
        client.leave().await;
    }
    assert_eq!(consumers.used(), 1);
}

#[tokio::test(start_paused = true)]
async fn under_pressure_the_largest_holder_loses_a_consumer_and_is_told() {
    let rig = sharing(PoolSizes {
        consumers: 12,
        ..PoolSizes::default()
    })
    .await;
    let mut large = Vec::new();
    for number in 0..4 {
        let client = rig.neighbour("192.0.2.1").await;
        client
            .subscribe(&format!("/queue/{number}"), AckMode::Auto, 1)
            .await;
        large.push(client);
    }
    large[3]
        .subscribe("/user/queue/notifications", AckMode::Auto, 1)
        .await;
    let mut small = Vec::new();
    for number in 0..5 {
        let client = rig.neighbour(&format!("198.51.100.{number}")).await;
        tries(&client, "/queue/small").await.unwrap();
        small.push(client);
    }
    let newcomer = rig.neighbour("203.0.113.1").await;
    tries(&newcomer, "/queue/new").await.unwrap();
    let told = large[3].frames().await;
    let told: serde_json::Value = serde_json::from_slice(&told[0].body).unwrap();
    let expected = json!({
        "type": "SYSTEM",
        "event": "unsubscribed",
        "destination": "/queue/3",
        "subscription": "/queue/3",
        "reason": "limit_exceeded",
    });
    assert_eq!(told, expected);
    // One who does not listen to notifications learns it by the end of the connection. The search for
    // the largest holder pauses in real time.
    let second = rig.neighbour("203.0.113.2").await;
    while tries(&second, "/queue/new").await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(large[2].pull().unwrap_err(), CloseReason::LIMIT_EXCEEDED);
    let consumers = &rig.nodes[0].settings.pools.consumers;
    assert_eq!(consumers.used(), 9);
    // Now nobody has much more than a newcomer would.
    let third = rig.neighbour("203.0.113.3").await;
    let words = tries(&third, "/queue/new").await.unwrap_err().detail;
    assert!(
        words.starts_with("This node has no more queue consumers"),
        "{words}"
    );
    assert!(small[0].pull().is_ok());
}

#[tokio::test(start_paused = true)]
async fn one_address_leaves_patterns_to_others_and_the_same_pattern_counts_once() {
    let rig = sharing(PoolSizes {
        patterns: 20,
        ..PoolSizes::default()
    })
    .await;
    let patterns = &rig.nodes[0].settings.pools.patterns;
    let mut clients = Vec::new();
    for number in 0..10 {
        let client = rig.neighbour("192.0.2.1").await;
        take_all(&client, &format!("/topic/{number}.*.")).await;
        clients.push(client);
    }
    assert_eq!(patterns.used(), 8);
    // A crowd that wants the same: it costs one place, whoever comes.
    let elsewhere = rig.neighbour("198.51.100.1").await;
    tries(&elsewhere, "/topic/news.*").await.unwrap();
    for client in &clients {
        tries(client, "/topic/news.*").await.unwrap();
    }
    assert_eq!(patterns.used(), 9);
    for client in clients {
        client.leave().await;
    }
    assert_eq!(patterns.used(), 9, "they linger, and so do their places");
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!(patterns.used(), 1);
}

/// The place of a pattern is taken from the client that holds most, also when another client uses the pattern too: it
/// passes to that one, who loses nothing.
#[tokio::test(start_paused = true)]
async fn a_pattern_that_another_client_uses_passes_to_them_when_its_holder_loses() {
    let rig = sharing(PoolSizes {
        patterns: 12,
        ..PoolSizes::default()
    })
    .await;
    let mut large = Vec::new();
    for number in 0..4 {
        let client = rig.neighbour("192.0.2.1").await;
        tries(&client, &format!("/topic/{number}.*")).await.unwrap();
        large.push(client);
    }
    let other = rig.neighbour("198.51.100.9").await;
    tries(&other, "/topic/3.*").await.unwrap();
    let mut small = Vec::new();
    for number in 0..5 {
        let client = rig.neighbour(&format!("198.51.100.{number}")).await;
        tries(&client, &format!("/topic/small.{number}.*"))
            .await
            .unwrap();
        small.push(client);
    }
    let patterns = &rig.nodes[0].settings.pools.patterns;
    let held = |address: [u8; 4]| patterns.held_by_network(Network::of(address.into()));
    assert_eq!((patterns.used(), held([198, 51, 100, 9])), (9, 0));
    let newcomer = rig.neighbour("203.0.113.1").await;
    tries(&newcomer, "/topic/new.*").await.unwrap();
    assert_eq!(large[3].pull().unwrap_err(), CloseReason::LIMIT_EXCEEDED);
    assert_eq!((held([198, 51, 100, 9]), held([192, 0, 2, 1])), (1, 2));
    assert_eq!(patterns.used(), 9);
    newcomer.send("/topic/3.x", "hello").await.unwrap();
    assert_eq!(other.frames().await.len(), 1);
    // Later it is evictable again: it counts to the one who is left, and goes with them.
    other.leave().await;
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!(held([198, 51, 100, 9]), 0);
}

#[tokio::test(start_paused = true)]
async fn many_subscriptions_of_a_session_have_a_share() {
    let rig = sharing(PoolSizes {
        subscriptions: 128,
        ..PoolSizes::default()
    })
    .await;
    let (one, other) = (
        rig.neighbour("192.0.2.1").await,
        rig.neighbour("192.0.2.1").await,
    );
    // 32 are free; 32 more would be more than a quarter of what visitors have.
    let (taken, words) = take_all(&one, "/topic/").await;
    assert_eq!(taken, 32);
    assert!(
        words.starts_with("You have as many subscriptions"),
        "{words}"
    );
    let (taken, _) = take_all(&other, "/topic/").await;
    assert_eq!(taken, 32);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_comes_and_goes_leaves_a_bounded_number_of_interests() {
    let rig = sharing(PoolSizes::default()).await;
    let client = rig.client(0).await;
    let name = |number: usize| format!("/topic/{number}");
    for number in 0..10_010 {
        tries(&client, &name(number)).await.unwrap();
        client.unsubscribe(&name(number)).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let wanted = async |number: usize| {
        let destination = Destination::parse(&name(number)).unwrap();
        let located = rig.nodes[0]
            .broker
            .location
            .locate(&[], &[destination])
            .await;
        !located.unwrap().destinations[0].is_empty()
    };
    assert!(wanted(0).await, "it lingers");
    assert!(!wanted(10_005).await);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!wanted(0).await);
}

fn storing(store: &MemoryStore) -> Shape {
    let sizes = StoreSizes {
        visitors: 100 << 10,
        ..StoreSizes::default()
    };
    let settings = AppSettings {
        rate_visitor: NO_RATE,
        rate_network: NO_RATE,
        stored: Stored::new(sizes),
        ..AppSettings::default()
    };
    Shape {
        settings,
        store: store.clone(),
        ..Shape::default()
    }
}

async fn says(client: &Client, number: usize) -> Result<(), Problem> {
    let body = json!({
        "to": client.live.hub.user.as_str(),
        "message": "x".repeat(2_000),
        "client_id": format!("c{number}"),
    });
    client
        .send("/app/chat.send", &body.to_string())
        .await
        .map(drop)
}

#[tokio::test(start_paused = true)]
async fn what_visitors_store_has_a_share_and_an_end_that_survive_a_start() {
    let store = MemoryStore::default();
    let rig = Rig::new(storing(&store)).await;
    let client = rig.neighbour("192.0.2.1").await;
    let mut stored = 0;
    let problem = loop {
        match says(&client, stored).await {
            Ok(()) => stored += 1,
            Err(problem) => break problem,
        }
    };
    assert_eq!(stored, 7, "a fifth of 100 KiB");
    assert_eq!(problem.code, Code::LimitExceeded);
    assert_eq!(problem.client_id, Some(format!("c{stored}")));
    assert!(problem.retry_after_ms.is_some());
    let elsewhere = rig.neighbour("198.51.100.1").await;
    says(&elsewhere, 0).await.unwrap();
    // A repetition stores nothing.
    let visitors = || Arc::clone(rig.nodes[0].settings.stored.visitors());
    let used = visitors().used();
    says(&elsewhere, 0).await.unwrap();
    assert_eq!(visitors().used(), used);

    let after = Rig::new(storing(&store)).await;
    super::rig::settled().await;
    let pool = Arc::clone(after.nodes[0].settings.stored.visitors());
    let (messages, rows) = (8 * (2_000 + 512), 2 * 1_024);
    assert_eq!(pool.used(), messages + rows);
    let somebody = after.neighbour("203.0.113.1").await;
    says(&somebody, 0).await.unwrap();
}
