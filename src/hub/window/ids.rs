//! The unsettled messages of one session by their ids, for the ACKs and NACKs of STOMP 1.0 and 1.1, which name
//! nothing else.
//!
//! Not here: the messages themselves (`window`). Invariant: an unsettled message of a window that has this index
//! stands in it, so that an answer is found in logarithmic time however much is unsettled.
//!
//! Lock order: after the lock of a window. The lock is never held while another one is taken.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The hash of a message id, the number of the window, the number of the MESSAGE in it.
type Key = (u64, u64, u64);

/// The index. It is empty, and takes no memory of its own, while nothing is unsettled.
#[derive(Debug, Default)]
pub(in crate::hub) struct UnsettledIds(Mutex<BTreeSet<Key>>);

impl UnsettledIds {
    /// Message `n` of this window is unsettled now.
    pub(super) fn insert(&self, message_id: &str, window: u64, n: u64) {
        self.lock().insert((hash(message_id), window, n));
    }

    /// It is settled, or went with its window.
    pub(super) fn remove(&self, message_id: &str, window: u64, n: u64) {
        self.lock().remove(&(hash(message_id), window, n));
    }

    /// The first unsettled message whose id has this hash, at or after `from` in the order of windows: the numbers
    /// of its window and of the message in it. The caller compares the id.
    pub(in crate::hub) fn next(&self, hash: u64, from: (u64, u64)) -> Option<(u64, u64)> {
        let ids = self.lock();
        let mut rest = ids.range((hash, from.0, from.1)..=(hash, u64::MAX, u64::MAX));
        rest.next().map(|(_, window, n)| (*window, *n))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Key>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A hash that is the same for the life of the process.
pub(in crate::hub) fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
