//! Quota in this process: the buckets of a node without companions.
//!
//! Not shared between nodes. Invariant: as `policy::bucket`, as long as fewer subjects are active
//! within five minutes than the table may hold.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use tokio::time::Instant;

use super::recent::Recent;
use super::{Quota, QuotaSettings};
use crate::policy::bucket::{self, Level, Rate, Verdict};

/// Buckets in the memory of this process, by tokio's clock.
#[derive(Debug)]
pub struct MemoryQuota {
    origin: Instant,
    /// A plain mutex: held for one look-up, never across an await.
    levels: Mutex<Recent<Level>>,
}

impl MemoryQuota {
    /// An empty table: every bucket is full.
    #[must_use]
    pub fn new(settings: QuotaSettings) -> Self {
        Self {
            origin: Instant::now(),
            levels: Mutex::new(Recent::new(settings.keys_max, settings.idle_ms)),
        }
    }
}

#[async_trait]
impl Quota for MemoryQuota {
    async fn take(&self, key: &str, rate: Rate) -> Verdict {
        if rate.is_off() {
            return Verdict::Allowed {
                remaining: u32::MAX,
            };
        }
        let now_ms = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        let level = levels.get_or_insert(key, now_ms, || Level::full(now_ms, rate));
        let (after, verdict) = bucket::take(*level, now_ms, rate, 1);
        *level = after;
        verdict
    }
}
