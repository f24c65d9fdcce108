//! Removing much without holding the writer: everything that one client can have made large goes in steps.
//!
//! Not here: what is removed when (`visits`). Invariants: a step takes about [`STEP`] of the writer's thread,
//! and one step at a time is in the queue, so that a batch never holds two; what is half removed is found and
//! removed by the next purge. What is being removed does not grow meanwhile: the row of a user who is being
//! erased goes in the first step, and messages from and to them are refused until the last one.

use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, Error, OptionalExtension, params};

use super::SqliteStore;
use super::visits::{PURGE, PurgeStep};
use super::writer::Unit;
use crate::model::{UnixMillis, UserId};
use crate::store::rows::{millis, time};
use crate::store::{ENDED_LIFE, StoreError, sql};

/// How long a step may hold the writer; what it has begun it ends.
const STEP: Duration = Duration::from_millis(10);

/// So many messages are looked at before the time is.
const MESSAGES: usize = 16;

/// Removes at most so many rows of one kind in one statement.
const PURGE_ROWS: usize = 1_000;

/// How many erasures that were cut off one purge completes at most; the next one goes on.
const ERASURES_MAX: u32 = 256;

/// The end of a note that a user is being erased: later than everything.
pub(super) const ERASING: UnixMillis = UnixMillis(u64::MAX);

const NEXT_ROOM: &str =
    "SELECT room FROM members WHERE user_id = $1 AND room > $2 ORDER BY room LIMIT 1";
const IS_MEMBER: &str = "SELECT 1 FROM members WHERE user_id = $1 LIMIT 1";
const OTHERS: &str = "SELECT 1 FROM members WHERE room = $1 AND user_id <> $2";
const SOME: &str = "SELECT seq, from_user, client_id FROM messages \
    WHERE room = $1 AND seq > $2 ORDER BY seq LIMIT $3";
const BLANK: &str = "UPDATE messages SET text = '', from_name = '' WHERE room = $1 AND seq = $2";
const DROP_MESSAGE: &str = "DELETE FROM messages WHERE room = $1 AND seq = $2";
const DROP_KEY: &str =
    "DELETE FROM message_keys WHERE room = $1 AND sender = $2 AND client_id = $3";
const DROP_CONVERSATION: &str = "DELETE FROM conversations WHERE room = $1";
const LEAVE: &str = "DELETE FROM members WHERE user_id = $1 AND room = $2";
const HALF_ERASED: &str = "SELECT user_id FROM ended_visitors WHERE ends_at = $1 LIMIT $2";
const NOTED: &str = "SELECT ends_at FROM ended_visitors WHERE user_id = $1";
const NOTE: &str = "UPDATE ended_visitors SET ends_at = $1 WHERE user_id = $2";

/// When a step began.
#[derive(Clone, Copy)]
pub(super) struct Begun(Instant);

impl Begun {
    pub(super) fn now() -> Self {
        Self(Instant::now())
    }

    /// Whether the step has taken its time.
    pub(super) fn is_over(self) -> bool {
        self.0.elapsed() >= STEP
    }
}

/// Where in the conversations of a user it goes on. Each conversation is gone through once, in the order of
/// their ids.
#[derive(Clone, Debug, Default)]
pub(super) struct Cursor {
    /// The last conversation that is done.
    done: Vec<u8>,
    /// The one that is not, and the last of its messages that is.
    at: Option<(Vec<u8>, i64)>,
}

/// An erasure that this process does already, for as long as this is held.
struct UnderWay<'a> {
    store: &'a SqliteStore,
    user: UserId,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut erasures = self.store.erasures();
        if let Some(at) = erasures.iter().position(|user| *user == self.user) {
            erasures.swap_remove(at);
        }
    }
}

impl SqliteStore {
    /// Repeats a step until nothing is left for it; between two of them the queue goes on. Erasures come
    /// last, so that a long one does not hold up retention.
    pub(super) async fn purge_all(
        &self,
        times: (UnixMillis, UnixMillis),
    ) -> Result<u64, StoreError> {
        let mut removed = 0;
        for step in PURGE {
            removed += self.purge_all_of(step, times).await?;
        }
        self.end_erasures(times.0).await?;
        Ok(removed)
    }

    async fn purge_all_of(
        &self,
        step: PurgeStep,
        times: (UnixMillis, UnixMillis),
    ) -> Result<u64, StoreError> {
        let mut removed = 0;
        loop {
            let purged = self.step(move |unit| step(unit.conn, times, PURGE_ROWS));
            let purged = purged.await?;
            removed += purged.rows;
            if purged.is_done {
                return Ok(removed);
            }
        }
    }

    /// The first step of an erasure, which is all of it when there is little to remove. Once it is committed
    /// nothing opens the address, and the rest follows even when this process ends.
    ///
    /// Returns whether nothing is left.
    pub(super) async fn erase_first(
        &self,
        user_id: &UserId,
        ends_at: UnixMillis,
    ) -> Result<bool, StoreError> {
        let user = user_id.clone();
        let rest = self.step(move |unit| {
            let begun = Begun::now();
            let ends_at = begin_erasure(unit.conn, &user, ends_at)?;
            erase_some(unit.conn, &user, Cursor::default(), (ends_at, begun))
        });
        Ok(rest.await?.is_none())
    }

    /// Erases a user in as many steps as it takes.
    pub(super) async fn erase_in_steps(
        &self,
        user_id: &UserId,
        ends_at: UnixMillis,
    ) -> Result<(), StoreError> {
        let _under_way = self.under_way(user_id);
        match self.erase_first(user_id, ends_at).await? {
            true => Ok(()),
            false => self.end_erasure(user_id, ends_at).await,
        }
    }

    async fn end_erasure(&self, user_id: &UserId, ends_at: UnixMillis) -> Result<(), StoreError> {
        let mut cursor = Some(Cursor::default());
        while let Some(at) = cursor {
            let user = user_id.clone();
            let step =
                self.step(move |unit| erase_some(unit.conn, &user, at, (ends_at, Begun::now())));
            cursor = step.await?;
        }
        Ok(())
    }

    /// Completes what the end of a node has cut off, and nothing that this process does already.
    async fn end_erasures(&self, now: UnixMillis) -> Result<(), StoreError> {
        let half = self.read(|conn| {
            let mut find = conn.prepare_cached(HALF_ERASED)?;
            let users = find.query_map(params![millis(ERASING), ERASURES_MAX], |row| row.get(0))?;
            Ok(users.collect::<Result<Vec<String>, _>>()?)
        });
        for user in half.await? {
            let user: UserId = user.parse().map_err(|_| {
                StoreError::Unavailable(format!("{user} in ended_visitors is no user id"))
            })?;
            if self.erasures().contains(&user) {
                continue;
            }
            self.erase_in_steps(&user, now.after(ENDED_LIFE)).await?;
        }
        Ok(())
    }

    fn under_way(&self, user: &UserId) -> UnderWay<'_> {
        self.erasures().push(user.clone());
        UnderWay {
            store: self,
            user: user.clone(),
        }
    }

    fn erasures(&self) -> MutexGuard<'_, Vec<UserId>> {
        self.erasures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A piece of work in its turn among those that remove much.
    async fn step<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Unit<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let _turn = self.sweeping.lock().await;
        self.write(move |unit| {
            unit.open_the_ledger()?;
            work(unit)
        })
        .await
    }
}

/// From now on nothing opens the address: with the row of the user go the secrets, the account, its sign-ins
/// and their tokens, and none can be added. Returns until when it is to be noted.
fn begin_erasure(
    conn: &Connection,
    user: &UserId,
    ends_at: UnixMillis,
) -> Result<UnixMillis, Error> {
    let noted: Option<i64> = conn
        .prepare_cached(NOTED)?
        .query_row([user.as_str()], |row| row.get(0))
        .optional()?;
    // Also the addresses that lead to this one, which the row takes along.
    conn.prepare_cached(sql::END_VISITOR)?
        .execute(params![user.as_str(), millis(ends_at)])?;
    conn.prepare_cached(NOTE)?
        .execute(params![millis(ERASING), user.as_str()])?;
    conn.prepare_cached(sql::DROP_USER)?
        .execute([user.as_str()])?;
    let noted = noted.filter(|noted| *noted != millis(ERASING)).map(time);
    Ok(noted.max(Some(ends_at)).unwrap_or_default())
}

/// Erases for a while. Returns where to go on; nothing when nothing is left of the user.
fn erase_some(
    conn: &Connection,
    user: &UserId,
    cursor: Cursor,
    (ends_at, begun): (UnixMillis, Begun),
) -> Result<Option<Cursor>, Error> {
    let rest = leave_rooms(conn, user.as_str(), cursor, true, begun)?;
    if rest.is_some() {
        return Ok(rest);
    }
    // A merge of a visitor with whom the user had written may have made them a member once more, of a
    // conversation that was passed already. There are only as many of those as there were conversations.
    if conn.prepare_cached(IS_MEMBER)?.exists([user.as_str()])? {
        return Ok(Some(Cursor::default()));
    }
    conn.prepare_cached(NOTE)?
        .execute(params![millis(ends_at), user.as_str()])?;
    Ok(None)
}

/// Ends the memberships of a user, and the conversations in which nobody is left, for a while. With `blanks`
/// also the texts that others could still read. Returns where to go on; nothing when none is left.
pub(super) fn leave_rooms(
    conn: &Connection,
    user: &str,
    cursor: Cursor,
    blanks: bool,
    begun: Begun,
) -> Result<Option<Cursor>, Error> {
    let mut cursor = cursor;
    while !begun.is_over() {
        let (room, after) = match cursor.at.take() {
            Some(at) => at,
            None => {
                let mut next = conn.prepare_cached(NEXT_ROOM)?;
                let room = next
                    .query_row(params![user, cursor.done], |row| row.get(0))
                    .optional()?;
                let Some(room) = room else {
                    return Ok(None);
                };
                (room, -1)
            }
        };
        let has_others = conn.prepare_cached(OTHERS)?.exists(params![room, user])?;
        let next = match has_others && !blanks {
            true => None,
            false => clear(conn, (&room, user), after, has_others)?,
        };
        if let Some(seq) = next {
            cursor.at = Some((room, seq));
            continue;
        }
        if has_others {
            conn.prepare_cached(LEAVE)?.execute(params![user, room])?;
        } else {
            conn.prepare_cached(DROP_CONVERSATION)?.execute([&room])?;
        }
        cursor.done = room;
    }
    Ok(Some(cursor))
}

/// Empties the texts of some messages of the user, or removes some of a conversation that is theirs alone.
/// Returns the last one that was looked at, unless there are no more.
fn clear(
    conn: &Connection,
    (room, user): (&[u8], &str),
    after: i64,
    has_others: bool,
) -> Result<Option<i64>, Error> {
    type Found = (i64, String, Option<String>);
    let limit = i64::try_from(MESSAGES).unwrap_or(i64::MAX);
    let mut find = conn.prepare_cached(SOME)?;
    let found: Vec<Found> = find
        .query_map(params![room, after, limit], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<Result<_, _>>()?;
    for (seq, from, client_id) in &found {
        if has_others {
            if from == user {
                conn.prepare_cached(BLANK)?.execute(params![room, seq])?;
            }
            continue;
        }
        conn.prepare_cached(DROP_MESSAGE)?
            .execute(params![room, seq])?;
        if let Some(client_id) = client_id {
            conn.prepare_cached(DROP_KEY)?
                .execute(params![room, from, client_id])?;
        }
    }
    let last = found.last().map(|(seq, ..)| *seq);
    Ok(last.filter(|_| found.len() == MESSAGES))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MessageId, RoomId};
    use crate::store::sqlite::SqliteSettings;
    use crate::store::{Append, Position, Store};

    #[tokio::test]
    async fn a_purge_leaves_an_erasure_to_the_task_that_does_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chat.db");
        let store = SqliteStore::open(&path, &SqliteSettings::default()).unwrap();
        let [user, other] = ["user_a", "user_b"].map(|name| name.parse::<UserId>().unwrap());
        let append = Append {
            room: RoomId::direct(&user, &other),
            id: MessageId(1),
            from: user.clone(),
            from_name: "name".to_owned(),
            to: other,
            client_id: None,
            text: "text".to_owned(),
            timestamp: UnixMillis(1_000),
            expires_at: None,
            from_holder: None,
            to_holder: None,
            visitors: Vec::new(),
        };
        store.append(append).await.unwrap();
        let erased = user.clone();
        let begun = store.step(move |unit| begin_erasure(unit.conn, &erased, UnixMillis(1)));
        begun.await.unwrap();
        let rooms = async || {
            let heads = store.heads(std::slice::from_ref(&user), Position::START);
            heads.await.unwrap().heads.len()
        };
        let under_way = store.under_way(&user);
        store.purge(UnixMillis(2_000), UnixMillis(0)).await.unwrap();
        assert_eq!(rooms().await, 1);
        drop(under_way);
        store.purge(UnixMillis(2_000), UnixMillis(0)).await.unwrap();
        assert_eq!(rooms().await, 0);
        store.close().await;
    }
}
