//! Puts plans to work: a committed message reaches every live session of its members, wherever they
//! are connected, in `seq` order and once.
//!
//! Not here: what a SEND means (`app`), who may (`policy`), sockets (`edge`), products (the engines
//! are known by their contracts only). Invariant: the store is the truth and the bus is a hint.
//! Whatever the bus or location lose, delay, double or reorder, the inboxes of `routing` keep the
//! order, and repair finds what is missing.
//!
//! The parts: [`notices`] has people looked at again, [`commits`] hands to the store and delivers what is
//! committed, [`router`] looks locations up and publishes, [`inbound`] takes what other nodes publish,
//! `remote_topics` delivers their messages to topics, [`repair`] asks the store what was missed, [`lease`] keeps this
//! node registered and known, [`interest`] the topics that this node wants, [`attachment`] the sessions, [`consume`]
//! the consumers of queues.

pub mod attachment;
pub mod commits;
mod connected;
pub mod consume;
pub mod inbound;
pub mod interest;
pub mod lease;
mod meters;
mod notices;
mod outbound;
mod remote_topics;
pub mod repair;
pub mod router;
pub mod rules;
mod settings;
mod trace;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use commits::Committed;
pub use consume::Consume;
pub use interest::{PatternSubscriber, TooManyPatterns};
pub use notices::Reviews;
pub use rules::Rules;
pub use settings::BrokerSettings;

use crate::budget::Memory;
use crate::bus::queue::Queues;
use crate::bus::{Bus, Incoming};
use crate::hub::trace::Step;
use crate::hub::{Delivery, Hub};
use crate::location::{Location, LocationError};
use crate::model::{
    CloseReason, Control, Incarnation, NodeId, RoomId, SessionId, TopicMessage, UserId,
};
use crate::store::{Store, StoreError};
use crate::turns::{Deliveries, Turns};

/// How long an ending node waits for its router.
const SETTLE_WITHIN: Duration = Duration::from_secs(5);

/// What a broker is made of.
#[derive(Debug)]
pub struct Parts {
    /// This node.
    pub here: NodeId,
    /// This life of it.
    pub incarnation: Incarnation,
    /// The sessions of this node.
    pub hub: Arc<Hub>,
    /// Where everybody is.
    pub location: Arc<dyn Location>,
    /// The way to other nodes.
    pub bus: Arc<dyn Bus>,
    /// What comes from other nodes.
    pub incoming: mpsc::Receiver<Incoming>,
    /// `/queue/**`, where consumers of all nodes compete.
    pub queues: Arc<dyn Queues>,
    /// The truth.
    pub store: Arc<dyn Store>,
    /// In which work that is much waits for its turn.
    pub turns: Arc<Turns>,
    /// The byte account.
    pub memory: Arc<Memory>,
}

/// Why an append failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// This node has lost touch with the others: neither its lease nor its heads went through.
    /// What it commits might never be swept up, so it commits nothing. Try again soon.
    #[error("this node is cut off from the others")]
    Fenced,
    /// The store said no.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The node is ending.
    #[error("the node is ending")]
    Ending,
}

/// The broker of one node.
#[derive(Debug)]
pub struct Broker {
    /// This node.
    pub here: NodeId,
    incarnation: Incarnation,
    /// The sessions of this node.
    pub hub: Arc<Hub>,
    /// Where everybody is.
    pub location: Arc<dyn Location>,
    bus: Arc<dyn Bus>,
    /// `/queue/**`, where consumers of all nodes compete.
    pub queues: Arc<dyn Queues>,
    store: Arc<dyn Store>,
    /// In which work that is much waits for its turn.
    pub turns: Arc<Turns>,
    remote_topics: remote_topics::RemoteTopics,
    settings: BrokerSettings,
    commits: commits::Commits,
    routes: mpsc::Sender<router::Route>,
    meters: meters::Meters,
    out: router::Outgoing,
    flows_in: Mutex<crate::routing::FlowsIn>,
    lease: lease::LeaseState,
    connected: connected::Connected,
    interest: interest::Interests,
    attachment: attachment::Attachments,
    notices: notices::Notices,
    questions: trace::Questions,
    /// Wakes the repair task.
    repair_wanted: Notify,
    /// The conversations in which something is missing, with the members for whom. A room is in
    /// here exactly while a task fetches it.
    fetches: Mutex<BTreeMap<RoomId, std::collections::BTreeSet<UserId>>>,
    entropy: Mutex<StdRng>,
    tracker: TaskTracker,
    /// Cancels every task of this broker.
    end: CancellationToken,
    /// Cancelled when another life of this node has taken its lease: the process must end.
    pub superseded: CancellationToken,
}

impl Broker {
    /// Claims the node's lease and starts the tasks, which run until `end` is cancelled.
    ///
    /// # Errors
    /// When location does not acknowledge the claim.
    pub async fn start(
        parts: Parts,
        settings: BrokerSettings,
        tracker: TaskTracker,
        end: CancellationToken,
    ) -> Result<Arc<Self>, LocationError> {
        let claimed_at = Instant::now();
        parts.location.claim().await?;
        let (routes, waiting) = mpsc::channel(settings.route_queue_max);
        let broker = Arc::new(Self {
            here: parts.here,
            incarnation: parts.incarnation,
            hub: parts.hub,
            lease: lease::LeaseState::new(claimed_at + settings.lease, parts.location.reconnects()),
            location: parts.location,
            bus: parts.bus,
            queues: parts.queues,
            store: parts.store,
            turns: parts.turns,
            remote_topics: remote_topics::RemoteTopics::new(
                parts.memory,
                Arc::clone(&settings.multiples),
            ),
            out: router::Outgoing::new(settings.flood_per_second),
            commits: commits::Commits::default(),
            routes,
            meters: meters::Meters::new(),
            flows_in: Mutex::default(),
            connected: connected::Connected::default(),
            interest: interest::Interests::default(),
            attachment: attachment::Attachments::default(),
            notices: notices::Notices::default(),
            questions: trace::Questions::default(),
            repair_wanted: Notify::new(),
            fetches: Mutex::default(),
            entropy: Mutex::new(StdRng::seed_from_u64(settings.seed)),
            settings,
            tracker,
            end,
            superseded: CancellationToken::new(),
        });
        broker.spawn(Arc::clone(&broker).commit_loop());
        broker.spawn(Arc::clone(&broker).repair_loop());
        broker.spawn(Arc::clone(&broker).registration_loop());
        broker.spawn(Arc::clone(&broker).leave_loop());
        if !broker.settings.alone {
            broker.spawn(Arc::clone(&broker).route_loop(waiting));
            broker.spawn(Arc::clone(&broker).inbound_loop(parts.incoming));
            broker.spawn(Arc::clone(&broker).renew_loop());
            broker.spawn(Arc::clone(&broker).heads_loop());
            broker.spawn(Arc::clone(&broker).peers_loop());
        }
        Ok(broker)
    }

    /// Sends a message to the subscribers of a topic, here and on other nodes: of its name, and of the
    /// patterns that it matches. What goes to `/user/<user id>/<rest>` goes to the nodes where that
    /// user has sessions. Resolves when it was handed to the local sessions and to the bus. If it reaches many,
    /// others have their turn meanwhile.
    pub async fn publish(
        self: &Arc<Self>,
        topic: TopicMessage,
        message_id: String,
        deliveries: Deliveries<'_>,
    ) {
        let reached = self.publish_here(&topic, message_id, deliveries).await;
        if reached > 0 {
            self.meters.local.increment(1);
        }
        if !self.settings.alone {
            self.route_topic(topic).await;
        }
    }

    /// Sends a message to the subscribers of a topic on this node. Returns how many they were.
    pub async fn publish_here(
        &self,
        topic: &TopicMessage,
        message_id: String,
        deliveries: Deliveries<'_>,
    ) -> usize {
        let mut fan_out = self.hub.topics.fan_out(topic, message_id);
        loop {
            let (before, room) = (fan_out.reached(), deliveries.room());
            if fan_out.go_on(room) {
                deliveries.made(fan_out.reached() - before).await;
                return fan_out.reached();
            }
            // A piece is over with its room, or because so much was encoded that it took as long.
            deliveries.made(room).await;
        }
    }

    /// Closes a session because a newer one of its user takes its place, wherever it is.
    pub fn replace(self: &Arc<Self>, node: &NodeId, session: SessionId) {
        self.command(node, Control::Replace(session));
    }

    /// Closes every session of a user, wherever it is: he has signed out for good.
    ///
    /// # Errors
    /// When location does not say where they are; the sessions of this node are closed all the same.
    pub async fn sign_out(self: &Arc<Self>, user: &UserId) -> Result<(), LocationError> {
        for session in self.hub.sessions_of(user) {
            session.outbox.cut(CloseReason::SIGNED_OUT);
        }
        let located = self
            .location
            .locate(std::slice::from_ref(user), &[])
            .await?;
        for entry in located.users.iter().flatten() {
            self.command(&entry.node, Control::SignOut(entry.session));
        }
        Ok(())
    }

    /// Has a command done by the node that it concerns.
    fn command(self: &Arc<Self>, node: &NodeId, control: Control) {
        if *node == self.here {
            self.obey(&control);
        } else {
            self.route_control(node.clone(), control);
        }
    }

    /// Waits until what was committed here is handed to the bus, for a few seconds at most: what is
    /// not is repaired by the others.
    pub async fn settle(&self) {
        let empty = async {
            while !self.is_settled() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(SETTLE_WITHIN, empty).await.is_err() {
            tracing::warn!("some messages are left to be repaired by the other nodes");
        }
    }

    /// Whether there are no other nodes and never will be.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.settings.alone
    }

    /// Whether what this node commits now might be missed by the others: its lease has run out by
    /// its own clock, and its heads did not go out lately either.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        !self.settings.alone && self.settings.rules.fence && !self.lease.is_valid(Instant::now())
    }

    /// Delivers a committed message: to the sessions here now, to other nodes by the router.
    fn deliver(self: &Arc<Self>, delivery: Arc<Delivery>, without_echo: Option<SessionId>) {
        let (room, seq) = (delivery.message.room, delivery.message.seq);
        if let Some(session) = without_echo.and_then(|id| self.hub.session(id)) {
            session.exempt(room, seq);
        }
        let stored = Step::Stored(seq);
        self.hub.trace.note(delivery.message.id, stored);
        self.offer(&delivery);
        self.meters.local.increment(1);
        if !self.settings.alone {
            self.route_message(delivery, 0);
        }
    }

    /// Offers a message to the sessions here, and has fetched what is missing before it.
    fn offer(self: &Arc<Self>, delivery: &Arc<Delivery>) {
        for user in self.hub.offer(delivery) {
            self.fetch(delivery.message.room, user);
        }
    }

    /// Does what another node (or this one) commands.
    fn obey(self: &Arc<Self>, control: &Control) {
        let (session, reason) = match control {
            Control::Replace(session) => (session, CloseReason::REPLACED),
            Control::SignOut(session) => (session, CloseReason::SIGNED_OUT),
            Control::Review(user) => return self.notices.want(Reviews::of(user)),
            Control::ReviewBans => return self.notices.want(Reviews::bans()),
            Control::TraceAsk(ask) => return self.answer_trace(ask),
            Control::TraceAnswer {
                question,
                node,
                body,
            } => return self.questions.answered(*question, node, body),
        };
        if let Some(session) = self.hub.session(*session) {
            session.outbox.cut(reason);
        }
    }

    /// A moment between two, from this broker's own source: it is seeded, so that a simulation
    /// with the same seed takes the same course.
    fn jitter(&self, (low, high): (Duration, Duration)) -> Duration {
        lock(&self.entropy).random_range(low..=high)
    }

    /// Runs a task until it or this broker ends.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker
            .spawn(self.end.clone().run_until_cancelled_owned(task));
    }
}

/// Locks without regard to a panic elsewhere: every critical section here leaves a whole state.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
