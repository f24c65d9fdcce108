//! What one run shares: the source of chance, the faults that hold now, the trace.
//!
//! Not here: what a fault does (`bus`, `location`, `store`), when it comes (`plan`). Invariant:
//! everything by chance comes from the seed, and is asked for in an order that the seed fixes,
//! because one thread runs everything and time only moves when nobody has anything to do.

use std::fmt::Arguments;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::ledger::Ledger;
use super::plan::{Options, Plan};

/// A state of the surroundings that lasts for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weather {
    LocationSlow,
    LocationFlaky,
    LocationFrozen,
    LocationDown,
    BusSlow,
    BusLossy,
    BusDoubt,
    BusDisorder,
    BusDown,
    StoreSlow,
    StoreDown,
    StoreDoubt,
}

const WEATHERS: usize = 12;

/// What is done with the events of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TraceMode {
    Off,
    /// Only their hash is kept: two runs of one seed have the same.
    Hash,
    /// They go to standard error.
    Print,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) options: Options,
    pub(super) plan: Plan,
    pub(super) tracker: TaskTracker,
    pub(super) ledger: Mutex<Ledger>,
    /// Grows when the broker of the bus loses its queues.
    pub(super) queues_lost: AtomicU64,
    /// How often location was connected again.
    pub(super) reconnects: AtomicU64,
    rng: Mutex<StdRng>,
    started: Instant,
    until: Mutex<[Option<Instant>; WEATHERS]>,
    mode: TraceMode,
    trace: AtomicU64,
}

impl World {
    pub(super) fn new(seed: u64, options: Options, mode: TraceMode) -> Self {
        Self {
            options,
            plan: Plan::new(seed, &options),
            tracker: TaskTracker::new(),
            ledger: Mutex::default(),
            queues_lost: AtomicU64::new(0),
            reconnects: AtomicU64::new(0),
            rng: Mutex::new(StdRng::seed_from_u64(seed ^ 0x57_0a_d0)),
            started: Instant::now(),
            until: Mutex::default(),
            mode,
            trace: AtomicU64::new(0xcbf2_9ce4_8422_2325),
        }
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a weather hold until then.
    pub(super) fn set(&self, weather: Weather, until: Instant) {
        let mut all = self.until.lock().unwrap();
        let slot = &mut all[weather as usize];
        *slot = (*slot).max(Some(until));
    }

    /// Until when a weather holds, if it does now.
    pub(super) fn until(&self, weather: Weather) -> Option<Instant> {
        let until = self.until.lock().unwrap()[weather as usize]?;
        (Instant::now() < until).then_some(until)
    }

    pub(super) fn is(&self, weather: Weather) -> bool {
        self.until(weather).is_some()
    }

    pub(super) fn chance(&self, probability: f64) -> bool {
        self.rng.lock().unwrap().random_bool(probability)
    }

    pub(super) fn below(&self, bound: u64) -> u64 {
        self.rng.lock().unwrap().random_range(0..bound.max(1))
    }

    /// Milliseconds below the bound, waited for.
    pub(super) async fn pause(&self, millis: u64) {
        if millis > 0 {
            tokio::time::sleep(Duration::from_millis(millis)).await;
        }
    }

    /// How long the way there and the way back take, in milliseconds: mostly nothing or little.
    pub(super) fn latency(&self, slow: Option<u64>) -> (u64, u64) {
        let mut rng = self.rng.lock().unwrap();
        let bound = slow.unwrap_or(4);
        let mut way = || {
            if slow.is_none() && rng.random_bool(0.4) {
                0
            } else {
                rng.random_range(0..bound)
            }
        };
        (way(), way())
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Notes an event.
    pub(super) fn note(&self, event: Arguments<'_>) {
        if self.mode == TraceMode::Off {
            return;
        }
        let line = format!("{:>9.3} {event}", self.elapsed().as_secs_f64());
        if self.mode == TraceMode::Print {
            eprintln!("{line}");
        }
        let hash = line
            .bytes()
            .fold(self.trace.load(Ordering::Relaxed), |hash, octet| {
                (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3)
            });
        self.trace.store(hash, Ordering::Relaxed);
    }

    pub(super) fn trace_hash(&self) -> u64 {
        self.trace.load(Ordering::Relaxed)
    }
}

/// What happens to one life of one node.
#[derive(Debug)]
pub(super) struct Fate {
    is_killed: AtomicBool,
    committed: Notify,
    frozen_until: Mutex<Instant>,
    no_location_until: Mutex<Instant>,
    no_bus_until: Mutex<Instant>,
}

impl Fate {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            is_killed: AtomicBool::new(false),
            committed: Notify::new(),
            frozen_until: Mutex::new(now),
            no_location_until: Mutex::new(now),
            no_bus_until: Mutex::new(now),
        }
    }

    pub(super) fn kill(&self) {
        self.is_killed.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_killed(&self) -> bool {
        self.is_killed.load(Ordering::Relaxed)
    }

    /// Something that this life appended is committed.
    pub(super) fn commits(&self) {
        self.committed.notify_waiters();
    }

    /// Returns at the next commit of this life, before it knows of it.
    pub(super) async fn committed(&self) {
        self.committed.notified().await;
    }

    pub(super) fn freeze(&self, until: Instant) {
        *self.frozen_until.lock().unwrap() = until;
    }

    pub(super) fn cut_location(&self, until: Instant) {
        *self.no_location_until.lock().unwrap() = until;
    }

    pub(super) fn cut_bus(&self, until: Instant) {
        *self.no_bus_until.lock().unwrap() = until;
    }

    pub(super) fn has_no_location(&self) -> bool {
        Instant::now() < *self.no_location_until.lock().unwrap()
    }

    pub(super) fn has_no_bus(&self) -> bool {
        Instant::now() < *self.no_bus_until.lock().unwrap()
    }

    /// Whether the process stands still now.
    pub(super) fn is_frozen(&self) -> bool {
        Instant::now() < *self.frozen_until.lock().unwrap()
    }

    /// Returns when the process runs.
    pub(super) async fn thawed(&self) {
        while self.is_frozen() {
            let until = *self.frozen_until.lock().unwrap();
            tokio::time::sleep_until(until).await;
        }
    }

    /// Returns when the bus can be reached from here.
    pub(super) async fn bus_back(&self) {
        while self.has_no_bus() {
            let until = *self.no_bus_until.lock().unwrap();
            tokio::time::sleep_until(until).await;
        }
    }
}
