//! The inboxes of a session: its subscriptions to `/user/queue/messages`, each with how far it is in every
//! conversation of its user.
//!
//! Not here: order and holes of one inbox (`routing::inbox`), windows (`windows`). Invariant: what is due is queued
//! under the lock of the session, so frames are in the order in which they were decided.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{HubSession, Subscribed};
use crate::hub::delivery::{Delivery, Subscriber};
use crate::hub::outbox::Outbox;
use crate::hub::trace::{Step, Trace};
use crate::hub::window::{Content, Window};
use crate::model::{RoomId, UserId, UserQueue};
use crate::routing::{Hole, Inbox, Offer};

/// About how much an inbox takes for each conversation.
const CONVERSATION_BYTES: usize = 64;

#[derive(Debug)]
pub(super) struct OpenInbox {
    id: Box<str>,
    /// Distinguishes this subscription from an earlier one with the same id.
    epoch: u64,
    subscriber: Subscriber,
    /// Through which its messages go, if it acknowledges.
    window: Option<Arc<Window>>,
    inbox: Inbox<Arc<Delivery>>,
}

impl HubSession {
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
        let mut subscribed = self.lock();
        for open in &mut subscribed.inboxes {
            if open.epoch == epoch {
                behind.extend(open.inbox.settle(heads.iter().copied()));
            } else {
                let raised = heads
                    .iter()
                    .filter(|&&(room, seq)| open.inbox.raise(room, seq));
                behind.extend(raised.map(|(room, _)| *room));
            }
        }
        self.count(&subscribed);
        behind
    }

    /// Closes the inbox of a subscription: nothing of it is queued after this returns.
    pub fn close_inbox(&self, id: &str) {
        let mut subscribed = self.lock();
        subscribed.inboxes.retain(|open| &*open.id != id);
        self.count(&subscribed);
    }

    /// Closes the inbox of one epoch, and no younger one that has the same id.
    pub fn close_epoch(&self, epoch: u64) {
        let mut subscribed = self.lock();
        subscribed.inboxes.retain(|open| open.epoch != epoch);
        self.count(&subscribed);
    }

    /// Whether there is a subscription to `/user/queue/messages`.
    pub fn has_inbox(&self) -> bool {
        !self.lock().inboxes.is_empty()
    }

    /// Offers a message. Returns whether something before it is missing.
    pub fn offer(&self, delivery: &Arc<Delivery>, trace: &Trace) -> bool {
        let message = &delivery.message;
        let mut is_behind = false;
        let mut subscribed = self.lock();
        for open in &mut subscribed.inboxes {
            match open
                .inbox
                .offer(message.room, message.seq, Arc::clone(delivery))
            {
                Offer::Deliver(due) => open.queue(self, &due, trace),
                Offer::Nothing => {}
                Offer::Hole => is_behind = true,
            }
        }
        self.count(&subscribed);
        is_behind
    }

    /// About how many bytes its inboxes take: each keeps how far it is in every conversation of the user.
    pub fn inbox_bytes(&self) -> usize {
        self.conversations.load(Ordering::Relaxed) as usize * CONVERSATION_BYTES
    }

    pub(super) fn count(&self, subscribed: &Subscribed) {
        let inboxes = subscribed.inboxes.iter();
        let count: usize = inboxes.map(|open| open.inbox.conversations()).sum();
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.conversations.store(count, Ordering::Relaxed);
    }

    /// Says that a conversation reaches up to `seq`. Returns whether something is missing.
    pub fn raise(&self, room: RoomId, seq: u64) -> bool {
        let mut subscribed = self.lock();
        let mut is_behind = false;
        for open in &mut subscribed.inboxes {
            is_behind |= open.inbox.raise(room, seq);
        }
        self.count(&subscribed);
        is_behind
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
