//! How fast work comes to a store, so that it waits for more only when more is on its way.
//!
//! Not here: how long it waits then (`sqlite::writer`, `postgres::lane`). Invariant: it is a rate and not the size of a batch, because a busy
//! machine makes batches of a few messages that came apart, and nothing more would come for whoever waited then.

use std::time::{Duration, Instant};

/// A rate is that of about so long.
const WINDOW: Duration = Duration::from_millis(50);

/// Counts jobs in windows one after the other.
#[derive(Debug)]
pub(super) struct Pace {
    /// From so many in a second on they come fast.
    fast_per_second: u32,
    began: Instant,
    jobs: usize,
    is_fast: bool,
}

impl Pace {
    pub(super) fn new(fast_per_second: u32, now: Instant) -> Self {
        Self {
            fast_per_second,
            began: now,
            jobs: 0,
            is_fast: false,
        }
    }

    /// So many jobs more.
    pub(super) fn count(&mut self, jobs: usize, now: Instant) {
        self.jobs += jobs;
        let took = now.saturating_duration_since(self.began);
        if took < WINDOW {
            return;
        }
        let jobs = u32::try_from(self.jobs).unwrap_or(u32::MAX);
        self.is_fast = f64::from(jobs) / took.as_secs_f64() >= f64::from(self.fast_per_second);
        (self.began, self.jobs) = (now, 0);
    }

    /// Whether they came fast in the last window that is over.
    pub(super) fn is_fast(&self) -> bool {
        self.is_fast
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether batches of so many, so far apart, are fast after a second of them.
    fn is_fast(jobs: usize, apart: Duration) -> bool {
        let mut now = Instant::now();
        let mut pace = Pace::new(1_000, now);
        for _ in 0..1_000_000 / apart.as_micros() {
            now += apart;
            pace.count(jobs, now);
        }
        pace.is_fast()
    }

    #[test]
    fn it_is_the_rate_that_counts_and_not_the_size_of_a_batch() {
        assert!(!is_fast(1, Duration::from_micros(2_500)));
        assert!(!is_fast(4, Duration::from_millis(10)));
        assert!(!is_fast(20, Duration::from_millis(40)));
        assert!(is_fast(1, Duration::from_micros(200)));
        assert!(is_fast(20, Duration::from_millis(4)));
    }

    #[test]
    fn a_burst_is_over_when_it_is_over() {
        let mut now = Instant::now();
        let mut pace = Pace::new(1_000, now);
        for _ in 0..60 {
            now += Duration::from_millis(1);
            pace.count(5, now);
        }
        assert!(pace.is_fast());
        now += Duration::from_secs(1);
        pace.count(1, now);
        assert!(!pace.is_fast());
    }
}
