//! Writes what is pushed into outboxes, past the drivers of their connections.
//!
//! Not here: what is pushed, when the socket takes it again. Invariant: an outbox that is listed is
//! written by the flusher under which it is listed, soon.
//!
//! Waking a task for each session that a message goes to costs more than writing to it. So whoever
//! pushes only lists the outbox, under the flusher of his thread, and that one writes them all, one
//! after the other, when it has its turn. While there is little to do it has it at once. When it has
//! only just written, more is on its way: then it lets everybody else who is ready push first, so that
//! what goes to one session leaves in one write.
//!
//! What goes to few is written first, and after each of its turns some of what goes to many: the frames of a topic
//! with thousands of subscribers delay nobody else's for longer than some of them take.
//!
//! There are as many flushers as processors. They run while there is any outbox with a wire.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::Counter;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio_util::task::TaskTracker;

use super::outbox::{Outbox, Spread, Turn};
use super::wire::Unwritten;

/// Who wrote less than this ago waits for more.
const BUSY: Duration = Duration::from_micros(200);

/// After so many outboxes others have their turn.
const AT_ONCE: usize = 128;

/// After so many outboxes of a crowd it is looked whether something goes to few.
const MANY_AT_ONCE: usize = 32;

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
    /// With something that goes to few.
    few: Vec<Arc<Outbox>>,
    /// With something that goes to many.
    many: Vec<Arc<Outbox>>,
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
    pub(super) fn list(&self, outbox: Arc<Outbox>, spread: Spread) {
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
        let list = match spread {
            Spread::Few => &mut listed.few,
            Spread::Many => &mut listed.many,
        };
        list.push(outbox);
        let is_first = list.len() == 1;
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
        let is_empty = listed.few.is_empty() && listed.many.is_empty();
        let is_at_rest = is_empty && self.lines.load(Ordering::SeqCst) == 0;
        listed.is_running = !is_at_rest;
        is_at_rest
    }
}

impl Slot {
    /// Takes what is listed for few, and for many once nothing is left of what was taken before.
    fn take(&self, few: &mut Vec<Arc<Outbox>>, many: &mut Vec<Arc<Outbox>>) {
        let mut listed = self.lock();
        std::mem::swap(few, &mut listed.few);
        if many.is_empty() {
            std::mem::swap(many, &mut listed.many);
            many.reverse();
        }
    }

    fn has_few(&self) -> bool {
        !self.lock().few.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Listed> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(shared: Arc<Shared>, place: usize) {
    let Some(slot) = shared.slots.get(place) else {
        return;
    };
    let mut few = Vec::new();
    // The rest of a crowd's, the next one last.
    let mut many = Vec::new();
    let mut hands = Unwritten::default();
    let mut wrote_at: Option<Instant> = None;
    while !many.is_empty() || !shared.is_at_rest(slot) {
        if many.is_empty() {
            slot.wake.notified().await;
        }
        if wrote_at.is_some_and(|at| at.elapsed() < BUSY) {
            yield_now().await;
        }
        slot.take(&mut few, &mut many);
        let now = Instant::now();
        for (index, outbox) in few.drain(..).enumerate() {
            outbox.write(Turn::Listed, &mut hands, now);
            if index % AT_ONCE == AT_ONCE - 1 {
                yield_now().await;
            }
        }
        let mut written = 0;
        while let Some(outbox) = many.pop() {
            outbox.write(Turn::Listed, &mut hands, now);
            written += 1;
            if written == AT_ONCE || (written % MANY_AT_ONCE == 0 && slot.has_few()) {
                break;
            }
        }
        few.shrink_to(ROOM_MAX);
        if many.is_empty() {
            many.shrink_to(ROOM_MAX);
        }
        hands.shrink_to(ROOM_MAX);
        wrote_at = Some(Instant::now());
    }
}
