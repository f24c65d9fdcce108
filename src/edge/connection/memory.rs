//! What a connection keeps for its client outside the outbox, covered by the byte account.
//!
//! Not here: how much that is (`session`, `socket` and `settling` say so), shares (`budget`), what waits to
//! be written (`hub::outbox`). Invariant: whenever the task waits, everything that it keeps is covered but
//! for [`BASE_BYTES`], or the session is about to end.
//!
//! It keeps frames and messages that are incomplete, what was read and not looked at, transactions, subscriptions
//! with how far each is in every conversation, and requests whose outcome is not known. It counts them after each
//! piece of what it has read, so between two counts at most one piece more is there.

use std::sync::{Arc, Weak};

use super::{Connection, Step};
use crate::app::Live;
use crate::budget::{Chunks, Claimant, Evict, Lease, Memory};
use crate::hub::Outbox;
use crate::model::{CloseReason, Code, Problem};

/// So many bytes are in the base charge of a socket (`budget::Memory::BASE_BUFFER_BYTES`): half of its
/// buffers. The other half is the outbox's.
const BASE_BYTES: usize = 2 << 10;

const _: () = assert!(2 * BASE_BYTES as u64 == Memory::BASE_BUFFER_BYTES);

/// How much is covered at once: sessions with twenty subscriptions are common, and take two chunks. The slack is
/// given back when the timer fires.
const CHUNKS: Chunks = Chunks {
    bytes: 4 << 10,
    slack: 64 << 10,
};

/// The lease of a connection that keeps much.
#[derive(Debug)]
pub(super) struct DriverLease {
    lease: Lease,
    /// Ends the session when the lease is taken away. None before CONNECT, when little is kept.
    evicted: Option<Arc<Evicted>>,
}

#[derive(Debug)]
struct Evicted(Weak<Outbox>);

impl Evict for Evicted {
    fn evict(&self) {
        if let Some(outbox) = self.0.upgrade() {
            outbox.cut(CloseReason::LIMIT_EXCEEDED);
        }
    }
}

impl DriverLease {
    /// So many bytes are covered, those of the base included.
    fn covered(&self) -> usize {
        usize::try_from(self.lease.covered()).map_or(usize::MAX, |bytes| bytes + BASE_BYTES)
    }
}

impl Connection {
    /// Does what the session asks for, and ends it when what it keeps is not granted. `read` is what was
    /// read and not given to it.
    pub(super) async fn perform_covered(&mut self, read: usize) -> Step {
        self.perform().await?;
        if self.is_covered(self.kept_bytes() + read) {
            return Ok(());
        }
        Box::pin(self.end_for_memory()).await
    }

    async fn end_for_memory(&mut self) -> Step {
        let words = "Your connections hold as much memory as they may now. Close some of them, send smaller \
                     frames and commit transactions sooner, or connect again later.";
        let problem = Problem::new(Code::LimitExceeded, words).retry_after_ms(5_000);
        self.refuse(problem, Some(CloseReason::LIMIT_EXCEEDED));
        self.perform().await
    }

    /// Gives back what is covered and not needed.
    pub(super) fn rest(&mut self) {
        if let Some(live) = self.attached.live() {
            live.rest();
        }
        self.socket.rest();
        let needed = self.kept_bytes();
        match &mut self.lease {
            Some(_) if needed <= BASE_BYTES => self.lease = None,
            Some(held) => {
                held.lease.release(beyond_base(needed), 0);
            }
            None => {}
        }
    }

    /// About how many bytes are kept for the client.
    fn kept_bytes(&self) -> usize {
        let unsettled = self.unsettled.as_ref().map_or(0, |it| it.bytes());
        let inboxes = self.attached.live().map_or(0, Live::inbox_bytes);
        self.session.kept_bytes() + self.socket.buffered() + unsettled + inboxes
    }

    fn is_covered(&mut self, bytes: usize) -> bool {
        let covered = self.lease.as_ref().map_or(BASE_BYTES, |it| it.covered());
        if bytes <= covered && covered - bytes < CHUNKS.slack as usize {
            return true;
        }
        self.cover(bytes)
    }

    #[cold]
    fn cover(&mut self, bytes: usize) -> bool {
        let Some(claimant) = self.claimant() else {
            // Between CONNECT and its verdict nothing is read, and after a refusal nothing is kept.
            return true;
        };
        let memory = Arc::clone(self.edge.app.memory());
        let held = self.lease.get_or_insert_with(|| {
            let lease = memory.lease_in(&claimant, CHUNKS);
            let evicted = None;
            Box::new(DriverLease { lease, evicted })
        });
        held.lease.identify(&claimant);
        if held.evicted.is_none()
            && let Some(live) = self.attached.live()
        {
            let evicted = Arc::new(Evicted(Arc::downgrade(&live.outbox)));
            let whose: Weak<Evicted> = Arc::downgrade(&evicted);
            held.lease.set_evictable(whose);
            held.evicted = Some(evicted);
        }
        held.lease.cover(beyond_base(bytes)).is_ok()
    }

    /// Whose the bytes are, as far as it is known.
    pub(super) fn claimant(&self) -> Option<Claimant> {
        if let Some(live) = self.attached.live() {
            return Some(live.claimant());
        }
        let handshake = self.handshake.as_ref()?;
        Some(self.edge.app.multiples().stranger(handshake.address))
    }
}

fn beyond_base(bytes: usize) -> u64 {
    bytes.saturating_sub(BASE_BYTES) as u64
}

#[cfg(test)]
mod tests;
