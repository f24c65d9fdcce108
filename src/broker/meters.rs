//! What the broker counts for every message.
//!
//! Not here: the recorder and its text (`node`), and what is counted seldom, where it happens.
//! Invariant: each is looked up once, so that counting is an addition. The recorder must be installed
//! before.

use metrics::{Counter, Histogram, counter, histogram};

/// Handles to the counters.
pub(super) struct Meters {
    /// From the hand-over to the store until it has committed.
    pub(super) commit_seconds: Histogram,
    /// The same, until everybody here has the message and the router knows of it.
    pub(super) broadcast_seconds: Histogram,
    /// Messages that were delivered here.
    pub(super) local: Counter,
    /// Messages that were handed to the bus.
    pub(super) remote: Counter,
    /// Messages whose recipient is connected nowhere.
    pub(super) offline: Counter,
}

impl Meters {
    pub(super) fn new() -> Self {
        let messages = |path: &'static str| counter!("chat_messages_total", "path" => path);
        Self {
            commit_seconds: histogram!("store_commit_seconds"),
            broadcast_seconds: histogram!("chat_broadcast_latency"),
            local: messages("local"),
            remote: messages("remote"),
            offline: messages("offline"),
        }
    }
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meters").finish_non_exhaustive()
    }
}
