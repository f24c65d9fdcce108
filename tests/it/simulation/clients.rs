//! The people of a run: their devices come and go, subscribe and write, and try again.
//!
//! Not here: what they are owed (`ledger`). Invariant: a client knows only what a client can know:
//! whether it was connected, subscribed and receipted.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use stompbox::hub::{HubSession, Outbox, OutboxLimits, Pulled, Shown, Subscriber};
use stompbox::model::{MessageId, RoomId, SessionId, UnixMillis, UserId};
use stompbox::stomp::Version;
use stompbox::store::{Append, StoreError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cluster::{Cluster, Life};
use super::ledger::Frame;
use super::topics;
use super::world::World;

/// How long a client waits for CONNECTED and for the receipt of SUBSCRIBE.
const PATIENCE: Duration = Duration::from_secs(8);

pub(super) fn user(number: usize) -> UserId {
    format!("u{number}").parse().unwrap()
}

/// A device of a user.
#[derive(Debug)]
pub(super) struct Device {
    cluster: Arc<Cluster>,
    world: Arc<World>,
    user: UserId,
    rng: StdRng,
    /// When it stops coming and going, and stays.
    settles_at: Instant,
}

/// Why a device stopped to be subscribed.
#[derive(PartialEq, Eq)]
enum Left {
    Unsubscribed,
    Gone,
}

impl Device {
    pub(super) fn new(
        cluster: &Arc<Cluster>,
        user: UserId,
        seed: u64,
        settles_at: Instant,
    ) -> Self {
        Self {
            cluster: Arc::clone(cluster),
            world: Arc::clone(&cluster.world),
            user,
            rng: StdRng::seed_from_u64(seed),
            settles_at,
        }
    }

    /// Connects again and again, for ever.
    pub(super) async fn run(mut self) {
        tokio::time::sleep(Duration::from_millis(self.rng.random_range(0..2_000))).await;
        loop {
            if let Some(life) = self.cluster.any(&mut self.rng) {
                let end = life.end.clone();
                end.run_until_cancelled(self.visit(&life)).await;
            }
            let absence = Duration::from_millis(self.rng.random_range(0..800));
            tokio::time::sleep(absence).await;
        }
    }

    /// One connection.
    async fn visit(&mut self, life: &Arc<Life>) {
        let limits = OutboxLimits {
            frames_max: 10_000,
            bytes_max: 10_000_000,
        };
        let session = HubSession::new(
            SessionId(self.rng.random()),
            self.user.clone(),
            "".into(),
            UnixMillis(0),
            Arc::new(Outbox::new(limits)),
        );
        let connection = Connection {
            life: Arc::clone(life),
            session: Arc::clone(&session),
            closed: CancellationToken::new(),
        };
        let attach = life.broker.attach(Arc::clone(&session));
        if tokio::time::timeout(PATIENCE, attach).await.is_err() {
            return;
        }
        let (world, outbox) = (Arc::clone(&self.world), Arc::clone(&session.outbox));
        let reading = read(world, outbox, connection.closed.clone());
        self.world.tracker.spawn(reading);
        let seed = self.rng.random();
        let mut second = self.clone_with(seed);
        let has_second = self.rng.random_bool(0.15);
        let has_topic = self.rng.random_bool(0.3);
        let topic = topics::come_and_go(
            Arc::clone(&self.world),
            Arc::clone(life),
            Arc::clone(&session),
            seed,
            self.settles_at,
        );
        let first = self.subscribe_again_and_again(&connection, "s");
        // A client may have two subscriptions to its queue; each gets everything once.
        let second = second.subscribe_again_and_again(&connection, "t");
        tokio::select! {
            biased;
            () = first => {}
            () = second, if has_second => {}
            () = topic, if has_topic => {}
        }
    }

    fn clone_with(&self, seed: u64) -> Self {
        Self::new(&self.cluster, self.user.clone(), seed, self.settles_at)
    }

    async fn subscribe_again_and_again(&mut self, connection: &Connection, id: &'static str) {
        while self.subscribed(connection, id).await == Left::Unsubscribed {
            if self.rng.random_bool(0.3) {
                let pause = Duration::from_millis(self.rng.random_range(0..400));
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// One subscription on a connection.
    async fn subscribed(&mut self, connection: &Connection, id: &'static str) -> Left {
        let Connection { life, session, .. } = connection;
        let place = format!("n{}/{} {}", life.slot, life.number, session.id);
        let number = self.world.ledger().asks(&self.user, place);
        let _closes = Closes {
            world: Arc::clone(&self.world),
            session: Arc::clone(session),
            number,
            id,
        };
        let subscriber = Subscriber {
            shown: Shown::Canonical,
            version: Version::V1_2,
            id: Some(number.to_string().into()),
        };
        // In a task of its own, which goes on when the client has changed its mind.
        let subscribed = life
            .broker
            .subscribe_messages(session, id, subscriber, None);
        let waiting = Arc::clone(session);
        let work = async move {
            subscribed.await?;
            waiting.attached().await;
            Ok::<_, StoreError>(())
        };
        let work = life.end.clone().run_until_cancelled_owned(work);
        let subscribe = self.world.tracker.spawn(work);
        let patience = if self.rng.random_bool(0.1) {
            Duration::from_millis(self.rng.random_range(0..5))
        } else {
            PATIENCE
        };
        match tokio::time::timeout(patience, subscribe).await {
            Ok(Ok(Some(Ok(())))) => {}
            Err(_) if patience < PATIENCE => return Left::Unsubscribed,
            _ => return Left::Gone,
        }
        self.world.ledger().settles(number);
        self.world.note(format_args!(
            "{} is subscribed ({number}) on n{} as {}",
            self.user, life.slot, session.id
        ));
        let stay = Duration::from_millis(self.rng.random_range(200..6_000));
        if Instant::now() + stay >= self.settles_at {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(stay).await;
        if self.rng.random_bool(0.4) {
            Left::Unsubscribed
        } else {
            Left::Gone
        }
    }
}

/// A session that is taken away when its client lets go of it, however that comes.
struct Connection {
    life: Arc<Life>,
    session: Arc<HubSession>,
    closed: CancellationToken,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.closed.cancel();
        if !self.life.end.is_cancelled() {
            let broker = &self.life.broker;
            broker.spawn(broker.detach(self.session.id));
        }
    }
}

/// A subscription that is closed when its client lets go of it. What was queued before is read.
struct Closes {
    world: Arc<World>,
    session: Arc<HubSession>,
    number: usize,
    id: &'static str,
}

impl Drop for Closes {
    fn drop(&mut self) {
        self.session.close_inbox(self.id);
        if let Some(pulled) = self.session.outbox.try_pull() {
            take(&self.world, pulled);
        }
        self.world.ledger().closes(self.number);
    }
}

async fn read(world: Arc<World>, outbox: Arc<Outbox>, closed: CancellationToken) {
    while let Some(pulled) = closed.run_until_cancelled(outbox.pull()).await {
        take(&world, pulled);
    }
}

fn take(world: &World, pulled: Pulled) {
    let Pulled::Frames(frames) = pulled else {
        panic!("nobody is cut here");
    };
    for frame in &frames {
        let text = std::str::from_utf8(frame.octets(false)).expect("a frame of text");
        if world.ledger().topics.receives(text) {
            continue;
        }
        let frame = Frame::read(text);
        world.note(format_args!(
            "{} gets {} {}",
            frame.subscription, frame.text, frame.seq
        ));
        world.ledger().receives(&frame);
    }
}

/// Writes what the plan wants written.
pub(super) async fn write_all(cluster: Arc<Cluster>, started: Instant) {
    let world = Arc::clone(&cluster.world);
    for (number, send) in world.plan.sends.iter().enumerate() {
        tokio::time::sleep_until(started + send.at).await;
        let (from, to) = (user(send.from), user(send.to));
        world
            .tracker
            .spawn(write(Arc::clone(&cluster), number, from, to));
    }
}

/// Writes one message, and again under the same `client_id`, mostly elsewhere, until a receipt
/// comes.
async fn write(cluster: Arc<Cluster>, number: usize, from: UserId, to: UserId) {
    let world = Arc::clone(&cluster.world);
    let mut rng = StdRng::seed_from_u64(world.below(u64::MAX));
    if let Some(life) = cluster.any(&mut rng).filter(|_| number.is_multiple_of(3)) {
        // At most once, whatever happens.
        let shared = Arc::clone(&world);
        world.tracker.spawn(async move {
            let publish = topics::publish(&shared, &life, number);
            life.end.run_until_cancelled(publish).await;
        });
    }
    for attempt in 0..12_u128 {
        let Some(life) = cluster.any(&mut rng) else {
            tokio::time::sleep(Duration::from_millis(200)).await;
            continue;
        };
        let text = format!("m{number}");
        world.note(format_args!("{from} writes {text} on n{}", life.slot));
        let append = Append {
            room: RoomId::direct(&from, &to),
            id: MessageId(number as u128 * 100 + attempt),
            from: from.clone(),
            from_name: String::new(),
            to: to.clone(),
            client_id: Some(text.parse().unwrap()),
            text,
            timestamp: UnixMillis(0),
            expires_at: None,
            from_holder: None,
            to_holder: None,
            visitors: Vec::new(),
        };
        let patience = Duration::from_millis(rng.random_range(300..3_000));
        let receipt = tokio::time::timeout(patience, life.broker.append(append, None, None)).await;
        if let Ok(Ok(committed)) = receipt {
            if life.fate.is_frozen() || life.fate.is_killed() {
                // What stands still or is dead sends no RECEIPT.
                continue;
            }
            world.ledger().receipted(&committed.delivery.message);
            world.note(format_args!("m{number} is receipted"));
            if let Some(away) = life.kill_on_receipt.lock().unwrap().take() {
                cluster.kill(&life, away);
            }
            return;
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(10..300))).await;
    }
}
