//! Quota in this process: the buckets of a node without companions.
//!
//! Not shared between nodes. Invariant: as `policy::bucket`, as long as fewer buckets are not full than the table may
//! hold; a bucket that is full again is forgotten, which changes nothing.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::time::Instant;

use super::recent::{Recent, Worth};
use super::{Quota, QuotaSettings};
use crate::policy::bucket::{self, Level, Rate, Verdict};

/// Buckets in the memory of this process, by tokio's clock.
#[derive(Debug)]
pub struct MemoryQuota {
    origin: Instant,
    /// A plain mutex: held for one look-up, never across an await.
    buckets: Mutex<Recent<Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    level: Level,
    rate: Rate,
}

impl Worth for Bucket {
    fn worth(&self, now_ms: u64) -> u64 {
        self.level.full_in_ms(now_ms, self.rate)
    }
}

impl MemoryQuota {
    /// An empty table: every bucket is full.
    #[must_use]
    pub fn new(settings: QuotaSettings) -> Self {
        Self {
            origin: Instant::now(),
            buckets: Mutex::new(Recent::new(settings.keys_max)),
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn buckets(&self) -> MutexGuard<'_, Recent<Bucket>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many buckets are held.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.buckets().len()
    }
}

#[async_trait]
impl Quota for MemoryQuota {
    async fn take_several(&self, key: &str, rate: Rate, tokens: u32) -> Verdict {
        if rate.is_off() {
            return Verdict::Allowed {
                remaining: u32::MAX,
            };
        }
        let now_ms = self.now_ms();
        let full = || Bucket {
            level: Level::full(now_ms, rate),
            rate,
        };
        self.buckets().with(key, now_ms, full, |bucket| {
            let (after, verdict) =
                bucket::take(bucket.level, now_ms, rate, tokens.min(rate.capacity));
            *bucket = Bucket { level: after, rate };
            verdict
        })
    }

    fn refuses(&self, key: &str, rate: Rate, tokens: u32) -> Option<u64> {
        let buckets = self.buckets();
        let level = buckets.get(key)?.level;
        bucket::refused_for_ms(level, self.now_ms(), rate, tokens.min(rate.capacity))
    }
}
