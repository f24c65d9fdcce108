//! The one thread that writes: everything that is queued goes into one transaction.
//!
//! Not here: what the jobs do. Invariant: jobs run in the order of the queue, and none is answered
//! before the transaction that holds it is on disk. Idle, a job commits alone and at once; under
//! load a batch shares one sync of the disk.

mod saving;

use std::cell::{Cell, RefCell, RefMut};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rusqlite::{Connection, Error, ErrorCode, Row, params};
use tokio::sync::oneshot;

use super::SqliteSettings;
use super::checking::Failures;
use super::checkpointer::Checkpointer;
use super::company::Company;
use super::ledger::Ledger;
use super::place::Place;
use crate::model::EveryMinute;
use crate::store::StoreError;
use crate::store::pace::Pace;

/// How long readers are waited for when the log is beyond its bound.
const READERS_WAIT: Duration = Duration::from_millis(250);

/// While jobs come as fast as this in a second, a batch waits for [`GATHER`], because more are on their way: half as
/// many commits cost half as many syncs.
const FAST: u32 = 1_000;
const GATHER: Duration = Duration::from_millis(3);

/// So many are worth a commit at once.
const GATHERED_ENOUGH: usize = 64;

/// What a check writes after a failure, about: a large message's worth, so that a disk on which only
/// small ones still fit counts as full.
const PROBE_BYTES: u32 = 65_536;

/// Where jobs wait for the writer.
pub(super) type Queue = SyncSender<Box<dyn Job>>;

/// A piece of work for the writer.
pub(super) trait Job: Send {
    /// Does the work inside the batch's transaction. An error ends the whole batch.
    fn run(&mut self, unit: &Unit<'_>) -> Result<(), Error>;

    /// Whether it may wait for a moment for a job that may not.
    fn may_wait(&self) -> bool {
        false
    }

    /// Tells whoever waits how it ended: committed, or why not.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

/// The transaction that a batch shares.
pub(super) struct Unit<'a> {
    pub(super) conn: &'a Connection,
    pub(super) store_id: &'a str,
    /// The position of this batch in the order of commits.
    pub(super) position: i64,
    ledger: RefCell<&'a mut Ledger>,
    has_moved_a_head: Cell<bool>,
}

impl<'a> Unit<'a> {
    /// What is known, and what is still to be written.
    pub(super) fn ledger(&self) -> RefMut<'_, &'a mut Ledger> {
        self.ledger.borrow_mut()
    }

    /// Before something that changes conversations, members or the hands of identities: it finds
    /// everything in the file, and nothing stays known that it changes.
    pub(super) fn open_the_ledger(&self) -> Result<(), Error> {
        self.write_the_ledger()?;
        self.ledger().forget();
        Ok(())
    }

    /// A head moves in this batch beside the ledger.
    pub(super) fn moves_a_head(&self) {
        self.has_moved_a_head.set(true);
    }

    /// Writes what is known and not written yet. Some head moved: then this batch takes its position.
    fn write_the_ledger(&self) -> Result<(), Error> {
        let has_moved = self.ledger().write(self.conn, self.position)?;
        self.has_moved_a_head
            .set(has_moved || self.has_moved_a_head.get());
        Ok(())
    }

    /// Writes something, to find out whether there is room. Its value ends with this.
    pub(super) fn put_probe(&self, value: &str) -> Result<(), Error> {
        self.conn.execute(
            "INSERT INTO meta (key, value) VALUES ('probe', printf('%.*c', $1, 'x') || $2) \
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            params![PROBE_BYTES, value],
        )?;
        Ok(())
    }

    /// Takes it away again.
    pub(super) fn remove_probe(&self) -> Result<(), Error> {
        self.conn
            .execute("DELETE FROM meta WHERE key = 'probe'", [])
            .map(drop)
    }

    fn put_position(&self, position: i64) -> Result<(), Error> {
        let mut statement = self.conn.prepare_cached(
            "INSERT INTO meta (key, value) VALUES ('position', $1) \
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )?;
        statement.execute(params![position.to_string()])?;
        Ok(())
    }
}

/// A transaction whose beginning and end are prepared once. Dropping it takes everything back.
struct Transaction<'a> {
    conn: &'a Connection,
}

impl<'a> Transaction<'a> {
    fn begin(conn: &'a Connection) -> Result<Self, Error> {
        conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(Self { conn })
    }

    fn commit(self) -> Result<(), Error> {
        self.conn.prepare_cached("COMMIT")?.execute([]).map(drop)
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // After a commit there is none, and some failures have ended it already.
        if !self.conn.is_autocommit()
            && let Err(err) = self.conn.execute_batch("ROLLBACK")
        {
            tracing::error!(%err, "a transaction could not be taken back");
        }
    }
}

/// A closure as a job.
pub(super) struct Call<T, F> {
    work: Option<F>,
    result: Option<T>,
    may_wait: bool,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Call<T, F> {
    pub(super) fn new(work: F, reply: oneshot::Sender<Result<T, StoreError>>) -> Self {
        Self {
            work: Some(work),
            result: None,
            may_wait: false,
            reply,
        }
    }

    /// The same work, which may wait for company.
    pub(super) fn patient(mut self) -> Self {
        self.may_wait = true;
        self
    }
}

impl<T, F> Job for Call<T, F>
where
    T: Send,
    F: FnOnce(&Unit<'_>) -> Result<T, Error> + Send,
{
    fn run(&mut self, unit: &Unit<'_>) -> Result<(), Error> {
        if let Some(work) = self.work.take() {
            self.result = Some(work(unit)?);
        }
        Ok(())
    }

    fn may_wait(&self) -> bool {
        self.may_wait
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        // Nobody may be waiting any more; what was done stays done.
        match (committed, self.result) {
            (Ok(()), Some(result)) => drop(self.reply.send(Ok(result))),
            (Err(err), _) => drop(self.reply.send(Err(err))),
            (Ok(()), None) => debug_assert!(false, "a batch commits only when every job ran"),
        }
    }
}

/// What the writer knows beside its connection.
pub(super) struct State {
    pub(super) store_id: String,
    pub(super) position: i64,
    pub(super) failures: Arc<Failures>,
    pub(super) place: Arc<Place>,
}

pub(super) fn start(
    conn: Connection,
    checkpointer: Checkpointer,
    state: State,
    settings: &SqliteSettings,
) -> Result<(Queue, JoinHandle<()>), StoreError> {
    let (sender, jobs) = sync_channel(settings.queue_max);
    let (batch_max, wal_bytes_max) = (settings.batch_max, settings.wal_bytes_max);
    let mut writer = Writer {
        conn,
        checkpointer,
        state,
        ledger: Ledger::new(),
        busy_timeout: settings.busy_timeout,
        wal_bytes_max,
        wal_bytes_next: wal_bytes_max,
        is_saved: false,
        failed: EveryMinute::new(),
    };
    let handle = thread::Builder::new()
        .name("sqlite-writer".to_owned())
        .spawn(move || {
            writer.run(&jobs, batch_max);
            if writer.state.place.is_lost() {
                // Closing would remove whatever log stands at the path now.
                std::mem::forget(writer.conn);
            }
        })
        .map_err(|err| StoreError::Unavailable(format!("the writer's thread: {err}")))?;
    Ok((sender, handle))
}

/// Lets some more come. Not by waiting for the queue, which would wake this thread for each of them.
#[expect(
    clippy::disallowed_methods,
    reason = "this thread is the store's own and no worker of the runtime"
)]
fn gather() {
    thread::sleep(GATHER);
}

struct Writer {
    conn: Connection,
    checkpointer: Checkpointer,
    state: State,
    ledger: Ledger,
    busy_timeout: Duration,
    wal_bytes_max: u64,
    /// The size of the log at which it is emptied next: beyond the bound it moves on when somebody
    /// else would not stop reading, so that the writer does not wait for him at every batch.
    wal_bytes_next: u64,
    /// Whether the log of lost files was looked after.
    is_saved: bool,
    /// Batches that could not be written, for the log.
    failed: EveryMinute,
}

impl Writer {
    /// Ends when every sender is gone and the queue is empty.
    fn run(&mut self, jobs: &Receiver<Box<dyn Job>>, batch_max: usize) {
        let mut batch = Vec::with_capacity(batch_max);
        let mut pace = Pace::new(FAST, Instant::now());
        let mut company = Company::default();
        while let Ok(first) = jobs.recv() {
            batch.push(first);
            batch.extend(jobs.try_iter().take(batch_max - 1));
            company.wait(jobs, &mut batch, batch_max);
            if pace.is_fast(Instant::now()) && batch.len() < GATHERED_ENOUGH {
                gather();
                batch.extend(jobs.try_iter().take(batch_max - batch.len()));
            }
            pace.count(batch.len(), Instant::now());
            let committed = self.commit_in_place(&mut batch);
            self.note(&committed);
            self.save_the_log();
            for job in batch.drain(..) {
                job.answer(committed.clone());
            }
            self.bound_the_log();
        }
        // Whatever is wrong with the files may have happened after the last batch.
        if self.state.place.look().is_err() {
            self.save_the_log();
        } else if let Err(err) = self.checkpoint() {
            tracing::warn!(%err, "the write-ahead log stays for the next start");
        }
    }

    /// Commits, unless the files are not the ones at their paths any more. They are looked at once more
    /// before the commit is answered: what went into a file that was deleted meanwhile is not stored.
    fn commit_in_place(&mut self, batch: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
        self.state.place.look()?;
        self.commit(batch)
            .map_err(|error| match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                    self.state.place.is_damaged(&error)
                }
                _ => error.into(),
            })?;
        self.state.place.look_after_writing()
    }

    /// All or nothing. Dropping the transaction on the way out rolls it back.
    fn commit(&mut self, batch: &mut [Box<dyn Job>]) -> Result<(), Error> {
        let outcome = self.transact(batch);
        if outcome.is_err() {
            self.ledger.forget();
        }
        outcome
    }

    fn transact(&mut self, batch: &mut [Box<dyn Job>]) -> Result<(), Error> {
        let transaction = Transaction::begin(&self.conn)?;
        let unit = Unit {
            conn: transaction.conn,
            store_id: &self.state.store_id,
            position: self.state.position + 1,
            ledger: RefCell::new(&mut self.ledger),
            has_moved_a_head: Cell::new(false),
        };
        for job in batch {
            job.run(&unit)?;
        }
        unit.write_the_ledger()?;
        let has_moved = unit.has_moved_a_head.get();
        if has_moved {
            unit.put_position(unit.position)?;
        }
        transaction.commit()?;
        self.state.position += i64::from(has_moved);
        Ok(())
    }

    fn note(&self, committed: &Result<(), StoreError>) {
        let Err(err) = committed else { return };
        self.state.failures.note();
        // What is lost was logged when it was found.
        if !self.state.place.is_lost()
            && let Some(batches) = self.failed.due(Instant::now())
        {
            tracing::error!(%err, batches, "what was to be stored could not be written");
        }
    }

    /// The log cannot restart while a reader uses it, and grows. Beyond its bound the writer waits a moment for the readers and
    /// truncates it.
    fn bound_the_log(&mut self) {
        if self.state.place.is_lost() {
            return;
        }
        self.checkpointer.after_commit(&self.conn);
        let bytes = self.state.place.wal_bytes();
        if bytes <= self.wal_bytes_next {
            return;
        }
        let emptied = self
            .conn
            .busy_timeout(self.busy_timeout.min(READERS_WAIT))
            .and_then(|()| self.checkpoint());
        if let Err(err) = self.conn.busy_timeout(self.busy_timeout) {
            tracing::error!(%err, "the busy timeout cannot be set");
        }
        match emptied {
            Ok(true) => {
                self.wal_bytes_next = self.wal_bytes_max;
                return;
            }
            Ok(false) => tracing::warn!(bytes, "the write-ahead log grows: a reader does not end"),
            // A full disk, for one: the database has to grow by what the log holds.
            Err(err) => {
                tracing::error!(bytes, %err, "the write-ahead log grows: it cannot be copied back");
            }
        }
        self.wal_bytes_next = bytes + self.wal_bytes_max;
    }

    /// Copies the log back and empties it; `false` when somebody was in the way.
    fn checkpoint(&self) -> Result<bool, Error> {
        let _paused = self.checkpointer.pause();
        let copied = || {
            let pragma = "PRAGMA wal_checkpoint(TRUNCATE)";
            let is_free = |row: &Row<'_>| row.get(0).map(|busy: i64| busy == 0);
            self.conn.query_row(pragma, [], is_free)
        };
        self.state.place.shrink_the_log(copied)
    }
}
