//! How far messages are that are amid a list of subscriptions, while the list changes.
//!
//! Not here: the deliveries (`fan_out`). Invariant: a subscription that stands in its list from the beginning of a
//! fan-out to its end is met exactly once, whatever is added and removed meanwhile.
//!
//! Lists grow at their end only and keep their order, so a cursor is a position, which moves down when something
//! before it is removed. There is one only for a message that reaches more than is delivered in one go.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A place in the list of one topic or pattern.
#[derive(Debug)]
pub(super) struct Cursor {
    topic: Box<str>,
    /// The next subscription, and the one after the last. Written under the lock of the index: by the fan-out while
    /// it reads, by removals while they write.
    next: AtomicUsize,
    end: AtomicUsize,
}

/// The cursors of all lists.
#[derive(Debug, Default)]
pub(super) struct Cursors {
    /// A std mutex: fan-outs add and remove theirs while they read the index.
    all: Mutex<Vec<Arc<Cursor>>>,
}

/// The cursors of one list while something is removed from it.
#[derive(Debug)]
pub(super) struct Amid<'a> {
    cursors: &'a [Arc<Cursor>],
    topic: &'a str,
}

impl Cursor {
    /// What is left of the list.
    pub(super) fn left(&self) -> (usize, usize) {
        let (next, end) = (&self.next, &self.end);
        (next.load(Ordering::Relaxed), end.load(Ordering::Relaxed))
    }

    /// Everything before this was delivered.
    pub(super) fn advance(&self, next: usize) {
        self.next.store(next, Ordering::Relaxed);
    }
}

impl Cursors {
    /// A cursor in the list of a topic; give it back with [`Cursors::remove`].
    pub(super) fn add(&self, topic: &str, (next, end): (usize, usize)) -> Arc<Cursor> {
        let cursor = Arc::new(Cursor {
            topic: topic.into(),
            next: AtomicUsize::new(next),
            end: AtomicUsize::new(end),
        });
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Arc::clone(&cursor));
        cursor
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.all.lock().unwrap().is_empty()
    }

    pub(super) fn remove(&self, cursor: &Arc<Cursor>) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|other| !Arc::ptr_eq(other, cursor));
    }

    /// Those in the list of a topic, whose subscriptions are about to be removed.
    pub(super) fn amid<'a>(&'a mut self, topic: &'a str) -> Amid<'a> {
        let cursors = self.all.get_mut().unwrap_or_else(PoisonError::into_inner);
        Amid { cursors, topic }
    }
}

impl Amid<'_> {
    /// The subscription at this position was removed; those after it move down.
    pub(super) fn removed(&self, position: usize) {
        for cursor in self.cursors.iter().filter(|it| *it.topic == *self.topic) {
            let (next, end) = cursor.left();
            if position < next {
                cursor.next.store(next - 1, Ordering::Relaxed);
            }
            if position < end {
                cursor.end.store(end - 1, Ordering::Relaxed);
            }
        }
    }
}
