//! One session as the hub knows it: its user, its outbox, its inboxes.
//!
//! Not here: the protocol (`session`), the socket (`edge`). Invariant: what goes into the outbox
//! from an inbox is put there under the lock of the inboxes, so that the order of decisions is the
//! order of frames.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::delivery::{Delivery, Subscriber};
use super::outbox::Outbox;
use crate::model::{RoomId, SessionId, UnixMillis, UserId};
use crate::routing::{Hole, Inbox, Offer};

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
    /// What is to be written to it.
    pub outbox: Arc<Outbox>,
    /// Whether its location was acknowledged. Set by the broker.
    attached: AtomicBool,
    /// It was let go: whoever waits for `attached` waits no longer. Set by the hub.
    is_gone: AtomicBool,
    /// Wakes those who wait for `attached`.
    attached_now: tokio::sync::Notify,
    /// The subscriptions to `/user/queue/messages`; nearly always one. A std mutex: decisions are
    /// short, and the frames must be queued in the order in which they were decided.
    inboxes: Mutex<Vec<OpenInbox>>,
}

#[derive(Debug)]
struct OpenInbox {
    id: Box<str>,
    /// Distinguishes this subscription from an earlier one with the same id.
    epoch: u64,
    subscriber: Subscriber,
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
        Arc::new(Self {
            id,
            user,
            device,
            since,
            outbox,
            attached: AtomicBool::new(false),
            is_gone: AtomicBool::new(false),
            attached_now: tokio::sync::Notify::new(),
            inboxes: Mutex::default(),
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

    /// The session was let go: its inboxes are closed, and nobody waits for its location.
    pub(super) fn let_go(&self) {
        self.lock().clear();
        self.is_gone.store(true, Ordering::Release);
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

    /// Opens a replaying inbox for a subscription.
    pub fn open_inbox(&self, id: &str, epoch: u64, subscriber: Subscriber) {
        let opened = OpenInbox {
            id: id.into(),
            epoch,
            subscriber,
            inbox: Inbox::new(),
        };
        self.lock().push(opened);
    }

    /// Gives the inbox of this epoch its baseline, and tells the others of the session what it
    /// says. Returns the rooms in which something is missing.
    pub fn settle_inbox(&self, epoch: u64, heads: &[(RoomId, u64)]) -> Vec<RoomId> {
        let mut behind = Vec::new();
        for open in &mut *self.lock() {
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
        self.lock().retain(|open| &*open.id != id);
    }

    /// Closes the inbox of one epoch, and no younger one that has the same id.
    pub fn close_epoch(&self, epoch: u64) {
        self.lock().retain(|open| open.epoch != epoch);
    }

    /// Whether there is a subscription to `/user/queue/messages`.
    pub fn has_inbox(&self) -> bool {
        !self.lock().is_empty()
    }

    /// Offers a message. Returns whether something before it is missing.
    pub fn offer(&self, delivery: &Arc<Delivery>) -> bool {
        let message = &delivery.message;
        let mut is_behind = false;
        for open in &mut *self.lock() {
            match open
                .inbox
                .offer(message.room, message.seq, Arc::clone(delivery))
            {
                Offer::Deliver(due) => open.queue(&self.outbox, &self.user, &due),
                Offer::Nothing => {}
                Offer::Hole => is_behind = true,
            }
        }
        is_behind
    }

    /// Says that a conversation reaches up to `seq`. Returns whether something is missing.
    pub fn raise(&self, room: RoomId, seq: u64) -> bool {
        self.lock()
            .iter_mut()
            .filter_map(|open| open.inbox.raise(room, seq).then_some(()))
            .count()
            > 0
    }

    /// What is missing in a conversation: the widest hole of the inboxes.
    pub fn hole(&self, room: RoomId) -> Option<Hole> {
        let inboxes = self.lock();
        let holes = inboxes.iter().filter_map(|open| open.inbox.hole(room));
        holes.reduce(|a, b| Hole {
            after: a.after.min(b.after),
            through: a.through.max(b.through),
        })
    }

    /// Takes rows of the store that answer a hole, as long as the outbox has room: what is repaired
    /// must not cut a client that reads at its own pace. What finds no room stays missing.
    pub fn fetched(&self, room: RoomId, hole: Hole, rows: &[Arc<Delivery>]) {
        for open in &mut *self.lock() {
            let mut after = hole.after;
            for row in rows {
                if !self.outbox.has_room() {
                    return;
                }
                let through = row.message.seq;
                let next = [(through, Arc::clone(row))];
                let due = open.inbox.fetched(room, Hole { after, through }, next);
                open.queue(&self.outbox, &self.user, &due);
                after = through;
            }
            // Behind the last row there is only what retention has removed.
            let through = hole.through;
            let due = open.inbox.fetched(room, Hole { after, through }, []);
            open.queue(&self.outbox, &self.user, &due);
        }
    }

    /// Suppresses the echo of one message to this session.
    pub fn exempt(&self, room: RoomId, seq: u64) {
        for open in &mut *self.lock() {
            open.inbox.exempt(room, seq);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<OpenInbox>> {
        self.inboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenInbox {
    fn queue(&self, outbox: &Outbox, user: &UserId, due: &[Arc<Delivery>]) {
        for delivery in due {
            outbox.push(delivery.frame(&self.subscriber, user));
        }
    }
}
