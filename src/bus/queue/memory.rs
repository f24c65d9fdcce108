//! The queues of nodes that live in one process.
//!
//! Not here: anything durable; a restart forgets. Invariants: nothing runs by itself: what is due is
//! done by the next call, so an engine that nobody uses costs nothing; what waits in a queue waits
//! because no consumer may have more; all queues together hold a bounded number of octets.

mod line;
mod state;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::state::{ConsumerId, State};
use super::{Consumer, Made, QueueError, QueueMessage, QueueSettings, Queues, Sent, Settler, Tag};
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
    /// A std mutex: held for a few map operations, never across an await.
    state: Mutex<State>,
}

impl MemoryQueues {
    /// New queues, and the handle of the first node.
    #[must_use]
    pub fn new(settings: QueueSettings) -> Arc<Self> {
        let shared = Arc::new(Shared {
            settings,
            state: Mutex::new(State::new(settings)),
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
    ) -> Result<Sent, QueueError> {
        self.check()?;
        let made = Made::of(arguments, &self.shared.settings)?;
        let now = Instant::now();
        let mut state = self.shared.lock();
        state.sweep(now);
        state.reach(queue, arguments, made, now)?;
        state.put(queue, message, now)?;
        Ok(Box::pin(std::future::ready(Ok(()))))
    }

    async fn consume(
        &self,
        queue: &str,
        arguments: &QueueArguments,
        prefetch: u16,
    ) -> Result<Consumer, QueueError> {
        self.check()?;
        let made = Made::of(arguments, &self.shared.settings)?;
        let prefetch = usize::from(prefetch.max(1));
        // As much room as may be unsettled, so handing over never waits.
        let (sender, taken) = mpsc::channel(prefetch);
        let now = Instant::now();
        let mut state = self.shared.lock();
        state.sweep(now);
        if state.consumers_of(self.node) >= self.shared.settings.consumers_max {
            return Err(QueueError::Limit("consumers"));
        }
        state.reach(queue, arguments, made, now)?;
        let consumer = state.add(queue, self.node, sender, prefetch, now);
        drop(state);
        let settler = Box::new(MemorySettler {
            shared: Arc::clone(&self.shared),
            queue: queue.into(),
            consumer,
        });
        Ok(Consumer { taken, settler })
    }

    async fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        self.shared.lock().leave(self.node, Instant::now());
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
