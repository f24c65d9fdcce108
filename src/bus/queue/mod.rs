//! The contract of queues: `/queue/**`, where consumers compete.
//!
//! Not here: subscriptions and their acknowledgements (`hub::window`), frames. Invariants: a message
//! whose [`Sent`] said yes is given to consumers until one of them acknowledges it, it expires, or it
//! is rejected; it is at one consumer at a time; whatever a consumer has not settled when it ends is
//! given to another one, marked as redelivered. Nothing grows without a limit.

mod arguments;
pub mod memory;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use arguments::{Made, Wish};

use crate::budget::{Claimant, Memory, Pool, PoolSettings, Refused};
use crate::model::{Kind, MessageHeaders, QueueArguments, Verdict, headers};

/// A message of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueMessage {
    /// The header `message-id` of MESSAGE; stays the same when it is redelivered.
    pub id: Box<str>,
    /// The headers that travel, in the order of the SEND.
    pub headers: MessageHeaders,
    /// Any octets.
    pub body: Bytes,
    /// Whether it shall survive a restart of the engine, where the engine can.
    pub persistent: bool,
    /// How long it is worth anything, if it was said.
    pub ttl: Option<Duration>,
    /// How often it was refused with [`Verdict::Requeue`]. At [`NACKS_MAX`] it is a dead letter.
    pub nacks: u8,
}

/// The refusal with which a message becomes a dead letter.
pub const NACKS_MAX: u8 = 3;

/// What the dead letters of `/queue/x` are called: `/queue/DLQ.x`, a queue like any other, except
/// that the oldest makes room and nothing becomes a dead letter twice.
pub const DEAD_LETTERS: &str = "DLQ.";

/// Where the dead letters of a queue go; nowhere, when they are dead letters already. The mark stands
/// after the first segment, which is the prefix of queues.
#[must_use]
pub fn dead_letters_of(queue: &str) -> Option<String> {
    let (prefix, name) = queue.strip_prefix('/')?.split_once('/')?;
    (!name.starts_with(DEAD_LETTERS)).then(|| format!("/{prefix}/{DEAD_LETTERS}{name}"))
}

/// Why a message is a dead letter, as the header `x-sb-dead-reason` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadReason {
    /// NACK with `requeue:false`.
    Rejected,
    /// NACK for the [`NACKS_MAX`]th time.
    Nacked,
}

impl DeadReason {
    /// The value of the header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Nacked => "nacked",
        }
    }
}

impl QueueMessage {
    /// The message as a dead letter of this queue: it says where it comes from and why, counts its
    /// refusals anew, and is kept for as long as there is room.
    #[must_use]
    pub fn into_dead(mut self, from: &str, reason: DeadReason) -> Self {
        let marks = [
            ("x-sb-dead-from", from),
            ("x-sb-dead-reason", reason.as_str()),
        ];
        self.headers
            .retain(|(name, _)| marks.iter().all(|(mark, _)| **name != **mark));
        self.headers
            .extend(marks.map(|(name, value)| (name.into(), value.into())));
        Self {
            ttl: None,
            nacks: 0,
            ..self
        }
    }

    /// What it counts for in the octets of its queue: headers and body.
    #[must_use]
    pub fn octets(&self) -> u64 {
        let headers = headers::text_bytes(&self.headers);
        u64::try_from(headers + self.id.len() + self.body.len()).unwrap_or(u64::MAX)
    }

    /// What it takes in the memory of a node.
    pub(super) fn kept_bytes(&self) -> u64 {
        let kept = headers::kept_bytes(&self.headers) + self.id.len() + self.body.len();
        u64::try_from(kept).map_or(u64::MAX, |kept| kept.saturating_add(MESSAGE_COST_BYTES))
    }
}

/// How a message is named that was handed to a consumer; unique within the consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub u64);

/// A message that was handed to a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// By what it is settled.
    pub tag: Tag,
    /// The message.
    pub message: QueueMessage,
    /// Whether somebody may have had it before.
    pub redelivered: bool,
}

/// Resolves when the queue has the message, safe as far as the engine can, or has refused it.
pub type Sent = Pin<Box<dyn Future<Output = Result<(), QueueError>> + Send>>;

/// Why a queue did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// There is no connection to the engine now. Try again.
    #[error("queues are unavailable: {0}")]
    Unavailable(String),
    /// The queue is full. Try again when somebody has consumed.
    #[error("the queue is full")]
    Full,
    /// The queue exists with other arguments; the words say which. Leave them out or use the same.
    #[error("the queue has other arguments: {0}")]
    OtherArguments(String),
    /// This node has as many queues or consumers as it may.
    #[error("this node has as many {0} as it may")]
    Limit(&'static str),
    /// The client, their network or everybody together holds as much as they may.
    #[error("{of}: {why}")]
    Share {
        /// Which pool of the node is meant.
        of: Scarce,
        /// Whose share is used up.
        why: Refused,
    },
}

/// What the queues of a node share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scarce {
    /// Queues that this node uses.
    Queues,
    /// Bytes that are in queues.
    Bytes,
}

impl Scarce {
    /// The name of its pool.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queues => "queues",
            Self::Bytes => "queue_bytes",
        }
    }
}

impl std::fmt::Display for Scarce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// All queues of a node together hold at most this many times the bytes of one.
const TOGETHER: u64 = 4;

/// What a message in a queue costs beside its bytes: the entries that name it.
pub(super) const MESSAGE_COST_BYTES: u64 = 256;

/// What a node keeps at most, and what a queue has unless it was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// Queues that this node uses.
    pub queues_max: usize,
    /// Consumers of this node.
    pub consumers_max: usize,
    /// `x-max-length` of a queue for which none is given, and the largest that may be given.
    pub length_max: u32,
    /// Bytes of bodies and headers in one queue.
    pub bytes_max: u64,
    /// Bytes in all queues together, where that is less than four times the bytes of one.
    pub bytes_together_max: u64,
    /// `x-expires` of a queue for which none is given, and the longest that may be given.
    pub expires: Duration,
    /// The same for a queue that a visitor makes. It is the visitors' until a member or a bot uses it.
    pub visitor_expires: Duration,
}

impl QueueSettings {
    /// How long the queue of a client of this kind is kept without use, at most.
    #[must_use]
    pub fn expires_of(&self, kind: Kind) -> Duration {
        match kind.has_account() {
            true => self.expires,
            false => self.expires.min(self.visitor_expires),
        }
    }

    /// The queues of this node.
    pub(super) fn queues_pool(&self) -> Arc<Pool> {
        let capacity = u64::try_from(self.queues_max).unwrap_or(u64::MAX);
        Pool::new(PoolSettings::new(Scarce::Queues.as_str(), capacity))
    }

    /// The bytes in them.
    pub(super) fn bytes_pool(&self) -> Arc<Pool> {
        let capacity = self.bytes_max.saturating_mul(TOGETHER);
        let capacity = capacity.min(self.bytes_together_max.max(1));
        Pool::new(PoolSettings::new(Scarce::Bytes.as_str(), capacity))
    }
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            queues_max: 1_000,
            consumers_max: 2_000,
            length_max: 10_000,
            bytes_max: 64 << 20,
            bytes_together_max: u64::MAX,
            expires: Duration::from_secs(24 * 3_600),
            visitor_expires: Duration::from_secs(300),
        }
    }
}

/// A consumer of a queue. It ends with its settler: what is not settled then goes to others.
#[derive(Debug)]
pub struct Consumer {
    /// What it gets, at most `prefetch` unsettled; ends when the engine is closed. An engine that
    /// loses its connection consumes again by itself.
    pub taken: mpsc::Receiver<Taken>,
    /// How it settles.
    pub settler: Box<dyn Settler>,
}

/// The half of a consumer by which it settles.
#[async_trait]
pub trait Settler: Send + Sync + std::fmt::Debug {
    /// Settles what was taken. A tag that is not outstanding (any more) is left out without words:
    /// its message goes to somebody else. Resolves when the engine has it, or is away.
    async fn settle(&self, tags: &[Tag], verdict: Verdict);

    /// Cancelled when this process has no memory left for what the consumer has taken and not settled: the consumer
    /// has ended then. None for an engine that counts its messages otherwise.
    fn refused(&self) -> Option<CancellationToken> {
        None
    }
}

/// This node's access to the queues of the cluster. `queue` is the canonical destination, such as
/// `/queue/jobs`.
#[async_trait]
pub trait Queues: Send + Sync + std::fmt::Debug {
    /// Hands a message over. Returning fixes the order among the calls for one queue; [`Sent`]
    /// resolves later. The queue is made when it does not exist. The message, and a queue that is made,
    /// count to the shares of `by` for as long as they are there.
    ///
    /// # Errors
    /// [`QueueError`], at once; nothing is kept.
    async fn send(
        &self,
        queue: &str,
        arguments: &QueueArguments,
        message: QueueMessage,
        by: &Claimant,
    ) -> Result<Sent, QueueError>;

    /// Begins to consume, with at most `prefetch` (at least 1) unsettled messages. The queue is made
    /// when it does not exist. When this returns, the consumer is known to the engine.
    ///
    /// # Errors
    /// [`QueueError`].
    async fn consume(
        &self,
        queue: &str,
        arguments: &QueueArguments,
        prefetch: u16,
        by: &Claimant,
    ) -> Result<Consumer, QueueError>;

    /// Whether a consumer could begin, as far as that is known here: asked before others lose something for it.
    /// Nothing is made, taken or evicted.
    ///
    /// # Errors
    /// As [`Queues::consume`].
    fn may_consume(
        &self,
        queue: &str,
        arguments: &QueueArguments,
        by: &Claimant,
    ) -> Result<(), QueueError>;

    /// From now on what this process keeps of queues and their consumers draws on this account.
    fn draw_on(&self, memory: &Arc<Memory>);

    /// Ends every consumer and gives back what they had not settled.
    async fn close(&self);
}
