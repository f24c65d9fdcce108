//! Sign-ins on devices, one-use tokens, visitors' new secrets, and the end of what has expired.
//!
//! Not here: the exchange of refresh tokens (`refresh`). Invariant: a sign-in stands as long as its
//! row does, and its refresh tokens end with it.

use super::people::locked_visitor;
use super::sql::{Sql, params};
use super::{NewSignIn, Once, PURGE_ROWS, Purpose, SIGN_INS_MAX, SignIn};
use crate::model::{SignInId, UnixMillis, UserId};
use crate::store::{StoreError, TokenHash};

const SIGN_INS: &str = "SELECT id, device, created_at, last_seen FROM sign_ins \
    WHERE user_id = $1 ORDER BY last_seen DESC, id DESC";
const PUT_SIGN_IN: &str = "INSERT INTO sign_ins (id, user_id, device, created_at, last_seen) \
    VALUES ($1, $2, $3, $4, $4)";
const PUT_REFRESH: &str = "INSERT INTO refresh_tokens (token, sign_in, expires_at) \
    VALUES ($1, $2, $3)";
const PUT_ONCE: &str = "INSERT INTO once_tokens (token, purpose, user_id, expires_at) \
    VALUES ($1, $2, $3, $4)";
const USE_ONCE: &str = "DELETE FROM once_tokens WHERE token = $1 AND purpose = $2 \
    AND expires_at > $3 RETURNING user_id";
const PUT_SECRET: &str =
    "INSERT INTO visitor_tokens (token, user_id, expires_at) VALUES ($1, $2, $3)";

/// At most one, because this runs with each new sign-in; more where there were more before this limit.
const DROP_BEYOND: &str = "DELETE FROM sign_ins WHERE id IN ( \
    SELECT id FROM sign_ins WHERE user_id = $1 ORDER BY last_seen DESC, id DESC LIMIT 10 OFFSET $2)";

/// A sign-in without a refresh token that counts stays for so long after its last use: an access
/// token that it gave may still be on its way.
const IDLE_MS: u64 = 7 * 24 * 60 * 60 * 1_000;

/// What has expired at `$1`, at most `$2` of each.
const DROP_EXPIRED: [&str; 4] = [
    "DELETE FROM refresh_tokens WHERE token IN ( \
        SELECT token FROM refresh_tokens WHERE expires_at <= $1 LIMIT $2)",
    "DELETE FROM once_tokens WHERE token IN ( \
        SELECT token FROM once_tokens WHERE expires_at <= $1 LIMIT $2)",
    "DELETE FROM keyed_requests WHERE request_key IN ( \
        SELECT request_key FROM keyed_requests WHERE expires_at <= $1 LIMIT $2)",
    "DELETE FROM bans WHERE (kind, subject, act) IN ( \
        SELECT kind, subject, act FROM bans WHERE ends_at <= $1 LIMIT $2)",
];
const DROP_IDLE: &str = "DELETE FROM sign_ins WHERE id IN ( \
    SELECT s.id FROM sign_ins s WHERE s.last_seen < $1 AND NOT EXISTS ( \
        SELECT 1 FROM refresh_tokens r WHERE r.sign_in = s.id AND r.expires_at > $2) LIMIT $3)";

pub(super) async fn sign_ins<S: Sql>(
    sql: &mut S,
    user: &UserId,
) -> Result<Vec<SignIn>, StoreError> {
    let rows = sql.query(SIGN_INS, params![user]).await?;
    rows.iter()
        .map(|row| {
            Ok(SignIn {
                id: row.sign_in(0)?,
                device: row.text(1)?,
                created_at: row.time(2)?,
                last_seen: row.time(3)?,
            })
        })
        .collect()
}

pub(super) async fn sign_in<S: Sql>(sql: &mut S, new: &NewSignIn) -> Result<(), StoreError> {
    put_sign_in(sql, new).await
}

/// Opens a sign-in, also as a part of something else.
pub(super) async fn put_sign_in<S: Sql>(sql: &mut S, new: &NewSignIn) -> Result<(), StoreError> {
    let params = params![new.id, &new.user_id, &new.device, new.now];
    sql.execute(PUT_SIGN_IN, params).await?;
    let params = params![&new.refresh, new.id, new.refresh_expires_at];
    sql.execute(PUT_REFRESH, params).await?;
    let params = params![&new.user_id, i64::from(SIGN_INS_MAX)];
    sql.execute(DROP_BEYOND, params).await?;
    Ok(())
}

pub(super) async fn end_sign_in<S: Sql>(
    sql: &mut S,
    user: &UserId,
    sign_in: &SignInId,
    _now: &UnixMillis,
) -> Result<bool, StoreError> {
    let statement = "DELETE FROM sign_ins WHERE id = $1 AND user_id = $2";
    Ok(sql.execute(statement, params![*sign_in, user]).await? > 0)
}

pub(super) async fn end_all<S: Sql>(
    sql: &mut S,
    user: &UserId,
    _now: &UnixMillis,
) -> Result<u64, StoreError> {
    let statement = "DELETE FROM sign_ins WHERE user_id = $1";
    sql.execute(statement, params![user]).await
}

pub(super) async fn touch<S: Sql>(
    sql: &mut S,
    sign_in: &SignInId,
    now: &UnixMillis,
) -> Result<(), StoreError> {
    let statement = "UPDATE sign_ins SET last_seen = $1 WHERE last_seen < $1 AND id = $2";
    sql.execute(statement, params![*now, *sign_in])
        .await
        .map(drop)
}

pub(super) async fn put_once<S: Sql>(sql: &mut S, once: &Once) -> Result<(), StoreError> {
    let purpose = number(once.purpose);
    let params = params![&once.token, purpose, &once.user_id, once.expires_at];
    sql.execute(PUT_ONCE, params).await.map(drop)
}

pub(super) async fn use_once<S: Sql>(
    sql: &mut S,
    token: &TokenHash,
    purpose: &Purpose,
    now: &UnixMillis,
) -> Result<Option<UserId>, StoreError> {
    let params = params![token, number(*purpose), *now];
    let rows = sql.query(USE_ONCE, params).await?;
    rows.first().map(|row| row.user(0)).transpose()
}

pub(super) async fn replace_secret<S: Sql>(
    sql: &mut S,
    user: &UserId,
    token: &TokenHash,
    expires_at: &UnixMillis,
) -> Result<bool, StoreError> {
    if locked_visitor(sql, user).await?.is_none() {
        return Ok(false);
    }
    let statement = "DELETE FROM visitor_tokens WHERE user_id = $1";
    sql.execute(statement, params![user]).await?;
    sql.execute(PUT_SECRET, params![token, user, *expires_at])
        .await?;
    let statement = "UPDATE users SET is_loose = 0 WHERE user_id = $1";
    sql.execute(statement, params![user]).await?;
    Ok(true)
}

pub(super) async fn purge_accounts<S: Sql>(
    sql: &mut S,
    now: &UnixMillis,
) -> Result<u64, StoreError> {
    let mut rows = 0;
    for statement in DROP_EXPIRED {
        rows += sql
            .execute(statement, params![*now, i64::from(PURGE_ROWS)])
            .await?;
    }
    let idle_before = UnixMillis(now.0.saturating_sub(IDLE_MS));
    let params = params![idle_before, *now, i64::from(PURGE_ROWS)];
    Ok(rows + sql.execute(DROP_IDLE, params).await?)
}

/// The number of a purpose in the database.
fn number(purpose: Purpose) -> i64 {
    match purpose {
        Purpose::Reset => 0,
        Purpose::Link => 1,
    }
}
