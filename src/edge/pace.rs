//! Spreads the closes of a draining node, so that its clients do not come back all at once.
//!
//! Invariant: every connection gets a turn of its own, and the last one comes in bounded time.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Gives out the turns.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: u32,
    spread_max: Duration,
    /// Fixed by the first who asks: when it began, and the time between two turns.
    begun: OnceLock<(Instant, Duration)>,
    given: AtomicU32,
}

impl Pace {
    pub(super) fn new(per_second: u32, spread_max: Duration) -> Self {
        Self {
            per_second: per_second.max(1),
            spread_max,
            begun: OnceLock::new(),
            given: AtomicU32::new(0),
        }
    }

    /// When the next connection closes, of about so many.
    pub(super) fn next_close(&self, connections: usize) -> Instant {
        let (begun, step) = *self.begun.get_or_init(|| {
            let count = u32::try_from(connections).unwrap_or(u32::MAX).max(1);
            let step = (Duration::from_secs(1) / self.per_second).min(self.spread_max / count);
            (Instant::now(), step)
        });
        begun + step * self.given.fetch_add(1, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn closes_are_paced_and_end_in_time() {
        let check = |connections: usize, last_ms: u64| {
            let pace = Pace::new(1_000, Duration::from_secs(15));
            let begun = Instant::now();
            let last = (0..connections)
                .map(|_| pace.next_close(connections))
                .last();
            let last = last.unwrap() - begun;
            assert!(
                last.as_millis().abs_diff(last_ms.into()) <= 200,
                "{connections}: {last:?}"
            );
        };
        check(1, 0);
        check(1_000, 1_000);
        check(10_000, 10_000);
        check(100_000, 15_000);
    }
}
