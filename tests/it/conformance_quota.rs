//! What every engine of quota must do, in memory and on a real Redis alike, and what only the
//! shared one can show: several nodes at one bucket, and a Redis that goes away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use stompbox::model::{ClientIdentifier, Width};
use stompbox::policy::bucket::{Rate, Verdict};
use stompbox::quota::{MemoryQuota, Networks, Quota, QuotaSettings, RedisQuota};

use crate::support::redis::Redis;

/// The burst and the refill of a visitor with the default limits.
const ANONYMOUS: Rate = Rate {
    capacity: 100,
    per_10_min: 2_000,
};

/// One token a minute: nothing comes back while a test runs.
const SLOW: Rate = Rate {
    capacity: 50,
    per_10_min: 10,
};

enum Rig {
    Memory(Arc<MemoryQuota>),
    Redis {
        quota: Arc<RedisQuota>,
        /// Lives as long as the test.
        server: Redis,
    },
}

/// Deadlines that a busy test machine keeps.
fn patient() -> QuotaSettings {
    QuotaSettings {
        response: Duration::from_secs(5),
        connect: Duration::from_secs(5),
        ..QuotaSettings::default()
    }
}

impl Rig {
    fn memory() -> Self {
        Self::Memory(Arc::new(MemoryQuota::new(QuotaSettings::default())))
    }

    async fn redis() -> Self {
        let redis = Redis::start();
        let quota = RedisQuota::connect(&redis.url(), patient()).await.unwrap();
        Self::Redis {
            quota,
            server: redis,
        }
    }

    fn quota(&self) -> &dyn Quota {
        match self {
            Self::Memory(quota) => &**quota,
            Self::Redis { quota, .. } => &**quota,
        }
    }

    async fn pass(&self, time: Duration) {
        match self {
            Self::Memory(_) => tokio::time::advance(time).await,
            Self::Redis { .. } => tokio::time::sleep(time).await,
        }
    }
}

fn is_allowed(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Allowed { .. })
}

/// How many of so many takes are allowed.
async fn admitted(quota: &dyn Quota, key: &str, rate: Rate, takes: u32) -> u32 {
    let mut admitted = 0;
    for _ in 0..takes {
        admitted += u32::from(is_allowed(quota.take(key, rate).await));
    }
    admitted
}

macro_rules! on_every_engine {
    ($($name:ident)*) => {
        mod memory {
            $(#[tokio::test(start_paused = true)]
            async fn $name() {
                super::$name(super::Rig::memory()).await;
            })*
        }

        mod redis {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Rig::redis().await).await;
            })*
        }
    };
}

on_every_engine! {
    a_new_bucket_admits_its_capacity_and_then_refuses
    a_bucket_refills
    subjects_do_not_share
    a_wider_network_that_is_refused_makes_no_buckets
    a_capacity_of_zero_is_no_limit
    a_bucket_of_one_token_works
    takes_at_once_share_the_bucket
    several_tokens_are_taken_together_or_not_at_all
}

async fn a_new_bucket_admits_its_capacity_and_then_refuses(rig: Rig) {
    let quota = rig.quota();
    let first = quota.take("rate:auth:user_a", SLOW).await;
    assert_eq!(first, Verdict::Allowed { remaining: 49 });
    let more = admitted(quota, "rate:auth:user_a", SLOW, 100).await;
    assert!((49..=50).contains(&more), "{more}");
    let Verdict::Refused { retry_after_ms } = quota.take("rate:auth:user_a", SLOW).await else {
        panic!("a bucket without a token admits nobody");
    };
    assert!((1..=60_000).contains(&retry_after_ms), "{retry_after_ms}");
}

async fn a_bucket_refills(rig: Rig) {
    let quick = Rate {
        capacity: 20,
        per_10_min: 6_000,
    };
    let quota = rig.quota();
    let mut admitted_first = 0;
    let retry_after_ms = loop {
        match quota.take("k", quick).await {
            Verdict::Allowed { .. } => admitted_first += 1,
            Verdict::Refused { retry_after_ms } => break retry_after_ms,
        }
    };
    assert!(admitted_first >= 20, "{admitted_first}");
    assert!(retry_after_ms <= 100, "{retry_after_ms}");
    rig.pass(Duration::from_millis(retry_after_ms + 5)).await;
    assert!(is_allowed(quota.take("k", quick).await));
    rig.pass(Duration::from_millis(2_100)).await;
    let again = admitted(quota, "k", quick, 100).await;
    assert!((20..100).contains(&again), "{again}");
}

async fn subjects_do_not_share(rig: Rig) {
    let quota = rig.quota();
    assert!(admitted(quota, "one", SLOW, 100).await >= 50);
    assert!(is_allowed(quota.take("other", SLOW).await));
    assert!(!is_allowed(quota.take("one", SLOW).await));
}

async fn a_wider_network_that_is_refused_makes_no_buckets(rig: Rig) {
    let quota = rig.quota();
    let network = |number: u8, width| (ClientIdentifier::from_mac(&[number; 32]), width);
    let take = async |number| {
        let levels = [network(number, Width::Net64), network(200, Width::Net48)];
        let networks = Networks::new(levels.into_iter(), 1);
        is_allowed(networks.take(quota, "test", SLOW).await)
    };
    // A /48 has twice 50.
    while take(1).await {}
    while take(2).await {}
    assert!(!take(3).await, "the /48 is empty");
    for number in 4..100 {
        assert!(!take(number).await);
    }
    let made = |number| {
        let (name, width) = network(number, Width::Net64);
        let alone = Networks::new([(name, width)].into_iter(), 1);
        let key = alone.buckets("test");
        let key = key.limits(1).next().map(|(key, _)| key.to_owned()).unwrap();
        match &rig {
            Rig::Redis { server, .. } => server.ask::<u32>(&["EXISTS", key.as_str()]) > 0,
            // Only the engine itself can tell: `a_48_that_is_refused_makes_no_buckets`.
            Rig::Memory(_) => false,
        }
    };
    assert!((4..100).all(|number| !made(number)));
}

async fn a_capacity_of_zero_is_no_limit(rig: Rig) {
    let off = Rate {
        capacity: 0,
        per_10_min: 0,
    };
    assert_eq!(admitted(rig.quota(), "k", off, 10_000).await, 10_000);
}

async fn a_bucket_of_one_token_works(rig: Rig) {
    let single = Rate {
        capacity: 1,
        per_10_min: 300,
    };
    let admits_one = async || {
        let quota = rig.quota();
        assert!(is_allowed(quota.take("k", single).await));
        assert!(!is_allowed(quota.take("k", single).await));
    };
    admits_one().await;
    rig.pass(Duration::from_millis(2_010)).await;
    admits_one().await;
}

async fn takes_at_once_share_the_bucket(rig: Rig) {
    let quota = rig.quota();
    let verdicts = futures_util::future::join_all((0..300).map(|_| quota.take("k", SLOW))).await;
    let allowed = verdicts.into_iter().filter(|v| is_allowed(*v)).count();
    assert!((50..=51).contains(&allowed), "{allowed}");
}

async fn several_tokens_are_taken_together_or_not_at_all(rig: Rig) {
    let quota = rig.quota();
    for _ in 0..3 {
        assert!(is_allowed(quota.take_several("k", SLOW, 16).await));
    }
    // Two are left: not for sixteen, and a refusal takes none of them.
    for _ in 0..5 {
        let Verdict::Refused { retry_after_ms } = quota.take_several("k", SLOW, 16).await else {
            panic!("two of fifty are left");
        };
        let fourteen_ms = 14 * 60_000;
        assert!(retry_after_ms <= fourteen_ms, "{retry_after_ms}");
        assert!(retry_after_ms > fourteen_ms - 10_000, "{retry_after_ms}");
    }
    assert_eq!(admitted(quota, "k", SLOW, 5).await, 2);
    // More than a bucket can hold is all of it.
    assert!(is_allowed(quota.take_several("whole", SLOW, 51).await));
    assert_eq!(admitted(quota, "whole", SLOW, 5).await, 0);
}

async fn nodes(redis: &Redis, count: usize, settings: QuotaSettings) -> Vec<Arc<RedisQuota>> {
    let mut nodes = Vec::new();
    for _ in 0..count {
        nodes.push(RedisQuota::connect(&redis.url(), settings).await.unwrap());
    }
    nodes
}

#[tokio::test]
async fn several_nodes_at_one_bucket_admit_a_burst_within_30_percent() {
    let redis = Redis::start();
    let nodes = nodes(&redis, 3, patient()).await;
    // In turn, so that every node holds a lease all the time.
    let mut total = 0;
    let start = Instant::now();
    for _ in 0..150 {
        for node in &nodes {
            total += admitted(&**node, "rate:anon:x", ANONYMOUS, 1).await;
        }
    }
    let refill = start.elapsed().as_millis() * u128::from(ANONYMOUS.per_10_min) / 600_000 + 1;
    let most = 130 + u32::try_from(refill).unwrap();
    assert!(
        (70..=most).contains(&total),
        "{total} of 100, at most {most}"
    );
}

#[tokio::test]
async fn several_nodes_at_one_bucket_keep_the_rate_within_5_percent() {
    let redis = Redis::start();
    let settings = QuotaSettings {
        lease_ms: 200,
        ..patient()
    };
    let nodes = nodes(&redis, 3, settings).await;
    // As a minute at 200 a minute, fifteen times as fast: 4 s, leases of 0.2 s in proportion.
    let quick = Rate {
        capacity: 100,
        per_10_min: 30_000,
    };
    let mut total = 0;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(4) {
        for node in &nodes {
            total += admitted(&**node, "rate:anon:x", quick, 2).await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let elapsed_ms = u32::try_from(start.elapsed().as_millis()).unwrap();
    let ideal = quick.capacity + elapsed_ms * quick.per_10_min / 600_000;
    let bounds = ideal * 95 / 100..=ideal * 105 / 100;
    assert!(bounds.contains(&total), "{total}, {bounds:?} expected");
}

#[tokio::test]
async fn a_user_who_moves_between_nodes_is_not_cut_short() {
    let redis = Redis::start();
    let settings = QuotaSettings {
        lease_ms: 100,
        ..patient()
    };
    let nodes = nodes(&redis, 2, settings).await;
    // One message on each node now and then: what was leased beside it comes back.
    let still = Rate {
        capacity: 100,
        per_10_min: 0,
    };
    let mut total = 0;
    for _ in 0..5 {
        for node in &nodes {
            total += admitted(&**node, "rate:anon:x", still, 1).await;
        }
        tokio::time::sleep(Duration::from_millis(110)).await;
    }
    assert_eq!(total, 10);
    total += admitted(&*nodes[0], "rate:anon:x", still, 200).await;
    assert!((90..=100).contains(&total), "{total}");
}

#[tokio::test]
async fn a_take_costs_a_round_trip_once_in_ten_and_a_refusal_none() {
    let redis = Redis::start();
    let quota = RedisQuota::connect(&redis.url(), patient()).await.unwrap();
    let still = Rate {
        capacity: 200,
        per_10_min: 0,
    };
    assert_eq!(admitted(&*quota, "rate:net:x", still, 200).await, 200);
    let spent = redis.calls("evalsha");
    assert!(spent <= 12, "{spent} round trips for 200 takes");
    assert_eq!(admitted(&*quota, "rate:net:x", still, 1_000).await, 0);
    assert!(redis.calls("evalsha") <= spent + 1);
    let life: i64 = redis.ask(&["PTTL", "rate:net:x"]);
    assert!(life > 0, "{life}");
}

#[tokio::test]
async fn a_bucket_in_redis_ends_when_it_is_full_again() {
    let redis = Redis::start();
    let quota = RedisQuota::connect(&redis.url(), patient()).await.unwrap();
    let life = |key: &str| -> i64 { redis.ask(&["PTTL", key]) };
    // A lease takes ten of a hundred, and one comes back in 60 s.
    let slow = Rate {
        per_10_min: 10,
        ..ANONYMOUS
    };
    quota.take("slow", slow).await;
    assert!(
        (590_000..=600_000).contains(&life("slow")),
        "{}",
        life("slow")
    );
    quota.take("rate:anon:x", ANONYMOUS).await;
    let left = life("rate:anon:x");
    assert!(left <= 3_000, "{left}");
    let start = Instant::now();
    while life("rate:anon:x") != -2 {
        assert!(start.elapsed() < Duration::from_secs(10), "it stays");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(admitted(&*quota, "rate:anon:x", ANONYMOUS, 200).await <= 120);
}

#[tokio::test]
async fn without_redis_the_own_level_decides_never_open_and_never_closed() {
    let redis = Redis::start();
    let settings = QuotaSettings::default();
    let quota = RedisQuota::connect(&redis.url(), settings).await.unwrap();
    let still = Rate {
        capacity: 100,
        per_10_min: 60,
    };
    let before = admitted(&*quota, "used", still, 60).await;
    assert_eq!(before, 60);
    redis.pause();
    let start = Instant::now();
    let used = admitted(&*quota, "used", still, 200).await;
    let fresh = admitted(&*quota, "fresh", still, 200).await;
    let elapsed = start.elapsed();
    assert!((38..=42).contains(&used), "{used}");
    assert!((100..=102).contains(&fresh), "{fresh}");
    assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
    redis.resume();
    // A level in Redis shows that it is asked again.
    let start = Instant::now();
    while redis.ask::<u32>(&["EXISTS", "after"]) == 0 {
        let _ = quota.take("after", still).await;
        assert!(start.elapsed() < Duration::from_secs(10), "still local");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    redis.stop();
    let stopped = admitted(&*quota, "stopped", still, 200).await;
    assert!((100..=102).contains(&stopped), "{stopped}");
}

#[tokio::test]
async fn a_wrong_url_is_refused_without_repeating_the_password() {
    let port = crate::support::ports::free();
    let url = format!("redis://:hush@127.0.0.1:{port}");
    let error = RedisQuota::connect(&url, QuotaSettings::default())
        .await
        .expect_err("nobody is there");
    let words = error.to_string();
    assert!(words.contains("REDIS_URL") && words.contains(&port.to_string()));
    assert!(!words.contains("hush"), "{words}");
}
