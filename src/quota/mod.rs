//! The contract of quota: how many of something a subject may still do.
//!
//! Not here: the arithmetic of a bucket (`policy::bucket`), which buckets a message is taken from
//! (`app`). Invariant: a take costs no round trip but once in ten to twenty; when the shared engine
//! is away the local level decides: never open, never closed.

use async_trait::async_trait;

use crate::policy::bucket::{Rate, Verdict};

mod memory;
mod recent;

pub use memory::MemoryQuota;

/// Token buckets shared by the nodes of a cluster.
#[async_trait]
pub trait Quota: Send + Sync + std::fmt::Debug {
    /// Takes one token from the bucket `key` (the engine's key as it stands in Redis, such as
    /// `rate:net:{prefix}`), which is full at first. Never fails: see the room's invariant.
    async fn take(&self, key: &str, rate: Rate) -> Verdict;
}

/// The bounds of an engine's own tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaSettings {
    /// How many subjects this node remembers at once. Beyond that the longest idle ones are
    /// forgotten, which fills their local bucket: about 200 octets each.
    pub keys_max: usize,
    /// How long a subject is remembered after its last take, in milliseconds.
    pub idle_ms: u64,
}

impl Default for QuotaSettings {
    fn default() -> Self {
        Self {
            keys_max: 100_000,
            idle_ms: 300_000,
        }
    }
}
