//! The bus with faults: delay, loss, doubling, disorder, doubt, a broker that restarts.
//!
//! Not here: who has a queue (the exchange in memory knows). Invariant: without faults what one
//! node sends to another arrives in order; what different nodes send overtakes freely.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use stompbox::bus::memory::MemoryBus;
use stompbox::bus::{Bus, BusError, Confirm, Incoming};
use stompbox::model::{NodeId, Parcel};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::world::{Fate, Weather, World};

#[derive(Debug)]
pub(super) struct SimBus {
    inner: Arc<MemoryBus>,
    world: Arc<World>,
    fate: Arc<Fate>,
}

/// What is to become of a publication.
enum Luck {
    Taken,
    Refused,
    /// No confirm comes; whether it arrives is open.
    Doubt {
        arrives: bool,
    },
}

impl SimBus {
    pub(super) fn new(inner: Arc<MemoryBus>, world: Arc<World>, fate: Arc<Fate>) -> Self {
        Self { inner, world, fate }
    }

    fn luck(&self) -> Luck {
        let world = &self.world;
        if self.fate.has_no_bus() || world.is(Weather::BusDown) {
            return if world.chance(0.2) {
                Luck::Doubt { arrives: false }
            } else {
                Luck::Refused
            };
        }
        if world.is(Weather::BusDoubt) && world.chance(0.4) {
            let arrives = world.chance(0.4);
            return Luck::Doubt { arrives };
        }
        Luck::Taken
    }

    async fn publish_to(
        &self,
        targets: Option<&[NodeId]>,
        payload: Bytes,
    ) -> Result<Confirm, BusError> {
        self.fate.thawed().await;
        let hand = |payload| async move {
            match targets {
                Some(targets) => self.inner.publish(targets, String::new(), payload).await,
                None => self.inner.publish_all(String::new(), payload).await,
            }
        };
        match self.luck() {
            Luck::Refused => Err(BusError::Unavailable("the broker is away".to_owned())),
            Luck::Doubt { arrives } => {
                if arrives {
                    let _confirm_is_lost = hand(payload).await?;
                }
                let wait = Duration::from_millis(200 + self.world.below(800));
                Ok(Box::pin(async move {
                    tokio::time::sleep(wait).await;
                    Err(BusError::NotConfirmed("no confirm".to_owned()))
                }))
            }
            Luck::Taken => {
                let confirm = hand(payload).await?;
                let wait = self.world.latency(None).0;
                let (world, fate) = (Arc::clone(&self.world), Arc::clone(&self.fate));
                Ok(Box::pin(async move {
                    world.pause(wait).await;
                    fate.thawed().await;
                    confirm.await
                }))
            }
        }
    }
}

#[async_trait]
impl Bus for SimBus {
    async fn publish(
        &self,
        targets: &[NodeId],
        _id: String,
        payload: Bytes,
    ) -> Result<Confirm, BusError> {
        self.publish_to(Some(targets), payload).await
    }

    async fn publish_all(&self, _id: String, payload: Bytes) -> Result<Confirm, BusError> {
        self.publish_to(None, payload).await
    }

    fn is_up(&self) -> bool {
        !self.world.is(Weather::BusDown) && self.inner.is_up()
    }

    async fn stop_consuming(&self) {
        self.inner.stop_consuming().await;
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

/// What lies between the queue of a node and the node.
#[derive(Debug)]
pub(super) struct Wire {
    world: Arc<World>,
    fate: Arc<Fate>,
    /// By the moment of arrival; the number keeps those of one moment apart. With each the number
    /// of times that the queues had been lost when it was sent.
    on_the_way: BTreeMap<(Instant, u64), (u64, Incoming)>,
    count: u64,
    /// When the last one of each sender arrives.
    last: BTreeMap<NodeId, Instant>,
}

impl Wire {
    pub(super) fn new(world: Arc<World>, fate: Arc<Fate>) -> Self {
        Self {
            world,
            fate,
            on_the_way: BTreeMap::new(),
            count: 0,
            last: BTreeMap::new(),
        }
    }

    /// Carries from the queue to the node, until either end is gone.
    pub(super) async fn run(
        mut self,
        mut queue: mpsc::Receiver<Incoming>,
        node: mpsc::Sender<Incoming>,
    ) {
        loop {
            let due = self.on_the_way.keys().next().map(|(at, _)| *at);
            let arrival = tokio::time::sleep_until(due.unwrap_or_else(Instant::now));
            tokio::select! {
                biased;
                incoming = queue.recv() => match incoming {
                    Some(incoming) => self.take(incoming),
                    None => return,
                },
                () = arrival, if due.is_some() => {}
            }
            if self.fate.has_no_bus() {
                self.on_the_way.clear();
                self.fate.bus_back().await;
                while queue.try_recv().is_ok() {}
                self.last.clear();
                self.take(Incoming::Interrupted);
            }
            self.fate.thawed().await;
            let lost = self.world.queues_lost.load(Ordering::Relaxed);
            while let Some(entry) = self.on_the_way.first_entry() {
                if entry.key().0 > Instant::now() {
                    break;
                }
                let (sent_at, incoming) = entry.remove();
                if sent_at == lost && node.send(incoming).await.is_err() {
                    return;
                }
            }
        }
    }

    fn take(&mut self, incoming: Incoming) {
        let now = Instant::now();
        match incoming {
            Incoming::Interrupted => {
                self.on_the_way.clear();
                self.last.clear();
                if !self.world.plan.hide_interruptions {
                    self.put(now, Incoming::Interrupted);
                }
            }
            Incoming::Payload(payload) => {
                let world = Arc::clone(&self.world);
                let is_lossy = world.is(Weather::BusLossy);
                if is_lossy && world.chance(0.3) {
                    return;
                }
                if is_lossy && world.chance(0.3) {
                    let again = now + Duration::from_millis(world.below(500));
                    self.put(again, Incoming::Payload(payload.clone()));
                }
                let bound = if world.is(Weather::BusSlow) { 700 } else { 5 };
                let mut at = now + Duration::from_millis(world.below(bound));
                if !world.is(Weather::BusDisorder) {
                    let sender = Parcel::decode(payload.clone()).expect("a parcel").sender;
                    at = at.max(self.last.get(&sender).copied().unwrap_or(at));
                    self.last.insert(sender, at);
                }
                self.put(at, Incoming::Payload(payload));
            }
        }
    }

    fn put(&mut self, at: Instant, incoming: Incoming) {
        self.count += 1;
        let lost = self.world.queues_lost.load(Ordering::Relaxed);
        self.on_the_way.insert((at, self.count), (lost, incoming));
    }
}
