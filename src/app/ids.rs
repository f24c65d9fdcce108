//! Message ids: ULIDs that grow within a node, also within one millisecond.
//!
//! Not here: order between nodes; that is `seq`. The random part comes from the operating system,
//! so that ids of several nodes never meet.

use std::sync::{Mutex, PoisonError};

use crate::model::{MessageId, UnixMillis};

/// The source of message ids of one node.
#[derive(Debug)]
pub(super) struct MessageIds {
    /// The last id. A std mutex: it is held for a comparison.
    last: Mutex<MessageId>,
}

impl MessageIds {
    pub(super) fn new() -> Self {
        Self {
            last: Mutex::new(MessageId(0)),
        }
    }

    /// The next id: of now, or one more than the last when the clock has not moved on.
    pub(super) fn next(&self, now: UnixMillis) -> MessageId {
        let fresh = MessageId::from_parts(now.0, rand::random());
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = if fresh.0 >> 80 > last.0 >> 80 {
            fresh
        } else {
            MessageId(last.0 + 1)
        };
        *last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_whatever_the_clock_does() {
        let ids = MessageIds::new();
        let times = [5, 5, 5, 9, 3, 9, 10].map(UnixMillis);
        let made: Vec<_> = times.into_iter().map(|now| ids.next(now)).collect();
        assert!(made.is_sorted_by(|a, b| a < b), "{made:?}");
    }
}
