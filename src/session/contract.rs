//! What goes into a session and what comes out of it.
//!
//! Not here: the transitions. Invariant: every event is a request that is already valid as STOMP;
//! each event with a [`Ticket`] is answered by exactly one [`Input::Settled`] with that ticket.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;

use crate::model::{
    AckMode, CloseReason, Destination, Kind, MessageHeaders, NodeId, Prefixes, Problem, Proof,
    QueueArguments, SessionId, UserId, Verdict, headers,
};
use crate::stomp::{Limits, Version};

/// What a session is made with.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// The limits of frames before and after authentication.
    pub limits: Limits,
    /// How long the first frame may take.
    pub connect_timeout: Duration,
    /// How long a frame may stay incomplete.
    pub partial_frame_timeout: Duration,
    /// How many subscriptions one session may have.
    pub subscriptions_max: usize,
    /// How often this server offers to beat; zero for never.
    pub beat_out: Duration,
    /// How often this server asks the client to beat; zero for never.
    pub beat_in: Duration,
    /// The longest silence of a client that promised no beats; zero for no limit. A pong ends it.
    pub idle_timeout: Duration,
    /// How destinations are written.
    pub prefixes: Arc<Prefixes>,
    /// Unacknowledged messages per subscription when the client names no number.
    pub prefetch_default: u32,
    /// The largest number that a client may name.
    pub prefetch_max: u32,
    /// What is kept for transactions.
    pub transactions: TransactionLimits,
    /// The version that the WebSocket subprotocol named; it counts when `accept-version` is absent.
    pub subprotocol: Option<Version>,
}

impl Default for SessionConfig {
    /// The defaults of the settings, and no subprotocol.
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            connect_timeout: Duration::from_secs(10),
            partial_frame_timeout: Duration::from_secs(30),
            subscriptions_max: 256,
            beat_out: Duration::from_secs(5),
            beat_in: Duration::from_secs(25),
            idle_timeout: Duration::from_secs(90),
            prefixes: Arc::new(Prefixes::default()),
            prefetch_default: 100,
            prefetch_max: 1_000,
            transactions: TransactionLimits::default(),
            subprotocol: None,
        }
    }
}

/// What one session may keep in transactions. Beyond it there is an ERROR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionLimits {
    /// Transactions that are open at once.
    pub open_max: usize,
    /// Frames in all open transactions together.
    pub frames_max: usize,
    /// Octets in all open transactions together.
    pub bytes_max: usize,
    /// How long a transaction may rest before it is aborted.
    pub idle: Duration,
}

impl Default for TransactionLimits {
    /// The defaults of the settings.
    fn default() -> Self {
        Self {
            open_max: 16,
            frames_max: 1_000,
            bytes_max: 1 << 20,
            idle: Duration::from_secs(30),
        }
    }
}

/// Names an event until it is settled; unique within a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What the driver tells the session. Its `Debug` shows no octets: there may be secrets in them.
pub enum Input<'a> {
    /// Octets of the client, cut anywhere.
    Received(&'a [u8]),
    /// A WebSocket pong came: the client lives even if its timers are throttled.
    Ponged,
    /// Octets went out that the session did not make (deliveries): they count as a heart-beat.
    Transmitted,
    /// The verdict on [`Event::Connect`]: yes.
    Accepted(Accepted),
    /// The verdict on [`Event::Connect`]: no. ERROR and close follow.
    Refused(Problem),
    /// The outcome of the event with this ticket. `Ok` answers the receipt and, if there is one,
    /// sends the reply; `Err` becomes a MESSAGE on `/user/queue/errors` (or on
    /// `/user/queue/replies` when the SEND had a `correlation-id`), or an ERROR and the end when
    /// the session has not subscribed there. A refused Subscribe or Acknowledge is an ERROR unless
    /// CONNECT said `x-soft-errors:true`; a Subscribe that is refused softly is gone.
    Settled {
        /// Which event.
        ticket: Ticket,
        /// What became of it.
        outcome: Result<Reply, Problem>,
    },
    /// The time of the last [`Output::Timeout`] has come.
    Timeout,
    /// The rest of what carries octets (a fragmented WebSocket message) did not come within
    /// `partial_frame_timeout`: the same end as for a frame that stays incomplete.
    Unfinished,
    /// The node ends this session: with an ERROR frame when there is a problem to be told.
    End {
        /// Words for an ERROR frame; none for an orderly end.
        problem: Option<Problem>,
        /// The WebSocket close.
        reason: CloseReason,
    },
}

impl fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Received(octets) => write!(f, "Received({} octets)", octets.len()),
            Self::Ponged => f.write_str("Ponged"),
            Self::Transmitted => f.write_str("Transmitted"),
            Self::Accepted(accepted) => f.debug_tuple("Accepted").field(accepted).finish(),
            Self::Refused(problem) => f.debug_tuple("Refused").field(problem).finish(),
            Self::Settled { ticket, outcome } => f
                .debug_struct("Settled")
                .field("ticket", ticket)
                .field("is_ok", &outcome.is_ok())
                .finish(),
            Self::Timeout => f.write_str("Timeout"),
            Self::Unfinished => f.write_str("Unfinished"),
            Self::End { reason, .. } => f.debug_tuple("End").field(reason).finish(),
        }
    }
}

/// What an event that succeeded says back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// Headers for the RECEIPT, such as `x-rate-remaining`.
    pub headers: Vec<(&'static str, String)>,
    /// The `result` for a SEND with a `correlation-id`.
    pub result: Option<Value>,
}

/// A yes to CONNECT, and what CONNECTED tells the client. Its `Debug` shows no secret.
#[derive(Clone)]
pub struct Accepted {
    /// The header `session`.
    pub session: SessionId,
    /// The header `user-name`.
    pub user_id: UserId,
    /// The header `kind`.
    pub kind: Kind,
    /// The header `proof`.
    pub proof: Proof,
    /// The header `node`.
    pub node: NodeId,
    /// The header `limits`: a JSON object.
    pub limits: String,
    /// The headers `visitor-token`, `visitor-token-status`, `token-expires-in` and the like.
    pub headers: Vec<(&'static str, String)>,
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted")
            .field("session", &self.session)
            .field("user_id", &self.user_id)
            .finish_non_exhaustive()
    }
}

/// What the session tells the driver. Its `Debug` shows no octets: there may be secrets in them.
pub enum Output {
    /// Write these octets: one whole frame, or one heart-beat.
    Transmit(Bytes),
    /// A request of the client.
    Event(Event),
    /// Call [`Input::Timeout`] at this time; replaces the time given before.
    Timeout(Instant),
    /// Flush, close with this reason, linger. Nothing follows.
    Close(CloseReason),
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transmit(octets) => write!(f, "Transmit({} octets)", octets.len()),
            Self::Event(event) => f.debug_tuple("Event").field(event).finish(),
            Self::Timeout(at) => f.debug_tuple("Timeout").field(at).finish(),
            Self::Close(reason) => f.debug_tuple("Close").field(reason).finish(),
        }
    }
}

/// A valid request of the client.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// CONNECT or STOMP. Answer with [`Input::Accepted`] or [`Input::Refused`].
    Connect(Connect),
    /// SEND.
    Send(Send),
    /// SUBSCRIBE; the id is not in use. What goes to the queues of this session only
    /// (`/user/queue/errors`, `/user/queue/replies`) the session writes itself: there it only counts.
    /// Also what a SEND with `reply-to:/temp-queue/<name>` asks for, just before that SEND or its
    /// COMMIT: to [`Destination::TempQueue`], with that text as its id.
    Subscribe(Subscribe),
    /// UNSUBSCRIBE of a subscription that exists, and that was an [`Event::Subscribe`].
    Unsubscribe(Unsubscribe),
    /// ACK or NACK that is in no transaction.
    Acknowledge(Acknowledge),
    /// COMMIT: everything of a transaction, all or nothing.
    Commit(Commit),
}

impl Event {
    /// About how many bytes of the client it carries.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Send(send) => send.kept_bytes(),
            Self::Commit(commit) => commit.steps.iter().map(Step::bytes).sum(),
            Self::Subscribe(subscribe) => subscribe.id.len() + subscribe.written.len(),
            Self::Connect(_) | Self::Unsubscribe(_) | Self::Acknowledge(_) => 0,
        }
    }
}

impl Step {
    fn bytes(&self) -> usize {
        match self {
            Self::Send(send) => send.kept_bytes(),
            Self::Acknowledge(_) => size_of::<Self>(),
        }
    }
}

impl Send {
    fn kept_bytes(&self) -> usize {
        size_of::<Self>() + headers::kept_bytes(&self.headers) + self.body.len()
    }
}

/// What CONNECT said. Its `Debug` shows no secret.
#[derive(PartialEq, Eq)]
pub struct Connect {
    /// The negotiated version.
    pub version: Version,
    /// `host`, or nothing.
    pub host: Option<String>,
    /// `login`.
    pub login: Option<String>,
    /// `passcode`: a password or a token.
    pub passcode: Option<String>,
    /// `authorization`.
    pub authorization: Option<String>,
    /// `visitor-token`: a secret, or `new`.
    pub visitor_token: Option<String>,
    /// `device-id`.
    pub device_id: Option<String>,
    /// `device-name`.
    pub device_name: Option<String>,
    /// `accept-language`.
    pub accept_language: Option<String>,
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("version", &self.version)
            .field("host", &self.host)
            .field("device_id", &self.device_id)
            .finish_non_exhaustive()
    }
}

/// A SEND. The headers are those that may travel on: without the protocol's own. Its `Debug` does
/// not show what people write.
#[derive(PartialEq, Eq)]
pub struct Send {
    /// Its name until it is settled.
    pub ticket: Ticket,
    /// Where to.
    pub destination: Destination,
    /// Other headers, first of a repeated name only, unescaped, in order.
    pub headers: MessageHeaders,
    /// Any octets.
    pub body: Bytes,
}

impl fmt::Debug for Send {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Send")
            .field("ticket", &self.ticket)
            .field("destination", &self.destination)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// A SUBSCRIBE.
#[derive(Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// Its name until it is settled.
    pub ticket: Ticket,
    /// The subscription id; of a 1.0 client without one, the destination.
    pub id: Box<str>,
    /// Whether MESSAGE carries the id (a 1.0 client without one must not see a header).
    pub named: bool,
    /// Where from.
    pub destination: Destination,
    /// The version in which MESSAGE is encoded for it.
    pub version: Version,
    /// The destination as the client wrote it, which MESSAGE repeats.
    pub written: Box<str>,
    /// How it acknowledges.
    pub ack: AckMode,
    /// How many messages may be unacknowledged; within the limits of the session.
    pub prefetch: u32,
    /// What it says of its queue.
    pub arguments: QueueArguments,
    /// How many subscriptions the session has with this one.
    pub of_session: u32,
}

/// An ACK or a NACK.
#[derive(Debug, PartialEq, Eq)]
pub struct Acknowledge {
    /// Its name until it is settled. In a transaction: that of its COMMIT.
    pub ticket: Ticket,
    /// What it says.
    pub verdict: Verdict,
    /// Of what.
    pub of: Delivered,
}

/// How ACK and NACK name a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// 1.2: the value of the header `ack` of MESSAGE.
    Ack(Box<str>),
    /// 1.1 and 1.0: the header `message-id` of MESSAGE, and the subscription, which 1.0 may leave out.
    Message {
        /// `message-id`.
        message_id: Box<str>,
        /// `subscription`.
        subscription: Option<Box<str>>,
    },
}

/// A COMMIT. Its RECEIPT says that every step has had its effect.
#[derive(Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its name until it is settled.
    pub ticket: Ticket,
    /// What the transaction holds, in order; each step carries the same ticket.
    pub steps: Vec<Step>,
}

/// A frame of a transaction.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// SEND.
    Send(Send),
    /// ACK or NACK.
    Acknowledge(Acknowledge),
}

/// An UNSUBSCRIBE. Its receipt goes out after the last MESSAGE of the subscription.
#[derive(Debug, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Its name until it is settled.
    pub ticket: Ticket,
    /// The subscription id as in [`Subscribe`].
    pub id: Box<str>,
    /// The destination as in [`Subscribe`].
    pub destination: Destination,
}
