//! The exchange of a refresh token for its successor.
//!
//! Not here: how the successor follows from it (`identity`). Invariant: a token is exchanged once.
//! Whoever comes with it a second time gets the same successor while nobody can have used that yet,
//! and otherwise ends the sign-in, because two have what one was given.

use super::sql::{Row, Sql, params};
use super::{Exchange, Exchanged};
use crate::model::SignInId;
use crate::store::{StoreError, TokenHash};

const SIGN_IN: &str = "SELECT sign_in FROM refresh_tokens WHERE token = $1";
const TOKEN: &str = "SELECT successor, used_at FROM refresh_tokens \
    WHERE token = $1 AND expires_at > $2";
const IS_UNUSED: &str = "SELECT 1 FROM refresh_tokens WHERE token = $1 AND used_at IS NULL";
const USE: &str = "UPDATE refresh_tokens SET successor = $1, used_at = $2 WHERE token = $3";
const PUT: &str = "INSERT INTO refresh_tokens (token, sign_in, expires_at) VALUES ($1, $2, $3)";
const SEEN: &str = "UPDATE sign_ins SET last_seen = $1 WHERE last_seen < $1 AND id = $2";
const END: &str = "DELETE FROM sign_ins WHERE id = $1";

pub(super) async fn sign_in_of<S: Sql>(
    sql: &mut S,
    token: &TokenHash,
) -> Result<Option<SignInId>, StoreError> {
    let rows = sql.query(SIGN_IN, params![token]).await?;
    rows.first().map(|row| row.sign_in(0)).transpose()
}

pub(super) async fn exchange<S: Sql>(
    sql: &mut S,
    exchange: &Exchange,
) -> Result<Exchanged, StoreError> {
    let rows = sql.query(SIGN_IN, params![&exchange.token]).await?;
    let Some(row) = rows.first() else {
        return Ok(Exchanged::Unknown);
    };
    let sign_in = row.sign_in(0)?;
    // Of two that come at once the second waits here, and then finds what the first has done.
    let lock = format!("SELECT user_id FROM sign_ins WHERE id = $1{}", S::LOCK);
    let rows = sql.query(&lock, params![sign_in]).await?;
    let Some(row) = rows.first() else {
        return Ok(Exchanged::Unknown);
    };
    let user_id = row.user(0)?;
    let params = params![&exchange.token, exchange.now];
    let rows = sql.query(TOKEN, params).await?;
    let Some(token) = rows.first() else {
        return Ok(Exchanged::Unknown);
    };
    if token.optional_int(1)?.is_none() {
        succeed(sql, sign_in, exchange).await?;
    } else if !is_retry(sql, token, exchange).await? {
        sql.execute(END, params![sign_in]).await?;
        return Ok(Exchanged::Reused { user_id, sign_in });
    }
    Ok(Exchanged::Done { user_id, sign_in })
}

async fn succeed<S: Sql>(
    sql: &mut S,
    sign_in: SignInId,
    exchange: &Exchange,
) -> Result<(), StoreError> {
    let params = params![&exchange.successor, exchange.now, &exchange.token];
    sql.execute(USE, params).await?;
    let until = exchange.successor_expires_at;
    sql.execute(PUT, params![&exchange.successor, sign_in, until])
        .await?;
    sql.execute(SEEN, params![exchange.now, sign_in]).await?;
    Ok(())
}

/// Whether a used token comes again because its first answer was lost, or two windows came at once.
async fn is_retry<S: Sql>(
    sql: &mut S,
    token: &Row,
    exchange: &Exchange,
) -> Result<bool, StoreError> {
    let used_at = token.time(1)?;
    if exchange.now.0.saturating_sub(used_at.0) > exchange.grace_ms
        || token.bytes(0)? != exchange.successor
    {
        return Ok(false);
    }
    let unused = sql.query(IS_UNUSED, params![&exchange.successor]).await?;
    Ok(!unused.is_empty())
}
