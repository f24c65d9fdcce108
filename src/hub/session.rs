//! One session as the hub knows it: its user, its outbox, its inboxes, its windows.
//!
//! Not here: the protocol (`session`), the socket (`edge`). Invariant: what goes into the outbox
//! from an inbox is put there under the lock of the inboxes, so that the order of decisions is the
//! order of frames. A session without subscriptions keeps nothing for them.

use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::delivery::{Delivery, Subscriber};
use super::outbox::Outbox;
use super::trace::{Step, Trace};
use super::window::{Content, Opening, Settled, Window};
use super::windows::{NeverIssued, Windows};
use crate::model::{
    CloseReason, RoomId, SessionId, UnixMillis, Unkept, UserId, UserQueue, Verdict,
};
use crate::routing::{Hole, Inbox, Offer};
use crate::session::Delivered;

/// A connected session.
#[derive(Debug)]
pub struct HubSession {
    /// The session.
    pub id: SessionId,
    /// Whom it speaks for.
    pub user: UserId,
    /// What the client calls its device.
    pub device: Box<str>,
    /// When it connected.
    pub since: UnixMillis,
    /// The visitor, if nothing was kept of them when they connected.
    pub visitor: Option<Arc<Unkept>>,
    /// What is to be written to it.
    pub outbox: Arc<Outbox>,
    /// Deliveries of its messages to topics since the last turn of its network, transactions included.
    pub delivered: AtomicU16,
    /// Whether its location was acknowledged. Set by the broker.
    attached: AtomicBool,
    /// It was let go: whoever waits for `attached` waits no longer. Set by the hub.
    is_gone: AtomicBool,
    /// Wakes those who wait for `attached`.
    attached_now: tokio::sync::Notify,
    /// A std mutex: decisions are short, and the frames must be queued in the order in which they
    /// were decided.
    subscribed: Mutex<Subscribed>,
}

/// What is kept for the subscriptions of a session.
#[derive(Debug, Default)]
struct Subscribed {
    /// The subscriptions to `/user/queue/messages`; nearly always one.
    inboxes: Vec<OpenInbox>,
    /// The windows of those that acknowledge; nearly always none.
    windows: Option<Box<Windows>>,
}

#[derive(Debug)]
struct OpenInbox {
    id: Box<str>,
    /// Distinguishes this subscription from an earlier one with the same id.
    epoch: u64,
    subscriber: Subscriber,
    /// Through which its messages go, if it acknowledges.
    window: Option<Arc<Window>>,
    inbox: Inbox<Arc<Delivery>>,
}

impl HubSession {
    /// A session without subscriptions whose location is not acknowledged yet.
    #[must_use]
    pub fn new(
        id: SessionId,
        user: UserId,
        device: Box<str>,
        since: UnixMillis,
        outbox: Arc<Outbox>,
    ) -> Arc<Self> {
        Self::of_visitor(id, user, device, since, outbox, None)
    }

    /// The same of a visitor of whom nothing is kept yet.
    #[must_use]
    pub fn of_visitor(
        id: SessionId,
        user: UserId,
        device: Box<str>,
        since: UnixMillis,
        outbox: Arc<Outbox>,
        visitor: Option<Arc<Unkept>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            user,
            device,
            since,
            visitor,
            outbox,
            delivered: AtomicU16::new(0),
            attached: AtomicBool::new(false),
            is_gone: AtomicBool::new(false),
            attached_now: tokio::sync::Notify::new(),
            subscribed: Mutex::default(),
        })
    }

    /// Whether the location of the session was acknowledged.
    pub fn is_attached(&self) -> bool {
        self.attached.load(Ordering::Acquire)
    }

    /// Its location was acknowledged.
    pub fn set_attached(&self) {
        self.attached.store(true, Ordering::Release);
        self.attached_now.notify_waiters();
    }

    /// The session was let go: its inboxes and windows are closed, and nobody waits for its location
    /// or its connection driver.
    pub(super) fn let_go(&self) {
        self.is_gone.store(true, Ordering::Release);
        let has_windows = {
            let mut subscribed = self.lock();
            subscribed.inboxes.clear();
            subscribed.windows.is_some()
        };
        if has_windows {
            // First, so that nobody takes what waits in the outbox for something that goes out.
            self.outbox.cut(CloseReason::NORMAL);
            self.close_windows_where(|_| true);
        }
        self.attached_now.notify_waiters();
    }

    /// Waits until its location is acknowledged, or until it is let go.
    pub async fn attached(&self) {
        loop {
            let waiting = self.attached_now.notified();
            if self.is_attached() || self.is_gone.load(Ordering::Acquire) {
                return;
            }
            waiting.await;
        }
    }

    /// Opens a replaying inbox for a subscription, through a window if it acknowledges.
    pub fn open_inbox(
        &self,
        id: &str,
        epoch: u64,
        subscriber: Subscriber,
        window: Option<Arc<Window>>,
    ) {
        let opened = OpenInbox {
            id: id.into(),
            epoch,
            subscriber,
            window,
            inbox: Inbox::new(),
        };
        let mut subscribed = self.lock();
        // A vector that grows by itself has places for four.
        subscribed.inboxes.reserve_exact(1);
        subscribed.inboxes.push(opened);
    }

    /// Gives the inbox of this epoch its baseline, and tells the others of the session what it
    /// says. Returns the rooms in which something is missing.
    pub fn settle_inbox(&self, epoch: u64, heads: &[(RoomId, u64)]) -> Vec<RoomId> {
        let mut behind = Vec::new();
        for open in &mut self.lock().inboxes {
            if open.epoch == epoch {
                behind.extend(open.inbox.settle(heads.iter().copied()));
            } else {
                let raised = heads
                    .iter()
                    .filter(|&&(room, seq)| open.inbox.raise(room, seq));
                behind.extend(raised.map(|(room, _)| *room));
            }
        }
        behind
    }

    /// Closes the inbox of a subscription: nothing of it is queued after this returns.
    pub fn close_inbox(&self, id: &str) {
        self.lock().inboxes.retain(|open| &*open.id != id);
    }

    /// Closes the inbox of one epoch, and no younger one that has the same id.
    pub fn close_epoch(&self, epoch: u64) {
        self.lock().inboxes.retain(|open| open.epoch != epoch);
    }

    /// Whether there is a subscription to `/user/queue/messages`.
    pub fn has_inbox(&self) -> bool {
        !self.lock().inboxes.is_empty()
    }

    /// Offers a message. Returns whether something before it is missing.
    pub fn offer(&self, delivery: &Arc<Delivery>, trace: &Trace) -> bool {
        let message = &delivery.message;
        let mut is_behind = false;
        for open in &mut self.lock().inboxes {
            match open
                .inbox
                .offer(message.room, message.seq, Arc::clone(delivery))
            {
                Offer::Deliver(due) => open.queue(self, &due, trace),
                Offer::Nothing => {}
                Offer::Hole => is_behind = true,
            }
        }
        is_behind
    }

    /// Says that a conversation reaches up to `seq`. Returns whether something is missing.
    pub fn raise(&self, room: RoomId, seq: u64) -> bool {
        self.lock()
            .inboxes
            .iter_mut()
            .filter_map(|open| open.inbox.raise(room, seq).then_some(()))
            .count()
            > 0
    }

    /// What is missing in a conversation: the widest hole of the inboxes.
    pub fn hole(&self, room: RoomId) -> Option<Hole> {
        let subscribed = self.lock();
        let holes = subscribed
            .inboxes
            .iter()
            .filter_map(|open| open.inbox.hole(room));
        holes.reduce(|a, b| Hole {
            after: a.after.min(b.after),
            through: a.through.max(b.through),
        })
    }

    /// Whether something is missing in a conversation for which there is room.
    pub fn has_room_for(&self, room: RoomId) -> bool {
        let missed = |open: &OpenInbox| open.inbox.hole(room).is_some();
        let subscribed = self.lock();
        let mut missing = subscribed.inboxes.iter().filter(|open| missed(open));
        missing.any(|open| open.has_room(&self.outbox))
    }

    /// Takes rows of the store that answer a hole, as long as there is room: what is repaired must
    /// not cut a client that reads or acknowledges at its own pace. What finds no room stays missing.
    pub fn fetched(&self, room: RoomId, hole: Hole, rows: &[Arc<Delivery>], trace: &Trace) {
        for open in &mut self.lock().inboxes {
            open.fetched(room, hole, rows, self, trace);
        }
    }

    /// Suppresses the echo of one message to this session.
    pub fn exempt(&self, room: RoomId, seq: u64) {
        for open in &mut self.lock().inboxes {
            open.inbox.exempt(room, seq);
        }
    }

    /// Opens a window for a subscription. Of a session that was let go it is closed already.
    pub fn open_window(&self, opening: Opening<'_>) -> Arc<Window> {
        let window = {
            let mut subscribed = self.lock();
            let windows = subscribed
                .windows
                .get_or_insert_with(|| Box::new(Windows::new(&self.outbox)));
            windows.open(self.id, &self.outbox, opening)
        };
        if self.is_gone.load(Ordering::Acquire) {
            self.close_window(window.number);
        }
        window
    }

    /// Gives back what its outbox and its windows keep for the next burst.
    pub fn rest(&self) {
        self.outbox.rest();
        if let Some(windows) = &self.lock().windows {
            windows.rest();
        }
    }

    /// Closes the window of a subscription, if it has one: nothing of it is queued after this
    /// returns, and what a queue gave it goes back.
    pub fn close_windows(&self, id: &str) {
        self.close_windows_where(|window| &*window.id == id);
    }

    /// Closes one window, and no younger one of a subscription with the same id.
    pub fn close_window(&self, number: u64) {
        self.close_windows_where(|window| window.number == number);
    }

    /// Whether a message that is named so was sent, settled by now or not.
    pub fn is_issued(&self, of: &Delivered) -> bool {
        let subscribed = self.lock();
        let windows = subscribed.windows.as_ref();
        windows.is_some_and(|windows| windows.is_issued(of))
    }

    /// Settles what an ACK or a NACK names. One that was settled before stays as it is.
    ///
    /// # Errors
    /// When no such message was sent.
    pub fn settle(&self, of: &Delivered, verdict: Verdict) -> Result<Settled, NeverIssued> {
        let mut subscribed = self.lock();
        let windows = subscribed.windows.as_mut().ok_or(NeverIssued)?;
        windows.settle(of, verdict)
    }

    fn close_windows_where(&self, which: impl FnMut(&Window) -> bool) {
        let mut subscribed = self.lock();
        if let Some(windows) = &mut subscribed.windows {
            for window in windows.take(which) {
                windows.closed(&window);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Subscribed> {
        self.subscribed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenInbox {
    fn queue(&self, of: &HubSession, due: &[Arc<Delivery>], trace: &Trace) {
        let user = &of.user;
        for delivery in due {
            let step = match &self.window {
                None => {
                    let place = of
                        .outbox
                        .push_traced(delivery.frame(&self.subscriber, user));
                    place.map(|place| Step::Queued(of.id, place))
                }
                Some(window) => {
                    window.offer(content(delivery, &self.subscriber, user));
                    Some(Step::Windowed(of.id))
                }
            };
            if let Some(step) = step {
                trace.note(delivery.message.id, step);
            }
        }
    }

    fn has_room(&self, outbox: &Arc<Outbox>) -> bool {
        outbox.has_room() && self.window.as_ref().is_none_or(|window| window.has_room())
    }

    fn fetched(
        &mut self,
        room: RoomId,
        hole: Hole,
        rows: &[Arc<Delivery>],
        of: &HubSession,
        trace: &Trace,
    ) {
        let mut after = hole.after;
        for row in rows {
            if !self.has_room(&of.outbox) {
                return;
            }
            let through = row.message.seq;
            let next = [(through, Arc::clone(row))];
            let due = self.inbox.fetched(room, Hole { after, through }, next);
            self.queue(of, &due, trace);
            after = through;
        }
        // Behind the last row there is only what retention has removed.
        let through = hole.through;
        let due = self.inbox.fetched(room, Hole { after, through }, []);
        self.queue(of, &due, trace);
    }
}

/// A message of a conversation as a window keeps it.
fn content(delivery: &Delivery, subscriber: &Subscriber, reader: &UserId) -> Content {
    Content {
        destination: subscriber.shown.shared(UserQueue::Messages.as_str()),
        message_id: delivery.message.id.to_string().into(),
        content_type: Some("application/json;charset=utf-8"),
        headers: Vec::new(),
        body: delivery.message.render(reader),
        is_shared: false,
        redelivered: false,
        tag: None,
    }
}
