//! Cursors: how far a message has been delivered through a list of subscriptions that may change meanwhile.
//!
//! Not here: the deliveries (`fan_out`). Invariant: a subscription that stands in its list from the beginning of a
//! fan-out to its end is met exactly once, whatever is added and removed meanwhile.
//!
//! Lists grow at their end only and keep their order, so a cursor is a position, which moves down when something
//! before it is removed. Only a message that is delivered in several pieces has one.

use std::collections::HashMap;
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

/// The cursors of all lists, by topic or pattern.
#[derive(Debug, Default)]
pub(super) struct Cursors {
    /// A std mutex: fan-outs add and remove theirs while they read the index.
    lists: Mutex<HashMap<Box<str>, Vec<Arc<Cursor>>>>,
}

/// The cursors of one list, while subscriptions are removed from it.
#[derive(Debug)]
pub(super) struct InList<'a>(&'a [Arc<Cursor>]);

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
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        let list = lists.entry(topic.into()).or_default();
        list.push(Arc::clone(&cursor));
        cursor
    }

    pub(super) fn remove(&self, cursor: &Arc<Cursor>) {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = lists.get_mut(&cursor.topic) {
            list.retain(|other| !Arc::ptr_eq(other, cursor));
            if list.is_empty() {
                lists.remove(&cursor.topic);
            }
        }
    }

    /// Those in the list of a topic, from which subscriptions are about to be removed.
    pub(super) fn in_list(&mut self, topic: &str) -> InList<'_> {
        let lists = self.lists.get_mut().unwrap_or_else(PoisonError::into_inner);
        InList(lists.get(topic).map_or(&[], Vec::as_slice))
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.lists.lock().unwrap().is_empty()
    }
}

impl InList<'_> {
    /// The subscription at this position was removed; those after it move down.
    pub(super) fn removed(&self, position: usize) {
        for cursor in self.0 {
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
