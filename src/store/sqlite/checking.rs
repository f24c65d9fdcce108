//! Whether the database takes what is to be stored.
//!
//! Not here: the answer to those who ask for readiness (`edge`). Invariant: clients that ask too much of the store
//! do not make it look as if it were away, and a store that has failed counts as working again only once it has
//! written something.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use super::reader::Question;
use super::{SqliteStore, closed};
use crate::store::StoreError;

impl SqliteStore {
    /// Asks a reader, before all other questions; after a batch that failed, asks the writer by writing.
    pub(super) async fn check_working(&self) -> Result<(), StoreError> {
        if self.is_failing.load(Ordering::Relaxed) {
            let written = self.write(|unit| unit.probe()).await;
            return written.map_err(|error| match error {
                StoreError::Overloaded => {
                    let detail = "SQLite: writing fails, and too much waits to be written";
                    StoreError::Unavailable(detail.to_owned())
                }
                error @ (StoreError::Unavailable(_) | StoreError::ChangedHands(_)) => error,
            });
        }
        self.place.known()?;
        let place = Arc::clone(&self.place);
        let is_failing = Arc::clone(&self.is_failing);
        let (reply, answer) = oneshot::channel();
        let question: Question = Box::new(move |conn| {
            // The next check reaches the writer, which looks after what is lost.
            let found = place
                .look()
                .inspect_err(|_| is_failing.store(true, Ordering::Relaxed))
                .and_then(|()| Ok(conn.query_row("SELECT 1", [], |_| Ok(()))?));
            // After the deadline of the check nobody waits any more.
            let _ = reply.send(found);
        });
        {
            let threads = self.threads();
            let threads = threads.as_ref().ok_or_else(closed)?;
            threads.readers.ask_first(question)?;
        }
        answer.await.map_err(|_| closed())?
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex};
    use std::time::Duration;

    use super::*;
    use crate::store::Store as _;
    use crate::store::sqlite::SqliteSettings;

    /// Lets so many questions through as it is told; the readers wait at it meanwhile.
    #[derive(Default)]
    struct Gate {
        free: Mutex<usize>,
        freed: Condvar,
    }

    impl Gate {
        fn pass(&self) {
            let free = self.free.lock().unwrap();
            let mut free = self.freed.wait_while(free, |free| *free == 0).unwrap();
            *free -= 1;
        }

        fn let_through(&self, more: usize) {
            *self.free.lock().unwrap() += more;
            self.freed.notify_all();
        }
    }

    #[tokio::test]
    async fn a_full_queue_of_questions_is_passed_by_the_check() {
        let folder = tempfile::tempdir().unwrap();
        let settings = SqliteSettings {
            queue_max: 10,
            ..SqliteSettings::default()
        };
        let store = SqliteStore::open(&folder.path().join("db"), &settings).unwrap();
        let gate = Arc::new(Gate::default());
        let (begun, held) = std::sync::mpsc::channel();
        let ask = || {
            let (gate, begun) = (Arc::clone(&gate), begun.clone());
            let question: Question = Box::new(move |_| {
                begun.send(()).unwrap();
                gate.pass();
            });
            let threads = store.threads();
            threads.as_ref().unwrap().readers.ask(question)
        };
        for _ in 0..settings.readers {
            ask().unwrap();
            held.recv().unwrap();
        }
        for _ in 0..settings.queue_max {
            ask().unwrap();
        }
        assert!(matches!(ask(), Err(StoreError::Overloaded)));
        let mut check = Box::pin(store.check());
        assert!(futures_util::poll!(&mut check).is_pending());
        // One reader is free once. Any other question would keep it.
        gate.let_through(1);
        let checked = tokio::time::timeout(Duration::from_secs(20), check).await;
        checked.expect("it waits behind other questions").unwrap();
        gate.let_through(settings.readers + settings.queue_max);
        store.close().await;
    }

    #[tokio::test]
    async fn a_check_after_a_failure_writes() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("db"), &SqliteSettings::default());
        let store = store.unwrap();
        store.is_failing.store(true, Ordering::Relaxed);
        store.check().await.unwrap();
        assert!(!store.is_failing.load(Ordering::Relaxed));
        store.close().await;
        assert!(matches!(
            store.check().await,
            Err(StoreError::Unavailable(_))
        ));
    }
}
