//! Visitors, their secrets, and the end of what has expired, inside the writer's transaction.
//!
//! Invariant: the writer is alone, so what is looked at first is still so when it is changed.

use std::time::Duration;

use rusqlite::{Connection, Error, OptionalExtension, Params, Row, params};

use super::sweep::{Begun, Cursor, leave_rooms};
use crate::model::{UnixMillis, UserId};
use crate::store::alike::taken_at;
use crate::store::rows::{UserRow, millis, signed, span, stored_slot, time, visitors_slot};
use crate::store::{
    Found, Keep, NewVisitor, StoreError, StoredSlot, TakeOver, TokenHash, UserRecord, sql,
    unkept_before,
};

/// Removes at most so many rows of one kind; the times are now and the end of idleness.
pub(super) type PurgeStep =
    fn(&Connection, (UnixMillis, UnixMillis), usize) -> Result<Purged, Error>;

/// Everything that expires.
pub(super) const PURGE: [PurgeStep; 5] = [
    purge_messages,
    purge_tokens,
    purge_ended,
    purge_unkept,
    purge_visitors,
];

/// What one step removed.
pub(super) struct Purged {
    pub(super) rows: u64,
    /// Whether nothing is left for another step.
    pub(super) is_done: bool,
}

/// The users that a statement of `sql` finds.
pub(super) fn users(
    conn: &Connection,
    statement: &str,
    params: impl Params,
) -> Result<Vec<UserRecord>, StoreError> {
    let mut statement = conn.prepare_cached(statement)?;
    let rows = statement.query_map(params, user_row)?;
    rows.map(|row| row?.try_into()).collect()
}

/// What visitors have stored: messages, then rows.
pub(super) fn stored(
    conn: &Connection,
    slot_ms: u64,
    rows_keep: Duration,
) -> Result<Vec<StoredSlot>, StoreError> {
    let slot_ms = signed(slot_ms.max(1));
    let mut statement = conn.prepare(sql::STORED_BY_VISITORS)?;
    let messages = statement.query_map(params![slot_ms], |row| {
        Ok(stored_slot(row.get(0)?, row.get(1)?, row.get(2)?))
    })?;
    let mut slots: Vec<StoredSlot> = messages.collect::<Result<_, _>>()?;
    let mut statement = conn.prepare(sql::VISITORS_STORED)?;
    let visitors = statement.query_map(params![span(rows_keep), slot_ms], |row| {
        Ok(visitors_slot(row.get(0)?, row.get(1)?))
    })?;
    for slot in visitors {
        slots.push(slot?);
    }
    Ok(slots)
}

/// These users were seen now.
pub(super) fn seen(conn: &Connection, users: &[UserId], now: UnixMillis) -> Result<(), Error> {
    let mut statement = conn.prepare_cached(sql::SEEN)?;
    for user in users {
        statement.execute(params![millis(now), user.as_str()])?;
    }
    Ok(())
}

pub(super) fn create_visitor(conn: &Connection, visitor: &NewVisitor) -> Result<bool, Error> {
    let created = conn.prepare_cached(sql::PUT_VISITOR)?.execute(params![
        visitor.user_id.as_str(),
        i64::from(visitor.loose),
        visitor.taken_at.map(millis),
        visitor.name,
        visitor.client_identifier.as_str(),
        millis(visitor.now),
        i64::from(visitor.is_kept),
    ])?;
    if created == 0 {
        return Ok(false);
    }
    let until = visitor.token_expires_at;
    let is_bound = put_token(conn, visitor.token, &visitor.user_id, (until, visitor.now))?;
    if !is_bound {
        // It is somebody's live one already: nothing happens.
        conn.prepare_cached(sql::DROP_USER)?
            .execute([visitor.user_id.as_str()])?;
    }
    Ok(is_bound)
}

/// What is known of a secret, and of the address that it names.
pub(super) fn visitor(
    conn: &Connection,
    token: TokenHash,
    user: Option<&UserId>,
    now: UnixMillis,
) -> Result<Found, StoreError> {
    if let Some(open) = opened(conn, token, now)? {
        return Ok(open);
    }
    let Some(user) = user else {
        return Ok(Found::Nobody);
    };
    if !conn.prepare_cached(sql::TAKEN)?.exists([user.as_str()])? {
        return Ok(Found::Nobody);
    }
    // The row may have been written between the two statements, its secret with it.
    Ok(opened(conn, token, now)?.unwrap_or(Found::Ended))
}

fn opened(
    conn: &Connection,
    token: TokenHash,
    now: UnixMillis,
) -> Result<Option<Found>, StoreError> {
    let mut statement = conn.prepare_cached(sql::VISITOR_BY_TOKEN)?;
    let open = statement
        .query_row(params![token, millis(now)], |row| {
            Ok((user_row(row)?, row.get(9)?))
        })
        .optional()?;
    let Some((row, expires_at)) = open else {
        return Ok(None);
    };
    Ok(Some(Found::Open {
        record: row.try_into()?,
        expires_at: time(expires_at),
    }))
}

pub(super) fn keep_visitor(conn: &Connection, keep: &Keep) -> Result<(), Error> {
    let user = match keep {
        Keep::Known(user) => user,
        Keep::New(visitor) if create_visitor(conn, visitor)? => return Ok(()),
        Keep::New(visitor) => &visitor.user_id,
    };
    let mut keep = conn.prepare_cached(sql::KEEP_VISITOR)?;
    keep.execute([user.as_str()]).map(drop)
}

pub(super) fn confirm_token(
    conn: &Connection,
    token: TokenHash,
    expires_at: UnixMillis,
    now: UnixMillis,
) -> Result<(), Error> {
    let owner: Option<String> = conn
        .prepare_cached(sql::SLIDE_TOKEN)?
        .query_row(params![millis(expires_at), token, millis(now)], |row| {
            row.get(0)
        })
        .optional()?;
    if let Some(owner) = owner {
        conn.prepare_cached(sql::CONFIRM_USER)?
            .execute(params![millis(now), owner])?;
    }
    Ok(())
}

pub(super) fn take_over(conn: &Connection, wanted: &TakeOver) -> Result<bool, Error> {
    if is_live(conn, wanted.token, wanted.now)? {
        return Ok(false);
    }
    let taken = conn.prepare_cached(sql::TAKE_OVER)?.execute(params![
        millis(taken_at(wanted)),
        millis(wanted.now),
        wanted.user_id.as_str(),
        millis(wanted.last_seen_before),
        wanted.taken_at_before.map(millis),
    ])?;
    if taken == 0 {
        return Ok(false);
    }
    conn.prepare_cached(sql::DROP_TOKENS)?
        .execute([wanted.user_id.as_str()])?;
    let until = wanted.token_expires_at;
    let is_bound = put_token(conn, wanted.token, &wanted.user_id, (until, wanted.now))?;
    debug_assert!(is_bound, "whether it is somebody's was looked at before");
    Ok(true)
}

pub(super) fn purge_messages(
    conn: &Connection,
    (now, _): (UnixMillis, UnixMillis),
    rows_max: usize,
) -> Result<Purged, Error> {
    type Expired = (Vec<u8>, i64, String, Option<String>, bool);
    let mut find = conn.prepare_cached(concat!(
        "SELECT m.room, m.seq, m.from_user, m.client_id, ",
        sql::is_of_account!(),
        " FROM messages m WHERE m.expires_at <= $1 LIMIT $2"
    ))?;
    let expired: Vec<Expired> = find
        .query_map(params![millis(now), limit(rows_max)], |row| {
            Ok((
                row.get(0)?,
                row.get(1)?,
                row.get(2)?,
                row.get(3)?,
                row.get(4)?,
            ))
        })?
        .collect::<Result<_, _>>()?;
    let begun = Begun::now();
    let mut removed = 0;
    for (room, seq, sender, client_id, is_kept) in &expired {
        if begun.is_over() {
            return Ok(purged(removed, false));
        }
        if *is_kept {
            conn.prepare_cached(
                "UPDATE messages SET expires_at = NULL WHERE room = $1 AND seq = $2",
            )?
            .execute(params![room, seq])?;
            continue;
        }
        removed += 1;
        conn.prepare_cached("DELETE FROM messages WHERE room = $1 AND seq = $2")?
            .execute(params![room, seq])?;
        if let Some(client_id) = client_id {
            conn.prepare_cached(
                "DELETE FROM message_keys WHERE room = $1 AND sender = $2 AND client_id = $3",
            )?
            .execute(params![room, sender, client_id])?;
        }
    }
    Ok(purged(removed, expired.len() < rows_max))
}

pub(super) fn purge_tokens(
    conn: &Connection,
    (now, _): (UnixMillis, UnixMillis),
    rows_max: usize,
) -> Result<Purged, Error> {
    let rows = conn
        .prepare_cached(sql::DROP_EXPIRED_TOKENS)?
        .execute(params![millis(now), limit(rows_max)])?;
    Ok(purged(rows, rows < rows_max))
}

/// Addresses that were given up long ago.
pub(super) fn purge_ended(
    conn: &Connection,
    (now, _): (UnixMillis, UnixMillis),
    rows_max: usize,
) -> Result<Purged, Error> {
    let rows = conn
        .prepare_cached(sql::DROP_ENDED)?
        .execute(params![millis(now), limit(rows_max)])?;
    Ok(purged(0, rows < rows_max))
}

/// Visitors on which nothing depends.
pub(super) fn purge_unkept(
    conn: &Connection,
    (now, _): (UnixMillis, UnixMillis),
    rows_max: usize,
) -> Result<Purged, Error> {
    drop_visitors(conn, sql::UNKEPT, unkept_before(now), rows_max)
}

pub(super) fn purge_visitors(
    conn: &Connection,
    (_, idle_before): (UnixMillis, UnixMillis),
    rows_max: usize,
) -> Result<Purged, Error> {
    const IDLE: &str = "SELECT user_id FROM users WHERE kind = 0 AND last_seen < $1 LIMIT $2";
    drop_visitors(conn, IDLE, idle_before, rows_max)
}

/// Removes the visitors that a statement finds.
fn drop_visitors(
    conn: &Connection,
    statement: &str,
    seen_before: UnixMillis,
    rows_max: usize,
) -> Result<Purged, Error> {
    let mut find = conn.prepare_cached(statement)?;
    let idle: Vec<String> = find
        .query_map(params![millis(seen_before), limit(rows_max)], |row| {
            row.get(0)
        })?
        .collect::<Result<_, _>>()?;
    let (begun, mut rows) = (Begun::now(), 0);
    for user_id in &idle {
        let rest = leave_rooms(conn, user_id, Cursor::default(), false, begun)?;
        if rest.is_some() {
            return Ok(purged(rows, false));
        }
        rows += conn.prepare_cached(sql::DROP_TOKENS)?.execute([user_id])?;
        rows += conn.prepare_cached(sql::DROP_USER)?.execute([user_id])?;
    }
    Ok(purged(rows, idle.len() < rows_max))
}

fn is_live(conn: &Connection, token: TokenHash, now: UnixMillis) -> Result<bool, Error> {
    conn.prepare_cached(sql::VISITOR_BY_TOKEN)?
        .exists(params![token, millis(now)])
}

/// Whether the secret is the owner's now: not when it is somebody's live one.
fn put_token(
    conn: &Connection,
    token: TokenHash,
    owner: &UserId,
    (expires_at, now): (UnixMillis, UnixMillis),
) -> Result<bool, Error> {
    let put = conn.prepare_cached(sql::PUT_TOKEN)?.execute(params![
        token,
        owner.as_str(),
        millis(expires_at),
        millis(now)
    ])?;
    Ok(put > 0)
}

fn user_row(row: &Row<'_>) -> Result<UserRow, Error> {
    Ok(UserRow {
        user_id: row.get(0)?,
        kind: row.get(1)?,
        is_loose: row.get(2)?,
        taken_at: row.get(3)?,
        name: row.get(4)?,
        client_identifier: row.get(5)?,
        created_at: row.get(6)?,
        last_seen: row.get(7)?,
        is_kept: row.get(8)?,
    })
}

fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

fn purged(rows: usize, is_done: bool) -> Purged {
    Purged {
        rows: rows as u64,
        is_done,
    }
}
