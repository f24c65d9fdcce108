//! When a message is due, and what wakes the generator then.
//!
//! Not here: sending. Open loop: what is due is due, whether the server has answered or not, so that a
//! server that stalls is seen to stall. Invariant: the schedule follows from its beginning and the
//! rate alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use mio::Waker;

/// The finest step of a schedule; what is due within one is due at its beginning.
const STEP_NS: u64 = 1_000_000;

/// A rate of messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    begin_ns: u64,
    interval_ns: f64,
    /// How many have been taken.
    taken: u64,
}

impl Schedule {
    /// So many a second, the first one now.
    pub(super) fn new(rate: f64, begin_ns: u64) -> Self {
        Self {
            begin_ns,
            interval_ns: 1e9 / rate,
            taken: 0,
        }
    }

    /// When the next one is due, in nanoseconds of the run.
    pub(super) fn due_ns(&self) -> u64 {
        // Exact for far more than an hour of nanoseconds.
        let after_ns = (self.taken as f64 * self.interval_ns) as u64;
        let after_ns = match self.interval_ns < STEP_NS as f64 {
            true => after_ns / STEP_NS * STEP_NS,
            false => after_ns,
        };
        self.begin_ns + after_ns
    }

    /// The next one is sent.
    pub(super) fn take(&mut self) {
        self.taken += 1;
    }
}

/// A thread that wakes the poll at a time: the poll itself knows milliseconds only.
#[derive(Debug)]
pub(super) struct Alarm {
    set: Arc<Set>,
    sleeper: Thread,
    _thread: JoinHandle<()>,
}

#[derive(Debug)]
struct Set {
    at_ns: AtomicU64,
    is_over: AtomicBool,
}

/// No time at all.
const NEVER: u64 = u64::MAX;

impl Alarm {
    /// An alarm that is not set; its clock began then.
    pub(super) fn new(waker: Waker, began: Instant) -> Self {
        let set = Arc::new(Set {
            at_ns: AtomicU64::new(NEVER),
            is_over: AtomicBool::new(false),
        });
        let shared = Arc::clone(&set);
        let thread = thread::spawn(move || ring(&shared, &waker, began));
        Self {
            set,
            sleeper: thread.thread().clone(),
            _thread: thread,
        }
    }

    /// Wakes the poll at this nanosecond of the run.
    pub(super) fn set(&self, at_ns: u64) {
        if self.set.at_ns.swap(at_ns, Ordering::AcqRel) != at_ns {
            self.sleeper.unpark();
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.set.is_over.store(true, Ordering::Release);
        self.sleeper.unpark();
    }
}

fn ring(set: &Set, waker: &Waker, began: Instant) {
    while !set.is_over.load(Ordering::Acquire) {
        let at_ns = set.at_ns.load(Ordering::Acquire);
        if at_ns == NEVER {
            thread::park();
            continue;
        }
        let left = (began + Duration::from_nanos(at_ns)).saturating_duration_since(Instant::now());
        if !left.is_zero() {
            thread::park_timeout(left);
            continue;
        }
        let rung = set
            .at_ns
            .compare_exchange(at_ns, NEVER, Ordering::AcqRel, Ordering::Acquire);
        if rung.is_ok() && waker.wake().is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_follows_from_the_rate() {
        let check = |rate, taken, expected| {
            let mut schedule = Schedule::new(rate, 1_000);
            for _ in 0..taken {
                schedule.take();
            }
            assert_eq!(schedule.due_ns() - 1_000, expected);
        };
        check(5.0, 0, 0);
        check(5.0, 3, 600_000_000);
        check(5_000.0, 4, 0);
        check(5_000.0, 5, 1_000_000);
        check(5_000.0, 50_004, 10_000_000_000);
    }
}
