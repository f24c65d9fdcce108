//! The byte account: everything that this node buffers for clients draws on it.
//!
//! Not here: what the process really occupies, which the system reports and nothing obeys: an allocator
//! keeps pages that nobody uses. Invariants: the account is the sum of a base per socket, of leases, and of
//! the shared frames that are alive; a lease is taken in chunks, so that appending to a buffer touches
//! nothing that others touch.
//!
//! A frame that goes to many is alive once, whoever waits for it: it is charged to the node once, by
//! whoever keeps its bytes ([`Memory::set_shared_gauge`]), and each outbox that refers to it counts it to
//! the share of its session ([`Lease::cover_shared`]).

use std::sync::{Arc, Weak};

use super::charge::Charge;
use super::claimant::Claimant;
use super::parts::Parts;
use super::pool::{Evict, Pool, PoolSettings, Refused};

/// How much is leased at once, in bytes.
const CHUNK_BYTES: u64 = 16 << 10;

/// What the account is made with.
#[derive(Clone, Copy, Debug)]
pub struct MemorySettings {
    /// How many bytes clients may occupy together; zero for no limit.
    pub bytes_max: u64,
}

/// The byte account of a node.
pub struct Memory {
    pool: Arc<Pool>,
}

impl Memory {
    /// The bytes that one socket is charged with from its accept on: what it costs while it is idle, in
    /// this process and in the kernel, and a first buffer of [`Memory::BASE_BUFFER_BYTES`].
    pub const BASE_BYTES: u64 = 10 << 10;

    /// So many bytes of buffers are in the base of a socket: up to here nothing is leased.
    pub const BASE_BUFFER_BYTES: u64 = 4 << 10;

    /// An account in which nothing is used.
    #[must_use]
    pub fn new(settings: MemorySettings) -> Arc<Self> {
        let pool = Pool::new(PoolSettings {
            name: "memory",
            capacity: settings.bytes_max,
            reserve: settings.bytes_max / 8,
            parts: Parts::DEFAULT,
            network_max: 0,
        });
        Arc::new(Self { pool })
    }

    /// Names what says how many bytes of shared frames are alive. The first one counts.
    pub fn set_shared_gauge(&self, gauge: fn() -> u64) {
        self.pool.set_together(gauge);
    }

    /// The base of a socket.
    ///
    /// # Errors
    /// As [`Pool::take`].
    pub fn socket(&self, claimant: &Claimant) -> Result<Charge, Refused> {
        if self.is_full() {
            return Err(Refused::Full);
        }
        self.pool.take(claimant, Self::BASE_BYTES)
    }

    /// A lease of nothing yet.
    #[must_use]
    pub fn lease(self: &Arc<Self>, claimant: &Claimant) -> Lease {
        Lease {
            memory: Arc::clone(self),
            charge: self.pool.charge(claimant),
        }
    }

    /// Takes this much from the largest holder, if they hold much more than the claimant. Returns whether it
    /// is worth to try again. Call it without any lock that an eviction may need ([`Evict`]).
    #[must_use]
    pub fn make_room(&self, claimant: &Claimant, own: u64, shared: u64) -> bool {
        let is_made = self.pool.make_room(claimant, own, shared);
        if !is_made {
            self.pool.count_refusal();
        }
        is_made
    }

    /// How many bytes are charged, shared frames included.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.pool.used() + self.pool.used_together()
    }

    /// How many bytes there are; zero is without a limit.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.pool.capacity()
    }

    /// Whether nothing more can be buffered for anybody.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.capacity() > 0 && self.used() >= self.capacity()
    }

    /// Whether so much is charged that visitors get nothing more, and only the reserve is left.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.capacity() > 0 && self.used() + self.pool.reserve() >= self.capacity()
    }

    /// Sets the gauges `budget_used` and `budget_capacity`, shared frames included.
    pub fn publish(&self) {
        self.pool.publish_as(self.used());
    }

    /// The pool behind it, for figures and tests.
    #[must_use]
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory")
            .field("used", &self.used())
            .field("capacity", &self.capacity())
            .finish()
    }
}

/// A client whose buffers draw on the account, as far as they are known now. A buffer asks only when it
/// needs a lease, so that an idle session keeps none.
pub trait MemoryOwner: Send + Sync + std::fmt::Debug {
    /// The account.
    fn memory(&self) -> &Arc<Memory>;

    /// Whose the bytes are now; a visitor may become a member.
    fn claimant(&self) -> Claimant;
}

/// The bytes that buffers of one client occupy; dropping it gives them back.
#[derive(Debug)]
pub struct Lease {
    memory: Arc<Memory>,
    charge: Charge,
}

impl Lease {
    /// Covers so many bytes in all, rounded up to whole chunks. Call it again whenever a buffer has grown
    /// or has been emptied; it touches the account only when that changes the number of chunks.
    ///
    /// # Errors
    /// As [`Pool::take`]; what was covered before stays covered.
    pub fn cover(&mut self, bytes: u64) -> Result<(), Refused> {
        let wanted = bytes.div_ceil(CHUNK_BYTES) * CHUNK_BYTES;
        let held = self.charge.amount();
        if wanted > held {
            if self.memory.is_full() {
                return Err(Refused::Full);
            }
            self.charge.grow(wanted - held)?;
        } else if wanted < held {
            self.charge.shrink(held - wanted);
        }
        Ok(())
    }

    /// The same for bytes of shared frames.
    ///
    /// # Errors
    /// As [`Pool::take`].
    pub fn cover_shared(&mut self, bytes: u64) -> Result<(), Refused> {
        let wanted = bytes.div_ceil(CHUNK_BYTES) * CHUNK_BYTES;
        let held = self.charge.shared();
        if wanted > held {
            if self.memory.is_full() {
                return Err(Refused::Full);
            }
            self.charge.grow_shared(wanted - held)?;
        } else if wanted < held {
            self.charge.shrink_shared(held - wanted);
        }
        Ok(())
    }

    /// Covers exactly so many bytes, own and of shared frames, and takes nothing from anybody else for it:
    /// for callers that hold a lock which an eviction may need. When it is refused, give the lock back,
    /// call [`Memory::make_room`] and try again.
    ///
    /// # Errors
    /// As [`Pool::take`]; what was covered before stays covered.
    pub fn try_cover(&mut self, own: u64, shared: u64) -> Result<(), Refused> {
        let (held_own, held_shared) = (self.charge.amount(), self.charge.shared());
        let (more_own, more_shared) = (
            own.saturating_sub(held_own),
            shared.saturating_sub(held_shared),
        );
        if more_own + more_shared > 0 {
            if self.memory.is_full() {
                return Err(Refused::Full);
            }
            self.charge.grow_quietly(more_own, more_shared)?;
        }
        if own < held_own {
            self.charge.shrink(held_own - own);
        }
        if shared < held_shared {
            self.charge.shrink_shared(held_shared - shared);
        }
        Ok(())
    }

    /// Whose the bytes are.
    #[must_use]
    pub fn claimant(&self) -> &Claimant {
        self.charge.claimant()
    }

    /// How many bytes are covered, without those of shared frames.
    #[must_use]
    pub fn covered(&self) -> u64 {
        self.charge.amount()
    }

    /// How many bytes of shared frames are covered.
    #[must_use]
    pub fn covered_shared(&self) -> u64 {
        self.charge.shared()
    }

    /// From now on the bytes are somebody else's: the same client, of whom more is known.
    pub fn identify(&mut self, claimant: Claimant) {
        self.charge.identify(claimant);
    }

    /// Under pressure `whose` may have to give up its buffers.
    pub fn set_evictable(&mut self, whose: Weak<dyn Evict>) {
        self.charge.set_evictable(whose);
    }
}
