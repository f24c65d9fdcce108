//! How many requests of SockJS a network may send.
//!
//! Not here: the arithmetic (`policy::bucket`), what one request costs (`docs/security.md`). Invariant: every request
//! of SockJS takes a token, also one that is refused for another reason.
//!
//! The buckets are those of this node, not of the cluster: what they protect is its CPU, and a session over requests
//! lives on one node. So a request never waits for Redis.

use std::sync::Arc;

use crate::policy::bucket::{Rate, Verdict};
use crate::quota::{Networks, Quota};

/// So many requests of SockJS for each that REST may have. 5,000 people behind one address who poll take 25 requests
/// a minute each: one for each of 10 messages in both directions, one for each of 2.4 heart-beats, and some to come
/// in. That is 125,000 of 240,000 with the defaults.
const TIMES_REST: u32 = 4;

/// A network may send this part of its minute at once: 40,000 with the defaults, 8 of each of 5,000 people.
const BURST_PART: u32 = 6;

/// The buckets of all endpoints of a node.
#[derive(Debug)]
pub(in crate::edge) struct RequestRate {
    rate: Rate,
    quota: Arc<dyn Quota>,
}

impl RequestRate {
    /// Buckets that follow what a network may ask of REST in a minute, kept here. 0 is off.
    pub(in crate::edge) fn new(rest_per_min: u32, quota: Arc<dyn Quota>) -> Self {
        let per_min = rest_per_min.saturating_mul(TIMES_REST);
        Self {
            rate: Rate::on_average(per_min, per_min.div_ceil(BURST_PART)),
            quota,
        }
    }

    /// Takes a token for one request.
    ///
    /// # Errors
    /// The milliseconds until the next one.
    pub(super) async fn take(&self, networks: &Networks) -> Result<(), u64> {
        match networks
            .take(self.quota.as_ref(), "http:sockjs", self.rate)
            .await
        {
            Verdict::Allowed { .. } => Ok(()),
            Verdict::Refused { retry_after_ms } => Err(retry_after_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;
    use crate::model::{ClientIdentifier, Width};
    use crate::quota::{MemoryQuota, QuotaSettings};

    fn address(byte: u8) -> Networks {
        let name = ClientIdentifier::from_mac(&[byte; 32]);
        Networks::new([(name, Width::Address)].into_iter(), 1)
    }

    fn with(rest_per_min: u32) -> RequestRate {
        let quota = MemoryQuota::new(QuotaSettings::default());
        RequestRate::new(rest_per_min, Arc::new(quota))
    }

    /// With the defaults of the settings.
    fn defaults() -> RequestRate {
        with(60_000)
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_that_polls_behind_one_address_is_never_refused() {
        let (rate, crowd) = (defaults(), address(1));
        // All arrive in the same second: `/info`, the session, CONNECT, CONNECTED, SUBSCRIBE, RECEIPT.
        for _ in 0..5_000 * 6 {
            assert_eq!(rate.take(&crowd).await, Ok(()));
        }
        // Then 10 messages in each direction and 2.4 heart-beats a minute, for two minutes.
        for _ in 0..120 {
            advance(Duration::from_secs(1)).await;
            for _ in 0..5_000 * 224 / 600 {
                assert_eq!(rate.take(&crowd).await, Ok(()));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_bounded_and_leaves_the_buckets_of_others_alone() {
        let (rate, flood) = (defaults(), address(1));
        let mut taken = 0;
        while rate.take(&flood).await.is_ok() {
            taken += 1;
        }
        assert_eq!(taken, 40_000);
        assert_eq!(rate.take(&flood).await, Err(1));
        assert_eq!(rate.take(&address(2)).await, Ok(()));
        advance(Duration::from_secs(1)).await;
        for _ in 0..4_000 {
            assert_eq!(rate.take(&flood).await, Ok(()));
        }
        assert_eq!(rate.take(&flood).await, Err(1));
    }

    #[tokio::test(start_paused = true)]
    async fn zero_switches_the_limit_off() {
        let (rate, flood) = (with(0), address(1));
        for _ in 0..100 {
            assert_eq!(rate.take(&flood).await, Ok(()));
        }
    }
}
