//! One STOMP connection as a state machine, without I/O and without a clock.
//!
//! Not here: sockets (`edge`), what a SEND does (`app`), who the client is (`identity`): that is an
//! event out and a verdict in. Invariant: what is not in the table of (state, command) is an ERROR
//! and the end of the session; nothing follows a close.
//!
//! > After every `handle_input` call `poll_output` until it gives `None`.
//!
//! ```
//! use std::time::Instant;
//! use stompbox::session::{Event, Input, Output, Session, SessionConfig};
//!
//! let mut session = Session::new(Instant::now(), SessionConfig::default());
//! let mut deadline = None;
//! let mut requests = Vec::new();
//! let mut inputs = vec![Input::Received(b"CONNECT\naccept-version:1.2\n\n\0")];
//! 'connection: loop {
//!     while let Some(output) = session.poll_output() {
//!         match output {
//!             // To the socket.
//!             Output::Transmit(octets) => assert!(!octets.is_empty()),
//!             // To whoever answers; the answer comes back as an input.
//!             Output::Event(event) => requests.push(event),
//!             // Sleep until then at most, then say Input::Timeout.
//!             Output::Timeout(at) => deadline = Some(at),
//!             // Flush, close, linger; nothing follows.
//!             Output::Close(_reason) => break 'connection,
//!         }
//!     }
//!     // Whatever comes first of the socket, the answers and the deadline.
//!     let Some(input) = inputs.pop() else { break };
//!     session.handle_input(Instant::now(), input);
//! }
//! assert!(matches!(requests[..], [Event::Connect(_)]));
//! assert!(deadline.is_some());
//! ```
//!
//! What goes to `/user/queue/errors` and `/user/queue/replies` the session writes itself: both are of
//! this session only. A SUBSCRIBE there is an event like any other, so that it is counted; whatever
//! it says, it is `ack:auto`.

mod acks;
mod connect;
pub mod contract;
mod fatal;
mod headers;
mod heart_beat;
mod pause;
mod problems;
#[cfg(test)]
mod properties;
mod receipts;
mod requests;
mod send;
mod settling;
mod subscribe;
mod subscriptions;
mod table;
#[cfg(test)]
mod tests;
mod transactions;
mod violations;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

pub use contract::{
    Accepted, Acknowledge, Commit, Connect, Delivered, Event, Input, Output, Reply, Send,
    SessionConfig, Step, Subscribe, Ticket, TransactionLimits, Unsubscribe,
};
pub use fatal::{ErrorRow, errors};
pub use headers::{HeaderRow, Need, headers};
pub use send::stripped_headers;
pub use subscribe::queue_arguments;

use crate::model::{CloseReason, Problem};
use crate::stomp::{Decoder, Frame, Version, encode};
use fatal::{Fatal, Violation};
use heart_beat::{Agreed, Due, HeartBeat};
use receipts::Receipts;
use subscriptions::Subscriptions;
use table::Phase;
use transactions::Transactions;

/// Octets are decoded in pieces of this size, so that however much comes at once, not much more
/// than one frame is ever buffered.
const PIECE_BYTES: usize = 16 * 1024;
/// How long DISCONNECT waits for what was asked before it.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How many frames a session refuses softly by itself, where no rate limit sees them.
const SOFT_MAX: u16 = 300;

/// The protocol life of one connection. Its `Debug` shows nothing that was said.
pub struct Session {
    /// Shared by all sessions that are made alike.
    config: Arc<SessionConfig>,
    phase: Phase,
    /// 1.2 until another is negotiated: its line ends include those of the others.
    version: Version,
    decoder: Decoder,
    subscriptions: Subscriptions,
    receipts: Receipts,
    /// Boxed, because most sessions have none.
    transactions: Option<Box<Transactions>>,
    /// What CONNECT agreed on, until the beats begin with CONNECTED.
    agreed: Option<Box<Agreed>>,
    /// How many refusals of its own this session still survives; none, unless CONNECT said
    /// `x-soft-errors:true`.
    soft: u16,
    heart_beat: HeartBeat,
    /// When the phase ends by itself: CONNECT did not come, or DISCONNECT waited for too long.
    phase_ends: Option<Instant>,
    /// When the frame that is incomplete now began.
    partial_since: Option<Instant>,
    /// `receipt` of DISCONNECT. A thin pointer, because few sessions ever have one.
    last_receipt: Option<Box<Box<str>>>,
    tickets: u64,
    /// Counts the messages that the session writes itself, for their `message-id`.
    told: u32,
    outputs: VecDeque<Output>,
    /// The deadline that the driver knows.
    armed: Option<Instant>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("phase", &self.phase)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// A session whose connection is open since `now`.
    #[must_use]
    pub fn new(now: Instant, config: impl Into<Arc<SessionConfig>>) -> Self {
        let config = config.into();
        let mut session = Self {
            phase: Phase::AwaitingConnect,
            version: Version::V1_2,
            decoder: Decoder::new(config.limits),
            subscriptions: Subscriptions::new(config.subscriptions_max),
            receipts: Receipts::default(),
            transactions: None,
            agreed: None,
            soft: 0,
            heart_beat: HeartBeat::new(now, Agreed::default()),
            phase_ends: Some(now + config.connect_timeout),
            partial_since: None,
            last_receipt: None,
            tickets: 0,
            told: 0,
            outputs: VecDeque::new(),
            armed: None,
            config,
        };
        session.arm();
        session
    }

    /// Takes an input. Poll the outputs before the next one.
    pub fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        if self.phase == Phase::Closed {
            return;
        }
        match input {
            // These move deadlines to later times only, and what is armed rings early enough.
            Input::Ponged => return self.heart_beat.ponged(now),
            Input::Transmitted => return self.heart_beat.sent(now),
            Input::Received(octets) => self.receive(now, octets),
            Input::Accepted(accepted) => self.accept(now, &accepted),
            Input::Refused(problem) => self.refuse(now, problem),
            Input::Settled { ticket, outcome } => self.settle(now, ticket, outcome),
            Input::Timeout => self.look_at_clock(now),
            Input::Unfinished => self.fail_unfinished(now),
            Input::End { problem, reason } => self.end(now, problem, reason),
        }
        self.arm();
    }

    /// The next output, if there is one.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if self.outputs.is_empty() {
            // Room for four outputs is 800 octets, which an idle session need not keep.
            self.outputs = VecDeque::new();
        }
        output
    }

    /// Whether a close went out.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// The octets that are kept because their frame is incomplete or the verdict is awaited.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.decoder.buffered()
    }

    /// About how many bytes are kept for this client: of a frame that is incomplete, in transactions, for
    /// subscriptions, and of requests that are not answered. Costs a few additions.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        let transactions = self.transactions.as_ref();
        self.decoder.reserved()
            + self.subscriptions.bytes()
            + self.receipts.bytes()
            + transactions.map_or(0, |transactions| transactions.kept_bytes())
    }

    /// How often this server beats, and how often the client does: what CONNECTED agreed on, nothing
    /// before it. A transport that beats by itself need not while the first is there.
    #[must_use]
    pub fn agreed_beats(&self) -> (Option<Duration>, Option<Duration>) {
        let agreed = self.heart_beat.agreed();
        (agreed.out, agreed.incoming)
    }

    /// How long a frame may stay incomplete.
    #[must_use]
    pub fn partial_frame_timeout(&self) -> Duration {
        self.config.partial_frame_timeout
    }

    fn receive(&mut self, now: Instant, octets: &[u8]) {
        if !octets.is_empty() {
            self.heart_beat.heard(now);
        }
        for piece in octets.chunks(PIECE_BYTES) {
            match self.phase {
                Phase::AwaitingConnect | Phase::Connected => {
                    self.decoder.push(piece);
                    self.decode(now);
                }
                Phase::AwaitingVerdict => {
                    self.decoder.push(piece);
                    self.bound_what_waits(now);
                }
                Phase::Disconnecting | Phase::Closed => return,
            }
        }
    }

    /// Takes the frames that are there.
    fn decode(&mut self, now: Instant) {
        while self.phase.decodes() {
            match self.decoder.next(self.version) {
                Ok(Some(frame)) => {
                    self.partial_since = None;
                    self.take_frame(now, frame);
                }
                Ok(None) => {
                    let since = self.partial_since.unwrap_or(now);
                    self.partial_since = self.decoder.is_amid_frame().then_some(since);
                    return;
                }
                Err(error) => {
                    let fatal = self.of_frame_amid(Fatal::from(error));
                    return self.fail(now, &fatal);
                }
            }
        }
        self.bound_what_waits(now);
    }

    /// What comes while the verdict is awaited is kept undecoded, and not much of it.
    fn bound_what_waits(&mut self, now: Instant) {
        let max = self.config.limits.head_bytes_unauthenticated_max();
        if self.phase == Phase::AwaitingVerdict && self.decoder.buffered() > max {
            self.fail(now, &Fatal::about(Violation::TooEarly, max));
        }
    }

    fn look_at_clock(&mut self, now: Instant) {
        self.armed = None;
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(self.phase_ends) {
            return match self.phase {
                Phase::Disconnecting => self.close(CloseReason::NORMAL),
                Phase::AwaitingConnect
                | Phase::AwaitingVerdict
                | Phase::Connected
                | Phase::Closed => self.fail(now, &Fatal::of(Violation::ConnectTimeout)),
            };
        }
        if is_due(self.partial_ends()) {
            return self.fail_unfinished(now);
        }
        if is_due(self.transactions_end()) {
            // The end of the session aborts it, and every other one.
            let idle = self.config.transactions.idle.as_millis();
            return self.fail(now, &Fatal::about(Violation::TransactionIdle, idle));
        }
        match self.heart_beat.due(now, self.idle_timeout()) {
            Due::Nothing => {}
            Due::Beat => self.transmit(now, encode::BEAT),
            Due::Lost => self.fail(now, &Fatal::of(Violation::HeartBeatLost)),
        }
    }

    fn fail_unfinished(&mut self, now: Instant) {
        let fatal = self.of_frame_amid(Fatal::of(Violation::FrameTimeout));
        self.fail(now, &fatal);
    }

    fn end(&mut self, now: Instant, problem: Option<Problem>, reason: CloseReason) {
        if let Some(problem) = problem {
            let frame = Fatal::from(problem).frame();
            self.transmit_frame(now, &frame);
        }
        self.close(reason);
    }

    /// The one way in which the client's mistakes end a session: ERROR, then close.
    fn fail(&mut self, now: Instant, fatal: &Fatal) {
        self.transmit_frame(now, &fatal.frame());
        self.close(fatal.reason().clone());
    }

    /// The close; afterwards nothing is kept, and nothing goes out.
    fn close(&mut self, reason: CloseReason) {
        self.outputs.push_back(Output::Close(reason));
        self.phase = Phase::Closed;
        self.decoder = Decoder::new(self.config.limits);
        self.subscriptions = Subscriptions::new(0);
        self.receipts = Receipts::default();
        self.transactions = None;
    }

    fn of_frame_amid(&self, fatal: Fatal) -> Fatal {
        fatal.of_receipt(self.decoder.receipt_amid_frame(self.version))
    }

    fn transmit_frame(&mut self, now: Instant, frame: &Frame) {
        self.transmit(now, encode(frame, self.version));
    }

    fn transmit(&mut self, now: Instant, octets: Bytes) {
        debug_assert!(self.phase != Phase::Closed, "nothing follows a close");
        self.heart_beat.sent(now);
        self.outputs.push_back(Output::Transmit(octets));
    }

    /// Tells the driver the earliest deadline, unless it knows of an earlier one: then it comes
    /// once too early, which costs less than telling it at every input.
    fn arm(&mut self) {
        if self.phase == Phase::Closed {
            return;
        }
        let ends = [
            self.phase_ends,
            self.partial_ends(),
            self.transactions_end(),
            self.heart_beat.deadline(self.idle_timeout()),
        ];
        let Some(at) = ends.into_iter().flatten().min() else {
            return;
        };
        if self.armed.is_none_or(|armed| at < armed) {
            self.armed = Some(at);
            self.outputs.push_back(Output::Timeout(at));
        }
    }

    /// How long a client may be silent that promised no beats; before and after its time as a
    /// connected one other deadlines hold.
    fn idle_timeout(&self) -> Duration {
        match self.phase {
            Phase::Connected => self.config.idle_timeout,
            Phase::AwaitingConnect
            | Phase::AwaitingVerdict
            | Phase::Disconnecting
            | Phase::Closed => Duration::ZERO,
        }
    }

    fn transactions_end(&self) -> Option<Instant> {
        let transactions = self.transactions.as_ref()?;
        transactions.ends(self.config.transactions.idle)
    }

    fn partial_ends(&self) -> Option<Instant> {
        let timeout = self.config.partial_frame_timeout;
        self.partial_since.map(|since| since + timeout)
    }
}
