//! One look at the parts of the node for all who ask whether it is ready.
//!
//! Not here: how the parts are checked (`node`), what the answer says (`health`). Invariant: one check runs at a
//! time, and at most four begin in a second, however many ask: each is a query to the store, in a cluster a script in
//! Redis, and while the store fails a write.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::health::{self, Health, HealthSource, Ready};
use crate::budget::Memory;

/// How long the outcome of a check is given to those who ask later.
const KEPT: Duration = Duration::from_millis(250);

/// The outcome of a check, and when it came.
type Outcome = Option<(Instant, Health)>;

/// The last check.
#[derive(Debug)]
pub(super) struct Readiness {
    source: Arc<dyn HealthSource>,
    tracker: TaskTracker,
    /// A std mutex: held for a look, never across an await.
    last: Mutex<watch::Receiver<Outcome>>,
}

impl Readiness {
    /// Nothing is checked yet. Checks run on the tracker, so that a client that goes away ends none.
    pub(super) fn new(source: Arc<dyn HealthSource>, tracker: TaskTracker) -> Self {
        Self {
            source,
            tracker,
            // Its sender is gone, as after a check that has failed to end.
            last: Mutex::new(watch::channel(None).1),
        }
    }

    /// Whether new work should be sent here. Memory and a drain count as of now.
    pub(super) async fn ready(&self, memory: &Memory, is_draining: bool) -> (StatusCode, Ready) {
        health::ready(self.parts().await, memory, is_draining)
    }

    /// The state of the parts: of the last check while it is kept, else of the one that runs.
    async fn parts(&self) -> Health {
        let mut outcome = self.current();
        let outcome = outcome.wait_for(Option::is_some).await;
        let outcome = outcome.ok().and_then(|outcome| *outcome);
        outcome.map_or(Health::UNKNOWN, |(_, health)| health)
    }

    fn current(&self) -> watch::Receiver<Outcome> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_current = match *last.borrow() {
            Some((at, _)) => at.elapsed() < KEPT,
            None => last.has_changed().is_ok(),
        };
        if !is_current {
            let (sender, receiver) = watch::channel(None);
            let source = Arc::clone(&self.source);
            self.tracker.spawn(async move {
                let health = health::look(source.as_ref()).await;
                sender.send_replace(Some((Instant::now(), health)));
            });
            *last = receiver;
        }
        last.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use futures_util::future::join_all;
    use tokio::time::{advance, sleep, timeout};

    use super::*;
    use crate::budget::MemorySettings;
    use crate::edge::health::PartState;

    /// How long one check takes.
    const CHECK: Duration = Duration::from_millis(100);

    /// Counts the checks that begin, and those that run at once.
    #[derive(Debug, Default)]
    struct Counting {
        begun: AtomicU32,
        running: AtomicU32,
        hangs: bool,
    }

    #[async_trait::async_trait]
    impl HealthSource for Counting {
        async fn health(&self) -> Health {
            self.begun.fetch_add(1, Relaxed);
            assert_eq!(self.running.fetch_add(1, Relaxed), 0, "two checks at once");
            sleep(CHECK).await;
            if self.hangs {
                std::future::pending::<()>().await;
            }
            self.running.fetch_sub(1, Relaxed);
            Health {
                database: PartState::Up,
                ..Health::UNKNOWN
            }
        }
    }

    fn readiness(hangs: bool) -> (Arc<Counting>, Readiness) {
        let source = Arc::new(Counting {
            hangs,
            ..Counting::default()
        });
        let readiness = Readiness::new(Arc::clone(&source) as Arc<_>, TaskTracker::new());
        (source, readiness)
    }

    async fn status(readiness: &Readiness) -> u16 {
        let memory = Memory::new(MemorySettings { bytes_max: 0 });
        readiness.ready(&memory, false).await.0.as_u16()
    }

    #[tokio::test(start_paused = true)]
    async fn one_check_answers_all_who_ask_meanwhile_and_shortly_afterwards() {
        let (source, readiness) = readiness(false);
        let answers = join_all((0..1_000).map(|_| status(&readiness))).await;
        assert_eq!(answers, vec![200; 1_000]);
        assert_eq!(source.begun.load(Relaxed), 1);
        advance(KEPT - Duration::from_millis(1)).await;
        assert_eq!(status(&readiness).await, 200);
        assert_eq!(source.begun.load(Relaxed), 1);
        advance(Duration::from_millis(1)).await;
        assert_eq!(status(&readiness).await, 200);
        assert_eq!(source.begun.load(Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn clients_that_go_away_neither_end_a_check_nor_begin_another() {
        let (source, readiness) = readiness(false);
        for _ in 0..50 {
            let gone = timeout(Duration::from_millis(1), status(&readiness)).await;
            assert!(gone.is_err());
        }
        assert_eq!(status(&readiness).await, 200);
        assert_eq!(source.begun.load(Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_hangs_counts_as_failed_after_three_seconds() {
        let (source, readiness) = readiness(true);
        let began = Instant::now();
        let answers = join_all((0..10).map(|_| status(&readiness))).await;
        assert_eq!(answers, vec![503; 10]);
        assert_eq!(began.elapsed(), Duration::from_secs(3));
        assert_eq!(source.begun.load(Relaxed), 1);
    }
}
