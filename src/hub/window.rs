//! The window of a subscription that acknowledges: what was delivered and is not settled, and what
//! waits because too much is.
//!
//! Not here: which window an ACK means (`windows`), what it settles (`settling`), queues of other nodes
//! (`bus::queue`), frames of ACK (`session`). Invariant: at most `prefetch` messages are unsettled, and what waits
//! is bounded: nothing is queued for a closed window.
//!
//! A window of a `/queue/**` is fed by a consumer that waits for a place before each message
//! ([`Window::place`]), so that nothing ever waits here; it keeps the tags, the engine keeps the
//! messages. Any other window is offered what is published, whether it has a place or not.

mod frame;
mod ids;
mod kept;
mod settling;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::delivery::Subscriber;
use super::outbox::{Outbox, OutboxLimits, Priority};
use crate::bus::queue::{Settler, Tag};
use crate::model::{AckMode, CloseReason, MessageHeaders, SessionId};

pub(super) use ids::{UnsettledIds, hash};
pub(super) use kept::Kept;
pub use settling::Settled;

/// A message as a subscription that acknowledges keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The destination that MESSAGE shows.
    pub destination: Arc<str>,
    /// The header `message-id`.
    pub message_id: Box<str>,
    /// `content-type`, where it is not among the headers.
    pub content_type: Option<&'static str>,
    /// Other headers.
    pub headers: MessageHeaders,
    /// Any octets.
    pub body: Bytes,
    /// Whether the body is charged to the node once for all who keep it.
    pub is_shared: bool,
    /// Whether somebody may have had it before.
    pub redelivered: bool,
    /// By what it is settled, if it came from a queue.
    pub tag: Option<Tag>,
}

/// What a window is made with.
#[derive(Debug)]
pub struct Opening<'a> {
    /// The subscription id.
    pub id: &'a str,
    /// How MESSAGE is encoded.
    pub subscriber: Subscriber,
    /// How it acknowledges. `Auto` only for a consumer: what it is given needs no ACK.
    pub mode: AckMode,
    /// How many messages may be unsettled.
    pub prefetch: u32,
    /// How much may wait.
    pub limits: OutboxLimits,
    /// Whether a consumer of a queue feeds it.
    pub is_fed: bool,
}

/// The window of one subscription.
#[derive(Debug)]
pub struct Window {
    /// Names it within its session, for the header `ack`.
    pub number: u64,
    /// The session.
    pub session: SessionId,
    /// The subscription id.
    pub id: Box<str>,
    /// How it acknowledges.
    pub mode: AckMode,
    /// How many messages may be unsettled.
    pub prefetch: u32,
    /// Where its frames go.
    pub outbox: Arc<Outbox>,
    pub(super) subscriber: Subscriber,
    limits: OutboxLimits,
    /// What all windows of the session keep together.
    kept: Arc<Kept>,
    /// The unsettled messages of the session by their ids, where answers name those.
    ids: Option<Arc<UnsettledIds>>,
    /// Of a window that a consumer feeds.
    fed: Option<Fed>,
    /// A std mutex: decisions are short, and frames are queued in the order in which they are made.
    state: Mutex<State>,
}

/// What a window and the consumer that feeds it know of each other.
#[derive(Debug, Default)]
struct Fed {
    closed: CancellationToken,
    /// Wakes the consumer when there may be a place.
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the last MESSAGE.
    issued: u64,
    unsettled: BTreeMap<u64, Entry>,
    /// What waits for a place.
    backlog: VecDeque<Entry>,
    /// How the engine is told; none before the consumer is there and after the end.
    settler: Option<Arc<dyn Settler>>,
    /// Somebody waits for room in the outbox, to go on with the backlog.
    is_releasing: bool,
    is_closed: bool,
}

#[derive(Debug)]
struct Entry {
    content: Content,
    /// How often it was refused.
    nacks: u8,
}

impl Window {
    pub(super) fn new(
        number: u64,
        session: SessionId,
        outbox: Arc<Outbox>,
        (kept, ids): (Arc<Kept>, Option<Arc<UnsettledIds>>),
        opening: Opening<'_>,
    ) -> Arc<Self> {
        Arc::new(Self {
            number,
            session,
            id: opening.id.into(),
            mode: opening.mode,
            prefetch: opening.prefetch.max(1),
            outbox,
            subscriber: opening.subscriber,
            limits: opening.limits,
            kept,
            ids,
            fed: opening.is_fed.then(Fed::default),
            state: Mutex::default(),
        })
    }

    /// Takes a message: it goes out now, or waits until something is acknowledged. Of a subscription
    /// whose backlog is full the session is cut.
    pub fn offer(&self, content: Content) {
        let _taken = self.accept(content);
    }

    /// The same with the priority of the frame.
    pub(super) fn offer_with(&self, priority: Priority, content: Content) {
        let _taken = self.admit(content, priority);
    }

    /// The same as [`Self::offer`]. Returns whether the window took the message; a closed one does not.
    pub fn accept(&self, content: Content) -> bool {
        self.admit(content, Priority::High)
    }

    fn admit(&self, mut content: Content, priority: Priority) -> bool {
        // Nobody else may say this of a message.
        content
            .headers
            .retain(|(name, _)| !frame::OWN_HEADERS.contains(&&**name));
        let entry = Entry { content, nacks: 0 };
        let mut state = self.lock();
        if state.is_closed {
            return false;
        }
        if self.mode == AckMode::Auto || (state.backlog.is_empty() && self.has_place(&state)) {
            self.hand(&mut state, entry, priority);
        } else {
            self.kept.wait(&entry);
            state.backlog.push_back(entry);
        }
        if self.kept.is_beyond(self.limits) || !self.kept.is_covered() {
            let dropped = state.backlog.len() as u64;
            drop(state);
            metrics::counter!("chat_messages_total", "path" => "dropped").increment(dropped);
            self.outbox.cut(CloseReason::SLOW_CONSUMER);
            // Until the driver hears of it, nothing more may gather here.
            let _ids = self.close();
            return false;
        }
        true
    }

    /// Whether what waits is less than half of what may.
    pub fn has_room(&self) -> bool {
        self.kept.has_room(self.limits)
    }

    /// Tells the window how to settle: its consumer is there. Returns whether it is wanted still.
    pub fn feed(&self, settler: Arc<dyn Settler>) -> bool {
        let mut state = self.lock();
        if !state.is_closed {
            state.settler = Some(settler);
        }
        !state.is_closed
    }

    /// Waits until a message that is offered goes out at once.
    pub async fn place(&self) {
        let Some(fed) = &self.fed else { return };
        loop {
            let waiting = fed.freed.notified();
            if self.has_place(&self.lock()) {
                return;
            }
            waiting.await;
        }
    }

    /// Resolves when a window that a consumer feeds is closed; never for any other.
    pub async fn closed(&self) {
        match &self.fed {
            Some(fed) => fed.closed.cancelled().await,
            None => std::future::pending().await,
        }
    }

    /// Goes on with the backlog when the outbox has room, until the backlog is out or the window is
    /// full. One task at a time does this: [`Settled::waiting`] asks for it.
    pub async fn release_later(self: Arc<Self>) {
        while self.outbox.room().await {
            let mut state = self.lock();
            state.is_releasing = false;
            if !self.release(&mut state) {
                return;
            }
        }
    }

    /// How many messages are unsettled.
    #[must_use]
    pub fn unsettled(&self) -> usize {
        self.lock().unsettled.len()
    }

    fn has_place(&self, state: &State) -> bool {
        state.unsettled.len() < self.prefetch as usize
    }

    /// Lets out what waits, as far as there are places and room. Returns whether somebody has to
    /// wait for room: not when somebody does already.
    fn release(&self, state: &mut State) -> bool {
        while self.has_place(state)
            && let Some(entry) = state.backlog.pop_front()
        {
            if !self.outbox.has_room() {
                state.backlog.push_front(entry);
                return !std::mem::replace(&mut state.is_releasing, true);
            }
            self.kept.waits_no_more(&entry);
            self.hand(state, entry, Priority::High);
        }
        false
    }

    /// Queues a message, which is unsettled from now on.
    fn hand(&self, state: &mut State, mut entry: Entry, priority: Priority) {
        let content = &mut entry.content;
        if content.redelivered {
            let from = if content.tag.is_some() {
                "queue"
            } else {
                "window"
            };
            metrics::counter!("stomp_redelivered_total", "from" => from).increment(1);
        }
        if self.mode == AckMode::Auto {
            let frame = frame::write(&self.subscriber, None, content);
            self.outbox.push_with(priority, frame);
            return;
        }
        state.issued += 1;
        let ack = format!("{}.{}", self.number, state.issued);
        let frame = frame::write(&self.subscriber, Some(&ack), content);
        if content.tag.is_some() {
            // The engine has it; what is kept here is only how it is called.
            content.headers = Vec::new();
            content.body = Bytes::new();
        }
        self.kept.handed(&entry);
        let n = state.issued;
        if let Some(ids) = &self.ids {
            ids.insert(&entry.content.message_id, self.number, n);
        }
        state.unsettled.insert(n, entry);
        // Last: another thread may write it at once, and the client may answer before this returns. A look-up of an id does not
        // take the lock of this window.
        self.outbox.push_with(priority, frame);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
