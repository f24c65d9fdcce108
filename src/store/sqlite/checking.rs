//! Whether the database takes what is to be stored.
//!
//! Not here: the answer to those who ask for readiness (`edge`). Invariant: clients that ask too much of the store
//! do not make it look as if it were away, and a store that has failed counts as working again only once a check has
//! written something and read it back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::reader::Question;
use super::{SqliteStore, closed};
use crate::store::StoreError;

/// The failures of the writer. What succeeds for others proves nothing: of a damaged file some pages are whole.
#[derive(Debug, Default)]
pub(super) struct Failures {
    noted: AtomicU64,
    /// How many of them a check has found to be over.
    over: AtomicU64,
}

impl Failures {
    /// Something could not be written.
    pub(super) fn note(&self) {
        self.noted.fetch_add(1, Ordering::SeqCst);
    }

    /// How many there were, while not all of them are over.
    fn open(&self) -> Option<u64> {
        let over = self.over.load(Ordering::SeqCst);
        let noted = self.noted.load(Ordering::SeqCst);
        (noted > over).then_some(noted)
    }

    /// So many are over; what has failed meanwhile is not.
    fn end(&self, noted: u64) {
        if self.over.fetch_max(noted, Ordering::SeqCst) < noted {
            tracing::info!("writing works again");
        }
    }
}

impl SqliteStore {
    /// Asks a reader, before all other questions; after a batch that failed, writes and reads that.
    pub(super) async fn check_working(&self) -> Result<(), StoreError> {
        if let Some(noted) = self.failures.open() {
            self.probe().await.map_err(|error| match error {
                StoreError::Overloaded => {
                    let detail = "SQLite: writing fails, and too much waits to be written";
                    StoreError::Unavailable(detail.to_owned())
                }
                error @ (StoreError::Unavailable(_) | StoreError::ChangedHands(_)) => error,
            })?;
            self.failures.end(noted);
            return Ok(());
        }
        self.place.known()?;
        let place = Arc::clone(&self.place);
        let failures = Arc::clone(&self.failures);
        self.ask_first(move |conn| {
            // The next check reaches the writer, which looks after what is lost.
            place.look().inspect_err(|_| failures.note())?;
            Ok(conn.query_row("SELECT 1", [], |_| Ok(()))?)
        })
        .await
    }

    /// Writes a probe, reads it on another connection, and takes it away.
    async fn probe(&self) -> Result<(), StoreError> {
        let value = crate::store::alike::fresh_store_id()?;
        let written = value.clone();
        self.write(move |unit| unit.put_probe(&written)).await?;
        let is_there = self.ask_first(move |conn| {
            let read = "SELECT value FROM meta WHERE key = 'probe'";
            let found: String = conn.query_row(read, [], |row| row.get(0))?;
            Ok(found.ends_with(&value))
        });
        if !is_there.await? {
            let detail = "SQLite: what was written is not what is read";
            return Err(StoreError::Unavailable(detail.to_owned()));
        }
        self.write(|unit| unit.remove_probe()).await
    }

    /// Does `work` on a reader's connection before all that waits.
    async fn ask_first<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let question: Question = Box::new(move |conn| {
            // After the deadline of the check nobody waits any more.
            let _ = reply.send(work(conn));
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
        store.failures.note();
        store.check().await.unwrap();
        assert_eq!(store.failures.open(), None);
        let left = store.read(|conn| {
            let probe = "SELECT count(*) FROM meta WHERE key = 'probe'";
            Ok(conn.query_row(probe, [], |row| row.get::<_, u32>(0))?)
        });
        assert_eq!(left.await.unwrap(), 0);
        store.close().await;
        assert!(matches!(
            store.check().await,
            Err(StoreError::Unavailable(_))
        ));
    }

    #[tokio::test]
    async fn only_a_check_ends_a_failure_and_not_one_that_comes_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("db"), &SqliteSettings::default());
        let store = store.unwrap();
        store.failures.note();
        store.write(|_| Ok(())).await.unwrap();
        let noted = store.failures.open();
        assert_eq!(noted, Some(1), "what others write ends nothing");
        store.failures.note();
        store.failures.end(1);
        assert_eq!(store.failures.open(), Some(2));
        store.check().await.unwrap();
        assert_eq!(store.failures.open(), None);
        store.close().await;
    }

    #[tokio::test]
    async fn a_database_that_sqlite_finds_damaged_is_neither_written_nor_read() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("db"), &SqliteSettings::default());
        let store = store.unwrap();
        let damaged = store.write(|_| -> Result<(), _> {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
            Err(rusqlite::Error::SqliteFailure(code, None))
        });
        let refused = damaged.await.unwrap_err().to_string();
        assert!(refused.contains("was damaged"), "{refused}");
        store.write(|_| Ok(())).await.unwrap_err();
        store.read(|_| Ok(())).await.unwrap_err();
        store.check().await.unwrap_err();
        assert!(!store.place.has_lost_its_log_only(), "nothing is copied");
        store.close().await;
    }
}
