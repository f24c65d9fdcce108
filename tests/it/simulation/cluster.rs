//! The nodes of a run: real brokers over engines in memory with faults, started, killed, frozen.
//!
//! Not here: who is connected to them (`clients`). Invariant: a name has one running life at a
//! time, apart from lives that location has replaced and that end as soon as they notice.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use stompbox::broker::{Broker, BrokerSettings, Parts};
use stompbox::budget::{Memory, MemorySettings};
use stompbox::bus::memory::{MemoryBus, MemoryExchange};
use stompbox::bus::queue::QueueSettings;
use stompbox::bus::queue::memory::MemoryQueues;
use stompbox::hub::Hub;
use stompbox::location::{Location, LocationSettings, MemoryCluster};
use stompbox::model::{Incarnation, NodeId};
use stompbox::store::MemoryStore;
use stompbox::turns::Turns;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::bus::{SimBus, Wire};
use super::location::{Recent, SimLocation};
use super::plan::{Fault, Kind};
use super::store::SimStore;
use super::world::{Fate, Weather, World};

/// How much a node's queue holds.
const QUEUE_MAX: usize = 10_000;

/// Much shorter than in earnest, so that interests come and go within a run.
const LINGER: Duration = Duration::from_millis(300);

#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) world: Arc<World>,
    location: Arc<MemoryCluster>,
    exchange: Arc<MemoryExchange>,
    queues: Arc<MemoryQueues>,
    store: MemoryStore,
    recent: Recent,
    slots: Mutex<Vec<Option<Arc<Life>>>>,
    /// Lives that run although another one has their name now.
    replaced: Mutex<Vec<Arc<Life>>>,
    lives: Mutex<u64>,
}

/// One life of a node.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) slot: usize,
    pub(super) number: u64,
    pub(super) broker: Arc<Broker>,
    pub(super) fate: Arc<Fate>,
    pub(super) end: CancellationToken,
    /// Kill it when the next append is receipted there, and stay away so long.
    pub(super) kill_on_receipt: Mutex<Option<Duration>>,
}

impl Cluster {
    pub(super) fn new(world: Arc<World>, nodes: usize) -> Arc<Self> {
        Arc::new(Self {
            world,
            location: MemoryCluster::new(LocationSettings::default()),
            exchange: MemoryExchange::new(QUEUE_MAX),
            queues: MemoryQueues::new(QueueSettings::default()),
            store: MemoryStore::new("simulation"),
            recent: Recent::default(),
            slots: Mutex::new(vec![None; nodes]),
            replaced: Mutex::default(),
            lives: Mutex::new(0),
        })
    }

    /// Starts a node, again and again until it works.
    pub(super) async fn start(self: Arc<Self>, slot: usize) {
        while !self.start_once(slot).await {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn start_once(self: &Arc<Self>, slot: usize) -> bool {
        let number = {
            let mut lives = self.lives.lock().unwrap();
            *lives += 1;
            *lives
        };
        let fate = Arc::new(Fate::new());
        let end = CancellationToken::new();
        let parts = self.parts(slot, Incarnation(number), &fate, &end);
        let settings = BrokerSettings {
            seed: self.world.below(u64::MAX),
            rules: self.world.options.rules,
            linger: LINGER,
            route_queue_max: self.world.plan.route_queue_max,
            flood_per_second: self.world.plan.flood_per_second,
            ..BrokerSettings::default()
        };
        let tracker = self.world.tracker.clone();
        let Ok(broker) = Broker::start(parts, settings, tracker, end.clone()).await else {
            end.cancel();
            return false;
        };
        self.world
            .note(format_args!("n{slot} starts its life {number}"));
        let life = Arc::new(Life {
            slot,
            number,
            broker,
            fate,
            end,
            kill_on_receipt: Mutex::default(),
        });
        let before = self.slots.lock().unwrap()[slot].replace(Arc::clone(&life));
        self.replaced.lock().unwrap().extend(before);
        let end = life.end.clone();
        let cluster = Arc::clone(self);
        let watch = async move {
            life.broker.superseded.cancelled().await;
            cluster.kill(&life, Duration::from_millis(300));
        };
        self.world
            .tracker
            .spawn(end.run_until_cancelled_owned(watch));
        true
    }

    /// What a broker is made of here: engines in memory behind faults.
    fn parts(
        &self,
        slot: usize,
        incarnation: Incarnation,
        fate: &Arc<Fate>,
        end: &CancellationToken,
    ) -> Parts {
        let here: NodeId = format!("n{slot}").parse().unwrap();
        let location = SimLocation::new(
            self.location.node(here.clone(), incarnation),
            Arc::clone(&self.world),
            Arc::clone(fate),
            Arc::clone(&self.recent),
        );
        let (bus, queue) = MemoryBus::attach(&self.exchange, here.clone());
        let (node, incoming) = mpsc::channel(QUEUE_MAX);
        let wire = Wire::new(Arc::clone(&self.world), Arc::clone(fate));
        let carry = end.clone().run_until_cancelled_owned(wire.run(queue, node));
        self.world.tracker.spawn(carry);
        let world = || Arc::clone(&self.world);
        Parts {
            here,
            incarnation,
            hub: Arc::new(Hub::default()),
            location: Arc::new(location) as Arc<dyn Location>,
            bus: Arc::new(SimBus::new(bus, world(), Arc::clone(fate))),
            incoming,
            queues: self.queues.join(),
            store: Arc::new(SimStore::new(self.store.clone(), world(), Arc::clone(fate))),
            turns: Turns::new(),
            memory: Memory::new(MemorySettings { bytes_max: 0 }),
        }
    }

    /// Ends a life as `kill -9` does, and starts the next one after a while.
    pub(super) fn kill(self: &Arc<Self>, life: &Life, away: Duration) {
        if life.fate.is_killed() {
            return;
        }
        let slot = life.slot;
        self.world.note(format_args!(
            "n{slot} is killed in its life {}",
            life.number
        ));
        life.fate.kill();
        life.end.cancel();
        let is_same = |other: &Arc<Life>| other.number == life.number;
        self.replaced
            .lock()
            .unwrap()
            .retain(|other| !is_same(other));
        if self.slots.lock().unwrap()[slot]
            .take_if(|other| is_same(other))
            .is_none()
        {
            return;
        }
        let cluster = Arc::clone(self);
        self.world.tracker.spawn(async move {
            tokio::time::sleep(away).await;
            cluster.start(slot).await;
        });
    }

    /// The nodes that run.
    pub(super) fn all(&self) -> Vec<Arc<Life>> {
        self.slots
            .lock()
            .unwrap()
            .iter()
            .flatten()
            .cloned()
            .collect()
    }

    /// One of the nodes that run.
    pub(super) fn any(&self, rng: &mut StdRng) -> Option<Arc<Life>> {
        use rand::RngExt;
        let mut running = self.all();
        running.extend(self.replaced.lock().unwrap().iter().cloned());
        if running.is_empty() {
            return None;
        }
        Some(Arc::clone(&running[rng.random_range(0..running.len())]))
    }

    /// Lets something go wrong.
    pub(super) fn apply(self: &Arc<Self>, fault: &Fault) {
        let until = Instant::now() + fault.lasts;
        self.world.note(format_args!(
            "{:?} n{} for {:?}",
            fault.kind, fault.node, fault.lasts
        ));
        let life = self.slots.lock().unwrap()[fault.node].clone();
        match (fault.kind, life) {
            (Kind::Weather(Weather::BusDown), _) => self.restart_bus(until),
            (Kind::Weather(weather), _) => self.world.set(weather, until),
            (Kind::Flush, _) => self.location.flush(),
            (Kind::FailOver, _) => self.fail_over(until, fault.away / 6),
            (_, None) => {}
            (Kind::Expire, Some(life)) => self.location.expire(&life.broker.here),
            (Kind::Kill, Some(life)) => self.kill(&life, fault.away),
            (Kind::KillOnReceipt, Some(life)) => {
                *life.kill_on_receipt.lock().unwrap() = Some(fault.away);
            }
            (Kind::KillOnCommit, Some(life)) => {
                let cluster = Arc::clone(self);
                let (end, away) = (life.end.clone(), fault.away);
                let watch = async move {
                    life.fate.committed().await;
                    cluster.kill(&life, away);
                };
                self.world
                    .tracker
                    .spawn(end.run_until_cancelled_owned(watch));
            }
            (Kind::Freeze, Some(life)) => life.fate.freeze(until),
            (Kind::CutLocation, Some(life)) => life.fate.cut_location(until),
            (Kind::CutBus, Some(life)) => life.fate.cut_bus(until),
            (Kind::Replace, Some(life)) => {
                life.fate.freeze(until);
                let start = Arc::clone(self).start(fault.node);
                self.world.tracker.spawn(start);
            }
            (Kind::Isolate, Some(life)) => self.isolate(life, until),
        }
    }

    fn isolate(self: &Arc<Self>, life: Arc<Life>, until: Instant) {
        life.fate.cut_location(until);
        life.fate.cut_bus(until);
        if self.world.chance(0.5) {
            self.location.expire(&life.broker.here);
        }
        let cluster = Arc::clone(self);
        let end = life.end.clone();
        let watch = async move {
            tokio::time::sleep_until(until).await;
            cluster.kill(&life, Duration::from_secs(3_600));
        };
        self.world
            .tracker
            .spawn(end.run_until_cancelled_owned(watch));
    }

    fn restart_bus(&self, until: Instant) {
        self.world.set(Weather::BusDown, until);
        self.world.queues_lost.fetch_add(1, Ordering::Relaxed);
        self.exchange.down();
        let exchange = Arc::clone(&self.exchange);
        self.world.tracker.spawn(async move {
            tokio::time::sleep_until(until).await;
            exchange.up();
        });
    }

    /// The replica takes over without what was registered last; the leases are there.
    fn fail_over(&self, until: Instant, lost: Duration) {
        self.world.set(Weather::LocationDown, until);
        let recent = std::mem::take(&mut *self.recent.lock().unwrap());
        let now = Instant::now();
        let world = Arc::clone(&self.world);
        if lost > Duration::from_millis(1_500) {
            // All of it, the interests too.
            self.location.fail_over();
        }
        self.world.tracker.spawn(async move {
            for (at, location, user, session) in recent {
                if now.duration_since(at) < lost {
                    let _gone_already = location.detach(&[(user, session)]).await;
                }
            }
            tokio::time::sleep_until(until).await;
            world.reconnects.fetch_add(1, Ordering::Relaxed);
        });
    }
}
