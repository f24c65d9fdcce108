//! Subscriptions to a topic, beside those to messages.
//!
//! Not here: what topics do not promise. A SEND to a topic reaches whom it reaches while something
//! is wrong. Invariant: a while after the last fault it reaches every subscription that was
//! settled, wherever it is published, once.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use stompbox::hub::{HubSession, Shown, Sink, Subscriber};
use stompbox::model::TopicMessage;
use stompbox::stomp::Version;
use tokio::time::Instant;

use super::cluster::{Cluster, Life};
use super::world::World;

const TOPIC: &str = "/topic/x";

/// Before the subscription id of a topic in its frames.
const MARK: &str = "x";

#[derive(Debug, Default)]
pub(super) struct TopicLedger {
    subscriptions: Vec<TopicSubscription>,
    /// What came more than once, at any time.
    pub(super) twice: Vec<String>,
}

#[derive(Debug)]
struct TopicSubscription {
    place: String,
    is_settled: bool,
    is_open: bool,
    got: Vec<String>,
}

impl TopicLedger {
    /// Takes the frame, if it is one of a topic.
    pub(super) fn receives(&mut self, frame: &str) -> bool {
        let (_, rest) = frame.split_once("\nsubscription:").expect("a subscription");
        let (id, _) = rest.split_once('\n').expect("a line");
        let Some(number) = id.strip_prefix(MARK) else {
            return false;
        };
        let number: usize = number.parse().unwrap();
        let (_, body) = frame.split_once("\n\n").expect("a body");
        let text = body.trim_end_matches('\0').to_owned();
        let Some(subscription) = self.subscriptions.get_mut(number) else {
            panic!("a frame of a subscription that never was");
        };
        if subscription.got.contains(&text) {
            let place = &subscription.place;
            self.twice.push(format!("{place} got '{text}' twice"));
        }
        subscription.got.push(text);
        true
    }

    /// The settled subscriptions that did not get each of these once.
    pub(super) fn wrong(&self, published: &[String]) -> Vec<String> {
        let mut wrong = Vec::new();
        let settled = self.subscriptions.iter().filter(|s| s.is_settled);
        for subscription in settled.filter(|s| s.is_open) {
            for text in published {
                let count = subscription.got.iter().filter(|got| *got == text).count();
                if count != 1 {
                    let place = &subscription.place;
                    wrong.push(format!("{place} got '{text}' {count} times"));
                }
            }
        }
        wrong
    }

    pub(super) fn has_any(&self) -> bool {
        self.subscriptions
            .iter()
            .any(|subscription| subscription.is_settled && subscription.is_open)
    }
}

/// Subscribes a session to the topic and leaves it again, until the time to stay has come.
pub(super) async fn come_and_go(
    world: Arc<World>,
    life: Arc<Life>,
    session: Arc<HubSession>,
    seed: u64,
    settles_at: Instant,
) {
    let mut rng = StdRng::seed_from_u64(seed);
    loop {
        let number = world.ledger().topics.subscriptions.len();
        world.ledger().topics.subscriptions.push(TopicSubscription {
            place: format!("n{}/{} {}", life.slot, life.number, session.id),
            is_settled: false,
            is_open: true,
            got: Vec::new(),
        });
        let _closes = Closes {
            world: Arc::clone(&world),
            life: Arc::clone(&life),
            session: Arc::clone(&session),
            number,
        };
        let subscriber = Subscriber {
            shown: Shown::Canonical,
            version: Version::V1_2,
            id: Some(format!("{MARK}{number}").into()),
        };
        let outbox = Arc::clone(&session.outbox);
        let topics = &life.broker.hub.topics;
        topics.add(
            TOPIC,
            session.id,
            &number.to_string(),
            subscriber,
            Sink::Outbox(outbox),
        );
        life.broker.want(TOPIC).await;
        world.ledger().topics.subscriptions[number].is_settled = true;
        let stay = Duration::from_millis(rng.random_range(10..4_000));
        if Instant::now() + stay >= settles_at {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(stay).await;
        drop(_closes);
        let pause = Duration::from_millis(rng.random_range(0..1_500));
        tokio::time::sleep(pause).await;
    }
}

struct Closes {
    world: Arc<World>,
    life: Arc<Life>,
    session: Arc<HubSession>,
    number: usize,
}

impl Drop for Closes {
    fn drop(&mut self) {
        let id = self.number.to_string();
        let topics = &self.life.broker.hub.topics;
        if topics.remove(TOPIC, self.session.id, &id) {
            self.life.broker.abandon(TOPIC);
        }
        self.world.ledger().topics.subscriptions[self.number].is_open = false;
    }
}

/// Publishes to the topic.
pub(super) async fn publish(life: &Life, text: String) {
    let topic = TopicMessage {
        destination: TOPIC.into(),
        headers: Vec::new(),
        body: text.clone().into(),
    };
    life.broker.publish(topic, text).await;
}

/// Publishes to the topic from every node. Returns what is wrong with what came of it.
pub(super) async fn check(cluster: &Cluster) -> Vec<String> {
    if !cluster.world.ledger().topics.has_any() {
        return Vec::new();
    }
    // Whoever has lost its registration notices at its next renewal.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let mut published = Vec::new();
    for life in cluster.all() {
        let text = format!("from n{}", life.slot);
        tokio::time::timeout(Duration::from_secs(1), publish(&life, text.clone()))
            .await
            .expect("a topic is handed to the bus within a second");
        published.push(text);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let ledger = cluster.world.ledger();
    let mut wrong = ledger.topics.twice.clone();
    wrong.extend(ledger.topics.wrong(&published));
    wrong
}
