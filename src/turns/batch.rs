//! How many go at a time: a batch, and what its scheduling delay says about the next one.
//!
//! Not here: who is in it (`queues`). Invariants: a batch is over when every task of it has run once, or ended, and
//! when what was ready before has run too; so what waits for no turn is never behind more than a batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout};

/// How many go at a time. The smallest number keeps a node that is busy with other things open for newcomers.
pub(super) const BATCH_MIN: usize = 8;
pub(super) const BATCH_MAX: usize = 128;

/// Below this scheduling delay the batch doubles, above [`DELAY_MAX`] it is halved. A message waits about as long.
const DELAY_MIN: Duration = Duration::from_micros(500);
const DELAY_MAX: Duration = Duration::from_micros(1_500);

/// So many ready tasks may wait in the queue that the threads of the runtime share when the next batch goes. A batch
/// does not see them: its own tasks are in the queue of one thread, which is served first.
const READY_MAX: usize = 16;

/// The next batch does not wait longer than this for those: if they come without end, others have to go on too.
const READY_FOR: Duration = Duration::from_millis(10);

/// The next batch does not wait longer than this for a task of the last one. A task runs as soon as the runtime
/// gets round to it, so this is reached only if one is stuck, which must not stop everybody else.
const STUCK_AFTER: Duration = Duration::from_secs(1);

/// Counts the tasks of a batch that have not run yet.
#[derive(Debug)]
pub(super) struct Batch {
    left: AtomicUsize,
    is_done: Notify,
}

/// The turn of one task; dropped when the task runs, or finds that it is not wanted any more.
#[derive(Debug)]
pub(super) struct Turn(Arc<Batch>);

impl Drop for Turn {
    fn drop(&mut self) {
        if self.0.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.is_done.notify_one();
        }
    }
}

impl Batch {
    /// A batch of so many tasks; call [`Batch::turn`] for each of them.
    pub(super) fn new(size: usize) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicUsize::new(size),
            is_done: Notify::new(),
        })
    }

    pub(super) fn turn(self: &Arc<Self>) -> Turn {
        Turn(Arc::clone(self))
    }

    /// Waits until every task has run, and what was ready before. Returns the scheduling delay.
    pub(super) async fn ran(&self) -> Duration {
        let began = Instant::now();
        if timeout(STUCK_AFTER, self.is_done.notified()).await.is_err() {
            tracing::debug!("a task that has its turn does not run");
        }
        // The task that takes the last turn wakes this one ahead of others; now it goes behind them.
        yield_now().await;
        let delay = began.elapsed();
        let runtime = Handle::current().metrics();
        while runtime.global_queue_depth() > READY_MAX && began.elapsed() < READY_FOR {
            yield_now().await;
        }
        delay
    }
}

/// How large the next batch is when the last one had to wait so long for the runtime.
pub(super) fn next_size(size: usize, delay: Duration) -> usize {
    if delay < DELAY_MIN {
        (size * 2).min(BATCH_MAX)
    } else if delay > DELAY_MAX {
        (size / 2).max(BATCH_MIN)
    } else {
        size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_batch_follows_the_scheduling_delay() {
        let grown = (0..10).fold(BATCH_MIN, |size, _| {
            next_size(size, Duration::from_micros(100))
        });
        assert_eq!(grown, BATCH_MAX);
        let shrunk = (0..10).fold(grown, |size, _| next_size(size, Duration::from_millis(50)));
        assert_eq!(shrunk, BATCH_MIN);
        assert_eq!(next_size(32, Duration::from_millis(1)), 32);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stuck_task_delays_the_next_batch_by_a_second_at_most() {
        let batch = Batch::new(2);
        let (one, stuck) = (batch.turn(), batch.turn());
        drop(one);
        assert_eq!(batch.ran().await, STUCK_AFTER);
        drop(stuck);
        assert_eq!(batch.ran().await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_batch_goes_behind_what_was_ready() {
        const READY: usize = 1_000;
        let runs = Arc::new(AtomicUsize::new(0));
        let (count, runtime) = (Arc::clone(&runs), Handle::current());
        // From a thread outside of the runtime, tasks go to the queue that its threads share.
        std::thread::spawn(move || {
            for _ in 0..READY {
                let count = Arc::clone(&count);
                runtime.spawn(async move { count.fetch_add(1, Ordering::AcqRel) });
            }
        })
        .join()
        .unwrap();
        let batch = Batch::new(1);
        drop(batch.turn());
        batch.ran().await;
        let runs = runs.load(Ordering::Acquire);
        assert!(runs >= READY - READY_MAX, "{runs} of {READY}");
    }
}
