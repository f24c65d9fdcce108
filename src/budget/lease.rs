//! The bytes that buffers of one client occupy, covered by the byte account in chunks.
//!
//! Not here: the account (`memory`), and how a client is told of a refusal. Invariant: what is covered is a whole
//! number of chunks, so that appending to a buffer mostly touches nothing that others touch.
//!
//! Every buffer leases in the same way, whatever it is:
//!
//! ```text
//! within what is covered      nothing happens
//! beyond it                   another chunk is asked for
//! the pool is short           a larger holder is evicted, and it is asked for again
//! refused                     the client is told, and loses the buffer
//! much more covered than kept the rest is given back, beyond a slack that a busy client keeps
//! ```
//!
//! Locks. An eviction runs code of the client who loses (`Evict`), which takes the lock of that client's
//! buffers. So no lock that an eviction may need can be held while room is made: two clients that evict each
//! other would wait for ever. A buffer behind a lock therefore passes an attempt to [`granted`](super::granted):
//! it takes the lock, calls [`Lease::try_cover`], which evicts nothing, and gives the lock back. The account's
//! own lock is taken last, always, and for a few look-ups.

use std::sync::Weak;

use super::charge::Charge;
use super::claimant::Claimant;
use super::pool::{Evict, Refused};
use super::room::{Missing, granted};
use super::state::Amount;

/// In which steps a lease follows what it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunks {
    /// How many bytes are leased at once.
    pub bytes: u32,
    /// How many bytes more than needed stay covered.
    pub slack: u32,
}

impl Chunks {
    /// For what is asked for once, such as the body of a request.
    pub const ONCE: Self = Self {
        bytes: 16 << 10,
        slack: 0,
    };

    fn round(self, bytes: u64) -> u64 {
        let chunk = u64::from(self.bytes.max(1));
        bytes.div_ceil(chunk).saturating_mul(chunk)
    }

    /// What is to be covered when this much is needed and that much is covered.
    fn follow(self, needed: u64, covered: u64) -> u64 {
        let needed = self.round(needed);
        match covered.checked_sub(needed) {
            Some(unused) if unused <= u64::from(self.slack) => covered,
            Some(_) | None => needed,
        }
    }
}

/// A lease; dropping it gives everything back.
#[derive(Debug)]
pub struct Lease {
    charge: Charge,
    /// What is covered, unless it was evicted since; then the next attempt takes all of it anew.
    covered: Amount,
    chunks: Chunks,
}

impl Lease {
    pub(super) fn new(charge: Charge, chunks: Chunks) -> Self {
        Self {
            charge,
            covered: Amount::default(),
            chunks,
        }
    }

    /// Covers at least this many bytes of the client alone. Evicts larger holders when the node is short of memory:
    /// not under a lock that an eviction needs.
    ///
    /// # Errors
    /// As [`Pool::take`](super::Pool::take); what was covered before stays covered.
    pub fn cover(&mut self, bytes: u64) -> Result<(), Refused> {
        granted(|| self.try_cover(bytes, 0))
    }

    /// One attempt to cover at least this many bytes, those of the client alone and those of shared frames. Evicts
    /// nothing.
    ///
    /// # Errors
    /// What is missing, for [`granted`].
    pub fn try_cover(&mut self, own: u64, shared: u64) -> Result<(), Missing> {
        let wanted = Amount {
            own: self.chunks.follow(own, self.covered.own),
            shared: self.chunks.follow(shared, self.covered.shared),
        };
        self.resize(wanted)
    }

    /// Gives back everything beyond this, the slack too.
    pub fn release(&mut self, own: u64, shared: u64) {
        let to = Amount {
            own: self.chunks.round(own).min(self.covered.own),
            shared: self.chunks.round(shared).min(self.covered.shared),
        };
        // Only an evicted lease takes something for this. It is refused then, or may go on.
        let _less = self.resize(to);
    }

    fn resize(&mut self, to: Amount) -> Result<(), Missing> {
        if to == self.covered {
            return Ok(());
        }
        self.charge.try_resize(to)?;
        self.covered = to;
        Ok(())
    }

    /// How many bytes are covered, without those of shared frames.
    #[must_use]
    pub fn covered(&self) -> u64 {
        self.covered.own
    }

    /// How many bytes of shared frames are covered.
    #[must_use]
    pub fn covered_shared(&self) -> u64 {
        self.covered.shared
    }

    /// From now on the bytes are this claimant's: the same client, of whom more is known.
    pub fn identify(&mut self, claimant: &Claimant) {
        self.charge.identify(claimant);
    }

    /// When the node is short of memory `whose` may have to give up its buffers.
    pub fn set_evictable(&mut self, whose: Weak<dyn Evict>) {
        self.charge.set_evictable(whose);
    }
}
