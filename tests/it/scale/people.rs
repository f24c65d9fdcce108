//! People with one or two devices, spread evenly over the nodes, who write to each other and into
//! rooms.
//!
//! Not here: sockets; what is delivered is taken out of the outboxes. Invariant: who is where and who
//! writes follows from the seed.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use stompbox::hub::{HubSession, Outbox, OutboxLimits, Pulled, Shown, Sink, Subscriber};
use stompbox::model::{MessageId, RoomId, SessionId, TopicMessage, UnixMillis, UserId};
use stompbox::stomp::Version;
use stompbox::store::Append;
use tokio::time::Instant;

use super::cluster::Cluster;
use super::model::Traffic;

use crate::support::publisher::publish;

/// So long nothing more is written before it is counted: everything has arrived.
pub(super) const QUIET: Duration = Duration::from_secs(1);

/// How often what waits for people is taken.
const READ_EVERY: Duration = Duration::from_millis(200);

struct Device {
    node: usize,
    session: Arc<HubSession>,
}

/// People, their rooms, and what they have heard.
pub(super) struct Crowd {
    users: Vec<(UserId, Vec<Device>)>,
    /// Where each user has his room: so many follow each other.
    room_members: usize,
    received: Cell<u64>,
    owed: Cell<u64>,
    written: Cell<u64>,
}

impl Crowd {
    /// So many people, each with one device or two, anywhere, and every twenty of them a room.
    pub(super) async fn gather(cluster: &Cluster, users: usize) -> Self {
        let traffic = Traffic::asked_for(users as f64);
        let mut rng = StdRng::seed_from_u64(cluster.nodes.len() as u64);
        let places = (0..users).map(|_| {
            let devices = 1 + usize::from(rng.random_bool(traffic.second_device));
            let place = |_| rng.random_range(0..cluster.nodes.len());
            (0..devices).map(place).collect()
        });
        let places: Vec<Vec<usize>> = places.collect();
        Self::with(cluster, &places, traffic.room_members as usize).await
    }

    /// Two people in one room: one on the first node, the other on the second and the third.
    pub(super) async fn on_the_first_three(cluster: &Cluster) -> Self {
        Self::with(cluster, &[vec![0], vec![1, 2]], 2).await
    }

    async fn with(cluster: &Cluster, places: &[Vec<usize>], room_members: usize) -> Self {
        let mut crowd = Self {
            users: Vec::new(),
            room_members,
            received: Cell::new(0),
            owed: Cell::new(0),
            written: Cell::new(0),
        };
        let mut id = 0;
        for (number, places) in places.iter().enumerate() {
            let user: UserId = format!("u{number}").parse().unwrap();
            let mut devices = Vec::new();
            for &node in places {
                id += 1;
                let topic = crowd.topic(number);
                let session = arrive(cluster, node, &user, SessionId(id), &topic).await;
                devices.push(Device { node, session });
            }
            crowd.users.push((user, devices));
        }
        crowd
    }

    /// The room of a user.
    fn topic(&self, user: usize) -> String {
        format!("/topic/place.{}", user / self.room_members)
    }

    /// Everybody writes for a while: so many messages a second come to each node, independently of
    /// each other.
    pub(super) async fn write(&self, cluster: &Cluster, per_node_second: f64, seconds: u32) {
        let mut rng = StdRng::seed_from_u64(7);
        let traffic = Traffic::asked_for(self.users.len() as f64);
        let rate = per_node_second * cluster.nodes.len() as f64;
        let (began, mut at) = (Instant::now(), 0.0);
        let mut read_at = READ_EVERY;
        loop {
            at += -rng.random_range(f64::EPSILON..1.0).ln() / rate;
            if at >= f64::from(seconds) {
                break;
            }
            let next = Duration::from_secs_f64(at);
            tokio::time::sleep_until(began + next).await;
            if next > read_at {
                read_at = next + READ_EVERY;
                self.read();
            }
            let stored = !rng.random_bool(traffic.to_rooms);
            let from = rng.random_range(0..self.users.len());
            let device = rng.random_range(0..self.users[from].1.len());
            let to = (from + rng.random_range(1..self.users.len())) % self.users.len();
            let writing = self.send(cluster, stored, (from, device), to);
            cluster.tracker.spawn(writing);
        }
        // Whole seconds in all, in which what happens once a second happens as often.
        let whole = Duration::from_secs(u64::from(seconds)) + QUIET;
        tokio::time::sleep_until(began + whole).await;
    }

    /// The first user writes to the second, or into their room, and it arrives.
    pub(super) async fn write_one(&self, cluster: &Cluster, stored: bool) {
        self.send(cluster, stored, (0, 0), 1).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    /// A message of one user from one device, to another one or to his own room.
    fn send(
        &self,
        cluster: &Cluster,
        stored: bool,
        (from, device): (usize, usize),
        to: usize,
    ) -> impl Future<Output = ()> + Send + 'static {
        let number = self.written.replace(self.written.get() + 1);
        let devices = |user: usize| self.users[user].1.len() as u64;
        let broker = Arc::clone(&cluster.nodes[self.users[from].1[device].node]);
        let (direct, published) = if stored {
            cluster.note(|counts| counts.direct += 1);
            self.owed.set(self.owed.get() + devices(from) + devices(to));
            (
                Some(append(number, &self.users[from].0, &self.users[to].0)),
                None,
            )
        } else {
            cluster.note(|counts| counts.room += 1);
            let first = from - from % self.room_members;
            let members = first..(first + self.room_members).min(self.users.len());
            self.owed
                .set(self.owed.get() + members.map(devices).sum::<u64>());
            let topic = TopicMessage {
                destination: self.topic(from).into(),
                headers: Vec::new(),
                body: Bytes::from_static(b"x"),
                network: None,
            };
            (None, Some(topic))
        };
        async move {
            if let Some(append) = direct {
                broker.append(append, None, None).await.unwrap();
            }
            if let Some(topic) = published {
                publish(&broker, topic, format!("m{number}")).await;
            }
        }
    }

    /// How many messages all devices together have got.
    pub(super) fn received(&self) -> u64 {
        self.read();
        self.received.get()
    }

    /// How many they should have got.
    pub(super) fn owed(&self) -> u64 {
        self.owed.get()
    }

    fn read(&self) {
        for device in self.users.iter().flat_map(|(_, devices)| devices) {
            match device.session.outbox.try_pull() {
                Some(Pulled::Frames(frames)) => {
                    self.received.set(self.received.get() + frames.len() as u64);
                }
                Some(other) => panic!("{}: {other:?}", device.session.id),
                None => {}
            }
        }
    }
}

/// A session with subscriptions to its user's messages and to a topic.
async fn arrive(
    cluster: &Cluster,
    node: usize,
    user: &UserId,
    id: SessionId,
    topic: &str,
) -> Arc<HubSession> {
    let limits = OutboxLimits {
        frames_max: 10_000,
        bytes_max: 10_000_000,
    };
    let outbox = Arc::new(Outbox::new(limits));
    let session = HubSession::new(id, user.clone(), "".into(), UnixMillis(0), outbox);
    let broker = &cluster.nodes[node];
    assert!(broker.attach(Arc::clone(&session)).await);
    let subscriber = |id: &str| Subscriber {
        version: Version::V1_2,
        id: Some(id.into()),
        shown: Shown::Canonical,
    };
    let messages = broker.subscribe_messages(&session, "m", subscriber("m"), None);
    messages.await.unwrap();
    let sink = Sink::Outbox(Arc::clone(&session.outbox));
    broker.hub.topics.add(topic, id, "t", subscriber("t"), sink);
    broker.want(topic).await.unwrap();
    session
}

fn append(number: u64, from: &UserId, to: &UserId) -> Append {
    Append {
        room: RoomId::direct(from, to),
        id: MessageId(u128::from(number)),
        from: from.clone(),
        from_name: String::new(),
        to: to.clone(),
        client_id: None,
        text: "x".to_owned(),
        timestamp: UnixMillis(0),
        expires_at: None,
        from_holder: None,
        to_holder: None,
        visitors: Vec::new(),
    }
}
