//! A cluster of services on engines in memory, for the tests of this room.
//!
//! Not here: sockets and frames of clients: a test speaks as the session does, and pulls as the
//! connection driver does.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::{App, AppSettings, Live, Pending};
use crate::broker::{Broker, BrokerSettings, Parts};
use crate::bus::memory::{MemoryBus, MemoryExchange};
use crate::bus::queue::QueueSettings;
use crate::bus::queue::memory::MemoryQueues;
use crate::hub::{Hub, Pulled};
use crate::identity::{Clock, FingerprintKey, Handshake, VisitorSettings, Visitors};
use crate::location::{LocationSettings, MemoryCluster};
use crate::model::{
    AckMode, CloseReason, Destination, Incarnation, NodeId, Problem, QueueArguments, UnixMillis,
    Verdict,
};
use crate::quota::{MemoryQuota, QuotaSettings};
use crate::session::{
    Acknowledge, Commit, Connect, Delivered, Reply, Send, Step, Subscribe, Ticket, Unsubscribe,
};
use crate::stomp::{Decoder, Frame, Limits, Version};
use crate::store::MemoryStore;
use crate::turns::Turns;

/// The nodes.
pub(super) struct Rig {
    pub(super) nodes: Vec<Arc<App>>,
    /// Names the next client.
    clients: AtomicU64,
}

/// What a test may say of its cluster.
pub(super) struct Shape {
    pub(super) nodes: usize,
    pub(super) settings: AppSettings,
    pub(super) queues: QueueSettings,
    pub(super) store: MemoryStore,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            nodes: 1,
            settings: AppSettings::default(),
            queues: QueueSettings::default(),
            store: MemoryStore::default(),
        }
    }
}

impl Rig {
    pub(super) async fn new(shape: Shape) -> Self {
        let exchange = MemoryExchange::new(1_000);
        let location = MemoryCluster::new(LocationSettings::default());
        let store = shape.store;
        let queues = MemoryQueues::new(shape.queues);
        let (tracker, end) = (TaskTracker::new(), CancellationToken::new());
        let clock: Clock = Arc::new(|| UnixMillis(1_800_000_000_000));
        let mut nodes = Vec::new();
        for number in 0..shape.nodes {
            let here: NodeId = format!("n{number}").parse().unwrap();
            let incarnation = Incarnation(number as u64 + 1);
            let (bus, incoming) = MemoryBus::attach(&exchange, here.clone());
            let location = location.node(here.clone(), incarnation);
            let quota = Arc::new(MemoryQuota::new(QuotaSettings::default()));
            let parts = Parts {
                here,
                incarnation,
                hub: Arc::new(Hub::default()),
                location: Arc::clone(&location) as Arc<_>,
                bus,
                incoming,
                store: Arc::new(store.clone()),
                queues: queues.join(),
                turns: Turns::new(),
                memory: Arc::clone(&shape.settings.memory),
            };
            let settings = BrokerSettings::default();
            let broker = Broker::start(parts, settings, tracker.clone(), end.clone());
            let visitors = Visitors::new(
                Arc::new(store.clone()),
                location,
                Arc::clone(&quota) as Arc<_>,
                FingerprintKey::from_bytes(b"the key of these tests"),
                VisitorSettings::default(),
                Arc::clone(&clock),
            );
            let app = App::new(
                broker.await.unwrap(),
                Arc::new(visitors),
                None,
                quota,
                shape.settings.clone(),
                Arc::clone(&clock),
            );
            let (turns, end) = (Arc::clone(app.turns()), end.clone());
            tracker.spawn(async move { turns.give(&end).await });
            nodes.push(app);
        }
        let clients = AtomicU64::new(1);
        Self { nodes, clients }
    }

    /// A client of 1.2 that nobody knows, on one of the nodes.
    pub(super) async fn client(&self, node: usize) -> Client {
        self.client_of(node, Version::V1_2).await
    }

    pub(super) async fn client_of(&self, node: usize, version: Version) -> Client {
        let number = self.clients.fetch_add(1, Ordering::Relaxed);
        let address = format!("192.0.2.{number}");
        self.client_at(node, version, &address, number).await
    }

    /// Another client at an address.
    pub(super) async fn neighbour(&self, address: &str) -> Client {
        let number = self.clients.fetch_add(1, Ordering::Relaxed);
        self.client_at(0, Version::V1_2, address, number).await
    }

    async fn client_at(&self, node: usize, version: Version, address: &str, number: u64) -> Client {
        let app = Arc::clone(&self.nodes[node]);
        let handshake = Handshake {
            user_agent: format!("agent {number}"),
            from_page: false,
            ..Handshake::without_page(address.parse().unwrap())
        };
        let connect = Connect {
            version,
            host: None,
            login: None,
            passcode: None,
            authorization: None,
            visitor_token: None,
            device_id: None,
            device_name: None,
            accept_language: None,
        };
        let (live, _) = app.connect(&handshake, &connect).await.unwrap();
        Client {
            app,
            live,
            version,
            tickets: AtomicU64::new(0),
            subscriptions: AtomicU32::new(0),
            decoder: Mutex::new(Decoder::new(Limits::default())),
        }
    }
}

/// A connected client.
pub(super) struct Client {
    pub(super) app: Arc<App>,
    pub(super) live: Live,
    version: Version,
    tickets: AtomicU64,
    subscriptions: AtomicU32,
    decoder: Mutex<Decoder>,
}

impl Client {
    pub(super) async fn subscribe(&self, to: &str, ack: AckMode, prefetch: u32) {
        let arguments = QueueArguments::default();
        let subscribed = self.try_subscribe(to, ack, prefetch, arguments).await;
        subscribed.await.unwrap();
    }

    pub(super) async fn try_subscribe(
        &self,
        to: &str,
        ack: AckMode,
        prefetch: u32,
        arguments: QueueArguments,
    ) -> Pending {
        let subscribe = Subscribe {
            ticket: self.ticket(),
            id: to.into(),
            named: true,
            destination: Destination::parse(to).unwrap(),
            version: self.version,
            written: to.into(),
            ack,
            prefetch,
            arguments,
            of_session: self.subscriptions.fetch_add(1, Ordering::Relaxed) + 1,
        };
        if let Err(problem) = self.app.count_subscribe(&self.live) {
            return Box::pin(std::future::ready(Err(problem)));
        }
        self.app.subscribe(&self.live, &subscribe).await
    }

    pub(super) async fn unsubscribe(&self, from: &str) {
        self.subscriptions.fetch_sub(1, Ordering::Relaxed);
        let unsubscribe = Unsubscribe {
            ticket: self.ticket(),
            id: from.into(),
            destination: Destination::parse(from).unwrap(),
        };
        let unsubscribed = self.app.unsubscribe(&self.live, &unsubscribe);
        unsubscribed.await.unwrap();
    }

    /// A SEND as it is, not done.
    pub(super) fn sending(&self, to: &str, headers: &[(&str, &str)], body: &str) -> Send {
        let own = |(name, value): &(&str, &str)| ((*name).into(), (*value).into());
        Send {
            ticket: self.ticket(),
            destination: Destination::parse(to).unwrap(),
            headers: headers.iter().map(own).collect(),
            body: Bytes::from(body.to_owned()),
        }
    }

    pub(super) async fn send(&self, to: &str, body: &str) -> Result<Reply, Problem> {
        self.send_with(to, &[], body).await
    }

    pub(super) async fn send_with(
        &self,
        to: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Reply, Problem> {
        let send = self.sending(to, headers, body);
        self.app.send(&self.live, send).await.await
    }

    /// An answer to a message as it is, not done.
    pub(super) fn answering(&self, frame: &Frame, verdict: Verdict) -> Acknowledge {
        let header = |name| frame.headers.get(name).map(Box::from);
        let of = match header("ack") {
            Some(ack) => Delivered::Ack(ack),
            None => Delivered::Message {
                message_id: header("message-id").unwrap(),
                subscription: header("subscription"),
            },
        };
        let ticket = self.ticket();
        Acknowledge {
            ticket,
            verdict,
            of,
        }
    }

    pub(super) async fn answer(&self, frame: &Frame, verdict: Verdict) -> Result<Reply, Problem> {
        let answer = self.answering(frame, verdict);
        self.app.acknowledge(&self.live, answer).await.await
    }

    pub(super) async fn commit(&self, steps: Vec<Step>) -> Result<Reply, Problem> {
        let ticket = self.ticket();
        let commit = Commit { ticket, steps };
        self.app.commit(&self.live, commit).await.await
    }

    /// What the connection driver finds once everything that is on the way has come.
    pub(super) async fn frames(&self) -> Vec<Frame> {
        settled().await;
        self.pull().unwrap()
    }

    /// What the connection driver finds now.
    pub(super) fn pull(&self) -> Result<Vec<Frame>, CloseReason> {
        let octets = match self.live.outbox.try_pull() {
            Some(Pulled::Frames(frames)) => frames.into_vec(),
            Some(Pulled::Cut(reason)) => return Err(reason),
            Some(other) => panic!("there is no wire: {other:?}"),
            None => Vec::new(),
        };
        let mut decoder = self.decoder.lock().unwrap();
        octets
            .iter()
            .for_each(|octets| decoder.push(octets.octets(false)));
        let next = || decoder.next(self.version).unwrap();
        Ok(std::iter::from_fn(next).collect())
    }

    pub(super) async fn leave(self) {
        self.app.disconnect(&self.live).await;
        settled().await;
    }

    fn ticket(&self) -> Ticket {
        Ticket(self.tickets.fetch_add(1, Ordering::Relaxed))
    }
}

/// Lets everything happen that waits for nothing but its turn: the clock of the test stands still
/// until then.
pub(super) async fn settled() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// The bodies of frames, a redelivered one with a mark.
pub(super) fn bodies(frames: &[Frame]) -> Vec<String> {
    let body = |frame: &Frame| {
        let text = String::from_utf8_lossy(&frame.body).into_owned();
        match frame.headers.get("redelivered") {
            Some("true") => format!("{text} again"),
            Some(other) => panic!("redelivered:{other}"),
            None => text,
        }
    };
    frames.iter().map(body).collect()
}
