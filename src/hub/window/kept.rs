//! What the windows of one session keep together: a client that opens many windows may not keep more
//! than one that opens one.
//!
//! Invariant: what is counted in is counted out, once.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::{Content, Entry};
use crate::hub::outbox::OutboxLimits;

/// How many times what may wait for a client may be kept for it, unsettled or waiting: a window of
/// large messages is not as large as its number of places says.
const KEPT_TIMES: usize = 8;

/// About what a message costs besides its octets.
const ENTRY_BYTES: usize = 128;

/// The counts. Atomics: windows of one session are used by several tasks, and each count is looked
/// at by itself.
#[derive(Debug, Default)]
pub(in crate::hub) struct Kept {
    /// Messages that wait for a place.
    waiting: AtomicUsize,
    /// Their octets.
    waiting_bytes: AtomicUsize,
    /// Messages that are unsettled.
    unsettled: AtomicUsize,
    /// Their octets, as far as they are kept here.
    unsettled_bytes: AtomicUsize,
    /// How many messages went out for which neither ACK nor NACK has come.
    unanswered: AtomicU64,
}

impl Kept {
    /// Whether more is kept than may be. One message is never too much, however large.
    pub(super) fn is_beyond(&self, limits: OutboxLimits) -> bool {
        let waiting = self.waiting.load(Ordering::Relaxed);
        let waiting_bytes = self.waiting_bytes.load(Ordering::Relaxed);
        let unsettled = self.unsettled.load(Ordering::Relaxed);
        let all_bytes = waiting_bytes + self.unsettled_bytes.load(Ordering::Relaxed);
        waiting > limits.frames_max
            || (waiting > 1 && waiting_bytes > limits.bytes_max)
            || (waiting + unsettled > 1 && all_bytes > limits.bytes_max * KEPT_TIMES)
    }

    /// Whether what waits is less than half of what may.
    pub(super) fn has_room(&self, limits: OutboxLimits) -> bool {
        let waiting_bytes = self.waiting_bytes.load(Ordering::Relaxed);
        self.waiting.load(Ordering::Relaxed) * 2 < limits.frames_max.max(2)
            && waiting_bytes * 2 < limits.bytes_max
    }

    pub(super) fn wait(&self, entry: &Entry) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let octets = octets(&entry.content);
        self.waiting_bytes.fetch_add(octets, Ordering::Relaxed);
    }

    pub(super) fn waits_no_more(&self, entry: &Entry) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        let octets = octets(&entry.content);
        self.waiting_bytes.fetch_sub(octets, Ordering::Relaxed);
    }

    pub(super) fn handed(&self, entry: &Entry) {
        metrics::gauge!("stomp_unsettled_messages").increment(1.0);
        self.unsettled.fetch_add(1, Ordering::Relaxed);
        let octets = octets(&entry.content);
        self.unsettled_bytes.fetch_add(octets, Ordering::Relaxed);
        self.unanswered.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn settled(&self, entry: &Entry) {
        metrics::gauge!("stomp_unsettled_messages").decrement(1.0);
        self.unsettled.fetch_sub(1, Ordering::Relaxed);
        let octets = octets(&entry.content);
        self.unsettled_bytes.fetch_sub(octets, Ordering::Relaxed);
    }

    /// An ACK or a NACK came. Returns whether there was a message that it may have been for: each
    /// may be answered once, whatever the answer does.
    pub(in crate::hub) fn answered(&self) -> bool {
        let one_less = |unanswered: u64| unanswered.checked_sub(1);
        self.unanswered
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less)
            .is_ok()
    }
}

/// About how much a message takes. What came from a queue is with the engine.
fn octets(content: &Content) -> usize {
    if content.tag.is_some() {
        return 0;
    }
    let headers = content.headers.iter();
    let headers: usize = headers.map(|(name, value)| name.len() + value.len()).sum();
    ENTRY_BYTES + headers + content.body.len() + content.message_id.len()
}
