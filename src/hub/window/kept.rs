//! What the windows of one session keep together: a client that opens many windows may not keep more
//! than one that opens one.
//!
//! Invariants: what is counted in is counted out, once; what is kept is covered by the byte account, but
//! for one chunk.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::{Content, Entry};
use crate::budget::{Chunks, Evict, Lease, Missing, granted};
use crate::hub::outbox::{Outbox, OutboxLimits};
use crate::model::{CloseReason, headers};

/// How much is covered at once. One chunk more than needed stays covered while a session has windows.
const CHUNKS: Chunks = Chunks {
    bytes: 4 << 10,
    slack: 4 << 10,
};

/// How many times what may wait for a client may be kept for it, unsettled or waiting: a window of
/// large messages is not as large as its number of places says.
const KEPT_TIMES: usize = 8;

/// About what a message costs besides its texts: a map that is filled in order is half empty.
pub(super) const ENTRY_BYTES: usize = 2 * size_of::<Entry>() + 64;

/// The counts. Atomics: windows of one session are used by several tasks, and each count is looked
/// at by itself.
#[derive(Debug)]
pub(in crate::hub) struct Kept {
    /// The outbox of the session, which is cut when too much is kept.
    outbox: Weak<Outbox>,
    /// So many bytes may be kept without asking the byte account: of the session alone, and of bodies
    /// that are charged to the node once.
    allowed_own: AtomicUsize,
    allowed_shared: AtomicUsize,
    /// Made with the first message. A std mutex: held for moving between the account and here.
    lease: Mutex<Option<Box<Lease>>>,
    /// Octets of bodies among those below that are charged to the node once for all who keep them.
    shared_bytes: AtomicUsize,
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
    /// Nothing is kept yet for the session with this outbox.
    pub(in crate::hub) fn new(outbox: &Arc<Outbox>) -> Arc<Self> {
        let allowed = match outbox.owner() {
            Some(_) => 0,
            None => usize::MAX,
        };
        Arc::new(Self {
            outbox: Arc::downgrade(outbox),
            allowed_own: AtomicUsize::new(allowed),
            allowed_shared: AtomicUsize::new(allowed),
            lease: Mutex::default(),
            shared_bytes: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            waiting_bytes: AtomicUsize::new(0),
            unsettled: AtomicUsize::new(0),
            unsettled_bytes: AtomicUsize::new(0),
            unanswered: AtomicU64::new(0),
        })
    }

    /// Covers what is kept. Returns whether the byte account grants it.
    pub(super) fn is_covered(self: &Arc<Self>) -> bool {
        let (own, shared) = self.parts();
        let is_allowed = own <= self.allowed_own.load(Ordering::Relaxed)
            && shared <= self.allowed_shared.load(Ordering::Relaxed);
        is_allowed || self.cover(own, shared)
    }

    #[cold]
    fn cover(self: &Arc<Self>, own: usize, shared: usize) -> bool {
        let Some(outbox) = self.outbox.upgrade() else {
            return false;
        };
        let Some(owner) = outbox.owner() else {
            return true;
        };
        // Room is made without the lock of the lease, for which other windows of the session would wait.
        let covered = granted(|| {
            let mut lease = self.lease();
            let held = lease.get_or_insert_with(|| {
                let mut lease = owner.memory().lease_in(&owner.claimant(), CHUNKS);
                let whose: Weak<Self> = Arc::downgrade(self);
                lease.set_evictable(whose);
                Box::new(lease)
            });
            held.identify(&owner.claimant());
            held.try_cover(own as u64, shared as u64)?;
            self.allow(held);
            Ok::<_, Missing>(())
        });
        covered.is_ok()
    }

    /// Notes what is covered.
    fn allow(&self, held: &Lease) {
        let bytes = |covered: u64| usize::try_from(covered).unwrap_or(usize::MAX);
        let (own, shared) = (bytes(held.covered()), bytes(held.covered_shared()));
        self.allowed_own.store(own, Ordering::Relaxed);
        self.allowed_shared.store(shared, Ordering::Relaxed);
    }

    /// Gives back what is covered and not needed, once that is more than a chunk; with `all` also less.
    pub(in crate::hub) fn relax(&self, all: bool) {
        let (own, shared) = self.parts();
        let slack = if all { 0 } else { CHUNKS.slack as usize };
        let needs_less = |needed: usize, allowed: &AtomicUsize| {
            let covered = needed.next_multiple_of(CHUNKS.bytes as usize) + slack;
            covered < allowed.load(Ordering::Relaxed)
        };
        if !needs_less(own, &self.allowed_own) && !needs_less(shared, &self.allowed_shared) {
            return;
        }
        if let Some(held) = &mut *self.lease() {
            held.release(own as u64, shared as u64);
            self.allow(held);
        }
    }

    /// What the session keeps alone, and what is charged to the node once for all who keep it.
    fn parts(&self) -> (usize, usize) {
        let waiting = self.waiting_bytes.load(Ordering::Relaxed);
        let all = waiting + self.unsettled_bytes.load(Ordering::Relaxed);
        let shared = self.shared_bytes.load(Ordering::Relaxed);
        (all.saturating_sub(shared), shared)
    }

    fn lease(&self) -> MutexGuard<'_, Option<Box<Lease>>> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }

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
        self.shared_bytes
            .fetch_add(shared(&entry.content), Ordering::Relaxed);
    }

    pub(super) fn waits_no_more(&self, entry: &Entry) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        let octets = octets(&entry.content);
        self.waiting_bytes.fetch_sub(octets, Ordering::Relaxed);
        self.shared_bytes
            .fetch_sub(shared(&entry.content), Ordering::Relaxed);
    }

    pub(super) fn handed(&self, entry: &Entry) {
        metrics::gauge!("stomp_unsettled_messages").increment(1.0);
        self.unsettled.fetch_add(1, Ordering::Relaxed);
        let octets = octets(&entry.content);
        self.unsettled_bytes.fetch_add(octets, Ordering::Relaxed);
        self.shared_bytes
            .fetch_add(shared(&entry.content), Ordering::Relaxed);
        self.unanswered.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn settled(&self, entry: &Entry) {
        metrics::gauge!("stomp_unsettled_messages").decrement(1.0);
        self.unsettled.fetch_sub(1, Ordering::Relaxed);
        let octets = octets(&entry.content);
        self.unsettled_bytes.fetch_sub(octets, Ordering::Relaxed);
        self.shared_bytes
            .fetch_sub(shared(&entry.content), Ordering::Relaxed);
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

impl Evict for Kept {
    /// Cuts the session. Its windows are closed when its driver hears of it: an eviction may come while
    /// another window is locked, so that none is locked here.
    fn evict(&self) {
        if let Some(outbox) = self.outbox.upgrade() {
            outbox.cut(CloseReason::SLOW_CONSUMER);
        }
    }
}

/// How much of a message is charged to the node once for all who keep it.
fn shared(content: &Content) -> usize {
    match content.is_shared && content.tag.is_none() {
        true => content.body.len(),
        false => 0,
    }
}

/// About how much a message takes. What came from a queue is with the engine.
fn octets(content: &Content) -> usize {
    if content.tag.is_some() {
        return 0;
    }
    let texts = content.message_id.len() + content.body.len();
    ENTRY_BYTES + headers::kept_bytes(&content.headers) + texts
}
