//! Subscriptions to what is fanned out, beside those to messages: a topic by its name, topics by a
//! pattern, and a user's own key, which is found by where his sessions are.
//!
//! Not here: what these do not promise. What is published reaches whom it reaches while something
//! is wrong. Invariant: nothing comes twice or where it does not belong, and a while after the last
//! fault everything reaches every subscription that was settled, wherever it is published, once.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use stompbox::hub::{HubSession, Outbox, OutboxLimits, Pulled, Shown, Sink, Subscriber};
use stompbox::model::{Pattern, SessionId, TopicMessage, UnixMillis, UserId};
use stompbox::stomp::Version;
use tokio::time::Instant;

use super::clients;
use super::cluster::{Cluster, Life};
use super::plan::Options;
use super::world::{TraceMode, World};

/// A topic that is subscribed to by its name, and one that patterns alone stand for.
const TOPICS: [&str; 2] = ["/topic/x", "/topic/y"];

/// Before the subscription id of a topic in its frames.
const MARK: &str = "x";

/// What a subscription is to: as the broker knows it, and as the client writes it.
#[derive(Clone, Debug)]
struct Wanted {
    canonical: String,
    written: &'static str,
}

impl Wanted {
    /// One of the ways in which a session of this user subscribes.
    fn new(way: usize, user: &UserId) -> Self {
        let (canonical, written) = match way {
            0 => (TOPICS[0].to_owned(), TOPICS[0]),
            1 => ("/topic/*".to_owned(), "/sub/*"),
            _ => (key_of(user), "/user/queue/x"),
        };
        Self { canonical, written }
    }

    const WAYS: usize = 3;

    fn stands_for(&self, destination: &str) -> bool {
        let pattern = Pattern::parse(&self.canonical).unwrap();
        pattern.matches(destination)
    }
}

fn key_of(user: &UserId) -> String {
    format!("/user/{user}/queue/x")
}

#[derive(Debug, Default)]
pub(super) struct TopicLedger {
    subscriptions: Vec<TopicSubscription>,
    /// What came more than once, or where it does not belong, at any time.
    pub(super) strange: Vec<String>,
}

#[derive(Debug)]
struct TopicSubscription {
    place: String,
    wanted: Wanted,
    is_settled: bool,
    is_open: bool,
    got: Vec<String>,
}

/// What is published: where to, and a text that is published once.
type Published = (String, String);

impl TopicLedger {
    /// Takes the frame, if it is one of a topic.
    pub(super) fn receives(&mut self, frame: &str) -> bool {
        let header = |name: &str| {
            let (_, rest) = frame.split_once(name).expect("a header");
            rest.split_once('\n').expect("a line").0
        };
        let Some(number) = header("\nsubscription:").strip_prefix(MARK) else {
            return false;
        };
        let number: usize = number.parse().unwrap();
        let (_, body) = frame.split_once("\n\n").expect("a body");
        let text = body.trim_end_matches('\0').to_owned();
        let Some(subscription) = self.subscriptions.get_mut(number) else {
            panic!("a frame of a subscription that never was");
        };
        let place = &subscription.place;
        if subscription.got.contains(&text) {
            self.strange.push(format!("{place} got '{text}' twice"));
        }
        let shown = header("\ndestination:");
        let written = Pattern::parse(subscription.wanted.written).unwrap();
        let to = text.split_once(' ').map(|(_, to)| to);
        if !written.matches(shown) || !to.is_some_and(|to| subscription.wanted.stands_for(to)) {
            let strange = format!("{place} got '{text}' as {shown}");
            self.strange.push(strange);
        }
        subscription.got.push(text);
        true
    }

    /// The settled subscriptions that did not get each of these once.
    fn wrong(&self, published: &[Published]) -> Vec<String> {
        let mut wrong = Vec::new();
        let settled = self.subscriptions.iter().filter(|s| s.is_settled);
        for subscription in settled.filter(|s| s.is_open) {
            let wanted = &subscription.wanted;
            for (_, text) in published.iter().filter(|(to, _)| wanted.stands_for(to)) {
                let count = subscription.got.iter().filter(|got| *got == text).count();
                if count != 1 {
                    let place = &subscription.place;
                    wrong.push(format!("{place} got '{text}' {count} times"));
                }
            }
        }
        wrong
    }

    fn has_any(&self) -> bool {
        self.subscriptions
            .iter()
            .any(|subscription| subscription.is_settled && subscription.is_open)
    }
}

/// Subscribes a session to a topic and leaves it again, until the time to stay has come.
pub(super) async fn come_and_go(
    world: Arc<World>,
    life: Arc<Life>,
    session: Arc<HubSession>,
    seed: u64,
    settles_at: Instant,
) {
    let mut rng = StdRng::seed_from_u64(seed);
    loop {
        let wanted = Wanted::new(rng.random_range(0..Wanted::WAYS), &session.user);
        let closes = subscribe(&world, &life, &session, wanted).await;
        let stay = Duration::from_millis(rng.random_range(10..4_000));
        if Instant::now() + stay >= settles_at {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(stay).await;
        drop(closes);
        let pause = Duration::from_millis(rng.random_range(0..1_500));
        tokio::time::sleep(pause).await;
    }
}

/// Subscribes a session, and waits until that is settled.
async fn subscribe(
    world: &Arc<World>,
    life: &Arc<Life>,
    session: &Arc<HubSession>,
    wanted: Wanted,
) -> Closes {
    let number = world.ledger().topics.subscriptions.len();
    let place = format!(
        "n{}/{} {} {}",
        life.slot, life.number, session.id, wanted.canonical
    );
    world.ledger().topics.subscriptions.push(TopicSubscription {
        place,
        wanted: wanted.clone(),
        is_settled: false,
        is_open: true,
        got: Vec::new(),
    });
    let subscriber = Subscriber {
        shown: match wanted.written.strip_suffix("/*") {
            Some(prefix) => Shown::Under(prefix.into()),
            None => Shown::As(wanted.written.into()),
        },
        version: Version::V1_2,
        id: Some(format!("{MARK}{number}").into()),
    };
    let sink = Sink::Outbox(Arc::clone(&session.outbox));
    let topics = &life.broker.hub.topics;
    let id = number.to_string();
    topics.add(&wanted.canonical, session.id, &id, subscriber, sink);
    let closes = Closes {
        world: Arc::clone(world),
        life: Arc::clone(life),
        session: Arc::clone(session),
        number,
        topic: wanted.canonical,
    };
    let room = life.broker.want(&closes.topic).await;
    room.expect("there are few patterns here");
    session.attached().await;
    world.ledger().topics.subscriptions[number].is_settled = true;
    closes
}

struct Closes {
    world: Arc<World>,
    life: Arc<Life>,
    session: Arc<HubSession>,
    number: usize,
    topic: String,
}

impl Drop for Closes {
    fn drop(&mut self) {
        let id = self.number.to_string();
        let topics = &self.life.broker.hub.topics;
        if topics.remove(&self.topic, self.session.id, &id) {
            self.life.broker.abandon(&self.topic);
        }
        self.world.ledger().topics.subscriptions[self.number].is_open = false;
    }
}

/// Where something is published in a run: the topics and the users' own keys.
fn destinations(world: &World) -> Vec<String> {
    let users = (0..world.plan.devices.len()).map(|number| key_of(&clients::user(number)));
    TOPICS.map(str::to_owned).into_iter().chain(users).collect()
}

/// Publishes to one of the destinations, whichever this number says.
pub(super) async fn publish(world: &World, life: &Life, number: usize) {
    let mut destinations = destinations(world);
    let to = destinations.swap_remove(number % destinations.len());
    publish_to(life, to, &format!("t{number}")).await;
}

/// Publishes there. What is published says where to.
async fn publish_to(life: &Life, to: String, name: &str) -> Published {
    let text = format!("{name} {to}");
    let topic = TopicMessage {
        destination: to.as_str().into(),
        headers: Vec::new(),
        body: text.clone().into(),
        network: None,
    };
    crate::support::publisher::publish(&life.broker, topic, text.clone()).await;
    (to, text)
}

/// Publishes to every destination from every node. Returns what is wrong with what came of it.
pub(super) async fn check(cluster: &Cluster) -> Vec<String> {
    if !cluster.world.ledger().topics.has_any() {
        return Vec::new();
    }
    // Whoever has lost its registration notices at its next renewal.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let mut published = Vec::new();
    for life in cluster.all() {
        for to in destinations(&cluster.world) {
            let name = format!("n{}", life.slot);
            let publish = publish_to(&life, to, &name);
            let handed = tokio::time::timeout(Duration::from_secs(1), publish);
            let handed = handed.await;
            published.push(handed.expect("a topic is handed to the bus within a second"));
        }
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let ledger = cluster.world.ledger();
    let mut wrong = ledger.topics.strange.clone();
    wrong.extend(ledger.topics.wrong(&published));
    wrong
}

/// A session of a user on a node, subscribed in every way, by patterns twice.
async fn guest(world: &Arc<World>, life: &Arc<Life>, user: usize, id: u128) -> Guest {
    let limits = OutboxLimits {
        frames_max: 10_000,
        bytes_max: 10_000_000,
    };
    let outbox = Arc::new(Outbox::new(limits));
    let user = clients::user(user);
    let session = HubSession::new(SessionId(id), user, "".into(), UnixMillis(0), outbox);
    life.broker.attach(Arc::clone(&session)).await;
    let mut subscriptions = Vec::new();
    for way in (0..Wanted::WAYS).chain([1]) {
        let wanted = Wanted::new(way, &session.user);
        subscriptions.push(subscribe(world, life, &session, wanted).await);
    }
    Guest {
        session,
        _subscriptions: subscriptions,
    }
}

struct Guest {
    session: Arc<HubSession>,
    _subscriptions: Vec<Closes>,
}

/// Without faults, and at once: nothing has time to be repaired.
async fn one_day_without_faults(seed: u64) {
    let world = Arc::new(World::new(seed, Options::ALL, TraceMode::Off));
    let cluster = Cluster::new(Arc::clone(&world), world.plan.nodes);
    for slot in 0..world.plan.nodes {
        Arc::clone(&cluster).start(slot).await;
    }
    let lives = cluster.all();
    let users = world.plan.devices.len();
    let mut guests = Vec::new();
    // The last node has nobody.
    for (number, life) in lives.iter().skip(1).enumerate() {
        for id in 0..2 {
            let (user, id) = ((number + id) % users, number * 10 + id);
            guests.push(guest(&world, life, user, id as u128).await);
        }
    }
    let mut published = Vec::new();
    for (number, life) in lives.iter().enumerate() {
        for to in destinations(&world) {
            published.push(publish_to(life, to, &format!("n{number}")).await);
        }
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    for guest in &guests {
        let Some(Pulled::Frames(frames)) = guest.session.outbox.try_pull() else {
            panic!("seed {seed}: {} got nothing", guest.session.id);
        };
        for frame in frames {
            let frame = std::str::from_utf8(frame.octets(false)).unwrap();
            assert!(world.ledger().topics.receives(frame), "{frame}");
        }
    }
    let ledger = world.ledger();
    assert_eq!(ledger.topics.strange, [""; 0], "seed {seed}");
    assert_eq!(ledger.topics.wrong(&published), [""; 0], "seed {seed}");
}

#[test]
fn without_faults_whatever_is_fanned_out_reaches_every_subscription_once() {
    for seed in 0..100 {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(one_day_without_faults(seed));
    }
}
