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

    use super::*;
    use crate::store::Store as _;
    use crate::store::sqlite::SqliteSettings;

    /// Keeps the readers busy until it is opened.
    #[derive(Default)]
    struct Gate {
        is_open: Mutex<bool>,
        opened: Condvar,
    }

    impl Gate {
        fn wait(&self) {
            let mut is_open = self.is_open.lock().unwrap();
            while !*is_open {
                is_open = self.opened.wait(is_open).unwrap();
            }
        }

        fn open(&self) {
            *self.is_open.lock().unwrap() = true;
            self.opened.notify_all();
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
        let order = Arc::new(Mutex::new(Vec::new()));
        let ask = |name: usize| {
            let (gate, order) = (Arc::clone(&gate), Arc::clone(&order));
            let question: Question = Box::new(move |_| {
                gate.wait();
                order.lock().unwrap().push(name);
            });
            let threads = store.threads();
            threads.as_ref().unwrap().readers.ask(question)
        };
        // The readers take some, the rest fills the queue.
        let mut asked = 0;
        while asked < 100 {
            match ask(asked) {
                Ok(()) => asked += 1,
                Err(StoreError::Overloaded) => break,
                Err(error) => panic!("{error}"),
            }
        }
        assert!(asked >= settings.queue_max);
        let mut check = Box::pin(store.check());
        assert!(futures_util::poll!(&mut check).is_pending());
        assert!(matches!(ask(asked), Err(StoreError::Overloaded)));
        gate.open();
        check.await.unwrap();
        let before = order.lock().unwrap().len();
        store.close().await;
        let all = order.lock().unwrap().len();
        assert!(all >= settings.queue_max, "{all}");
        eprintln!("{before} of {all} were answered before the check was seen");
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
