//! Copies the write-ahead log back into the database beside the writer, so that no commit waits for it.
//!
//! Not here: emptying the log when it is beyond its bound, which the writer does (`writer`). Invariant: nothing is
//! copied once the files were found not to be the ones that were opened.
//!
//! SQLite would do it within the commit that makes the log long enough: everybody whose message is in that commit, or
//! comes during it, would wait for megabytes to be written and synced.

use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use rusqlite::hooks::Wal;
use rusqlite::{Connection, Error, Row};

use super::place::Place;
use crate::model::EveryMinute;
use crate::store::StoreError;

/// How often it is tried to copy what was committed meanwhile.
const ROUNDS_MAX: usize = 8;

/// So many pages are little enough for the writer to copy them itself.
const REST_MAX: i64 = 64;

/// What the writer knows of the thread that copies.
#[derive(Debug)]
pub(super) struct CopyingBack {
    /// Wakes the thread. It ends when this is gone.
    bell: SyncSender<()>,
    log: Arc<Log>,
    /// How many pages the log gains from one time to the next.
    pages: u64,
    /// How many it had the last time.
    pages_then: u64,
}

#[derive(Debug, Default)]
struct Log {
    /// How many pages it had after the last commit.
    pages: AtomicU64,
    /// Nearly all of it is copied.
    is_nearly_copied: AtomicBool,
}

impl CopyingBack {
    /// Starts the thread, which copies each time when the log of the writer has gained so many pages.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(super) fn start(
        copier: Connection,
        writer: &mut Connection,
        place: Arc<Place>,
        pages: u64,
    ) -> Result<(Self, JoinHandle<()>), StoreError> {
        let (bell, rings) = sync_channel(1);
        let log = Arc::<Log>::default();
        let noted = Arc::clone(&log);
        let note = move |_: &mut Wal, pages: c_int| {
            let pages = u64::try_from(pages).unwrap_or_default();
            noted.pages.store(pages, Ordering::Relaxed);
            Ok(())
        };
        let failed = |err: &dyn std::fmt::Display| {
            StoreError::Unavailable(format!("the write-ahead log cannot be copied back: {err}"))
        };
        writer.wal_hook(Some(note)).map_err(|err| failed(&err))?;
        let shared = Arc::clone(&log);
        let handle = thread::Builder::new()
            .name("sqlite-log".to_owned())
            .spawn(move || run(&copier, &place, &shared, &rings))
            .map_err(|err| failed(&err))?;
        let copying = Self {
            bell,
            log,
            pages: pages.max(1),
            pages_then: 0,
        };
        Ok((copying, handle))
    }

    /// The writer has committed, and everybody has their answer. What the thread has left it copies itself: only between
    /// two commits nothing is added, and only when all is copied the next one begins the log anew.
    ///
    /// # Errors
    /// When that cannot be copied.
    pub(super) fn go_on(&mut self, writer: &Connection) -> Result<(), Error> {
        let pages = self.log.pages.load(Ordering::Relaxed);
        if pages < self.pages_then {
            // It was begun anew.
            self.pages_then = 0;
        }
        if pages - self.pages_then >= self.pages {
            self.pages_then = pages;
            // When it is rung already, that is enough.
            let _ = self.bell.try_send(());
        }
        match self.log.is_nearly_copied.swap(false, Ordering::Relaxed) {
            true => copy(writer).map(drop),
            false => Ok(()),
        }
    }
}

fn run(conn: &Connection, place: &Place, log: &Log, rings: &Receiver<()>) {
    let failed = EveryMinute::new();
    while rings.recv().is_ok() {
        for _ in 0..ROUNDS_MAX {
            if place.look().is_err() {
                break;
            }
            match copy(conn) {
                Ok(rest) if rest <= REST_MAX => {
                    log.is_nearly_copied.store(true, Ordering::Relaxed);
                    break;
                }
                Ok(_) => {}
                Err(err) => {
                    if let Some(times) = failed.due(Instant::now()) {
                        tracing::warn!(%err, times, "the write-ahead log cannot be copied back");
                    }
                    break;
                }
            }
        }
    }
}

/// Copies what is committed and nobody reads any more; returns how many pages are left.
fn copy(conn: &Connection) -> Result<i64, Error> {
    let left = |row: &Row<'_>| {
        let (pages, copied): (i64, i64) = (row.get(1)?, row.get(2)?);
        Ok(pages - copied)
    };
    conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_begins_anew_while_one_commit_follows_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        let open = || Connection::open(&path).unwrap();
        let mut writer = open();
        let prepare = "PRAGMA journal_mode = WAL; CREATE TABLE t (x)";
        writer.execute_batch(prepare).unwrap();
        let place = Arc::new(Place::of(&path, 1 << 20).unwrap());
        let (mut copying, handle) = CopyingBack::start(open(), &mut writer, place, 100).unwrap();
        let mut most = 0;
        for _ in 0..3_000 {
            let insert = "INSERT INTO t VALUES (randomblob(2000))";
            writer.execute(insert, []).unwrap();
            most = most.max(copying.log.pages.load(Ordering::Relaxed));
            copying.go_on(&writer).unwrap();
        }
        assert!(most < 2_000, "{most} pages at a time, of more than 6,000");
        drop((copying, writer));
        handle.join().unwrap();
        let rows = "SELECT count(*) FROM t";
        let rows: i64 = open().query_row(rows, [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 3_000);
    }
}
