//! Removing much without holding the writer: everything that one client can have made large goes in steps.
//!
//! Not here: what is removed when (`visits`). Invariants: a step takes about [`STEP`] of the writer's thread,
//! and one step at a time is in the queue, so that a batch never holds two; what is half removed is found and
//! removed by the next purge.

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

/// The end of a note that somebody is being erased: later than everything.
const ERASING: UnixMillis = UnixMillis(u64::MAX);

const FIRST_ROOM: &str = "SELECT room FROM members WHERE user_id = $1 ORDER BY room LIMIT 1";
const OTHERS: &str = "SELECT 1 FROM members WHERE room = $1 AND user_id <> $2";
const SOME: &str = "SELECT seq, from_user, client_id FROM messages \
    WHERE room = $1 AND seq > $2 ORDER BY seq LIMIT $3";
const BLANK: &str = "UPDATE messages SET text = '', from_name = '' WHERE room = $1 AND seq = $2";
const DROP_MESSAGE: &str = "DELETE FROM messages WHERE room = $1 AND seq = $2";
const DROP_KEY: &str =
    "DELETE FROM message_keys WHERE room = $1 AND sender = $2 AND client_id = $3";
const DROP_CONVERSATION: &str = "DELETE FROM conversations WHERE room = $1";
const LEAVE: &str = "DELETE FROM members WHERE user_id = $1 AND room = $2";
const HALF_ERASED: &str = "SELECT user_id FROM ended_visitors WHERE ends_at = $1 LIMIT 1";
const NOTED: &str = "SELECT ends_at FROM ended_visitors WHERE user_id = $1";
const END_NOTE: &str = "UPDATE ended_visitors SET ends_at = $1 WHERE user_id = $2 OR user_id IN ( \
    SELECT old_id FROM aliases WHERE new_id = $2)";

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

/// Where in the conversations of a user it goes on.
#[derive(Clone, Debug, Default)]
pub(super) struct Cursor(Option<(Vec<u8>, i64)>);

impl SqliteStore {
    /// Repeats a step until nothing is left for it; between two of them the queue goes on.
    pub(super) async fn purge_all(
        &self,
        times: (UnixMillis, UnixMillis),
    ) -> Result<u64, StoreError> {
        self.end_erasures(times.0).await?;
        let mut removed = 0;
        for step in PURGE {
            removed += self.purge_all_of(step, times).await?;
        }
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

    /// Forgets a user. Once the first step is committed no secret opens the address, and whatever happens
    /// then, the rest follows.
    pub(super) async fn erase_in_steps(
        &self,
        user_id: &UserId,
        ends_at: UnixMillis,
    ) -> Result<(), StoreError> {
        let user = user_id.clone();
        let noted = self.step(move |unit| begin_erasure(unit.conn, &user));
        let noted = noted.await?;
        let ends_at = noted.filter(|noted| *noted != ERASING).max(Some(ends_at));
        self.end_erasure(user_id, ends_at.unwrap_or_default()).await
    }

    async fn end_erasure(&self, user_id: &UserId, ends_at: UnixMillis) -> Result<(), StoreError> {
        let mut cursor = Some(Cursor::default());
        while let Some(at) = cursor {
            let user = user_id.clone();
            let step = self.step(move |unit| erase_some(unit.conn, &user, at, ends_at));
            cursor = step.await?;
        }
        Ok(())
    }

    /// Ends what the end of a node has cut off.
    async fn end_erasures(&self, now: UnixMillis) -> Result<(), StoreError> {
        let half = async || {
            self.read(|conn| {
                let mut find = conn.prepare_cached(HALF_ERASED)?;
                let user = find.query_row([millis(ERASING)], |row| row.get::<_, String>(0));
                Ok(user.optional()?)
            })
            .await
        };
        while let Some(user) = half().await? {
            let user: UserId = user.parse().map_err(|_| {
                StoreError::Unavailable(format!("{user} in ended_visitors is no user id"))
            })?;
            self.end_erasure(&user, now.after(ENDED_LIFE)).await?;
        }
        Ok(())
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

/// From now on no secret opens the address. Returns until when that was noted before.
fn begin_erasure(conn: &Connection, user: &UserId) -> Result<Option<UnixMillis>, Error> {
    let noted = conn
        .prepare_cached(NOTED)?
        .query_row([user.as_str()], |row| row.get(0))
        .optional()?;
    conn.prepare_cached(sql::END_VISITOR)?
        .execute(params![user.as_str(), millis(ERASING)])?;
    conn.prepare_cached(sql::DROP_TOKENS)?
        .execute([user.as_str()])?;
    // The largest number of a row stands for the largest time.
    let time_of = |noted: i64| match noted {
        i64::MAX => ERASING,
        noted => time(noted),
    };
    Ok(noted.map(time_of))
}

/// Erases for a while. Returns where to go on; nothing when nothing is left of the user.
fn erase_some(
    conn: &Connection,
    user: &UserId,
    cursor: Cursor,
    ends_at: UnixMillis,
) -> Result<Option<Cursor>, Error> {
    let rest = leave_rooms(conn, user.as_str(), cursor, true, Begun::now())?;
    if rest.is_none() {
        // Before the user, with whom goes what leads to them.
        conn.prepare_cached(END_NOTE)?
            .execute(params![millis(ends_at), user.as_str()])?;
        conn.prepare_cached(sql::DROP_USER)?
            .execute([user.as_str()])?;
    }
    Ok(rest)
}

/// Ends the memberships of a user, and the conversations in which nobody is left, for a while. With `blanks`
/// also the words that others could still read. Returns where to go on; nothing when none is left.
pub(super) fn leave_rooms(
    conn: &Connection,
    user: &str,
    cursor: Cursor,
    blanks: bool,
    begun: Begun,
) -> Result<Option<Cursor>, Error> {
    let mut cursor = cursor;
    while !begun.is_over() {
        let (room, after) = match cursor.0.take() {
            Some(at) => at,
            None => {
                let mut first = conn.prepare_cached(FIRST_ROOM)?;
                let room = first.query_row([user], |row| row.get(0)).optional()?;
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
        match next {
            Some(seq) => cursor = Cursor(Some((room, seq))),
            None if has_others => {
                conn.prepare_cached(LEAVE)?.execute(params![user, room])?;
            }
            None => {
                conn.prepare_cached(DROP_CONVERSATION)?.execute([room])?;
            }
        }
    }
    Ok(Some(cursor))
}

/// Takes the words out of some messages of the user, or removes some of a conversation that is theirs alone.
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
