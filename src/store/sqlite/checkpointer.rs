//! Checkpoints the write-ahead log on a thread of its own, so that no commit waits for it.
//!
//! Not here: truncating a log that has reached its bound, which the writer does (`writer`). Invariant: nothing is copied after
//! the files were found to be others than those that were opened.
//!
//! SQLite's automatic checkpoint runs inside the commit that makes the log long enough: every message in that commit, and every
//! one behind it, waits until megabytes are written and synced. A passive checkpoint on a second connection blocks neither
//! readers nor the writer. But the log restarts from its beginning only if a commit finds all of it checkpointed, and while
//! commits follow each other the thread is always some pages behind. So the writer checkpoints the last pages itself, between
//! two commits.

use std::ffi::c_int;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use rusqlite::hooks::Wal;
use rusqlite::{Connection, Error, Row};

use super::place::Place;
use crate::model::EveryMinute;
use crate::store::StoreError;

/// How often the thread checkpoints again what was committed in the meantime.
const ROUNDS_MAX: usize = 8;

/// With at most this many pages left the writer does the rest: about a millisecond.
const REST_PAGES_MAX: i64 = 64;

/// The writer's handle to the thread, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Checkpointer {
    wake: SyncSender<()>,
    log: Arc<Log>,
    /// The thread is woken each time the log has grown by this many pages.
    interval_pages: u64,
    /// The length of the log when the thread was woken last.
    woken_at_pages: u64,
}

/// What the writer and the thread share.
#[derive(Debug)]
struct Log {
    /// Its length after the last commit.
    pages: AtomicU64,
    /// At most [`REST_PAGES_MAX`] pages are left.
    is_nearly_done: AtomicBool,
    /// Held while the thread checkpoints.
    busy: Mutex<()>,
    failures: EveryMinute,
}

impl Checkpointer {
    /// Starts the thread with a connection of its own, and watches the log of the writer's connection.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(super) fn start(
        conn: Connection,
        writer: &mut Connection,
        place: Arc<Place>,
        interval_pages: u64,
    ) -> Result<(Self, JoinHandle<()>), StoreError> {
        let (wake, woken) = sync_channel(1);
        let log = Arc::new(Log {
            pages: AtomicU64::new(0),
            is_nearly_done: AtomicBool::new(false),
            busy: Mutex::new(()),
            failures: EveryMinute::new(),
        });
        let committed = Arc::clone(&log);
        let hook = move |_: &mut Wal, pages: c_int| {
            committed
                .pages
                .store(u64::try_from(pages).unwrap_or_default(), Relaxed);
            Ok(())
        };
        let failed =
            |err: &dyn Display| StoreError::Unavailable(format!("the checkpointer: {err}"));
        writer.wal_hook(Some(hook)).map_err(|err| failed(&err))?;
        let shared = Arc::clone(&log);
        let handle = thread::Builder::new()
            .name("sqlite-checkpointer".to_owned())
            .spawn(move || run(&conn, &place, &shared, &woken))
            .map_err(|err| failed(&err))?;
        let checkpointer = Self {
            wake,
            log,
            interval_pages: interval_pages.max(1),
            woken_at_pages: 0,
        };
        Ok((checkpointer, handle))
    }

    /// Keeps the thread from checkpointing while this is held. SQLite refuses a second checkpoint at once, without its busy
    /// timeout.
    pub(super) fn pause(&self) -> MutexGuard<'_, ()> {
        self.log.busy()
    }

    /// Call it between two commits, after the first is answered.
    pub(super) fn after_commit(&mut self, writer: &Connection) {
        let pages = self.log.pages.load(Relaxed);
        if pages < self.woken_at_pages {
            // The log has restarted.
            self.woken_at_pages = 0;
        }
        if pages - self.woken_at_pages >= self.interval_pages {
            self.woken_at_pages = pages;
            // A full channel means that it is woken already.
            let _ = self.wake.try_send(());
        }
        if self.log.is_nearly_done.swap(false, Relaxed) {
            let _rest = self.log.checkpoint(writer);
        }
    }
}

fn run(conn: &Connection, place: &Place, log: &Log, woken: &Receiver<()>) {
    while woken.recv().is_ok() {
        for _ in 0..ROUNDS_MAX {
            if place.look().is_err() {
                break;
            }
            let busy = log.busy();
            let Some(rest) = log.checkpoint(conn) else {
                break;
            };
            drop(busy);
            if rest <= REST_PAGES_MAX {
                log.is_nearly_done.store(true, Relaxed);
                break;
            }
        }
    }
}

impl Log {
    fn busy(&self) -> MutexGuard<'_, ()> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checkpoints without waiting for anybody. Returns how many pages are left; `None` after a failure, which is logged.
    fn checkpoint(&self, conn: &Connection) -> Option<i64> {
        match checkpoint(conn) {
            Ok(rest) => Some(rest),
            Err(err) => {
                if let Some(failures) = self.failures.due(Instant::now()) {
                    tracing::warn!(%err, failures, "the write-ahead log cannot be checkpointed and grows; is the disk full?");
                }
                None
            }
        }
    }
}

fn checkpoint(conn: &Connection) -> Result<i64, Error> {
    let rest = |row: &Row<'_>| {
        let (pages, done): (i64, i64) = (row.get(1)?, row.get(2)?);
        Ok(pages - done)
    };
    conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long the log becomes, in pages, while 3,000 commits of two pages or more follow each other.
    fn longest(interval_pages: u64) -> u64 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        let open = || Connection::open(&path).unwrap();
        let mut writer = open();
        let prepare = "PRAGMA journal_mode = WAL; CREATE TABLE t (x)";
        writer.execute_batch(prepare).unwrap();
        let place = Arc::new(Place::of(&path, 1 << 20).unwrap());
        let (mut checkpointer, handle) =
            Checkpointer::start(open(), &mut writer, place, interval_pages).unwrap();
        let mut longest = 0;
        for _ in 0..3_000 {
            let insert = "INSERT INTO t VALUES (randomblob(2000))";
            writer.execute(insert, []).unwrap();
            longest = longest.max(checkpointer.log.pages.load(Relaxed));
            checkpointer.after_commit(&writer);
        }
        drop((checkpointer, writer));
        handle.join().unwrap();
        let rows = "SELECT count(*) FROM t";
        let rows: i64 = open().query_row(rows, [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 3_000);
        longest
    }

    #[test]
    fn the_log_restarts_while_commits_follow_each_other() {
        let pages = longest(100);
        assert!(pages < 2_000, "{pages}, of more than 6,000");
    }

    #[test]
    fn no_commit_checkpoints() {
        let pages = longest(u64::MAX);
        assert!(
            pages > 6_000,
            "the log restarted without the thread: {pages}"
        );
    }
}
