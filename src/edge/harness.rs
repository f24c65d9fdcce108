//! A node on engines in memory whose turns are given by a test.
//!
//! Not here: accept loops; a test hands in sockets that are open. Invariant: after [`Node::start`] nobody goes without
//! a turn that the test has given.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::charges::SocketCharge;
use super::health::{Health, HealthSource, MemoryState, PartState};
use super::peer::Peer;
use super::rest::{RestKey, RestParts};
use super::settings::EdgeSettings;
use super::stream::Stream;
use super::{Edge, EdgeState};
use crate::app::{App, AppSettings};
use crate::broker::{Broker, BrokerSettings, Parts};
use crate::bus::memory::{MemoryBus, MemoryExchange};
use crate::bus::queue::QueueSettings;
use crate::bus::queue::memory::MemoryQueues;
use crate::hub::Hub;
use crate::identity::{Clock, FingerprintKey, VisitorSettings, Visitors};
use crate::location::{LocationSettings, MemoryCluster};
use crate::model::{Incarnation, NodeId, UnixMillis};
use crate::quota::{MemoryQuota, QuotaSettings};
use crate::store::MemoryStore;
use crate::store::sqlite::{SqliteSettings, SqliteStore};

/// How long something may take that should happen at once.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
struct Healthy;

#[async_trait::async_trait]
impl HealthSource for Healthy {
    async fn health(&self) -> Health {
        Health {
            database: PartState::Up,
            redis: PartState::NotUsed,
            rabbitmq: PartState::NotUsed,
            memory: MemoryState::Enough,
            draining: false,
        }
    }
}

/// A node that has no time for anybody until the test says so.
pub(super) struct Node {
    pub(super) edge: Arc<Edge>,
    _folder: tempfile::TempDir,
}

impl Node {
    pub(super) async fn start(app: AppSettings, settings: EdgeSettings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (tracker, end) = (TaskTracker::new(), CancellationToken::new());
        let clock: Clock = Arc::new(|| UnixMillis(1_800_000_000_000));
        let here: NodeId = "n1".parse().unwrap();
        let location = MemoryCluster::new(LocationSettings::default());
        let location = location.node(here.clone(), Incarnation(1));
        let (bus, incoming) = MemoryBus::attach(&MemoryExchange::new(1_000), here.clone());
        let store = Arc::new(MemoryStore::default());
        let quota = Arc::new(MemoryQuota::new(QuotaSettings::default()));
        let parts = Parts {
            here,
            incarnation: Incarnation(1),
            hub: Arc::new(Hub::default()),
            location: Arc::clone(&location) as Arc<_>,
            bus,
            incoming,
            store: Arc::clone(&store) as Arc<_>,
            queues: MemoryQueues::new(QueueSettings::default()).join(),
        };
        let broker = Broker::start(
            parts,
            BrokerSettings::default(),
            tracker.clone(),
            end.clone(),
        );
        let broker = broker.await.unwrap();
        let visitors = Arc::new(Visitors::new(
            store,
            location,
            Arc::clone(&quota) as Arc<_>,
            FingerprintKey::from_bytes(b"the key of these tests"),
            VisitorSettings::default(),
            Arc::clone(&clock),
        ));
        let app = App::new(
            broker,
            Arc::clone(&visitors),
            None,
            Arc::clone(&quota) as Arc<_>,
            app,
            clock,
        );
        let kept = SqliteStore::open(&folder.path().join("db"), &SqliteSettings::default());
        let rest = RestParts {
            quota,
            kept: kept.unwrap(),
            key: RestKey::derive(b"secret"),
        };
        let text = Box::new(String::new);
        let state = EdgeState::new(settings, app, visitors, Arc::new(Healthy), text, rest);
        let edge = Arc::new(Edge::new(Arc::new(state.unwrap()), tracker, end));
        // Whoever asks now waits.
        while edge.turns.may_go_on() {}
        Self {
            edge,
            _folder: folder,
        }
    }

    /// An open socket: the client's end, and the node's with its peer.
    pub(super) async fn socket(&self, is_proxy: bool) -> (TcpStream, Stream, Arc<Peer>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap());
        let (stream, accepted) = tokio::join!(stream, listener.accept());
        let (accepted, address) = accepted.unwrap();
        let holder = self.edge.stranger(IpAddr::from([127, 0, 0, 1]));
        let peer = Peer {
            address,
            is_proxy,
            is_secure: false,
            place: Mutex::new(None),
            charge: SocketCharge::take(self.edge.app.memory(), &holder, 0).unwrap(),
        };
        (stream.unwrap(), Stream::Plain(accepted), Arc::new(peer))
    }

    /// Gives one turn as soon as somebody waits for it.
    pub(super) async fn give_turn(&self) {
        let given = async {
            while !self.edge.turns.give_one() {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, given).await.unwrap();
    }

    /// Waits until so many wait for their turn.
    pub(super) async fn wait_for(&self, number: usize) {
        let reached = async {
            while self.edge.turns.waiting() != number {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, reached).await.unwrap();
    }
}
