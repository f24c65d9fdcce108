//! What Redis can do to a node: freeze, restart empty, be somewhere else.
//!
//! Not here: what every engine of location promises (`conformance_location`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use stompbox::location::{Location, LocationSettings, RedisLocation, Renewal, SessionEntry};
use stompbox::model::{Destination, Incarnation, SessionId, UnixMillis, UserId};

use crate::support::ports;
use crate::support::redis::Redis;

/// The deadline of a call with the default settings (twice 150 ms and 200 ms), and room for a busy
/// machine.
const CALL_MAX: Duration = Duration::from_millis(1_200);

/// How long a node may take to find Redis again.
const RETURN_MAX: Duration = Duration::from_secs(10);

async fn node(redis: &Redis) -> Arc<RedisLocation> {
    let name = "a".parse().unwrap();
    let settings = LocationSettings::default();
    let node = RedisLocation::connect(&redis.url(), name, Incarnation(1), settings)
        .await
        .unwrap();
    node.claim().await.unwrap();
    node
}

fn bob() -> (UserId, SessionEntry) {
    let entry = SessionEntry {
        session: SessionId(1),
        node: "a".parse().unwrap(),
        incarnation: Incarnation(1),
        device: "phone".into(),
        since: UnixMillis(1),
        visitor: None,
    };
    ("user_bob".parse().unwrap(), entry)
}

/// Repeats a call until it is answered.
async fn until_answered<T, E: std::fmt::Display>(call: impl AsyncFn() -> Result<T, E>) -> T {
    let start = Instant::now();
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(error) => assert!(start.elapsed() < RETURN_MAX, "still: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn calls_to_a_frozen_redis_fail_in_time_and_go_on_after_it() {
    let redis = Redis::start();
    let node = node(&redis).await;
    let (user, entry) = bob();
    let entries = [(user.clone(), entry)];
    let topic = [(Destination::parse("/topic/x").unwrap(), 1)];
    node.attach(&entries).await.unwrap();
    redis.pause();
    let check = async |what: &str, failed: bool, start: Instant| {
        assert!(failed, "{what} was answered by a frozen Redis");
        assert!(start.elapsed() < CALL_MAX, "{what}: {:?}", start.elapsed());
    };
    for _ in 0..3 {
        let start = Instant::now();
        check("attach", node.attach(&entries).await.is_err(), start).await;
        let start = Instant::now();
        let located = node.locate(std::slice::from_ref(&user), &[]).await;
        check("locate", located.is_err(), start).await;
        let start = Instant::now();
        check("renew", node.renew().await.is_err(), start).await;
        let start = Instant::now();
        check("want", node.want(&topic).await.is_err(), start).await;
        let start = Instant::now();
        check("peers", node.peers().await.is_err(), start).await;
    }
    // By now the hot path does not even wait: a message to a local user must not.
    let start = Instant::now();
    for _ in 0..20 {
        let located = node.locate(std::slice::from_ref(&user), &[]).await;
        assert!(located.is_err());
    }
    let elapsed = start.elapsed();
    assert!(elapsed < Duration::from_secs(2), "20 look-ups: {elapsed:?}");
    redis.resume();
    let located = until_answered(async || node.locate(std::slice::from_ref(&user), &[]).await);
    assert_eq!(located.await.users[0].len(), 1);
    let renewal = until_answered(async || node.renew().await).await;
    assert_eq!(renewal, Renewal::Extended);
    until_answered(async || node.want(&topic).await).await;
}

#[tokio::test]
async fn a_redis_that_restarts_empty_is_noticed() {
    let redis = Redis::start();
    let node = node(&redis).await;
    let entries = [bob()];
    node.attach(&entries).await.unwrap();
    assert_eq!(node.renew().await.unwrap(), Renewal::Extended);
    assert_eq!(node.reconnects(), 0);
    redis.stop();
    assert!(node.renew().await.is_err());
    assert!(node.attach(&entries).await.is_err());
    redis.restart();
    let renewal = until_answered(async || node.renew().await).await;
    assert_eq!(renewal, Renewal::Missing);
    // The renewal itself is answered as soon as a pooled connection is there again; the look at the
    // server goes over the other connection and may need another turn.
    let start = Instant::now();
    while node.reconnects() == 0 && start.elapsed() < RETURN_MAX {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let _ = node.renew().await;
    }
    assert_eq!(node.reconnects(), 1);
    node.claim().await.unwrap();
    until_answered(async || node.attach(&entries).await).await;
    let users = [entries[0].0.clone()];
    let located = node.locate(&users, &[]).await.unwrap();
    assert_eq!(located.users[0].len(), 1);
    assert_eq!(node.renew().await.unwrap(), Renewal::Extended);
    assert_eq!(node.reconnects(), 1);
}

#[tokio::test]
async fn a_connection_that_was_cut_is_noticed_although_the_lease_lives() {
    let redis = Redis::start();
    let node = node(&redis).await;
    assert_eq!(node.renew().await.unwrap(), Renewal::Extended);
    redis.ask::<()>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    let start = Instant::now();
    while node.reconnects() == 0 && start.elapsed() < RETURN_MAX {
        if let Ok(renewal) = node.renew().await {
            assert_eq!(renewal, Renewal::Extended);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(node.reconnects(), 1);
}

#[tokio::test]
async fn a_wrong_url_is_refused_with_words_that_help() {
    let port = ports::free();
    let nobody = format!("redis://:hush@127.0.0.1:{port}");
    let check = async |url: &str, expected: &str| {
        let name = "a".parse().unwrap();
        let settings = LocationSettings::default();
        let start = Instant::now();
        let error = RedisLocation::connect(url, name, Incarnation(1), settings)
            .await
            .expect_err("nobody is there");
        let words = error.to_string();
        assert!(words.contains("REDIS_URL"), "{words}");
        assert!(words.contains(expected), "{words}");
        assert!(!words.contains("hush"), "{words}");
        assert!(start.elapsed() < Duration::from_secs(5));
    };
    check(&nobody, &format!("127.0.0.1:{port}")).await;
    check("http://:hush@localhost", "redis://").await;
    check("", "redis://").await;
}

#[tokio::test]
async fn locations_of_one_batch_cost_one_round_trip() {
    let redis = Redis::start();
    let node = node(&redis).await;
    let (user, entry) = bob();
    node.attach(&[(user.clone(), entry)]).await.unwrap();
    let users: Vec<UserId> = std::iter::once(user)
        .chain((0..99).map(|n| format!("user_{n}").parse().unwrap()))
        .collect();
    node.locate(&users, &[]).await.unwrap();
    let before = (redis.calls("hgetall"), redis.calls("mget"));
    for _ in 0..10 {
        node.locate(&users, &[]).await.unwrap();
    }
    let after = (redis.calls("hgetall"), redis.calls("mget"));
    assert_eq!((after.0 - before.0, after.1 - before.1), (1_000, 10));
}

#[tokio::test]
async fn only_the_keys_that_are_listed_are_written() {
    let redis = Redis::start();
    let node = node(&redis).await;
    let (user, entry) = bob();
    node.attach(&[(user, entry)]).await.unwrap();
    let topic = Destination::parse("/topic/x").unwrap();
    node.want(&[(topic, 1)]).await.unwrap();
    node.renew().await.unwrap();
    node.claim_store("store").await.unwrap();
    let mut keys: Vec<String> = redis.ask(&["KEYS", "*"]);
    keys.sort();
    let (subscribers, named): (Vec<_>, Vec<_>) =
        keys.into_iter().partition(|key| key.starts_with("sub:"));
    assert_eq!(named, ["cluster:store", "loc:user_bob", "node:a", "nodes"]);
    assert_eq!(subscribers.len(), 1);
    let life = |key: &str| redis.ask::<i64>(&["TTL", key]);
    assert!((3_500..=3_600).contains(&life("loc:user_bob")));
    assert!((3_500..=3_600).contains(&life(&subscribers[0])));
    assert!((5..=10).contains(&life("node:a")));
    assert_eq!(life("cluster:store"), -1);
    let lease: String = redis.ask(&["GET", "node:a"]);
    assert_eq!(lease, "0000000000000001|up");
    let session = SessionId(1).to_string();
    let value: String = redis.ask(&["HGET", "loc:user_bob", &session]);
    assert_eq!(value, "a|0000000000000001|phone|1");
}
