//! Many real brokers over engines in memory that count.
//!
//! Not here: who is connected to them (`people`). Invariant: when it has started, every node knows
//! every other one.

use std::sync::Arc;
use std::time::Duration;

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
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::counting::{CountingBus, CountingLocation, Counts, Shared};

/// How much a node's queue holds.
const QUEUE_MAX: usize = 100_000;

/// In which every node has read who the others are, and compared what it has to at its start.
const SETTLES_IN: Duration = Duration::from_secs(5);

pub(super) struct Cluster {
    pub(super) nodes: Vec<Arc<Broker>>,
    pub(super) tracker: TaskTracker,
    counts: Shared,
    end: CancellationToken,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

impl Cluster {
    /// Starts so many nodes. A look-up takes so long.
    pub(super) async fn start(nodes: usize, lookup: Duration) -> Self {
        let exchange = MemoryExchange::new(QUEUE_MAX);
        let locations = MemoryCluster::new(LocationSettings::default());
        let queues = MemoryQueues::new(QueueSettings::default());
        let store = MemoryStore::new("scale");
        let mut cluster = Self {
            nodes: Vec::new(),
            tracker: TaskTracker::new(),
            counts: Shared::default(),
            end: CancellationToken::new(),
        };
        for number in 0..nodes {
            let here: NodeId = format!("n{number}").parse().unwrap();
            let incarnation = Incarnation(1 + number as u64);
            let location = CountingLocation {
                inner: locations.node(here.clone(), incarnation),
                lookup,
                counts: Arc::clone(&cluster.counts),
            };
            let (bus, incoming) = MemoryBus::attach(&exchange, here.clone());
            let bus = CountingBus {
                inner: bus,
                nodes: nodes as u64,
                counts: Arc::clone(&cluster.counts),
            };
            let parts = Parts {
                here,
                incarnation,
                hub: Arc::new(Hub::default()),
                location: Arc::new(location) as Arc<dyn Location>,
                bus: Arc::new(bus),
                incoming,
                queues: queues.join(),
                store: Arc::new(store.clone()),
                turns: Turns::new(),
                memory: Memory::new(MemorySettings { bytes_max: 0 }),
            };
            let settings = BrokerSettings {
                seed: number as u64,
                ..BrokerSettings::default()
            };
            let (tracker, end) = (cluster.tracker.clone(), cluster.end.clone());
            let broker = Broker::start(parts, settings, tracker, end).await;
            cluster.nodes.push(broker.unwrap());
        }
        tokio::time::sleep(SETTLES_IN).await;
        cluster
    }

    /// What was counted until now.
    pub(super) fn counts(&self) -> Counts {
        self.counts.lock().unwrap().clone()
    }

    pub(super) fn note(&self, note: impl FnOnce(&mut Counts)) {
        note(&mut self.counts.lock().unwrap());
    }
}
