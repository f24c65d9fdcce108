//! Fan-out across brokers that meet in a real Redis and a real RabbitMQ: by name, by pattern, to a
//! user and to a reply queue, and what none of it costs.
//!
//! Not here: what a client writes to get there (`two_nodes`). What travels between the nodes is
//! counted at RabbitMQ, by a queue of the test's own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use stompbox::broker::{Broker, BrokerSettings, Parts, TooManyPatterns};
use stompbox::budget::{Memory, MemorySettings};
use stompbox::bus::queue::QueueSettings;
use stompbox::bus::queue::memory::MemoryQueues;
use stompbox::bus::rabbitmq::{RabbitBus, RabbitSettings};
use stompbox::hub::{Hub, HubSession, Outbox, OutboxLimits, Pulled, Shown, Sink, Subscriber};
use stompbox::location::{Location, LocationSettings, RedisLocation};
use stompbox::model::{Destination, Incarnation, NodeId, SessionId, TopicMessage, UnixMillis};
use stompbox::stomp::Version;
use stompbox::store::MemoryStore;
use stompbox::turns::Turns;
use stompbox::websocket::Framed;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::support::publisher::publish;
use crate::support::rabbitmq::{RabbitMq, Spy};
use crate::support::redis::Redis;

/// Longer than anything takes on a busy machine, when it works at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// A moment in which something that must not come would have come.
const MOMENT: Duration = Duration::from_millis(500);

/// How many patterns the cluster of this test keeps.
const PATTERNS_MAX: usize = 3;

const REPLY: &str = "/reply-queue/00112233445566778899aabbccddeeff";

struct Node {
    broker: Arc<Broker>,
    location: Arc<RedisLocation>,
    end: CancellationToken,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

impl Node {
    async fn start(redis: &Redis, rabbitmq: &RabbitMq, name: &str) -> Self {
        let here: NodeId = name.parse().unwrap();
        let incarnation = Incarnation(rand::random());
        let settings = LocationSettings {
            response: PATIENCE,
            connect: PATIENCE,
            patterns_max: PATTERNS_MAX,
            ..LocationSettings::default()
        };
        let location = RedisLocation::connect(&redis.url(), here.clone(), incarnation, settings)
            .await
            .unwrap();
        let (tracker, end) = (TaskTracker::new(), CancellationToken::new());
        let (bus, incoming) = RabbitBus::connect(
            &rabbitmq.url(),
            here.clone(),
            incarnation,
            RabbitSettings::default(),
            tracker.clone(),
            end.clone(),
        )
        .await
        .unwrap();
        let parts = Parts {
            here,
            incarnation,
            hub: Arc::new(Hub::default()),
            location: Arc::clone(&location) as Arc<dyn Location>,
            bus,
            queues: MemoryQueues::new(QueueSettings::default()),
            incoming,
            store: Arc::new(MemoryStore::new("fan-out")),
            turns: Turns::new(),
            memory: Memory::new(MemorySettings { bytes_max: 0 }),
        };
        let settings = BrokerSettings {
            linger: Duration::from_millis(100),
            ..BrokerSettings::default()
        };
        let broker = Broker::start(parts, settings, tracker, end.clone()).await;
        Self {
            broker: broker.unwrap(),
            location,
            end,
        }
    }

    async fn guest(&self, user: &str, id: u128) -> Guest {
        Guest::new(&self.broker, user, id).await
    }

    async fn publish(&self, to: &str, text: &str) {
        let message = TopicMessage {
            destination: to.into(),
            headers: Vec::new(),
            body: Bytes::copy_from_slice(text.as_bytes()),
            network: None,
        };
        publish(&self.broker, message, format!("m-{text}")).await;
    }
}

pub(crate) struct Guest {
    broker: Arc<Broker>,
    pub(crate) session: Arc<HubSession>,
}

impl Guest {
    pub(crate) async fn new(broker: &Arc<Broker>, user: &str, id: u128) -> Self {
        let limits = OutboxLimits {
            frames_max: 1_000,
            bytes_max: 1_000_000,
        };
        let session = HubSession::new(
            SessionId(id),
            user.parse().unwrap(),
            "".into(),
            UnixMillis(0),
            Arc::new(Outbox::new(limits)),
        );
        assert!(broker.attach(Arc::clone(&session)).await);
        Self {
            broker: Arc::clone(broker),
            session,
        }
    }

    /// Subscribes under the text as id.
    pub(crate) async fn subscribe(&self, to: &str, shown: Shown) -> Result<(), TooManyPatterns> {
        let subscriber = Subscriber {
            version: Version::V1_2,
            id: Some(to.into()),
            shown,
        };
        let sink = Sink::Outbox(Arc::clone(&self.session.outbox));
        let topics = &self.broker.hub.topics;
        topics.add(to, self.session.id, to, subscriber, sink);
        let wanted = self.broker.want(to).await;
        if wanted.is_err() {
            self.unsubscribe(to);
        }
        wanted
    }

    pub(crate) fn unsubscribe(&self, to: &str) {
        if self.broker.hub.topics.remove(to, self.session.id, to) {
            self.broker.abandon(to);
        }
    }

    /// Subscription, destination and body of the next messages, when so many are there.
    async fn gets(&self, expected: &[(&str, &str, &str)]) {
        let began = Instant::now();
        let mut got = Vec::new();
        while got.len() < expected.len() {
            assert!(began.elapsed() < PATIENCE, "{expected:?}: {got:?}");
            sleep(Duration::from_millis(10)).await;
            got.extend(self.take());
        }
        got.sort();
        let mut expected = expected
            .iter()
            .map(|(id, to, text)| [id, to, text].map(|part| (*part).to_owned()))
            .collect::<Vec<_>>();
        expected.sort();
        assert_eq!(got, expected, "{}", self.session.id);
    }

    pub(crate) fn gets_nothing(&self) {
        assert_eq!(
            self.take(),
            Vec::<[String; 3]>::new(),
            "{}",
            self.session.id
        );
    }

    pub(crate) fn take(&self) -> Vec<[String; 3]> {
        let Some(Pulled::Frames(frames)) = self.session.outbox.try_pull() else {
            return Vec::new();
        };
        let read = |frame: &Framed| {
            let text = String::from_utf8_lossy(frame.octets(false)).into_owned();
            let header = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap_or_default().to_owned()
            };
            let body = text.split_once("\n\n").unwrap().1.trim_end_matches('\0');
            [
                header("subscription:"),
                header("destination:"),
                body.to_owned(),
            ]
        };
        frames.iter().map(read).collect()
    }
}

/// What was published so far, by routing key, but for the heads of the flows.
fn published(spy: &Spy) -> BTreeMap<String, u64> {
    let mut counts = spy.count_by_key();
    counts.remove("chat.all");
    counts
}

/// Waits until these have been published since, and a moment more: no others have.
async fn published_since(spy: &Spy, before: &BTreeMap<String, u64>, expected: &[(&str, u64)]) {
    let mut awaited = before.clone();
    for (key, count) in expected {
        *awaited.entry((*key).to_owned()).or_default() += count;
    }
    let began = Instant::now();
    while published(spy) != awaited && began.elapsed() < PATIENCE {
        sleep(Duration::from_millis(20)).await;
    }
    sleep(MOMENT).await;
    assert_eq!(published(spy), awaited);
}

#[tokio::test]
async fn what_is_fanned_out_goes_to_the_nodes_that_want_it_once_and_nowhere_else() {
    let (redis, rabbitmq) = (Redis::start(), RabbitMq::start().await);
    let a = Node::start(&redis, &rabbitmq, "a").await;
    let b = Node::start(&redis, &rabbitmq, "b").await;
    let c = Node::start(&redis, &rabbitmq, "c").await;
    let spy = rabbitmq.spy().await;
    let bob = b.guest("bob", 1).await;
    let bobs_phone = c.guest("bob", 2).await;
    let alice = c.guest("alice", 3).await;

    // By name and by pattern: one parcel for the node, one message for each subscription.
    let under = Shown::Under("/sub".into());
    bob.subscribe("/topic/price.x", Shown::Canonical)
        .await
        .unwrap();
    bob.subscribe("/topic/price.*", under).await.unwrap();
    let before = published(&spy);
    a.publish("/topic/price.x", "1").await;
    a.publish("/topic/price.y", "2").await;
    a.publish("/topic/weather", "3").await;
    bob.gets(&[
        ("/topic/price.x", "/topic/price.x", "1"),
        ("/topic/price.*", "/sub/price.x", "1"),
        ("/topic/price.*", "/sub/price.y", "2"),
    ])
    .await;
    published_since(&spy, &before, &[("chat.b", 2)]).await;

    // To a user: wherever he has sessions, and only there; nobody has to want it.
    let own = |guest: &Guest| format!("/user/{}/queue/x", guest.session.user);
    for guest in [&bob, &bobs_phone, &alice] {
        let shown = Shown::As("/user/queue/x".into());
        guest.subscribe(&own(guest), shown).await.unwrap();
    }
    let before = published(&spy);
    a.publish("/user/bob/queue/x", "4").await;
    c.publish("/user/bob/queue/x", "5").await;
    a.publish("/user/nobody/queue/x", "6").await;
    for guest in [&bob, &bobs_phone] {
        let expected = ["4", "5"].map(|text| ("/user/bob/queue/x", "/user/queue/x", text));
        guest.gets(&expected).await;
    }
    // One publication for both of bob's nodes, counted under the first.
    published_since(&spy, &before, &[("chat.b", 2)]).await;
    let wanted = Destination::Topic("/user/bob/queue/x".into());
    let located = a.location.locate(&[], &[wanted]).await.unwrap();
    assert_eq!(
        located.destinations,
        vec![Vec::new()],
        "no entry is made for it"
    );

    // What belongs to the service or to a session does not go where everything is wanted.
    alice
        .subscribe("/topic/**", Shown::Canonical)
        .await
        .unwrap();
    bob.subscribe(REPLY, Shown::As("/temp-queue/x".into()))
        .await
        .unwrap();
    let before = published(&spy);
    a.publish("/topic/room.x", "7").await;
    a.publish(REPLY, "8").await;
    a.publish("/topic/other", "9").await;
    bob.gets(&[(REPLY, "/temp-queue/x", "8")]).await;
    alice.gets(&[("/topic/**", "/topic/other", "9")]).await;
    published_since(&spy, &before, &[("chat.b", 1), ("chat.c", 1)]).await;

    // There is room for so many patterns, and the next one is told.
    bob.subscribe("/topic/1/*", Shown::Canonical).await.unwrap();
    let refused = alice.subscribe("/topic/2/*", Shown::Canonical).await;
    assert_eq!(refused, Err(TooManyPatterns));
    alice.subscribe("/topic/2", Shown::Canonical).await.unwrap();
    // What lingers takes up room until it is withdrawn.
    bob.unsubscribe("/topic/1/*");
    let began = Instant::now();
    while alice
        .subscribe("/topic/2/*", Shown::Canonical)
        .await
        .is_err()
    {
        assert!(began.elapsed() < PATIENCE, "the room is never given back");
        sleep(Duration::from_millis(50)).await;
    }
    for guest in [&bob, &bobs_phone, &alice] {
        guest.gets_nothing();
    }
}
