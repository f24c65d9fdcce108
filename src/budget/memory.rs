//! The byte account: everything that this node buffers for clients draws on it.
//!
//! Not here: what the process really occupies, which the system reports and nothing obeys: an allocator
//! keeps pages that nobody uses. Invariants: the account is the sum of a base per socket, of leases, and of
//! the shared frames that are alive; a lease is taken in chunks, so that appending to a buffer touches
//! nothing that others touch.
//!
//! A frame that goes to many is alive once, however many wait for it: it is charged to the node once, where its
//! bytes are counted ([`Memory::add_shared_gauge`]), and each outbox that refers to it counts it to the share of its
//! session ([`Lease::cover`]).

use std::sync::Arc;

use super::claimant::Claimant;
use super::lease::{Chunks, Lease};
use super::pool::{Gauged, Pool, PoolSettings};

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
            reserve: settings.bytes_max / 8,
            ..PoolSettings::new("memory", settings.bytes_max)
        });
        Arc::new(Self { pool })
    }

    /// Adds something that counts the bytes of shared frames, to which leases refer. It takes no lock.
    pub fn add_shared_gauge(&self, gauge: impl Fn() -> u64 + Send + Sync + 'static) {
        self.pool.add_gauge(Gauged::Shared, Box::new(gauge));
    }

    /// Adds something that counts other bytes for which no client is charged here, such as messages in queues. It
    /// takes no lock.
    pub fn add_gauge(&self, gauge: impl Fn() -> u64 + Send + Sync + 'static) {
        self.pool.add_gauge(Gauged::Other, Box::new(gauge));
    }

    /// A lease of nothing yet.
    #[must_use]
    pub fn lease(&self, claimant: &Claimant) -> Lease {
        self.lease_in(claimant, Chunks::ONCE)
    }

    /// The same with other chunks.
    #[must_use]
    pub fn lease_in(&self, claimant: &Claimant, chunks: Chunks) -> Lease {
        Lease::new(self.pool.charge(claimant), chunks)
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
