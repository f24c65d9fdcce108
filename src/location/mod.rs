//! The contract of location: on which nodes the sessions of a user live, which nodes want a
//! destination, and which nodes are alive.
//!
//! Not here: who is connected to this node (`hub`), what to do with the answer (`routing`).
//! Invariant: location is set-valued. Every session of a user is an entry of its own, and removing
//! one never hides another; an entry counts only while the lease of its node's life lives.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::model::{
    ClientIdentifier, Destination, Incarnation, NamedNetworks, NodeId, Pattern, SessionId,
    UnixMillis, Unkept, UserId, is_pattern,
};
use crate::policy::patterns::{PATTERNS_MAX, is_open_to_patterns};

mod memory;
mod redis;

pub use self::memory::{MemoryCluster, MemoryLocation};
pub use self::redis::RedisLocation;

/// How long a visitor of whom nothing is kept is remembered, and the fingerprint of a loose one.
pub const TOUCH_LIFE: Duration = Duration::from_secs(3600);

/// How many visitors of whom nothing is kept a node alone remembers: about 500 bytes each. One IPv4 address or IPv6
/// /48 that is alone has half of it, and brings 65,000 or 130,000 in its first hour (`VISITORS_PER_NETWORK`).
pub const VISITS_MAX: usize = 100_000;

/// The same of a cluster, in Redis: about 300 bytes each. Those who are connected are kept beyond it.
pub const CLUSTER_VISITS_MAX: usize = 1_000_000;

/// The times of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocationSettings {
    /// How long a lease lives after a claim or a renewal. Renew about three times within it.
    pub lease: Duration,
    /// How long one answer may take.
    pub response: Duration,
    /// How long a connection may take to be there.
    pub connect: Duration,
    /// How many interests in patterns the cluster keeps, counted once for each node.
    pub patterns_max: usize,
    /// How many visitors of whom nothing is kept the cluster remembers.
    pub visits_max: usize,
}

impl Default for LocationSettings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(10),
            response: Duration::from_millis(150),
            connect: Duration::from_millis(200),
            patterns_max: PATTERNS_MAX,
            visits_max: CLUSTER_VISITS_MAX,
        }
    }
}

/// One session of a user, as every node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionEntry {
    /// The session.
    pub session: SessionId,
    /// The node that it is connected to.
    pub node: NodeId,
    /// The life of that node.
    pub incarnation: Incarnation,
    /// What the client calls its device; empty when it did not say.
    pub device: Box<str>,
    /// When it connected; the oldest makes room when a user has too many.
    pub since: UnixMillis,
    /// The visitor, while nothing is kept of them: whoever registers the session introduces them
    /// ([`Location::introduce`]). An answer need not have it.
    pub visitor: Option<Arc<Unkept>>,
}

/// The answer to one look-up, in the order of the question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Located {
    /// For each user his live sessions, sorted by session id.
    pub users: Vec<Vec<SessionEntry>>,
    /// For each destination the live nodes that have a subscriber, of its name or of a pattern that
    /// it matches: sorted, each once.
    pub destinations: Vec<Vec<NodeId>>,
}

/// What a renewal of this node's lease found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The lease was there and is longer now.
    Extended,
    /// There was no lease. Claim again, and register everything again after that is acknowledged.
    Missing,
    /// Another life of this node holds it: this process must end.
    Foreign(Incarnation),
}

/// What a live node says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerState {
    /// It takes connections.
    Up,
    /// It is ending in order.
    Draining,
}

/// A node whose lease lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub node: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
    /// What it says of itself.
    pub state: PeerState,
}

/// Whether this node's store is the one that the cluster uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreClaim {
    /// It is, or it is now because nobody had claimed before.
    Same,
    /// The cluster uses the store with this id: refuse to start.
    Other(String),
}

/// Location did not answer, or not in time. Nothing is known about whether a write happened.
#[derive(Debug, thiserror::Error)]
#[error("location is unavailable: {0}")]
pub struct LocationError(pub String);

impl LocationError {
    /// A younger life of this node holds the lease, so this one may not speak for it any more. Its
    /// next renewal says [`Renewal::Foreign`].
    fn superseded(node: &NodeId) -> Self {
        Self(format!("another life of node {node} holds its lease"))
    }
}

/// The handle of one life of one node on the locations of the cluster.
///
/// Every method resolves when the engine has acknowledged, within a deadline of the engine (a few
/// hundred milliseconds), and is safe to repeat.
#[async_trait]
pub trait Location: Send + Sync + std::fmt::Debug {
    /// Records that these sessions live on this node. Many entries travel as one pipeline.
    async fn attach(&self, entries: &[(UserId, SessionEntry)]) -> Result<(), LocationError>;

    /// Removes these sessions and no others (compare and delete by session id and node life).
    async fn detach(&self, sessions: &[(UserId, SessionId)]) -> Result<(), LocationError>;

    /// Records that this node has a subscriber of each destination, with the generation of that
    /// interest. A generation grows with every first subscriber of the destination on this node.
    /// A destination with wildcards is wanted for all that match it.
    ///
    /// Returns those that were refused, usually none: patterns that the cluster has no room for.
    /// Of them nothing is recorded, and nothing that was recorded before is lost.
    async fn want(&self, wants: &[(Destination, u64)]) -> Result<Vec<Destination>, LocationError>;

    /// Withdraws the interest, unless a newer generation than the given one is recorded: a late
    /// removal must not undo a new registration.
    async fn unwant(&self, wants: &[(Destination, u64)]) -> Result<(), LocationError>;

    /// Reads where these users and destinations are now, fresh, in one pipeline. Entries of nodes
    /// without a lease are left out (and removed lazily, by a script that checks the lease itself).
    async fn locate(
        &self,
        users: &[UserId],
        destinations: &[Destination],
    ) -> Result<Located, LocationError>;

    /// Takes the lease of this node unconditionally, for this life, and lists it among the nodes.
    async fn claim(&self) -> Result<(), LocationError>;

    /// Makes the lease longer. It only extends, never creates.
    async fn renew(&self) -> Result<Renewal, LocationError>;

    /// Marks this node as draining in its lease.
    async fn drain(&self) -> Result<(), LocationError>;

    /// Gives the lease up, if it is still this life's.
    async fn release(&self) -> Result<(), LocationError>;

    /// The nodes whose lease lives, this one included, sorted by name.
    async fn peers(&self) -> Result<Vec<Peer>, LocationError>;

    /// Claims the cluster for this store, once and for ever.
    async fn claim_store(&self, store_id: &str) -> Result<StoreClaim, LocationError>;

    /// Notes that this visitor was here just now, a loose one under their fingerprint too; forgotten
    /// after an hour, or before that when their network has brought more than its share of what a cluster
    /// remembers: then those of it who were noted longest ago go. Never refused.
    async fn introduce(
        &self,
        user: &UserId,
        visitor: &Arc<Unkept>,
        from: &NamedNetworks,
    ) -> Result<(), LocationError>;

    /// A visitor who was introduced within the hour and is remembered, or who has a session that was registered with them.
    async fn introduced(&self, user: &UserId) -> Result<Option<Arc<Unkept>>, LocationError>;

    /// The loose visitors with this fingerprint who were introduced within the hour: the last two, since
    /// more than one is as good as any number.
    async fn loose(
        &self,
        client: &ClientIdentifier,
    ) -> Result<Vec<(UserId, Arc<Unkept>)>, LocationError>;

    /// How often the engine has had to connect again; it grows by one each time. After a change
    /// everything must be registered again: a fail-over loses recent writes.
    fn reconnects(&self) -> u64;
}

/// The pattern that an interest is in, if it has wildcards.
fn pattern_of(destination: &Destination) -> Option<Pattern> {
    match destination {
        Destination::Topic(text) if is_pattern(text) => Pattern::parse(text).ok(),
        Destination::App(_)
        | Destination::UserQueue(_)
        | Destination::User(_)
        | Destination::Topic(_)
        | Destination::Queue(_)
        | Destination::TempQueue(_)
        | Destination::ReplyQueue(_) => None,
    }
}

/// Whether interests in patterns count for what is published to this destination.
fn counts_for_patterns(destination: &Destination) -> bool {
    matches!(destination, Destination::Topic(text) if is_open_to_patterns(text))
}
