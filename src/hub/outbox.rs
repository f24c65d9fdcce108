//! The bounded queue of encoded frames towards one session.
//!
//! Not here: the socket; the connection driver in `edge` pulls and writes. Invariant: a queue never
//! holds more than its limits. A consumer that does not keep up is cut with a reason; it is never
//! buffered for without limit, and whoever pushes never waits.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

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
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Bytes>,
    bytes: usize,
    /// Set once; afterwards nothing more is queued.
    cut: Option<CloseReason>,
}

impl Outbox {
    /// An empty outbox.
    #[must_use]
    pub fn new(limits: OutboxLimits) -> Self {
        Self {
            limits,
            queue: Mutex::default(),
            ready: Notify::new(),
        }
    }

    /// Queues one encoded frame. When it does not fit the session is cut as a slow consumer.
    /// Returns whether the frame was queued.
    pub fn push(&self, frame: Bytes) -> bool {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.cut.is_some() {
            return false;
        }
        let full = queue.frames.len() >= self.limits.frames_max
            || queue.bytes + frame.len() > self.limits.bytes_max;
        if full && !queue.frames.is_empty() {
            metrics::counter!("chat_messages_total", "path" => "dropped")
                .increment(1 + queue.frames.len() as u64);
            *queue = Queue {
                cut: Some(CloseReason::SLOW_CONSUMER),
                ..Queue::default()
            };
            drop(queue);
            self.ready.notify_one();
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
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.frames.len() * 2 < self.limits.frames_max.max(2)
            && queue.bytes * 2 < self.limits.bytes_max
    }

    /// Whether the session is to be ended.
    pub fn is_cut(&self) -> bool {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.cut.is_some()
    }

    /// Ends the session: the driver finds the reason at its next pull. The first reason stays.
    pub fn cut(&self, reason: CloseReason) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.cut.is_none() {
            *queue = Queue {
                cut: Some(reason),
                ..Queue::default()
            };
        }
        drop(queue);
        self.ready.notify_one();
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
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reason) = &queue.cut {
            return Some(Pulled::Cut(reason.clone()));
        }
        if queue.frames.is_empty() {
            return None;
        }
        queue.bytes = 0;
        Some(Pulled::Frames(std::mem::take(&mut queue.frames).into()))
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
        let outbox = std::sync::Arc::new(outbox());
        let waiting = outbox.pull();
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        outbox.push(Bytes::from_static(b"a"));
        assert_eq!(
            waiting.await,
            Pulled::Frames(vec![Bytes::from_static(b"a")])
        );
    }
}
