//! The engine of a cluster: a PostgreSQL database that the nodes share.
//!
//! Not here: connecting (`connect`), the lanes that append (`lane`), changes of visitors
//! (`visits`). Invariant: everything is read from the primary, one statement at a time, so that
//! what an answer says was true at one moment; `seq` of a conversation is given under the lock of
//! its row, so commit order is `seq` order on every node.

mod accounts;
mod asking;
mod checking;
mod columns;
mod connect;
mod failed;
mod hands;
mod keeping;
mod keys;
mod lane;
mod settings;
mod visits;

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::{Object, Pool};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::alike::{storable, stretch};
use super::backlog::Backlog;
use super::rows::{MessageRow, millis, room, signed, unsigned, user};
use super::{
    Append, Commit, Found, Head, Heads, Keep, NewVisitor, Position, Range, Store, StoreError,
    StoredSlot, TakeOver, TokenHash, UserRecord, sql,
};
use crate::model::{ClientIdentifier, MessageId, RoomId, StoredMessage, UnixMillis, UserId};
use lane::{Lane, Waiting};
pub use settings::PostgresSettings;
use visits::Change;

/// A position is the `xmin` of the snapshot of an answer: every transaction below it had ended, and
/// what it committed is in the answer. A conversation keeps the id of the transaction that last
/// moved its head. One that was still running at that moment has an id at or above `xmin`, as has
/// every later one, so `changed >= position` finds all that the answer does not reflect, in
/// whatever order they commit. What else it finds was changed before, by a transaction that began
/// after the oldest one then running: more than needed, never less.
const HEADS: &str = "SELECT p.position, h.user_id, h.room, h.head \
    FROM (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS position) p \
    LEFT JOIN (SELECT m.user_id, m.room, c.head FROM members m \
        JOIN conversations c ON c.room = m.room \
        WHERE m.user_id = ANY($1) AND c.changed >= $2) h ON true \
    ORDER BY h.user_id, h.room";

/// Visitors, messages or secrets removed in one transaction.
const PURGE_ROWS: i64 = 1_000;

/// A store in a PostgreSQL database.
pub struct PostgresStore {
    store_id: String,
    pool: Pool,
    deadline: Duration,
    backlog: Backlog,
    /// By the conversation: all appends to one are in one lane, in the order of the calls.
    lanes: Vec<mpsc::Sender<Waiting>>,
    /// Whether the last batch of any lane failed.
    is_failing: Arc<AtomicBool>,
    /// Whether the last question got no answer in time.
    is_late: AtomicBool,
    stop: CancellationToken,
    /// What `close` waits for. A std mutex, held to take them out.
    running: Mutex<Vec<JoinHandle<()>>>,
}

impl PostgresStore {
    /// Connects, brings the schema up to date under an advisory lock, and starts the lanes on
    /// `tracker`; they end with [`Store::close`] or when the store is dropped.
    ///
    /// # Errors
    /// When a setting is out of bounds, the address cannot be read, or the database cannot be
    /// reached, is no primary, or has another encoding than UTF-8. No words have the password.
    pub async fn connect(
        url: &str,
        settings: &PostgresSettings,
        tracker: &TaskTracker,
    ) -> Result<Arc<Self>, StoreError> {
        settings.check()?;
        let (pool, lane_pool) = connect::pools(url, settings)?;
        let store_id = connect::prepare(&lane_pool).await?;
        let stop = CancellationToken::new();
        let (mut lanes, mut running) = (Vec::new(), Vec::new());
        let is_failing = Arc::new(AtomicBool::new(false));
        for _ in 0..settings.lanes {
            let (sender, waiting) = mpsc::channel(settings.lane_queue_max);
            let lane = Lane {
                pool: lane_pool.clone(),
                store_id: store_id.clone(),
                batch_max: settings.batch_max,
                deadline: connect::deadline(settings),
                is_failing: Arc::clone(&is_failing),
            };
            running.push(tracker.spawn(lane.run(waiting, stop.clone())));
            lanes.push(sender);
        }
        Ok(Arc::new(Self {
            store_id,
            pool,
            deadline: connect::deadline(settings),
            backlog: Backlog::new(settings.queue_bytes_max),
            lanes,
            is_failing,
            is_late: AtomicBool::new(false),
            stop,
            running: Mutex::new(running),
        }))
    }

    fn lane(&self, room: RoomId) -> &mpsc::Sender<Waiting> {
        let lane = room.0 % self.lanes.len() as u128;
        &self.lanes[usize::try_from(lane).unwrap_or(0)]
    }

    async fn client(&self) -> Result<Object, StoreError> {
        Ok(self.pool.get().await?)
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("store_id", &self.store_id)
            .field("lanes", &self.lanes.len())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn store_id(&self) -> Result<String, StoreError> {
        Ok(self.store_id.clone())
    }

    fn append(&self, append: Append) -> Commit {
        let (reply, answer) = oneshot::channel();
        let lane = self.lane(append.room);
        let queued = self.backlog.admit(&append).and_then(|room| {
            let waiting = Waiting {
                append: storable(append),
                reply,
                _room: room,
            };
            lane.try_send(waiting).map_err(|err| match err {
                mpsc::error::TrySendError::Full(_) => StoreError::Overloaded,
                mpsc::error::TrySendError::Closed(_) => closed(),
            })
        });
        Box::pin(async move {
            queued?;
            answer.await.map_err(|_| closed())?
        })
    }

    async fn heads(&self, users: &[UserId], since: Position) -> Result<Heads, StoreError> {
        let users: Vec<&str> = users.iter().map(UserId::as_str).collect();
        let rows = self.ask(HEADS, &[&users, &signed(since.0)]).await?;
        let mut answer = Heads::default();
        for row in rows {
            answer.position = Position(unsigned(row.try_get(0)?));
            // Without any head the join leaves its columns empty.
            let Some(user_id) = row.try_get::<_, Option<&str>>(1)? else {
                continue;
            };
            answer.heads.push(Head {
                user: user(user_id)?,
                room: room(row.try_get(2)?)?,
                seq: unsigned(row.try_get(3)?),
            });
        }
        Ok(answer)
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
        let octets = room.0.to_be_bytes();
        let (from, to) = (signed(after), signed(through));
        let rows = self
            .ask(
                sql::RANGE,
                &[&from, &to, &octets.as_slice(), &i64::from(limit)],
            )
            .await?;
        let (mut head, mut found) = (0, Vec::new());
        for row in &rows {
            head = unsigned(row.try_get(0)?);
            if row.try_get::<_, Option<&[u8]>>(1)?.is_some() {
                found.push(message_row(row, 1)?.try_into()?);
            }
        }
        Ok(stretch(found, (after, through), limit, head))
    }

    async fn wrote_since(
        &self,
        room: RoomId,
        from: &UserId,
        since: UnixMillis,
    ) -> Result<bool, StoreError> {
        let octets = room.0.to_be_bytes();
        let rows = self
            .ask(
                sql::WROTE_SINCE,
                &[&from.as_str(), &octets.as_slice(), &millis(since)],
            )
            .await?;
        Ok(!rows.is_empty())
    }

    async fn stored_by_visitors(
        &self,
        slot_ms: u64,
        rows_keep: Duration,
    ) -> Result<Vec<StoredSlot>, StoreError> {
        self.find_stored(slot_ms, rows_keep).await
    }

    async fn user(&self, user_id: &UserId) -> Result<Option<UserRecord>, StoreError> {
        let rows = self.ask(sql::USER, &[&user_id.as_str()]).await?;
        rows.first().map(visits::user_record).transpose()
    }

    async fn visitor(
        &self,
        token: TokenHash,
        user: Option<&UserId>,
        now: UnixMillis,
    ) -> Result<Found, StoreError> {
        self.find_visitor(token, user, now).await
    }

    async fn keep_visitor(&self, keep: Keep) -> Result<(), StoreError> {
        self.change(&Change::Keep(keep)).await.map(drop)
    }

    async fn create_visitor(&self, visitor: NewVisitor) -> Result<bool, StoreError> {
        Ok(self.change(&Change::Create(visitor)).await?.is_some())
    }

    async fn confirm_token(
        &self,
        token: TokenHash,
        expires_at: UnixMillis,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let change = Change::Confirm(token, expires_at, now);
        self.change(&change).await.map(drop)
    }

    async fn loose_visitors(
        &self,
        client: &ClientIdentifier,
        seen_after: UnixMillis,
    ) -> Result<Vec<UserRecord>, StoreError> {
        let params: [&(dyn ToSql + Sync); 2] = [&client.as_str(), &millis(seen_after)];
        let rows = self.ask(sql::LOOSE_VISITORS, &params).await?;
        rows.iter().map(visits::user_record).collect()
    }

    async fn take_over(&self, take_over: TakeOver) -> Result<bool, StoreError> {
        Ok(self.change(&Change::TakeOver(take_over)).await?.is_some())
    }

    async fn seen(&self, user_id: &UserId, now: UnixMillis) -> Result<(), StoreError> {
        let params: [&(dyn ToSql + Sync); 2] = [&millis(now), &user_id.as_str()];
        self.ask(sql::SEEN, &params).await.map(drop)
    }

    async fn seen_all(&self, user_ids: &[UserId], now: UnixMillis) -> Result<(), StoreError> {
        const SEEN_ALL: &str =
            "UPDATE users SET last_seen = $1 WHERE last_seen < $1 AND user_id = ANY($2)";
        let users: Vec<&str> = user_ids.iter().map(UserId::as_str).collect();
        let params: [&(dyn ToSql + Sync); 2] = [&millis(now), &users];
        self.ask(SEEN_ALL, &params).await.map(drop)
    }

    async fn export(
        &self,
        user_id: &UserId,
        after: Option<MessageId>,
        limit: u32,
        bytes_max: u64,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        // Nothing is smaller than no octets.
        let after = after.map_or(Vec::new(), |id| id.0.to_be_bytes().to_vec());
        let bytes_max = i64::try_from(bytes_max).unwrap_or(i64::MAX);
        let user_id = user_id.as_str();
        let params: [&(dyn ToSql + Sync); 4] = [&user_id, &after, &i64::from(limit), &bytes_max];
        let rows = self.ask(sql::EXPORT, &params).await?;
        rows.iter()
            .map(|row| message_row(row, 0)?.try_into())
            .collect()
    }

    async fn erase(&self, user_id: &UserId, ends_at: UnixMillis) -> Result<(), StoreError> {
        let user_id = user_id.clone();
        self.change(&Change::Erase(user_id, ends_at))
            .await
            .map(drop)
    }

    async fn purge(&self, now: UnixMillis, idle_before: UnixMillis) -> Result<u64, StoreError> {
        while self.change(&Change::PurgeEnded(now)).await?.is_some() {}
        let mut removed = 0;
        for change in [
            Change::PurgeMessages(now),
            Change::PurgeTokens(now),
            Change::PurgeUnkept(now),
            Change::PurgeVisitors(idle_before),
        ] {
            // `None`: nothing was left to remove.
            while let Some(rows) = self.change(&change).await? {
                removed += rows;
            }
        }
        Ok(removed)
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.check_writing().await
    }

    async fn close(&self) {
        self.stop.cancel();
        let running = {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *running)
        };
        for lane in running {
            if lane.await.is_err() {
                tracing::error!("a lane of the PostgreSQL store panicked");
            }
        }
        self.pool.close();
    }
}

/// Reads the columns of a message from column `at` on.
fn message_row(row: &Row, at: usize) -> Result<MessageRow, tokio_postgres::Error> {
    Ok(MessageRow {
        room: row.try_get(at)?,
        seq: row.try_get(at + 1)?,
        epoch: row.try_get(at + 2)?,
        id: row.try_get(at + 3)?,
        from_user: row.try_get(at + 4)?,
        from_name: row.try_get(at + 5)?,
        to_user: row.try_get(at + 6)?,
        client_id: row.try_get(at + 7)?,
        text: row.try_get(at + 8)?,
        accepted_at: row.try_get(at + 9)?,
    })
}

fn late() -> StoreError {
    StoreError::Unavailable("PostgreSQL does not answer".to_owned())
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".to_owned())
}
