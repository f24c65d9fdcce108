//! A node on engines in memory whose turns are given by a test.
//!
//! Not here: accept loops; a test hands in sockets that are open. Invariant: after [`Node::start`] no client goes on
//! without a turn that the test has given.

use std::net::IpAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::charges::SocketCharge;
use super::health::{Health, HealthSource, MemoryState, PartState};
use super::peer::{Peer, SocketTurn};
use super::rest::{RestKey, RestParts};
use super::send_buffer::SEND_BUFFER_BYTES;
use super::settings::EdgeSettings;
use super::stream::Stream;
use super::{Edge, EdgeState, tcp};
use crate::app::{App, AppSettings};
use crate::broker::{Broker, BrokerSettings, Parts};
use crate::budget::Eviction;
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
use crate::turns::Turns;

/// How long something may take that should happen at once.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// How many new visitors, and how many old cookies, one network may bring at once.
pub(super) const VISITORS_PER_NETWORK: u32 = 10;

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

/// A node that gives no turn until the test does.
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
            turns: Turns::new(),
            memory: Arc::clone(&app.memory),
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
            VisitorSettings {
                per_network: VISITORS_PER_NETWORK,
                ..VisitorSettings::default()
            },
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
            quota: Arc::clone(&quota) as Arc<_>,
            node_quota: quota,
            kept: kept.unwrap(),
            key: RestKey::derive(b"secret"),
        };
        let text = Box::new(String::new);
        let state = EdgeState::new(settings, app, visitors, Arc::new(Healthy), text, rest);
        let edge = Arc::new(Edge::new(Arc::new(state.unwrap()), tracker, end));
        // From now on each client waits.
        while edge.turns.may_go_on() {}
        Self {
            edge,
            _folder: folder,
        }
    }

    /// An open socket: the client's end, and the node's with its peer.
    pub(super) async fn socket(&self, is_proxy: bool) -> (TcpStream, Stream, Arc<Peer>) {
        self.socket_with(is_proxy, None).await
    }

    async fn socket_with(
        &self,
        is_proxy: bool,
        receive_bytes: Option<u32>,
    ) -> (TcpStream, Stream, Arc<Peer>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpSocket::new_v4().unwrap();
        if let Some(bytes) = receive_bytes {
            stream.set_recv_buffer_size(bytes).unwrap();
        }
        let stream = stream.connect(listener.local_addr().unwrap());
        let (stream, accepted) = tokio::join!(stream, listener.accept());
        let (accepted, address) = accepted.unwrap();
        SockRef::from(&accepted)
            .set_send_buffer_size(SEND_BUFFER_BYTES)
            .unwrap();
        let holder = self.edge.stranger(IpAddr::from([127, 0, 0, 1]));
        let peer = Peer {
            address,
            is_proxy,
            is_secure: false,
            turn: Mutex::new(match is_proxy {
                true => SocketTurn::No,
                false => SocketTurn::now(),
            }),
            waits_for_turn: AtomicBool::new(false),
            place: Mutex::new(None),
            charge: SocketCharge::take(Eviction::Allowed, self.edge.app.memory(), &holder, 0)
                .unwrap(),
        };
        (stream.unwrap(), Stream::Plain(accepted), Arc::new(peer))
    }

    /// A client of STOMP over TCP, whose system takes so many bytes ahead of it.
    pub(super) async fn client(&self, receive_bytes: Option<u32>) -> Client {
        let (stream, accepted, peer) = self.socket_with(false, receive_bytes).await;
        tcp::serve(Arc::clone(&self.edge), accepted, peer).await;
        Client {
            stream,
            read: Vec::new(),
        }
    }

    /// Such a client after its CONNECT, which has had its turn.
    pub(super) async fn connected(&self, receive_bytes: Option<u32>) -> Client {
        let mut client = self.client(receive_bytes).await;
        client
            .send("CONNECT\naccept-version:1.2\nheart-beat:0,100\n\n")
            .await;
        self.give_turn().await;
        client.receive("CONNECTED").await;
        client
    }

    /// Gives one turn as soon as a client waits for it.
    pub(super) async fn give_turn(&self) {
        let given = async {
            while !self.edge.turns.give_one() {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, given).await.unwrap();
    }

    /// From now on turns are given as on a node in service.
    pub(super) fn give_turns(&self) {
        let (turns, shutdown) = (Arc::clone(&self.edge.turns), self.edge.shutdown.clone());
        let giving = async move { turns.give(&shutdown).await };
        self.edge.tracker.spawn(giving);
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

/// A client of STOMP over TCP.
pub(super) struct Client {
    pub(super) stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    pub(super) async fn send(&mut self, frame: &str) {
        self.stream.write_all(frame.as_bytes()).await.unwrap();
        self.stream.write_all(b"\0").await.unwrap();
    }

    /// The next frame, or a heart-beat as an empty text.
    pub(super) async fn next(&mut self) -> String {
        let next = async {
            loop {
                if self.read.first() == Some(&b'\n') {
                    self.read.remove(0);
                    return String::new();
                }
                if let Some(end) = self.read.iter().position(|byte| *byte == 0) {
                    let frame: Vec<u8> = self.read.drain(..=end).collect();
                    return String::from_utf8(frame).unwrap();
                }
                let read = self.stream.read_buf(&mut self.read).await.unwrap();
                assert_ne!(read, 0, "the connection ends");
            }
        };
        timeout(PATIENCE, next).await.unwrap()
    }

    /// The next frame, which is this one.
    pub(super) async fn receive(&mut self, command: &str) -> String {
        let received = async {
            loop {
                let frame = self.next().await;
                if !frame.is_empty() {
                    return frame;
                }
            }
        };
        // Heart-beats come without end.
        let frame = timeout(PATIENCE, received).await.unwrap();
        assert!(frame.starts_with(command), "{command}: {frame}");
        frame
    }
}
