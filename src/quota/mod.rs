//! The contract of quota: how many of something a subject may still do.
//!
//! Not here: the arithmetic of a bucket (`policy::bucket`), which buckets a message is taken from
//! (`app`). Invariant: a take costs no round trip but once in ten to twenty; when the shared engine
//! is away the local level decides: never open, never closed.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;

use crate::policy::bucket::{Rate, Verdict};

mod memory;
mod networks;
mod recent;
mod redis;
pub mod refused;

pub use self::memory::MemoryQuota;
pub use self::networks::{NetworkBuckets, Networks, quarters};
pub(crate) use self::recent::{Recent, Worth};
pub use self::redis::RedisQuota;

/// Token buckets shared by the nodes of a cluster.
#[async_trait]
pub trait Quota: Send + Sync + std::fmt::Debug {
    /// Takes one token from the bucket `key` (the engine's key as it stands in Redis, such as
    /// `rate:net:{prefix}`), which is full at first. Never fails: see the room's invariant.
    fn take<'a>(&'a self, key: &'a str, rate: Rate) -> BoxFuture<'a, Verdict> {
        self.take_several(key, rate, 1)
    }

    /// Takes all of these tokens or none. More than the capacity of the bucket count as its capacity.
    async fn take_several(&self, key: &str, rate: Rate, tokens: u32) -> Verdict;

    /// In how many milliseconds these tokens can be taken, when this node knows that they cannot now. Takes nothing, makes
    /// no bucket and asks nobody.
    fn refuses(&self, key: &str, rate: Rate, tokens: u32) -> Option<u64>;
}

/// The shared engine cannot be used at all: its setting is wrong or nobody answers. Refuse to start.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct QuotaError(pub String);

/// The bounds of an engine. The embedded one uses the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaSettings {
    /// How many buckets this node remembers at once, about 250 bytes each. One that is full again is forgotten.
    /// When there are more that are not full, those go that will be soonest.
    pub keys_max: usize,
    /// The most tokens that a node leases at a time; a small bucket is leased by tenths.
    pub lease_tokens_max: u32,
    /// How long leased tokens may be spent, in milliseconds. What the bucket regains in that time
    /// can be admitted beyond a burst, so it is short.
    pub lease_ms: u64,
    /// How long one answer of the shared engine may take.
    pub response: Duration,
    /// How long a connection to it may take to be there.
    pub connect: Duration,
}

impl Default for QuotaSettings {
    fn default() -> Self {
        Self {
            keys_max: 100_000,
            lease_tokens_max: 20,
            lease_ms: 3_000,
            response: Duration::from_millis(100),
            connect: Duration::from_millis(200),
        }
    }
}
