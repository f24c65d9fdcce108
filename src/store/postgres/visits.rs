//! Changes of visitors and the end of what has expired: a few statements in one transaction each.
//!
//! Not here: appending. Invariant: a change happens as a whole or not at all, and is tried again
//! when PostgreSQL ended it because of somebody else's.

use std::time::Duration;

use deadpool_postgres::{Object, Transaction};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};

use super::{PURGE_ROWS, PostgresStore, late};
use crate::model::{UnixMillis, UserId};
use crate::store::alike::taken_at;
use crate::store::rows::{UserRow, millis, signed, span, stored_slot, time, visitors_slot};
use crate::store::{
    Found, Keep, NewVisitor, StoreError, StoredSlot, TakeOver, TokenHash, UserRecord, sql,
    unkept_before,
};

/// How often a change is tried when PostgreSQL ends it because of another.
pub(super) const ATTEMPTS_MAX: u32 = 6;
/// How long the changes may take that touch everything of somebody.
pub(super) const SWEEP_TIMEOUT: Duration = Duration::from_secs(60);
/// Visitors removed in one transaction; each takes four statements.
const PURGE_VISITORS: i64 = 100;

const DROP_OTHER_TOKENS: &str = "DELETE FROM visitor_tokens WHERE user_id = $1 AND token <> $2";
const DROP_EXPIRED_MESSAGES: &str = concat!(
    "WITH expired AS (SELECT m.room, m.seq, ",
    sql::is_of_account!(),
    " AS is_kept FROM messages m WHERE m.expires_at <= $1 LIMIT $2 FOR UPDATE OF m SKIP LOCKED), \
    kept AS (UPDATE messages m SET expires_at = NULL FROM expired e \
        WHERE m.room = e.room AND m.seq = e.seq AND e.is_kept RETURNING 1), \
    gone AS (DELETE FROM messages m USING expired e \
        WHERE m.room = e.room AND m.seq = e.seq AND NOT e.is_kept \
        RETURNING m.room, m.from_user, m.client_id), \
    keys AS (DELETE FROM message_keys k USING gone g \
        WHERE k.room = g.room AND k.sender = g.from_user AND k.client_id = g.client_id) \
    SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM kept)"
);
/// Before any conversation, as the lanes do it.
const LOCK_USER: &str = "SELECT 1 FROM users WHERE user_id = $1 FOR UPDATE";
const LOCK_IDLE_VISITORS: &str = "SELECT user_id FROM users WHERE kind = 0 AND last_seen < $1 \
    ORDER BY user_id LIMIT $2 FOR UPDATE SKIP LOCKED";

/// One change, which may have to be tried more than once.
pub(super) enum Change {
    Create(NewVisitor),
    Keep(Keep),
    /// The secret, when it ends, and now.
    Confirm(TokenHash, UnixMillis, UnixMillis),
    TakeOver(TakeOver),
    Erase(UserId, UnixMillis),
    PurgeMessages(UnixMillis),
    PurgeTokens(UnixMillis),
    PurgeEnded(UnixMillis),
    PurgeUnkept(UnixMillis),
    PurgeVisitors(UnixMillis),
}

impl PostgresStore {
    /// What is known of a secret, and of the address that it names.
    pub(super) async fn find_visitor(
        &self,
        token: TokenHash,
        user: Option<&UserId>,
        now: UnixMillis,
    ) -> Result<Found, StoreError> {
        if let Some(open) = self.opened(token, now).await? {
            return Ok(open);
        }
        let Some(user) = user else {
            return Ok(Found::Nobody);
        };
        if self.ask(sql::TAKEN, &[&user.as_str()]).await?.is_empty() {
            return Ok(Found::Nobody);
        }
        // The row may have been written between the two statements, its secret with it.
        Ok(self.opened(token, now).await?.unwrap_or(Found::Ended))
    }

    async fn opened(&self, token: TokenHash, now: UnixMillis) -> Result<Option<Found>, StoreError> {
        let params: [&(dyn ToSql + Sync); 2] = [&token.as_slice(), &millis(now)];
        let rows = self.ask(sql::VISITOR_BY_TOKEN, &params).await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        Ok(Some(Found::Open {
            record: user_record(row)?,
            expires_at: time(row.try_get(9)?),
        }))
    }

    /// What visitors have stored: messages, then rows.
    pub(super) async fn find_stored(
        &self,
        slot_ms: u64,
        rows_keep: Duration,
    ) -> Result<Vec<StoredSlot>, StoreError> {
        let slot_ms = signed(slot_ms.max(1));
        let rows = self.ask(sql::STORED_BY_VISITORS, &[&slot_ms]).await?;
        let messages = rows.iter().map(|row| {
            let (slot, messages) = (row.try_get(0)?, row.try_get(1)?);
            Ok(stored_slot(slot, messages, row.try_get(2)?))
        });
        let mut slots = messages.collect::<Result<Vec<_>, StoreError>>()?;
        let params: [&(dyn ToSql + Sync); 2] = [&span(rows_keep), &slot_ms];
        for row in self.ask(sql::VISITORS_STORED, &params).await? {
            slots.push(visitors_slot(row.try_get(0)?, row.try_get(1)?));
        }
        Ok(slots)
    }

    /// Makes a change and yields the number of rows that count, or `None` when it did not apply.
    pub(super) async fn change(&self, change: &Change) -> Result<Option<u64>, StoreError> {
        let mut attempt = 1;
        loop {
            let mut client = self.client().await?;
            let limit = self.deadline.max(SWEEP_TIMEOUT);
            let Ok(outcome) = tokio::time::timeout(limit, once(&mut client, change)).await else {
                drop(Object::take(client));
                return Err(late());
            };
            match outcome {
                Err(err) if attempt < ATTEMPTS_MAX && is_somebody_elses(&err) => attempt += 1,
                outcome => return Ok(outcome?),
            }
        }
    }
}

async fn once(client: &mut Object, change: &Change) -> Result<Option<u64>, Error> {
    let transaction = client.transaction().await?;
    let changed = make(&transaction, change).await?;
    match changed {
        Some(_) => transaction.commit().await?,
        None => transaction.rollback().await?,
    }
    Ok(changed)
}

async fn make(transaction: &Transaction<'_>, change: &Change) -> Result<Option<u64>, Error> {
    match change {
        Change::Create(visitor) => create(transaction, visitor).await,
        Change::Keep(keep) => keep_visitor(transaction, keep).await.map(Some),
        Change::Confirm(token, expires_at, now) => {
            confirm(transaction, token, *expires_at, *now).await
        }
        Change::TakeOver(wanted) => take_over(transaction, wanted).await,
        Change::Erase(user_id, ends_at) => {
            may_take_long(transaction).await?;
            let params: [&(dyn ToSql + Sync); 2] = [&user_id.as_str(), &millis(*ends_at)];
            execute(transaction, sql::END_VISITOR, &params).await?;
            for statement in [
                LOCK_USER,
                sql::BLANK_MESSAGES,
                sql::DROP_LONELY_CONVERSATIONS,
                sql::DROP_MEMBER,
                sql::DROP_TOKENS,
                sql::DROP_USER,
            ] {
                execute(transaction, statement, &[&user_id.as_str()]).await?;
            }
            Ok(Some(1))
        }
        Change::PurgeMessages(now) => {
            may_take_long(transaction).await?;
            let statement = transaction.prepare_cached(DROP_EXPIRED_MESSAGES).await?;
            let row = transaction
                .query_one(&statement, &[&millis(*now), &PURGE_ROWS])
                .await?;
            Ok(unless_zero(row.try_get::<_, i64>(0)?.unsigned_abs()))
        }
        Change::PurgeTokens(now) => {
            let params: [&(dyn ToSql + Sync); 2] = [&millis(*now), &PURGE_ROWS];
            let rows = execute(transaction, sql::DROP_EXPIRED_TOKENS, &params).await?;
            Ok(unless_zero(rows))
        }
        Change::PurgeEnded(now) => {
            let params: [&(dyn ToSql + Sync); 2] = [&millis(*now), &PURGE_ROWS];
            let rows = execute(transaction, sql::DROP_ENDED, &params).await?;
            Ok(unless_zero(rows))
        }
        Change::PurgeUnkept(now) => {
            let statement = format!("{} FOR UPDATE SKIP LOCKED", sql::UNKEPT);
            purge_visitors(transaction, &statement, unkept_before(*now)).await
        }
        Change::PurgeVisitors(idle_before) => {
            may_take_long(transaction).await?;
            purge_visitors(transaction, LOCK_IDLE_VISITORS, *idle_before).await
        }
    }
}

async fn create(transaction: &Transaction<'_>, visitor: &NewVisitor) -> Result<Option<u64>, Error> {
    let user_id = visitor.user_id.as_str();
    let created = execute(
        transaction,
        sql::PUT_VISITOR,
        &[
            &user_id,
            &i64::from(visitor.loose),
            &visitor.taken_at.map(millis),
            &visitor.name,
            &visitor.client_identifier.as_str(),
            &millis(visitor.now),
            &i64::from(visitor.is_kept),
        ],
    )
    .await?;
    if created == 0 {
        return Ok(None);
    }
    let until = (visitor.token_expires_at, visitor.now);
    put_token(transaction, &visitor.token, user_id, until).await
}

async fn keep_visitor(transaction: &Transaction<'_>, keep: &Keep) -> Result<u64, Error> {
    let user = match keep {
        Keep::Known(user) => user,
        Keep::New(visitor) => {
            if let Some(put) = create(transaction, visitor).await? {
                return Ok(put);
            }
            &visitor.user_id
        }
    };
    execute(transaction, sql::KEEP_VISITOR, &[&user.as_str()]).await
}

async fn confirm(
    transaction: &Transaction<'_>,
    token: &TokenHash,
    expires_at: UnixMillis,
    now: UnixMillis,
) -> Result<Option<u64>, Error> {
    let statement = transaction.prepare_cached(sql::SLIDE_TOKEN).await?;
    let owner = transaction
        .query_opt(
            &statement,
            &[&millis(expires_at), &token.as_slice(), &millis(now)],
        )
        .await?;
    let Some(owner) = owner else {
        return Ok(None);
    };
    let owner: &str = owner.try_get(0)?;
    let params: [&(dyn ToSql + Sync); 2] = [&millis(now), &owner];
    execute(transaction, sql::CONFIRM_USER, &params)
        .await
        .map(Some)
}

async fn take_over(transaction: &Transaction<'_>, wanted: &TakeOver) -> Result<Option<u64>, Error> {
    let user_id = wanted.user_id.as_str();
    // Of two takers the second waits here for the row, and then finds it changed.
    let taken = execute(
        transaction,
        sql::TAKE_OVER,
        &[
            &millis(taken_at(wanted)),
            &millis(wanted.now),
            &user_id,
            &millis(wanted.last_seen_before),
            &wanted.taken_at_before.map(millis),
        ],
    )
    .await?;
    if taken == 0 {
        return Ok(None);
    }
    let until = (wanted.token_expires_at, wanted.now);
    let put = put_token(transaction, &wanted.token, user_id, until).await?;
    if put.is_some() {
        let params: [&(dyn ToSql + Sync); 2] = [&user_id, &wanted.token.as_slice()];
        execute(transaction, DROP_OTHER_TOKENS, &params).await?;
    }
    Ok(put)
}

async fn purge_visitors(
    transaction: &Transaction<'_>,
    statement: &str,
    idle_before: UnixMillis,
) -> Result<Option<u64>, Error> {
    let statement = transaction.prepare_cached(statement).await?;
    let idle = transaction
        .query(&statement, &[&millis(idle_before), &PURGE_VISITORS])
        .await?;
    let mut rows = idle.len() as u64;
    for row in &idle {
        let user_id: &str = row.try_get(0)?;
        for statement in [sql::DROP_LONELY_CONVERSATIONS, sql::DROP_MEMBER] {
            execute(transaction, statement, &[&user_id]).await?;
        }
        rows += execute(transaction, sql::DROP_TOKENS, &[&user_id]).await?;
        execute(transaction, sql::DROP_USER, &[&user_id]).await?;
    }
    Ok(unless_zero(rows))
}

async fn put_token(
    transaction: &Transaction<'_>,
    token: &TokenHash,
    owner: &str,
    (expires_at, now): (UnixMillis, UnixMillis),
) -> Result<Option<u64>, Error> {
    let params: [&(dyn ToSql + Sync); 4] =
        [&token.as_slice(), &owner, &millis(expires_at), &millis(now)];
    let put = execute(transaction, sql::PUT_TOKEN, &params).await?;
    Ok(unless_zero(put))
}

async fn may_take_long(transaction: &Transaction<'_>) -> Result<(), Error> {
    let millis = SWEEP_TIMEOUT.as_millis();
    transaction
        .batch_execute(&format!("SET LOCAL statement_timeout = {millis}"))
        .await
}

async fn execute(
    transaction: &Transaction<'_>,
    statement: &str,
    params: &[&(dyn ToSql + Sync)],
) -> Result<u64, Error> {
    let statement = transaction.prepare_cached(statement).await?;
    transaction.execute(&statement, params).await
}

fn unless_zero(rows: u64) -> Option<u64> {
    (rows > 0).then_some(rows)
}

pub(super) fn is_somebody_elses(err: &Error) -> bool {
    err.code().is_some_and(|code| {
        *code == SqlState::T_R_DEADLOCK_DETECTED || *code == SqlState::T_R_SERIALIZATION_FAILURE
    })
}

pub(super) fn user_record(row: &Row) -> Result<UserRecord, StoreError> {
    UserRow {
        user_id: row.try_get(0)?,
        kind: row.try_get(1)?,
        is_loose: row.try_get(2)?,
        taken_at: row.try_get(3)?,
        name: row.try_get(4)?,
        client_identifier: row.try_get(5)?,
        created_at: row.try_get(6)?,
        last_seen: row.try_get(7)?,
        is_kept: row.try_get(8)?,
    }
    .try_into()
}
