//! The embedded engine: one SQLite file, for one process.
//!
//! Not here: the writer's thread and its group commit (`writer`), the readers' threads (`reader`), what is written
//! (`append`, `visits`, `accounts`), copies (`backup`). Invariant: every change goes through the one writer, so
//! commit order is the order of the queue; a commit is on disk (WAL, `synchronous=FULL`) before it is answered.

mod accounts;
mod append;
pub mod backup;
mod checking;
mod checkpointer;
mod company;
mod ledger;
mod open;
mod place;
mod reader;
mod settings;
mod sweep;
mod visits;
mod writer;

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::TrySendError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, params};
use tokio::sync::oneshot;

use super::alike::{storable, stretch};
use super::backlog::Backlog;
use super::rows::millis;
use super::{
    Append, Commit, Found, Heads, Keep, NewVisitor, Position, Range, Store, StoreError, StoredSlot,
    TakeOver, TokenHash, UserRecord, sql,
};
use crate::model::{ClientIdentifier, MessageId, RoomId, StoredMessage, UnixMillis, UserId};
use append::AppendJob;
use checking::Failures;
use checkpointer::Checkpointer;
use place::Place;
use reader::{Question, Readers};
pub use settings::SqliteSettings;
use writer::{Call, Job, Unit};

/// A store in one SQLite file.
pub struct SqliteStore {
    path: PathBuf,
    store_id: String,
    backlog: Backlog,
    /// While one of them is not over, `check` writes instead of only reading.
    failures: Arc<Failures>,
    place: Arc<Place>,
    /// `None` after `close`. A std mutex, held for the moment of a `try_send`: it also makes the
    /// place in the queue the order of the calls.
    threads: Mutex<Option<Threads>>,
    /// Gives turns to the tasks that remove much. A tokio mutex: held until a step is committed.
    sweeping: tokio::sync::Mutex<()>,
    /// The erasures that this process does. A std mutex: held for a look at it.
    erasures: Mutex<Vec<UserId>>,
}

/// The threads, and the lock that keeps other processes out for as long as they live.
struct Threads {
    writer: writer::Queue,
    readers: Readers,
    handles: Vec<JoinHandle<()>>,
    lock: File,
}

impl Threads {
    /// Lets the threads finish what is queued, waits for them, then gives the file up.
    fn end(self) {
        drop((self.writer, self.readers));
        for handle in self.handles {
            if handle.join().is_err() {
                tracing::error!("a thread of the SQLite store panicked");
            }
        }
        drop(self.lock);
    }
}

impl SqliteStore {
    /// Opens the file, creating it when it is missing, checks it, and brings its schema up to date.
    /// Blocks for as long as that takes.
    ///
    /// # Errors
    /// When a setting is out of bounds, another process has the file, it is damaged or cannot be
    /// read or written; the error names the file.
    pub fn open(path: &Path, settings: &SqliteSettings) -> Result<Arc<Self>, StoreError> {
        settings.check()?;
        let opened = open::open(path, settings)?;
        let failures = Arc::<Failures>::default();
        let place = Arc::new(Place::of(path, settings.wal_bytes_max)?);
        let mut handles = Vec::new();
        let state = writer::State {
            store_id: opened.store_id.clone(),
            position: opened.position,
            failures: Arc::clone(&failures),
            place: Arc::clone(&place),
        };
        let mut writer = opened.writer;
        let (checkpointer, handle) = Checkpointer::start(
            opened.checkpointer,
            &mut writer,
            Arc::clone(&place),
            opened.checkpoint_pages,
        )?;
        handles.push(handle);
        let (writer, handle) = writer::start(writer, checkpointer, state, settings)?;
        handles.push(handle);
        let (readers, reading) = reader::start(opened.readers, settings.queue_max)?;
        handles.extend(reading);
        Ok(Arc::new(Self {
            path: path.to_owned(),
            store_id: opened.store_id,
            backlog: Backlog::new(settings.queue_bytes_max),
            failures,
            place,
            threads: Mutex::new(Some(Threads {
                writer,
                readers,
                handles,
                lock: opened.lock,
            })),
            sweeping: tokio::sync::Mutex::default(),
            erasures: Mutex::default(),
        }))
    }

    fn threads(&self) -> MutexGuard<'_, Option<Threads>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enqueue(&self, job: Box<dyn Job>) -> Result<(), StoreError> {
        let threads = self.threads();
        let threads = threads.as_ref().ok_or_else(closed)?;
        threads.writer.try_send(job).map_err(|err| full(&err))
    }

    /// Does `work` inside the writer's next transaction and answers after its commit.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Unit<'_>) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.enqueue(Box::new(Call::new(work, reply)))?;
        answer.await.map_err(|_| closed())?
    }

    /// Does `work` on a reader's connection.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.place.known()?;
        let (reply, answer) = oneshot::channel();
        let question: Question = Box::new(move |conn| {
            // Nobody may be waiting any more; then the answer is of no use.
            let _ = reply.send(work(conn));
        });
        {
            let threads = self.threads();
            let threads = threads.as_ref().ok_or_else(closed)?;
            threads.readers.ask(question)?;
        }
        answer.await.map_err(|_| closed())?
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        let threads = self.threads().take();
        if let Some(threads) = threads {
            threads.end();
        }
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn store_id(&self) -> Result<String, StoreError> {
        Ok(self.store_id.clone())
    }

    fn append(&self, append: Append) -> Commit {
        let (reply, answer) = oneshot::channel();
        let queued = self.backlog.admit(&append).and_then(|permit| {
            self.enqueue(Box::new(AppendJob::new(storable(append), reply, permit)))
        });
        Box::pin(async move {
            queued?;
            answer.await.map_err(|_| closed())?
        })
    }

    async fn heads(&self, users: &[UserId], since: Position) -> Result<Heads, StoreError> {
        let users: Vec<&str> = users.iter().map(UserId::as_str).collect();
        let users = serde_json::to_string(&users)
            .map_err(|err| StoreError::Unavailable(err.to_string()))?;
        self.read(move |conn| reader::heads(conn, &users, since))
            .await
    }

    async fn range(
        &self,
        room: RoomId,
        after: u64,
        through: u64,
        limit: u32,
    ) -> Result<Range, StoreError> {
        if limit == 0 || through <= after {
            // Nothing is asked for, so the answer is complete as far as it was before.
            return Ok(stretch(Vec::new(), (after, after), limit, 0));
        }
        self.read(move |conn| reader::range(conn, room, (after, through), limit))
            .await
    }

    async fn wrote_since(
        &self,
        room: RoomId,
        from: &UserId,
        since: UnixMillis,
    ) -> Result<bool, StoreError> {
        let from = from.clone();
        self.read(move |conn| {
            let mut statement = conn.prepare_cached(sql::WROTE_SINCE)?;
            let room = room.0.to_be_bytes();
            Ok(statement.exists(params![from.as_str(), room, millis(since)])?)
        })
        .await
    }

    async fn stored_by_visitors(
        &self,
        slot_ms: u64,
        rows_keep: Duration,
    ) -> Result<Vec<StoredSlot>, StoreError> {
        self.read(move |conn| visits::stored(conn, slot_ms, rows_keep))
            .await
    }

    async fn user(&self, user_id: &UserId) -> Result<Option<UserRecord>, StoreError> {
        let user_id = user_id.clone();
        self.read(move |conn| visits::users(conn, sql::USER, params![user_id.as_str()]))
            .await
            .map(|mut users| users.pop())
    }

    async fn visitor(
        &self,
        token: TokenHash,
        user: Option<&UserId>,
        now: UnixMillis,
    ) -> Result<Found, StoreError> {
        let user = user.cloned();
        self.read(move |conn| visits::visitor(conn, token, user.as_ref(), now))
            .await
    }

    async fn keep_visitor(&self, keep: Keep) -> Result<(), StoreError> {
        self.write(move |unit| visits::keep_visitor(unit.conn, &keep))
            .await
    }

    async fn create_visitor(&self, visitor: NewVisitor) -> Result<bool, StoreError> {
        self.write(move |unit| visits::create_visitor(unit.conn, &visitor))
            .await
    }

    async fn confirm_token(
        &self,
        token: TokenHash,
        expires_at: UnixMillis,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        self.write(move |unit| visits::confirm_token(unit.conn, token, expires_at, now))
            .await
    }

    async fn loose_visitors(
        &self,
        client: &ClientIdentifier,
        seen_after: UnixMillis,
    ) -> Result<Vec<UserRecord>, StoreError> {
        let client = client.clone();
        self.read(move |conn| {
            let params = params![client.as_str(), millis(seen_after)];
            visits::users(conn, sql::LOOSE_VISITORS, params)
        })
        .await
    }

    async fn take_over(&self, take_over: TakeOver) -> Result<bool, StoreError> {
        self.write(move |unit| {
            unit.ledger().changes_hands(&take_over.user_id);
            visits::take_over(unit.conn, &take_over)
        })
        .await
    }

    async fn seen(&self, user_id: &UserId, now: UnixMillis) -> Result<(), StoreError> {
        self.seen_all(std::slice::from_ref(user_id), now).await
    }

    async fn seen_all(&self, user_ids: &[UserId], now: UnixMillis) -> Result<(), StoreError> {
        let user_ids = user_ids.to_vec();
        self.write(move |unit| visits::seen(unit.conn, &user_ids, now))
            .await
    }

    async fn export(
        &self,
        user_id: &UserId,
        after: Option<MessageId>,
        limit: u32,
        bytes_max: u64,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        let user_id = user_id.clone();
        self.read(move |conn| {
            // Nothing is smaller than no octets.
            let after = after.map_or(Vec::new(), |id| id.0.to_be_bytes().to_vec());
            let bytes_max = i64::try_from(bytes_max).unwrap_or(i64::MAX);
            let mut statement = conn.prepare_cached(sql::EXPORT)?;
            let mut rows = statement.query(params![user_id.as_str(), after, limit, bytes_max])?;
            let mut messages = Vec::new();
            while let Some(row) = rows.next()? {
                messages.push(append::message_row(row, 0)?.try_into()?);
            }
            Ok(messages)
        })
        .await
    }

    async fn erase(&self, user_id: &UserId, ends_at: UnixMillis) -> Result<(), StoreError> {
        self.erase_in_steps(user_id, ends_at).await
    }

    async fn begin_erasure(
        &self,
        user_id: &UserId,
        ends_at: UnixMillis,
    ) -> Result<bool, StoreError> {
        self.erase_first(user_id, ends_at).await
    }

    async fn purge(&self, now: UnixMillis, idle_before: UnixMillis) -> Result<u64, StoreError> {
        self.purge_all((now, idle_before)).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.check_working().await
    }

    async fn close(&self) {
        let threads = self.threads().take();
        if let Some(threads) = threads {
            // Joining blocks, which a worker of the runtime must not.
            let ended = tokio::task::spawn_blocking(move || threads.end()).await;
            if ended.is_err() {
                tracing::error!("the SQLite store could not be closed in order");
            }
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(err: rusqlite::Error) -> Self {
        Self::Unavailable(format!("SQLite: {err}"))
    }
}

fn full<T>(err: &TrySendError<T>) -> StoreError {
    match err {
        TrySendError::Full(_) => StoreError::Overloaded,
        TrySendError::Disconnected(_) => closed(),
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".to_owned())
}
