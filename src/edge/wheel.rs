//! The alarms of all connections: one structure and one task, rather than a timer for each.
//!
//! Not here: what is done when an alarm rings (`clock`, `connection`). Invariant: an alarm never
//! rings early, and at most one tick late.
//!
//! Time is cut into ticks. An alarm is filed under the tick of its deadline, in a ring of ticks; a
//! deadline beyond the ring is filed at its end, and filed again when that is reached. **Moving an
//! alarm to a later time is one store**: it stays where it is filed, and the task, which finds it
//! there too early, files it again. Only an earlier time takes the lock, and what it leaves behind
//! in the ring wakes nobody. A dropped alarm is forgotten when its tick comes. The task sleeps until
//! the next tick under which an alarm is filed, and ends with the last alarm.

use std::pin::Pin;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::TaskTracker;

/// How late an alarm may ring.
pub(super) const TICK: Duration = Duration::from_millis(50);
const TICKS_PER_SECOND: u64 = 20;

/// How many ticks the ring has: the time between two pings of a silent client, and as much again.
const RING: usize = 1_024;

/// Under no tick.
const NOWHERE: u64 = u64::MAX;

/// The wheel. Cloning shares it.
#[derive(Clone, Debug)]
pub(super) struct Wheel(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    origin: Instant,
    tracker: TaskTracker,
    /// How many alarms there are: the task ends with the last.
    alarms: AtomicUsize,
    /// Wakes the task when something is filed before the tick that it sleeps for.
    earlier: Notify,
    /// A std mutex: held to file one alarm, or to go through those of one tick.
    ring: Mutex<Ring>,
}

#[derive(Debug)]
struct Ring {
    /// By number, modulo the length.
    ticks: Vec<Tick>,
    /// Every tick up to here is done.
    done: u64,
    /// What the task sleeps for.
    next: u64,
    is_running: bool,
}

/// What is filed under one tick.
#[derive(Debug, Default)]
struct Tick {
    /// An alarm that was moved to an earlier time is in two of these lists: where it does not say it is, it is forgotten.
    filed: Vec<Arc<Slot>>,
    /// How many of them were not moved. With none the task does not wake for this tick.
    left: usize,
}

/// What the task and the owner of an alarm share.
#[derive(Debug)]
struct Slot {
    /// The tick at which it is to ring.
    deadline: AtomicU64,
    /// The tick under which it is filed; [`NOWHERE`] once it has rung.
    filed: AtomicU64,
    waker: AtomicWaker,
}

impl Wheel {
    /// A wheel at rest. Its task runs on the tracker while there are alarms that are set.
    pub(super) fn new(tracker: TaskTracker) -> Self {
        Self(Arc::new(Shared {
            origin: Instant::now(),
            tracker,
            alarms: AtomicUsize::new(0),
            earlier: Notify::new(),
            ring: Mutex::new(Ring {
                ticks: Vec::new(),
                done: 0,
                next: NOWHERE,
                is_running: false,
            }),
        }))
    }

    /// An alarm that rings at this time.
    pub(super) fn alarm(&self, at: Instant) -> Alarm {
        self.0.alarms.fetch_add(1, SeqCst);
        let slot = Slot {
            deadline: AtomicU64::new(NOWHERE),
            filed: AtomicU64::new(NOWHERE),
            waker: AtomicWaker::new(),
        };
        let alarm = Alarm {
            shared: Arc::clone(&self.0),
            slot: Arc::new(slot),
        };
        alarm.set(at);
        alarm
    }
}

impl Wheel {
    /// Every alarm rings now, whatever it is set for.
    pub(super) fn ring_all(&self) {
        let ringing: Vec<_> = {
            let mut ring = self.0.lock();
            let ticks = ring.ticks.iter_mut().map(std::mem::take);
            let ringing = ticks.flat_map(|tick| tick.filed).inspect(|slot| {
                slot.filed.store(NOWHERE, SeqCst);
                slot.deadline.store(0, SeqCst);
            });
            ringing.collect()
        };
        for slot in ringing {
            slot.waker.wake();
        }
    }
}

/// Rings at a time that may be moved. As a future it is done when it rings, and again after it is
/// set anew.
#[derive(Debug)]
pub(super) struct Alarm {
    shared: Arc<Shared>,
    slot: Arc<Slot>,
}

impl Alarm {
    /// Moves it. To a later time this is one store.
    pub(super) fn set(&self, at: Instant) {
        let deadline = self.shared.tick_of(at);
        self.slot.deadline.store(deadline, SeqCst);
        if deadline < self.slot.filed.load(SeqCst) {
            self.shared.file(&self.slot);
        }
    }

    /// The time for which it is set, as the end of a tick.
    #[cfg(test)]
    pub(super) fn deadline(&self) -> Instant {
        self.shared.time_of(self.slot.deadline.load(SeqCst))
    }
}

impl Future for Alarm {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.slot.waker.register(context.waker());
        if self.slot.filed.load(SeqCst) != NOWHERE {
            return Poll::Pending;
        }
        let deadline = self.slot.deadline.load(SeqCst);
        if self.shared.time_of(deadline) <= Instant::now() {
            return Poll::Ready(());
        }
        // It rang while it was moved.
        self.shared.file(&self.slot);
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if self.shared.alarms.fetch_sub(1, SeqCst) == 1 {
            self.shared.earlier.notify_one();
        }
    }
}

impl Shared {
    /// The first tick that is not before this time.
    fn tick_of(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.origin);
        let ticks = since.subsec_nanos().div_ceil(TICK.subsec_nanos());
        since.as_secs() * TICKS_PER_SECOND + u64::from(ticks)
    }

    fn time_of(&self, tick: u64) -> Instant {
        let tick = u32::try_from(tick).unwrap_or(u32::MAX);
        self.origin + TICK * tick
    }

    /// Every tick up to this one is over.
    fn now(&self) -> u64 {
        let since = self.origin.elapsed();
        let ticks = since.subsec_nanos() / TICK.subsec_nanos();
        since.as_secs() * TICKS_PER_SECOND + u64::from(ticks)
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(self: &Arc<Self>, slot: &Arc<Slot>) {
        let mut ring = self.lock();
        if !ring.is_running {
            ring.is_running = true;
            ring.ticks.resize_with(RING, Tick::default);
            ring.done = self.now();
            ring.next = NOWHERE;
            self.tracker.spawn(run(Arc::clone(self)));
        }
        // The task may have filed it meanwhile.
        if slot.deadline.load(SeqCst) < slot.filed.load(SeqCst) {
            ring.file(Arc::clone(slot));
        }
        let is_earlier = slot.filed.load(SeqCst) < ring.next;
        drop(ring);
        if is_earlier {
            self.earlier.notify_one();
        }
    }
}

impl Ring {
    fn file(&mut self, slot: Arc<Slot>) {
        let last = self.done + RING as u64 - 1;
        let tick = slot.deadline.load(SeqCst).clamp(self.done + 1, last);
        let was = slot.filed.swap(tick, SeqCst);
        if was != NOWHERE
            && let Some(left_behind) = self.ticks.get_mut(place(was))
        {
            left_behind.left -= 1;
        }
        if let Some(tick) = self.ticks.get_mut(place(tick)) {
            tick.filed.push(slot);
            tick.left += 1;
        }
    }

    /// The next tick under which an alarm is filed.
    fn next(&self) -> u64 {
        (self.done + 1..self.done + RING as u64)
            .find(|tick| self.ticks.get(place(*tick)).is_some_and(|t| t.left > 0))
            .unwrap_or(NOWHERE)
    }

    /// Goes through one tick: what is due is left to ring, the rest is filed where it belongs.
    fn turn(&mut self, tick: u64, due: &mut Vec<Arc<Slot>>) {
        self.done = tick;
        let Some(over) = self.ticks.get_mut(place(tick)) else {
            return;
        };
        for slot in std::mem::take(over).filed {
            // It was moved to an earlier time, or its alarm was dropped.
            if slot.filed.load(SeqCst) != tick || Arc::strong_count(&slot) == 1 {
                continue;
            }
            // First this, then the deadline: an owner who moves the deadline now either is seen
            // here, or sees that the alarm is filed nowhere.
            slot.filed.store(NOWHERE, SeqCst);
            match slot.deadline.load(SeqCst) <= tick {
                true => due.push(slot),
                false => self.file(slot),
            }
        }
    }
}

fn place(tick: u64) -> usize {
    usize::try_from(tick % RING as u64).unwrap_or_default()
}

/// Turns the wheel for as long as there are alarms.
async fn run(shared: Arc<Shared>) {
    let mut due = Vec::new();
    loop {
        let now = shared.now();
        let next = {
            let mut ring = shared.lock();
            if shared.alarms.load(SeqCst) == 0 {
                ring.ticks = Vec::new();
                ring.is_running = false;
                return;
            }
            for tick in ring.done + 1..=now {
                ring.turn(tick, &mut due);
            }
            ring.next = ring.next();
            ring.next
        };
        for slot in due.drain(..) {
            slot.waker.wake();
        }
        due.shrink_to(RING);
        tokio::select! {
            () = sleep_until(shared.time_of(next)), if next != NOWHERE => {}
            () = shared.earlier.notified() => {}
        }
    }
}

#[cfg(test)]
mod tests;
