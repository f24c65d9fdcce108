//! The bounded queue of encoded frames towards one session, and whose turn it is to write them.
//!
//! Not here: the socket ([`Wire`] stands for it), the turn of many outboxes (`flusher`). Invariants: a
//! queue never holds more than its limits of what others push, nor more than the byte account has granted
//! it (`lease`); a consumer that does not keep up is cut with a reason, never buffered for without limit,
//! and whoever pushes never waits. One at a time writes, in the order in which frames were pushed.
//!
//! What a session answers by itself goes the same way ([`Outbox::push_own`]), so that the order of
//! decisions is that of frames. It is not cut for it: the driver reads little while the peer does not read.
//!
//! ```text
//!           push                 flusher              all written
//!   Idle ----------> Listed ----------------> Writing ------------> Idle
//!                                   ^             |
//!                 driver: writable  |             | the socket takes no more
//!                                   +-- Blocked <-+  (wakes the driver)
//! ```
//!
//! Without a wire (TLS, SockJS) a push wakes the driver, which pulls and writes.
//!
//! Who has a choice may wait before he pushes ([`Outbox::room`]), and until what he pushed has gone
//! out ([`Outbox::pulled_beyond`]). An outbox for which nobody ever waited does not count and wakes
//! nobody.

mod lease;
mod places;
mod queue;

use std::future::poll_fn;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use futures_util::task::AtomicWaker;

use super::flusher::Flusher;
use super::wire::{Line, Unwritten, Wire, Wrote};
use crate::budget::MemoryOwner;
use crate::model::CloseReason;
use crate::websocket::Framed;
use lease::BASE_BYTES;
pub use places::{Mark, Place};
use queue::{Call, Queue};
pub(super) use queue::{Priority, Turn};

/// How often whoever pushes looks whether somebody who writes has made room.
const TURNS_MAX: usize = 64;

/// How much an outbox holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxLimits {
    /// Frames.
    pub frames_max: usize,
    /// Octets of frames. One frame is always taken when the outbox is empty.
    pub bytes_max: usize,
}

/// What the driver finds in the outbox.
#[derive(Debug, PartialEq, Eq)]
pub enum Pulled {
    /// Without a wire: frames to be written in this order, all that were there.
    Frames(Frames),
    /// The session is to be ended with this reason; what was queued is dropped.
    Cut(CloseReason),
    /// With a wire: it takes no more. Wait until it does, then [`Outbox::go_on`].
    Blocked,
    /// With a wire: it is dead.
    Gone,
}

/// Frames in their order. Mostly there is one, which needs no memory of its own.
pub type Frames = smallvec::SmallVec<[Framed; 1]>;

/// The queue. Shared by everybody who delivers to the session, those who write, and the one driver.
#[derive(Debug)]
pub struct Outbox {
    limits: OutboxLimits,
    /// A std mutex: the critical sections are a few instructions and never await. It is free while
    /// somebody writes.
    queue: Mutex<Queue>,
    /// Wakes the one driver.
    driver: AtomicWaker,
    /// The same as in the queue, for a driver that asks before every frame.
    is_cut: AtomicBool,
    /// On whose share its bytes count; without one only the limits hold.
    owner: Option<Arc<dyn MemoryOwner>>,
}

impl Outbox {
    /// An empty outbox that draws on no account: only its limits hold.
    #[must_use]
    pub fn new(limits: OutboxLimits) -> Self {
        Self {
            limits,
            queue: Mutex::new(Queue::new(limits.bytes_max)),
            driver: AtomicWaker::new(),
            is_cut: AtomicBool::new(false),
            owner: None,
        }
    }

    /// An empty outbox whose bytes count on the share of a client. The first [`BASE_BYTES`] are in what
    /// its socket was charged with.
    #[must_use]
    pub fn with_owner(limits: OutboxLimits, owner: Arc<dyn MemoryOwner>) -> Self {
        Self {
            queue: Mutex::new(Queue::new(limits.bytes_max.min(BASE_BYTES))),
            owner: Some(owner),
            ..Self::new(limits)
        }
    }

    /// Opens the way past the driver: from now on whoever pushes has a flusher write it.
    pub fn attach(&self, wire: Arc<dyn Wire>, flusher: &Flusher) {
        let line = Box::new(Line::new(wire, flusher));
        self.lock().line = Some(line);
    }

    /// Queues one encoded frame. When it does not fit the session is cut as a slow consumer.
    /// Returns whether the frame was queued.
    pub fn push(self: &Arc<Self>, frame: Framed) -> bool {
        self.push_traced(frame).is_some()
    }

    /// The same. Returns the place of the frame among all that were ever queued here.
    pub fn push_traced(self: &Arc<Self>, frame: Framed) -> Option<Place> {
        self.push_with(Priority::High, frame)
    }

    /// The same with a priority.
    pub(super) fn push_with(self: &Arc<Self>, priority: Priority, frame: Framed) -> Option<Place> {
        let mut queue = self.relieved(frame.len());
        if queue.cut.is_some() || queue.turn == Turn::Over {
            return None;
        }
        if !queue.takes(self.limits.frames_max, frame.len()) {
            queue = self.covered(queue, frame.len())?;
        }
        queue.deliveries += 1;
        let place = Place::of(queue.pushed);
        self.take(queue, frame, priority);
        Some(place)
    }

    /// Queues what the session itself says. It always fits the limits: while the peer does not read, little
    /// of it is read that could be answered. When the byte account does not grant it, the session is cut.
    pub fn push_own(self: &Arc<Self>, frame: Framed) {
        let mut queue = self.lock();
        if queue.cut.is_some() || queue.turn == Turn::Over {
            return;
        }
        if queue.bytes + frame.len() > queue.bytes_allowed {
            match self.granted(queue, frame.len()) {
                Ok(granted) => queue = granted,
                Err(refused) => return self.cut_slow(refused),
            }
        }
        self.take(queue, frame, Priority::High);
    }

    /// Drops what waits of a consumer that does not keep up.
    fn cut_slow(&self, mut queue: MutexGuard<'_, Queue>) {
        if queue.cut.is_some() || queue.turn == Turn::Over {
            return;
        }
        let held = queue.held() as u64;
        metrics::counter!("chat_messages_total", "path" => "dropped").increment(1 + held);
        queue.end(CloseReason::SLOW_CONSUMER);
        self.tell_cut(queue);
    }

    /// Locks the queue for a push. If the queue has no room and waits for a flusher, this call writes it first, because a burst
    /// must not cut a client that reads everything. If another task is writing it, this call waits for that task, for a few
    /// system calls that do not block.
    #[inline]
    fn relieved(&self, bytes: usize) -> MutexGuard<'_, Queue> {
        let mut queue = self.lock();
        for _ in 0..TURNS_MAX {
            let is_listed = queue.turn == Turn::Listed && queue.line.is_some();
            if is_listed && !queue.has_room(self.limits) {
                drop(queue);
                self.write(Turn::Listed, &mut Unwritten::default(), Instant::now());
            } else if queue.turn == Turn::Writing && queue.is_full(self.limits, bytes) {
                drop(queue);
                std::thread::yield_now();
            } else {
                return queue;
            }
            queue = self.lock();
        }
        queue
    }

    #[inline]
    fn take(self: &Arc<Self>, mut queue: MutexGuard<'_, Queue>, frame: Framed, priority: Priority) {
        queue.bytes += frame.len();
        queue.pushed += 1;
        queue.frames.push(frame);
        let call = queue.list(priority);
        drop(queue);
        match call {
            Call::Nobody => {}
            Call::Driver => self.driver.wake(),
            Call::Flusher(flusher) => flusher.list(Arc::clone(self), priority),
        }
    }

    /// Whether the session is to be ended.
    pub fn is_cut(&self) -> bool {
        self.is_cut.load(Acquire)
    }

    /// Ends the session: the driver finds the reason at its next pull. The first reason stays.
    pub fn cut(&self, reason: CloseReason) {
        let mut queue = self.lock();
        if queue.cut.is_none() {
            queue.end(reason);
        }
        self.tell_cut(queue);
    }

    /// Wakes the driver, and those who wait for it in vain.
    fn tell_cut(&self, queue: MutexGuard<'_, Queue>) {
        let waiting = queue.waiting();
        self.is_cut.store(true, Release);
        drop(queue);
        self.driver.wake();
        if let Some(moved) = waiting {
            moved.notify_waiters();
        }
    }

    /// Waits until there is something for the driver to do. Safe to drop and call again.
    pub async fn pull(&self) -> Pulled {
        poll_fn(|context| self.poll_pull(context)).await
    }

    /// The same. One driver at a time is woken: the one that has asked last.
    pub fn poll_pull(&self, context: &mut Context<'_>) -> Poll<Pulled> {
        self.driver.register(context.waker());
        self.try_pull().map_or(Poll::Pending, Poll::Ready)
    }

    /// What there is for the driver to do now, if anything.
    pub fn try_pull(&self) -> Option<Pulled> {
        let mut queue = self.lock();
        if let Some(reason) = &queue.cut {
            return Some(Pulled::Cut(CloseReason::clone(reason)));
        }
        // Whoever asks has written what was pulled before.
        queue.take_back(self.limits.bytes_max);
        match queue.turn {
            Turn::Blocked => return Some(Pulled::Blocked),
            Turn::Over => return Some(Pulled::Gone),
            Turn::Idle | Turn::Writing => return None,
            Turn::Listed if queue.line.is_some() => return None,
            Turn::Listed => {}
        }
        queue.turn = Turn::Idle;
        queue.lend(self.limits.bytes_max);
        queue.bytes = 0;
        queue.deliveries = 0;
        let frames = std::mem::take(&mut queue.frames);
        let waiting = queue.gone_out(frames.len());
        drop(queue);
        if let Some(moved) = waiting {
            moved.notify_waiters();
        }
        Some(Pulled::Frames(frames))
    }

    /// The driver goes on where the wire took no more. Returns whether all is written; otherwise wait
    /// for the wire and call again, unless the outbox is cut or dead.
    pub fn go_on(&self) -> bool {
        self.write(Turn::Blocked, &mut Unwritten::default(), Instant::now());
        self.lock().turn != Turn::Blocked
    }

    /// When something was last written that did not pass the driver.
    pub fn written(&self) -> Option<Instant> {
        self.lock().written
    }

    /// The driver takes the line back, with everything that has not gone out. Nothing is queued
    /// afterwards.
    pub async fn take_over(&self) -> Unwritten {
        loop {
            if let Some(unwritten) = self.try_take_over() {
                return unwritten;
            }
            // Somebody writes: that takes as long as a system call that does not wait.
            tokio::task::yield_now().await;
        }
    }

    fn try_take_over(&self) -> Option<Unwritten> {
        let mut queue = self.lock();
        if queue.turn == Turn::Writing {
            return None;
        }
        queue.turn = Turn::Over;
        let mut unwritten = queue
            .line
            .take()
            .map_or_else(Unwritten::default, |line| line.rest);
        if queue.cut.is_some() {
            unwritten.keep_what_has_begun();
        }
        unwritten.extend(std::mem::take(&mut queue.frames));
        Some(unwritten)
    }

    /// Writes the frames that wait, unless another task writes them or has done so. Returns whether it wrote. `hands` is
    /// empty before and after.
    pub(super) fn write(&self, turn: Turn, hands: &mut Unwritten, now: Instant) -> bool {
        let mut queue = self.lock();
        if queue.turn != turn {
            return false;
        }
        let Some(mut line) = queue.line.take() else {
            return false;
        };
        queue.turn = Turn::Writing;
        queue.written = Some(now);
        std::mem::swap(hands, &mut line.rest);
        let mut deliveries = 0;
        loop {
            deliveries += std::mem::take(&mut queue.deliveries);
            hands.extend(std::mem::take(&mut queue.frames));
            queue.in_hand = hands.len();
            drop(queue);
            let outcome = line.write(hands);
            queue = self.lock();
            let (frames, bytes) = hands.settled();
            queue.bytes = queue.bytes.saturating_sub(bytes);
            queue.in_hand = hands.len();
            let waiting = queue.gone_out(frames);
            let is_over = match outcome {
                // What was pushed meanwhile has listed nobody.
                Wrote::All => queue.frames.is_empty().then_some(Turn::Idle),
                Wrote::Some => Some(Turn::Blocked),
                Wrote::Gone => Some(Turn::Over),
            };
            let Some(turn) = is_over else {
                if let Some(moved) = waiting {
                    moved.notify_waiters();
                }
                continue;
            };
            line.flusher.count(deliveries);
            self.hand_back(queue, line, hands, turn);
            if let Some(moved) = waiting {
                moved.notify_waiters();
            }
            return true;
        }
    }

    /// Whoever wrote leaves.
    fn hand_back(
        &self,
        mut queue: MutexGuard<'_, Queue>,
        mut line: Box<Line>,
        hands: &mut Unwritten,
        turn: Turn,
    ) {
        queue.turn = turn;
        if turn == Turn::Blocked {
            std::mem::swap(hands, &mut line.rest);
        }
        hands.clear();
        if turn == Turn::Over {
            queue.frames = Frames::new();
            (queue.bytes, queue.in_hand) = (0, 0);
        } else {
            queue.line = Some(line);
            if turn == Turn::Idle {
                queue.take_back(self.limits.bytes_max);
            } else if queue.cut.is_some() {
                // It was cut while this one wrote.
                queue.drop_rest();
            }
        }
        drop(queue);
        if turn != Turn::Idle {
            self.driver.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
