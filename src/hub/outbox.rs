//! The bounded queue of encoded frames towards one session.
//!
//! Not here: the socket; the connection driver in `edge` pulls and writes. Invariant: a queue never
//! holds more than its limits. A consumer that does not keep up is cut with a reason; it is never
//! buffered for without limit, and whoever pushes never waits.
//!
//! Who has a choice may wait before he pushes ([`Outbox::room`]), and until what he pushed was taken
//! ([`Outbox::pulled_beyond`]). An outbox for which nobody ever waited does not count and wakes
//! nobody.

use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::model::CloseReason;

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
    /// Frames to be written in this order, all that were there.
    Frames(Vec<Bytes>),
    /// The session is to be ended with this reason; what was queued is dropped.
    Cut(CloseReason),
}

/// The queue. Shared by everybody who delivers to the session and the one driver that writes.
#[derive(Debug)]
pub struct Outbox {
    limits: OutboxLimits,
    /// A std mutex: the critical sections are a few instructions and never await.
    queue: Mutex<Queue>,
    /// Wakes the one driver.
    ready: Notify,
    /// The same as in the queue, for a driver that asks before every frame.
    is_cut: AtomicBool,
}

/// A place in the order of frames: behind everything that was queued when it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Bytes>,
    bytes: usize,
    /// Set once; afterwards nothing more is queued. Boxed, because nearly no session has one.
    cut: Option<Box<CloseReason>>,
    /// There from the first one on who waits.
    watch: Option<Box<Watch>>,
}

/// What is kept for those who wait for the driver.
#[derive(Debug, Default)]
struct Watch {
    /// How many frames were pulled since somebody waits.
    pulled: u64,
    /// Wakes them.
    moved: Arc<Notify>,
}

impl Queue {
    /// Drops what waits and queues nothing more.
    fn end(&mut self, reason: CloseReason) {
        self.frames = VecDeque::new();
        self.bytes = 0;
        self.cut = Some(Box::new(reason));
    }

    fn has_room(&self, limits: OutboxLimits) -> bool {
        self.frames.len() * 2 < limits.frames_max.max(2) && self.bytes * 2 < limits.bytes_max
    }

    fn watch(&mut self) -> &mut Watch {
        self.watch.get_or_insert_default()
    }

    /// Whom to wake when the lock is free again.
    fn waiting(&self) -> Option<Arc<Notify>> {
        self.watch.as_ref().map(|watch| Arc::clone(&watch.moved))
    }
}

impl Outbox {
    /// An empty outbox.
    #[must_use]
    pub fn new(limits: OutboxLimits) -> Self {
        Self {
            limits,
            queue: Mutex::default(),
            ready: Notify::new(),
            is_cut: AtomicBool::new(false),
        }
    }

    /// Queues one encoded frame. When it does not fit the session is cut as a slow consumer.
    /// Returns whether the frame was queued.
    pub fn push(&self, frame: Bytes) -> bool {
        let mut queue = self.lock();
        if queue.cut.is_some() {
            return false;
        }
        let full = queue.frames.len() >= self.limits.frames_max
            || queue.bytes + frame.len() > self.limits.bytes_max;
        if full && !queue.frames.is_empty() {
            metrics::counter!("chat_messages_total", "path" => "dropped")
                .increment(1 + queue.frames.len() as u64);
            queue.end(CloseReason::SLOW_CONSUMER);
            self.tell_cut(queue);
            return false;
        }
        queue.bytes += frame.len();
        queue.frames.push_back(frame);
        let first = queue.frames.len() == 1;
        drop(queue);
        if first {
            self.ready.notify_one();
        }
        true
    }

    /// Whether what waits is less than half of what may: then there is room for what is not urgent.
    pub fn has_room(&self) -> bool {
        self.lock().has_room(self.limits)
    }

    /// Waits until there is room for what is not urgent. Returns whether there is: not in an outbox
    /// that is cut.
    pub async fn room(&self) -> bool {
        let found = |queue: &mut Queue| queue.has_room(self.limits).then_some(());
        self.wait_until(found).await.is_some()
    }

    /// The place behind everything that is queued now.
    pub fn mark(&self) -> Mark {
        let mut queue = self.lock();
        let queued = queue.frames.len() as u64;
        Mark(queue.watch().pulled + queued)
    }

    /// The place behind everything that the driver has pulled since [`Outbox::mark`] was first asked.
    pub fn pulled(&self) -> Mark {
        Mark(self.lock().watch().pulled)
    }

    /// Waits until the driver has pulled everything before the mark. Returns how far it has come by
    /// now; nothing when the outbox is cut, which drops what was not pulled.
    pub async fn pulled_beyond(&self, mark: Mark) -> Option<Mark> {
        let found = |queue: &mut Queue| {
            let pulled = Mark(queue.watch().pulled);
            (pulled >= mark).then_some(pulled)
        };
        self.wait_until(found).await
    }

    /// Waits until something is found, looking again after each pull; `None` when it is cut.
    async fn wait_until<T>(&self, mut find: impl FnMut(&mut Queue) -> Option<T>) -> Option<T> {
        let moved = Arc::clone(&self.lock().watch().moved);
        loop {
            let waiting = moved.notified();
            {
                let mut queue = self.lock();
                if queue.cut.is_some() {
                    return None;
                }
                if let Some(found) = find(&mut queue) {
                    return Some(found);
                }
            }
            waiting.await;
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
        self.ready.notify_one();
        if let Some(moved) = waiting {
            moved.notify_waiters();
        }
    }

    /// Waits until there is something to do. Safe to drop and call again.
    pub async fn pull(&self) -> Pulled {
        loop {
            if let Some(pulled) = self.try_pull() {
                return pulled;
            }
            self.ready.notified().await;
        }
    }

    /// What there is to do now, if anything.
    pub fn try_pull(&self) -> Option<Pulled> {
        let mut queue = self.lock();
        if let Some(reason) = &queue.cut {
            return Some(Pulled::Cut(CloseReason::clone(reason)));
        }
        if queue.frames.is_empty() {
            return None;
        }
        queue.bytes = 0;
        let frames = std::mem::take(&mut queue.frames);
        if let Some(watch) = &mut queue.watch {
            watch.pulled += frames.len() as u64;
            let moved = Arc::clone(&watch.moved);
            drop(queue);
            moved.notify_waiters();
        }
        Some(Pulled::Frames(frames.into()))
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox() -> Outbox {
        Outbox::new(OutboxLimits {
            frames_max: 2,
            bytes_max: 10,
        })
    }

    #[test]
    fn frames_come_out_in_order_and_all_at_once() {
        let outbox = outbox();
        assert_eq!(outbox.try_pull(), None);
        assert!(outbox.push(Bytes::from_static(b"a")));
        assert!(outbox.push(Bytes::from_static(b"b")));
        let frames = vec![Bytes::from_static(b"a"), Bytes::from_static(b"b")];
        assert_eq!(outbox.try_pull(), Some(Pulled::Frames(frames)));
        assert_eq!(outbox.try_pull(), None);
    }

    #[test]
    fn a_full_outbox_is_cut_and_stays_cut() {
        let outbox = outbox();
        assert!(outbox.push(Bytes::from_static(b"123456")));
        assert!(!outbox.push(Bytes::from_static(b"12345")));
        assert!(!outbox.push(Bytes::from_static(b"")));
        assert_eq!(
            outbox.try_pull(),
            Some(Pulled::Cut(CloseReason::SLOW_CONSUMER))
        );
        outbox.cut(CloseReason::NORMAL);
        assert_eq!(
            outbox.try_pull(),
            Some(Pulled::Cut(CloseReason::SLOW_CONSUMER))
        );
    }

    #[test]
    fn one_frame_larger_than_the_limit_passes_an_empty_outbox() {
        let outbox = outbox();
        assert!(outbox.push(Bytes::from_static(b"12345678901")));
    }

    #[tokio::test]
    async fn a_waiting_driver_is_woken_by_a_push() {
        let outbox = Arc::new(outbox());
        let waiting = outbox.pull();
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        outbox.push(Bytes::from_static(b"a"));
        assert_eq!(
            waiting.await,
            Pulled::Frames(vec![Bytes::from_static(b"a")])
        );
    }

    #[tokio::test]
    async fn who_waits_is_woken_when_everything_before_his_mark_is_pulled() {
        let outbox = outbox();
        assert!(outbox.push(Bytes::from_static(b"a")));
        let first = outbox.mark();
        let waiting = outbox.pulled_beyond(first);
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        outbox.push(Bytes::from_static(b"b"));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        let second = outbox.mark();
        outbox.try_pull();
        assert_eq!(waiting.await, Some(second));
        assert_eq!(outbox.pulled_beyond(first).await, Some(second));
    }

    #[tokio::test]
    async fn room_comes_with_a_pull_and_never_after_a_cut() {
        let outbox = outbox();
        assert!(outbox.room().await);
        outbox.push(Bytes::from_static(b"123456"));
        let waiting = outbox.room();
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        outbox.try_pull();
        assert!(waiting.await);
        outbox.push(Bytes::from_static(b"123456"));
        let mark = outbox.mark();
        let (room, pulled) = (outbox.room(), outbox.pulled_beyond(mark));
        tokio::pin!(room, pulled);
        assert!(futures_util::poll!(&mut room).is_pending());
        assert!(futures_util::poll!(&mut pulled).is_pending());
        outbox.cut(CloseReason::NORMAL);
        assert!(!room.await);
        assert_eq!(pulled.await, None);
    }
}
