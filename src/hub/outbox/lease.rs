//! What an outbox holds beyond the base of its socket, covered by the byte account.
//!
//! Not here: the account and its shares (`budget`), queueing (`outbox`). Invariants: what an outbox with an
//! owner holds, and what its driver has pulled and still writes, is covered, but for [`BASE_BYTES`] and one
//! chunk of the list itself; an outbox that is cut holds no lease.
//!
//! ```text
//! allowed    = base + covered - lent, at most the limit of the outbox; 32 times that for a client that reads
//! push       takes while it stays within what is allowed, and touches no account
//!            beyond it: another chunk is covered, or the session is cut
//! drained    one chunk stays, so that a busy session does not ask for each burst
//! at rest    the driver's timer gives that back too
//! ```
//!
//! The bytes of a frame are charged to the node once (`websocket::alive_bytes`); each outbox that refers to
//! it counts it to the share of its client ([`Lease::try_cover`]).
//!
//! An eviction locks a queue, so the account is asked as `budget::Lease` describes: one attempt under the lock, and
//! room is made without it.

use std::sync::{Arc, MutexGuard, Weak};
use std::time::Duration;

use super::queue::{Queue, Rare};
use super::{Outbox, OutboxLimits, Turn};
use crate::budget::{Chunks, Evict, Lease, Memory, MemoryOwner, Missing, granted};
use crate::websocket::Framed;

/// So many bytes are in the base charge of a socket (`budget::Memory::BASE_BUFFER_BYTES`): half of its
/// buffers. The other half is the driver's.
pub(super) const BASE_BYTES: usize = 2 << 10;

const _: () = assert!(2 * BASE_BYTES as u64 == Memory::BASE_BUFFER_BYTES);

/// How much is covered at once. Nothing is given back before everything was written.
const CHUNKS: Chunks = Chunks {
    bytes: 16 << 10,
    slack: u32::MAX,
};

/// What a busy outbox keeps for its next burst.
const CHUNK_BYTES: usize = CHUNKS.bytes as usize;

/// A client that reads may have so many times the limits, within its share of memory: a burst is no sign of a slow consumer.
/// One that reads nothing is one, and ends at the limits. So many, because all clients of one network together may send
/// `RATE_NET_BURST` KiB at once, twice that from an IPv6 /48.
pub(super) const READING_TIMES: usize = 32;

/// A client is reading while its socket has taken something within this time.
const READING_WITHIN: Duration = Duration::from_secs(2);

impl Outbox {
    /// The slow path of a push, for a frame beyond what the queue may take without asking. Cuts the session
    /// when the frame exceeds a limit or is not granted.
    #[cold]
    pub(super) fn covered<'a>(
        self: &'a Arc<Self>,
        queue: MutexGuard<'a, Queue>,
        bytes: usize,
    ) -> Option<MutexGuard<'a, Queue>> {
        let limits = match queue.is_reading() {
            true => self.limits.while_reading(),
            false => self.limits,
        };
        let refused = match queue.is_full(limits, bytes) {
            true => queue,
            false => match self.granted(queue, bytes) {
                Ok(granted) => return Some(granted),
                Err(refused) => refused,
            },
        };
        self.cut_slow(refused);
        None
    }

    /// Covers this many bytes more. Evicts a larger holder if need be. Gives the queue back in any case; it
    /// may have been cut meanwhile, which is a refusal too.
    pub(super) fn granted<'a>(
        self: &'a Arc<Self>,
        queue: MutexGuard<'a, Queue>,
        bytes: usize,
    ) -> Result<MutexGuard<'a, Queue>, MutexGuard<'a, Queue>> {
        let Some(owner) = &self.owner else {
            return Ok(queue);
        };
        let mut locked = Some(queue);
        let covered = granted(|| {
            let mut queue = locked.take().unwrap_or_else(|| self.lock());
            if queue.cut.is_some() || queue.turn == Turn::Over {
                return Ok(Err(queue));
            }
            queue.cover(self, owner, bytes).map(|()| Ok(queue))
        });
        covered.unwrap_or_else(|_| Err(self.lock()))
    }

    /// Gives back what an outbox that holds next to nothing keeps for the next burst. For the timer of
    /// its driver.
    pub fn rest(&self) {
        let mut queue = self.lock();
        if queue.bytes <= BASE_BYTES && queue.rare.as_ref().is_some_and(|rare| rare.lent == 0) {
            queue.give_back();
        }
    }

    /// On whose share its bytes count.
    pub(in crate::hub) fn owner(&self) -> Option<&Arc<dyn MemoryOwner>> {
        self.owner.as_ref()
    }
}

impl Evict for Outbox {
    /// Cuts the session, unless it only keeps room for the next burst.
    fn evict(&self) {
        let mut queue = self.lock();
        let lent = queue.rare.as_ref().map_or(0, |rare| rare.lent);
        queue.give_back();
        if queue.bytes + lent > BASE_BYTES {
            self.cut_slow(queue);
        }
    }
}

impl Queue {
    /// One attempt to cover this many bytes beside those that are held.
    fn cover(
        &mut self,
        of: &Arc<Outbox>,
        owner: &Arc<dyn MemoryOwner>,
        bytes: usize,
    ) -> Result<(), Missing> {
        let list = (self.held() + 1) * size_of::<Framed>();
        let wanted = self.bytes + bytes;
        let rare = self.rare.get_or_insert_default();
        let lease = rare.lease.get_or_insert_with(|| lease(of, owner));
        lease.identify(&owner.claimant());
        let shared = (wanted + rare.lent).saturating_sub(BASE_BYTES);
        let own = list.saturating_sub(BASE_BYTES);
        lease.try_cover(own as u64, shared as u64)?;
        self.allow(of.limits.bytes_max.max(wanted));
        Ok(())
    }

    /// Notes that the driver pulls everything: it is covered until it asks again.
    pub(super) fn lend(&mut self, bytes_max: usize) {
        let bytes = self.bytes;
        if let Some(rare) = &mut self.rare
            && rare.lease.is_some()
        {
            rare.lent = bytes;
            self.allow(bytes_max);
        }
    }

    /// Everything was written: one chunk stays for the next burst.
    pub(super) fn take_back(&mut self, bytes_max: usize) {
        let Some(rare) = &mut self.rare else { return };
        let Some(lease) = &mut rare.lease else { return };
        rare.lent = 0;
        if lease.covered_shared() > CHUNK_BYTES as u64 && self.bytes <= BASE_BYTES {
            lease.release(0, CHUNK_BYTES as u64);
        }
        self.allow(bytes_max);
    }

    /// Nothing is covered any more.
    pub(super) fn give_back(&mut self) {
        if let Some(rare) = &mut self.rare
            && rare.lease.take().is_some()
        {
            rare.lent = 0;
            self.bytes_allowed = self.bytes_allowed.min(BASE_BYTES);
            if rare.watch.is_none() {
                self.rare = None;
            }
        }
    }

    /// Whether the client has taken something lately, as far as is known here. Without a wire the driver pulls everything and
    /// ends a session that takes nothing of it (`OUTBOX_STALL`). Until then, a client whose driver has pulled is reading.
    fn is_reading(&self) -> bool {
        match (self.turn, self.written) {
            (Turn::Writing, _) => true,
            (_, Some(written)) => written.elapsed() < READING_WITHIN,
            (_, None) => self.pushed > self.held() as u64,
        }
    }

    fn allow(&mut self, bytes_max: usize) {
        if let Some(Rare {
            lease: Some(lease),
            lent,
            ..
        }) = self.rare.as_deref()
        {
            let covered = usize::try_from(lease.covered_shared()).unwrap_or(usize::MAX);
            let allowed = BASE_BYTES.saturating_add(covered).saturating_sub(*lent);
            self.bytes_allowed = allowed.min(bytes_max);
        }
    }
}

impl OutboxLimits {
    fn while_reading(self) -> Self {
        Self {
            frames_max: self.frames_max.saturating_mul(READING_TIMES),
            bytes_max: self.bytes_max.saturating_mul(READING_TIMES),
        }
    }
}

/// An empty lease of which this outbox can be deprived.
fn lease(of: &Arc<Outbox>, owner: &Arc<dyn MemoryOwner>) -> Lease {
    let mut lease = owner.memory().lease_in(&owner.claimant(), CHUNKS);
    let whose: Weak<Outbox> = Arc::downgrade(of);
    lease.set_evictable(whose);
    lease
}

#[cfg(test)]
mod tests;
