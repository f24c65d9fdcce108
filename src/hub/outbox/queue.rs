//! The state behind the lock of an outbox: what waits, what is in hand, and whose turn it is.
//!
//! Not here: locking and waking (`outbox`), the byte account (`lease`). Invariant: what is counted as waiting is
//! what was pushed and has not gone out, in the hands of a writer or not.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;

use super::{Frames, OutboxLimits};
use crate::budget::Lease;
use crate::hub::flusher::Flusher;
use crate::hub::wire::Line;
use crate::model::CloseReason;

#[derive(Debug)]
pub(super) struct Queue {
    /// Room for one, which is what an outbox mostly holds; that of a crowd is given back.
    pub(super) frames: Frames,
    /// Octets of what is pushed and has not gone out, those in the hands of a writer among them.
    pub(super) bytes: usize,
    /// So many bytes may be held without asking; never more than the limit.
    pub(super) bytes_allowed: usize,
    /// So many frames are in the hands of a writer, or were when the wire took no more.
    pub(super) in_hand: usize,
    /// How many frames were ever queued.
    pub(super) pushed: u64,
    /// How many of the frames others have pushed since somebody wrote.
    pub(super) deliveries: u32,
    pub(super) turn: Turn,
    /// The highest priority for which it is listed; meaningful in [`Turn::Listed`].
    pub(super) listed: Priority,
    /// The way past the driver; taken out by whoever writes.
    pub(super) line: Option<Box<Line>>,
    /// When something was written last that did not pass the driver.
    pub(super) written: Option<Instant>,
    /// Set once; afterwards nothing more is queued. Boxed, because nearly no session has one.
    pub(super) cut: Option<Box<CloseReason>>,
    /// What most outboxes never need.
    pub(super) rare: Option<Box<Rare>>,
}

/// What an outbox has only while a task waits for room, or while it holds much.
#[derive(Debug, Default)]
pub(super) struct Rare {
    /// Allocated when the first waiter arrives.
    pub(super) watch: Option<Watch>,
    /// What is covered beyond the base.
    pub(super) lease: Option<Lease>,
    /// Bytes that a driver has pulled and still writes: they are covered too.
    pub(super) lent: usize,
}

/// How soon a flusher writes a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::hub) enum Priority {
    /// Before every frame of low priority.
    High,
    /// Of a fan-out to many subscriptions: after frames of high priority, with at least half of the writes.
    Low,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::hub) enum Turn {
    /// Nothing is to be written.
    #[default]
    Idle,
    /// A flusher will come; without a wire, the driver.
    Listed,
    /// Somebody writes, and looks at the queue again before he leaves.
    Writing,
    /// The socket takes no more; the driver waits for it.
    Blocked,
    /// The driver has taken over what was left, or the line is dead.
    Over,
}

/// What is kept for those who wait for the driver.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// How many frames went out since the first task waits.
    pub(super) pulled: u64,
    /// Wakes them.
    pub(super) moved: Arc<Notify>,
}

impl Queue {
    pub(super) fn new(bytes_allowed: usize) -> Self {
        Self {
            frames: Frames::new(),
            bytes: 0,
            bytes_allowed,
            in_hand: 0,
            pushed: 0,
            deliveries: 0,
            turn: Turn::Idle,
            listed: Priority::High,
            line: None,
            written: None,
            cut: None,
            rare: None,
        }
    }

    /// Drops what waits and queues nothing more. What is being written now is dropped when the writer leaves.
    pub(super) fn end(&mut self, reason: CloseReason) {
        self.frames = Frames::new();
        self.bytes = 0;
        self.cut = Some(Box::new(reason));
        self.drop_rest();
        self.give_back();
    }

    /// Drops what the wire did not take, except for a frame that has begun.
    pub(super) fn drop_rest(&mut self) {
        if let Some(line) = &mut self.line {
            line.rest.keep_what_has_begun();
            self.in_hand = line.rest.len();
        }
    }

    pub(super) fn held(&self) -> usize {
        self.frames.len() + self.in_hand
    }

    /// Whether a frame of so many octets does not fit; one always does when nothing waits.
    pub(super) fn is_full(&self, limits: OutboxLimits, bytes: usize) -> bool {
        let held = self.held();
        held > 0 && (held >= limits.frames_max || self.bytes + bytes > limits.bytes_max)
    }

    /// Whether a frame of so many bytes can be taken without looking further.
    #[inline]
    pub(super) fn takes(&self, frames_max: usize, bytes: usize) -> bool {
        self.held() < frames_max && self.bytes + bytes <= self.bytes_allowed
    }

    #[inline]
    pub(super) fn has_room(&self, limits: OutboxLimits) -> bool {
        self.held() * 2 < limits.frames_max.max(2) && self.bytes * 2 < limits.bytes_max
    }

    pub(super) fn watch(&mut self) -> &mut Watch {
        let rare = self.rare.get_or_insert_default();
        rare.watch.get_or_insert_default()
    }

    /// Whom to wake when the lock is free again.
    pub(super) fn waiting(&self) -> Option<Arc<Notify>> {
        let watch = self.rare.as_ref()?.watch.as_ref()?;
        Some(Arc::clone(&watch.moved))
    }

    /// So many frames went out. Returns whom to wake.
    pub(super) fn gone_out(&mut self, frames: usize) -> Option<Arc<Notify>> {
        let rare = self.rare.as_mut().filter(|_| frames > 0)?;
        let watch = rare.watch.as_mut()?;
        watch.pulled += frames as u64;
        Some(Arc::clone(&watch.moved))
    }

    /// Schedules a write. Returns what the pusher has to do. An outbox that is listed with low priority is listed again for a
    /// frame of high priority; the first of the two writes sends every frame in the order of the pushes.
    #[inline]
    pub(super) fn list(&mut self, priority: Priority) -> Call {
        let is_raised = self.listed == Priority::Low && priority == Priority::High;
        let may_list = self.turn == Turn::Idle || (self.turn == Turn::Listed && is_raised);
        if !may_list {
            return Call::Nobody;
        }
        self.turn = Turn::Listed;
        self.listed = priority;
        match &self.line {
            Some(line) => Call::Flusher(line.flusher.clone()),
            None => Call::Driver,
        }
    }
}

/// Whom a pusher calls.
pub(super) enum Call {
    Nobody,
    Driver,
    Flusher(Flusher),
}
