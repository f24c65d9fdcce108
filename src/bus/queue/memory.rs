//! The queues of nodes that live in one process.
//!
//! Not here: anything durable; a restart forgets. Invariants: nothing runs by itself: what is due is
//! done by the next call, so an engine that nobody uses costs nothing; what waits in a queue waits
//! because no consumer may have more; all queues together hold a bounded number of octets.

mod line;
mod state;

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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;

    const PLAIN: QueueArguments = QueueArguments {
        message_ttl: None,
        expires: None,
        length_max: None,
    };

    fn message(text: &'static str) -> QueueMessage {
        QueueMessage {
            id: text.into(),
            headers: Vec::new(),
            body: Bytes::new(),
            persistent: false,
            ttl: None,
            nacks: 0,
        }
    }

    async fn send(queues: &MemoryQueues, queue: &str, message: QueueMessage) {
        let sent = queues.send(queue, &PLAIN, message).await;
        sent.unwrap().await.unwrap();
    }

    async fn take(consumer: &mut Consumer) -> (Box<str>, Tag) {
        let taken = consumer.taken.recv().await.unwrap();
        (taken.message.id, taken.tag)
    }

    #[tokio::test]
    async fn what_is_refused_comes_back_to_its_place() {
        let queues = MemoryQueues::new(QueueSettings::default());
        for text in ["1", "2", "3"] {
            send(&queues, "/queue/x", message(text)).await;
        }
        let mut consumer = queues.consume("/queue/x", &PLAIN, 2).await.unwrap();
        let (first, second) = (take(&mut consumer).await, take(&mut consumer).await);
        let both = [second.1, first.1];
        consumer.settler.settle(&both, Verdict::Requeue).await;
        assert_eq!(&*take(&mut consumer).await.0, "1");
        assert_eq!(&*take(&mut consumer).await.0, "2");
    }

    #[tokio::test]
    async fn a_queue_that_cannot_be_told_from_none_takes_no_place() {
        let settings = QueueSettings {
            queues_max: 1,
            ..QueueSettings::default()
        };
        let queues = MemoryQueues::new(settings);
        for number in 0..10 {
            let queue = format!("/queue/{number}");
            let mut consumer = queues.consume(&queue, &PLAIN, 1).await.unwrap();
            send(&queues, &queue, message("x")).await;
            let (_, tag) = take(&mut consumer).await;
            consumer.settler.settle(&[tag], Verdict::Ack).await;
        }
        let state = queues.shared.lock();
        assert_eq!(state.held(), (0, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_uses_is_gone_with_everything_that_it_held() {
        let queues = MemoryQueues::new(QueueSettings::default());
        for number in 0..10 {
            send(&queues, &format!("/queue/{number}"), message("some")).await;
        }
        assert_eq!(queues.shared.lock().held(), (10, 10, 40));
        tokio::time::advance(Duration::from_secs(23 * 3_600)).await;
        send(&queues, "/queue/0", message("more")).await;
        tokio::time::advance(Duration::from_secs(3_601)).await;
        queues.consume("/queue/0", &PLAIN, 1).await.unwrap();
        assert_eq!(queues.shared.lock().held(), (1, 1, 8));
    }
}
