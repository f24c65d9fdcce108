//! The queues of nodes that live in one process.
//!
//! Not here: anything durable; a restart forgets. Invariants: nothing runs by itself: what is due is
//! done by the next call, so an engine that nobody uses costs nothing; what waits in a queue waits
//! because no consumer may have more; all queues together hold a bounded number of bytes. The lock of
//! the queues is taken before that of a pool and never by a task that holds one.

mod line;
mod state;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::line::Place;
use self::state::{ConsumerId, State};
use super::{
    Consumer, QueueError, QueueMessage, QueueSettings, Queues, Scarce, Sent, Settler, Tag, Wish,
};
use crate::budget::{Claimant, Evict, Eviction, Memory, Pool, Tallies};
use crate::model::{QueueArguments, Verdict};

/// One node's handle on the queues of a process.
#[derive(Debug)]
pub struct MemoryQueues {
    shared: Arc<Shared>,
    /// Names the node among those that share the queues.
    node: u64,
    /// Set by [`Queues::close`].
    is_closed: AtomicBool,
}

#[derive(Debug)]
struct Shared {
    settings: QueueSettings,
    queues: Arc<Pool>,
    /// What the messages in all queues occupy, those at consumers included.
    bytes: Tallies,
    /// A std mutex: held for a few map operations, never across an await.
    state: Mutex<State>,
}

impl MemoryQueues {
    /// New queues, and the handle of the first node.
    #[must_use]
    pub fn new(settings: QueueSettings) -> Arc<Self> {
        let queues = settings.queues_pool();
        let shared = Arc::new(Shared {
            settings,
            queues: Arc::clone(&queues),
            bytes: Tallies::new(settings.bytes_pool()),
            state: Mutex::new(State::new(settings, queues)),
        });
        Self::handle(shared)
    }

    /// The handle of another node on the same queues.
    #[must_use]
    pub fn join(&self) -> Arc<Self> {
        Self::handle(Arc::clone(&self.shared))
    }

    fn handle(shared: Arc<Shared>) -> Arc<Self> {
        let node = shared.lock().next_number();
        Arc::new(Self {
            shared,
            node,
            is_closed: AtomicBool::new(false),
        })
    }

    fn check(&self) -> Result<(), QueueError> {
        match self.is_closed.load(Ordering::Relaxed) {
            true => Err(QueueError::Unavailable("closed".to_owned())),
            false => Ok(()),
        }
    }
}

impl Shared {
    /// Finds a queue, or makes it. The place of a new one is taken before the queues are locked, because
    /// that may evict another queue.
    fn reach(
        self: &Arc<Self>,
        queue: &str,
        wish: &Wish,
        now: Instant,
    ) -> Result<MutexGuard<'_, State>, QueueError> {
        let mut state = self.lock();
        state.sweep(now);
        if state.find(queue, wish, now)? {
            return Ok(state);
        }
        drop(state);
        let place = self.queues.take(&wish.by, 1);
        let place = place.map_err(|why| QueueError::Share {
            of: Scarce::Queues,
            why,
        })?;
        let mut state = self.lock();
        if !state.find(queue, wish, now)? {
            let unused: Arc<dyn Evict> = Arc::new(Unused {
                shared: Arc::downgrade(self),
                queue: queue.into(),
            });
            state.make(queue, wish, Place::new(place, unused), now);
        }
        Ok(state)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Queues for MemoryQueues {
    async fn send(
        &self,
        queue: &str,
        arguments: &QueueArguments,
        message: QueueMessage,
        by: &Claimant,
    ) -> Result<Sent, QueueError> {
        self.check()?;
        let wish = Wish::new(arguments, by, &self.shared.settings)?;
        let cost = message.kept_bytes();
        // Before the queue, for which another client may lose one.
        let portion = self.shared.bytes.take(by, cost);
        let portion = portion.map_err(|why| QueueError::Share {
            of: Scarce::Bytes,
            why,
        })?;
        let now = Instant::now();
        let mut state = self.shared.reach(queue, &wish, now)?;
        let put = state.put(queue, message, portion, now);
        if put.is_err() {
            state.forget_if_unused(queue);
        }
        put?;
        Ok(Box::pin(std::future::ready(Ok(()))))
    }

    async fn consume(
        &self,
        queue: &str,
        arguments: &QueueArguments,
        prefetch: u16,
        by: &Claimant,
    ) -> Result<Consumer, QueueError> {
        self.check()?;
        let wish = Wish::new(arguments, by, &self.shared.settings)?;
        let prefetch = usize::from(prefetch.max(1));
        // As much room as may be unsettled, so handing over never waits.
        let (sender, taken) = mpsc::channel(prefetch);
        let now = Instant::now();
        if self.shared.lock().consumers_of(self.node) >= self.shared.settings.consumers_max {
            return Err(QueueError::Limit("consumers"));
        }
        let mut state = self.shared.reach(queue, &wish, now)?;
        let consumer = state.add(queue, self.node, sender, prefetch, now);
        drop(state);
        let settler = Box::new(MemorySettler {
            shared: Arc::clone(&self.shared),
            queue: queue.into(),
            consumer,
        });
        Ok(Consumer { taken, settler })
    }

    fn may_consume(
        &self,
        queue: &str,
        arguments: &QueueArguments,
        by: &Claimant,
    ) -> Result<(), QueueError> {
        self.check()?;
        let wish = Wish::new(arguments, by, &self.shared.settings)?;
        let now = Instant::now();
        let is_there = {
            let mut state = self.shared.lock();
            state.sweep(now);
            state.find(queue, &wish, now)?
        };
        if is_there {
            return Ok(());
        }
        let mut place = self.shared.queues.charge(by);
        let taken = place.grow_with(Eviction::Possible, 1);
        taken.map_err(|why| QueueError::Share {
            of: Scarce::Queues,
            why,
        })
    }

    /// Messages in queues have shares of their own. The account counts them, and takes none away: they are receipted.
    fn draw_on(&self, memory: &Arc<Memory>) {
        let bytes = Arc::clone(self.shared.bytes.pool());
        memory.add_gauge(move || bytes.used());
    }

    async fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        self.shared.lock().leave(self.node, Instant::now());
    }
}

/// Ends a queue of visitors without consumers when its place is needed.
#[derive(Debug)]
struct Unused {
    shared: Weak<Shared>,
    queue: Box<str>,
}

impl Evict for Unused {
    fn evict(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.lock().evict(&self.queue);
        }
    }
}

/// The settling half of a consumer; the consumer lives as long as this.
#[derive(Debug)]
struct MemorySettler {
    shared: Arc<Shared>,
    queue: Box<str>,
    consumer: ConsumerId,
}

#[async_trait]
impl Settler for MemorySettler {
    async fn settle(&self, tags: &[Tag], verdict: Verdict) {
        let now = Instant::now();
        let mut state = self.shared.lock();
        state.settle(&self.queue, self.consumer, tags, verdict, now);
        state.sweep(now);
    }
}

impl Drop for MemorySettler {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.end(&self.queue, self.consumer, Instant::now());
    }
}
