//! Whether work comes to a store so fast that a batch should wait for more of it.
//!
//! Not here: how long it waits then (`sqlite::writer`, `postgres::lane`). Invariant: the rate decides, not the size of a
//! batch. On a busy machine messages that came apart are read together, and nothing follows them.

use std::time::{Duration, Instant};

/// The rate is counted over windows of this length, one after the other.
const WINDOW: Duration = Duration::from_millis(50);

/// The rate at which jobs come.
#[derive(Debug)]
pub(super) struct Pace {
    /// The lowest rate that is fast, in jobs per second.
    fast_per_second: u32,
    /// When the window began.
    began: Instant,
    /// The jobs in this window.
    jobs: usize,
    /// Whether the window before was fast.
    was_fast: bool,
}

impl Pace {
    /// The first window begins now.
    pub(super) fn new(fast_per_second: u32, now: Instant) -> Self {
        Self {
            fast_per_second,
            began: now,
            jobs: 0,
            was_fast: false,
        }
    }

    /// Counts the jobs of a batch.
    pub(super) fn count(&mut self, jobs: usize, now: Instant) {
        self.jobs += jobs;
        let took = now.saturating_duration_since(self.began);
        if took < WINDOW {
            return;
        }
        let jobs = u32::try_from(self.jobs).unwrap_or(u32::MAX);
        self.was_fast = f64::from(jobs) / took.as_secs_f64() >= f64::from(self.fast_per_second);
        (self.began, self.jobs) = (now, 0);
    }

    /// Whether jobs come fast: they did in the last window, and that was just now.
    pub(super) fn is_fast(&self, now: Instant) -> bool {
        self.was_fast && now.saturating_duration_since(self.began) < 2 * WINDOW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether batches of this many jobs, this far apart, are fast after a second.
    fn is_fast(jobs: usize, apart: Duration) -> bool {
        let mut now = Instant::now();
        let mut pace = Pace::new(1_000, now);
        for _ in 0..1_000_000 / apart.as_micros() {
            now += apart;
            pace.count(jobs, now);
        }
        pace.is_fast(now)
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
        assert!(pace.is_fast(now));
        // The next job comes alone, and nothing was counted since.
        now += 2 * WINDOW;
        assert!(!pace.is_fast(now));
        pace.count(1, now);
        assert!(!pace.is_fast(now));
    }
}
