//! Writes what is pushed into outboxes, past the drivers of their connections.
//!
//! Not here: what is pushed, when the socket takes it again. Invariant: an outbox that is listed is
//! written by the flusher under which it is listed, soon.
//!
//! Waking a task for each session that a message goes to costs more than writing to it. So a push only adds the outbox to the
//! list of its thread's flusher, and the flusher writes all listed outboxes when it runs. On an idle node it runs at once. If
//! it has just written, more is on its way: then it lets all other tasks that are ready push first, so that what goes to one
//! session leaves in one write.
//!
//! Frames of high priority are written first, in blocks, and after each block one of low priority. So a fan-out to thousands
//! of subscriptions delays other messages by a fraction of itself, and gets at least half of the writes however much of high
//! priority there is.
//!
//! There are as many flushers as processors. They run while there is any outbox with a wire.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::Counter;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio_util::task::TaskTracker;

use super::outbox::{Outbox, Priority, Turn};
use super::wire::Unwritten;

/// A flusher that wrote less than this ago lets other tasks push first.
const BUSY: Duration = Duration::from_micros(200);

/// After so many outboxes others have their turn.
const AT_ONCE: usize = 128;

/// How many outboxes of low priority are written in one pass while nothing of high priority waits.
const LOW_AT_ONCE: usize = 64;

/// How many outboxes of one priority are written before those of the other have their turn.
const BLOCK: usize = 32;

/// What is kept for the next turn: outboxes that are listed, frames in hand.
const ROOM_MAX: usize = 4_096;

thread_local! {
    /// Under which flusher this thread lists.
    static PLACE: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Gives each thread that lists the next number.
static PLACES: AtomicUsize = AtomicUsize::new(0);

/// The flushers. Cloning shares them.
#[derive(Clone)]
pub struct Flusher(Arc<Shared>);

struct Shared {
    slots: Box<[Slot]>,
    tracker: TaskTracker,
    /// How many outboxes have a wire: the flushers end with the last.
    lines: AtomicUsize,
    deliveries: Counter,
}

/// One flusher.
#[derive(Default)]
struct Slot {
    /// A std mutex: held to list one outbox, or to take the list.
    listed: Mutex<Listed>,
    wake: Notify,
}

#[derive(Default)]
struct Listed {
    high: Vec<Arc<Outbox>>,
    low: VecDeque<Arc<Outbox>>,
    is_running: bool,
}

impl fmt::Debug for Flusher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flusher").finish_non_exhaustive()
    }
}

/// Stands for a line; the flushers run while there is one.
#[derive(Debug)]
pub(super) struct Lives(Flusher);

impl Drop for Lives {
    fn drop(&mut self) {
        let shared = &self.0.0;
        if shared.lines.fetch_sub(1, Ordering::SeqCst) == 1 {
            for slot in &shared.slots {
                slot.wake.notify_one();
            }
        }
    }
}

impl Flusher {
    /// Flushers at rest, whose tasks run on the tracker. `deliveries` counts what they write.
    #[must_use]
    pub fn new(tracker: TaskTracker, deliveries: Counter) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let slots = (0..processors).map(|_| Slot::default());
        Self(Arc::new(Shared {
            slots: slots.collect(),
            tracker,
            lines: AtomicUsize::new(0),
            deliveries,
        }))
    }

    /// A line that will be listed.
    pub(super) fn line(&self) -> Lives {
        self.0.lines.fetch_add(1, Ordering::SeqCst);
        for (place, slot) in self.0.slots.iter().enumerate() {
            let mut listed = slot.lock();
            if !std::mem::replace(&mut listed.is_running, true) {
                let task = run(Arc::clone(&self.0), place);
                self.0.tracker.spawn(task);
            }
        }
        Lives(self.clone())
    }

    /// So many deliveries were written.
    pub(super) fn count(&self, deliveries: u32) {
        self.0.deliveries.increment(deliveries.into());
    }

    /// An outbox has something to write. Part of each push, and so inlined, as the parts of `Outbox` are.
    #[inline]
    pub(super) fn list(&self, outbox: Arc<Outbox>, priority: Priority) {
        let place = PLACE.with(|place| {
            place.get().unwrap_or_else(|| {
                let next = PLACES.fetch_add(1, Ordering::Relaxed);
                place.set(Some(next));
                next
            })
        });
        let Some(slot) = self.0.slots.get(place % self.0.slots.len()) else {
            return;
        };
        let mut listed = slot.lock();
        let scheduled = match priority {
            Priority::High => {
                listed.high.push(outbox);
                listed.high.len()
            }
            Priority::Low => {
                listed.low.push_back(outbox);
                listed.low.len()
            }
        };
        let is_first = scheduled == 1;
        drop(listed);
        if is_first {
            slot.wake.notify_one();
        }
    }
}

impl Shared {
    /// Whether a flusher may end, and then it must.
    fn is_at_rest(&self, slot: &Slot) -> bool {
        let mut listed = slot.lock();
        let is_empty = listed.high.is_empty() && listed.low.is_empty();
        let is_at_rest = is_empty && self.lines.load(Ordering::SeqCst) == 0;
        listed.is_running = !is_at_rest;
        is_at_rest
    }
}

impl Slot {
    /// Takes the list of high priority, and that of low priority when the last one is written.
    fn take(&self, high: &mut Vec<Arc<Outbox>>, low: &mut VecDeque<Arc<Outbox>>) {
        let mut listed = self.lock();
        std::mem::swap(high, &mut listed.high);
        if low.is_empty() {
            std::mem::swap(low, &mut listed.low);
        }
    }

    fn has_high(&self) -> bool {
        !self.lock().high.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Listed> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(shared: Arc<Shared>, place: usize) {
    let Some(slot) = shared.slots.get(place) else {
        return;
    };
    let mut high = Vec::new();
    let mut low = VecDeque::new();
    let mut hands = Unwritten::default();
    let mut wrote_at: Option<Instant> = None;
    while !low.is_empty() || !shared.is_at_rest(slot) {
        if low.is_empty() {
            slot.wake.notified().await;
        }
        if wrote_at.is_some_and(|at| at.elapsed() < BUSY) {
            yield_now().await;
        }
        slot.take(&mut high, &mut low);
        write_pass(slot, high.drain(..), &mut low, &mut hands).await;
        high.shrink_to(ROOM_MAX);
        if low.is_empty() {
            low.shrink_to(ROOM_MAX);
        }
        hands.shrink_to(ROOM_MAX);
        wrote_at = Some(Instant::now());
    }
}

/// Writes all outboxes of high priority, and after each block of them one of low priority; then further blocks of that while
/// nothing of high priority waits.
async fn write_pass(
    slot: &Slot,
    mut high: impl ExactSizeIterator<Item = Arc<Outbox>>,
    low: &mut VecDeque<Arc<Outbox>>,
    hands: &mut Unwritten,
) {
    let now = Instant::now();
    let (mut since_yield, mut low_written) = (0, 0);
    loop {
        since_yield += write_block(&mut high, hands, now);
        let of_low = write_block(std::iter::from_fn(|| low.pop_front()), hands, now);
        since_yield += of_low;
        low_written += of_low;
        let has_high = high.len() > 0;
        if !has_high && (low.is_empty() || low_written >= LOW_AT_ONCE || slot.has_high()) {
            return;
        }
        if since_yield >= AT_ONCE {
            since_yield = 0;
            yield_now().await;
        }
    }
}

/// Writes at most [`BLOCK`] outboxes. Returns how many; one that was raised to high priority and written by that is none.
fn write_block(
    mut outboxes: impl Iterator<Item = Arc<Outbox>>,
    hands: &mut Unwritten,
    now: Instant,
) -> usize {
    let mut written = 0;
    while written < BLOCK
        && let Some(outbox) = outboxes.next()
    {
        written += usize::from(outbox.write(Turn::Listed, hands, now));
    }
    written
}
