//! Requests with an idempotency key: done once, answered as often as they come.
//!
//! Not here: what is asked. Invariant: of two that begin with one key at once, one does the work.

use super::sql::{Sql, damaged, params};
use super::{Begun, KeyedRequest};
use crate::model::UnixMillis;
use crate::store::{StoreError, TokenHash};

/// A request that was begun so long ago and has no answer was cut off by the end of its node.
const CUT_OFF_MS: u64 = 60_000;

const DROP_OVER: &str = "DELETE FROM keyed_requests WHERE request_key = $1 \
    AND (expires_at <= $2 OR (status IS NULL AND begun_at <= $3))";
const BEGIN: &str = "INSERT INTO keyed_requests (request_key, request, begun_at, expires_at) \
    VALUES ($1, $2, $3, $4) ON CONFLICT (request_key) DO NOTHING";
const KNOWN: &str = "SELECT request, status, answer FROM keyed_requests WHERE request_key = $1";
const FINISH: &str = "UPDATE keyed_requests SET status = $1, answer = $2 WHERE request_key = $3";
const ABANDON: &str = "DELETE FROM keyed_requests WHERE request_key = $1 AND status IS NULL";

pub(super) async fn begin<S: Sql>(
    sql: &mut S,
    request: &KeyedRequest,
) -> Result<Begun, StoreError> {
    let cut_off = UnixMillis(request.now.0.saturating_sub(CUT_OFF_MS));
    sql.execute(DROP_OVER, params![&request.key, request.now, cut_off])
        .await?;
    let params = params![
        &request.key,
        &request.request,
        request.now,
        request.expires_at
    ];
    if sql.execute(BEGIN, params).await? > 0 {
        return Ok(Begun::New);
    }
    let rows = sql.query(KNOWN, params![&request.key]).await?;
    let Some(row) = rows.first() else {
        // It was given up just now; whoever comes again does it.
        return Ok(Begun::InProgress);
    };
    if row.bytes(0)? != request.request {
        return Ok(Begun::Mismatch);
    }
    let Some(status) = row.optional_int(1)? else {
        return Ok(Begun::InProgress);
    };
    Ok(Begun::Done {
        status: u16::try_from(status).map_err(|_| damaged())?,
        answer: row.bytes(2)?,
    })
}

pub(super) async fn finish<S: Sql>(
    sql: &mut S,
    key: &TokenHash,
    status: &u16,
    answer: &[u8],
) -> Result<(), StoreError> {
    let params = params![i64::from(*status), answer, key];
    sql.execute(FINISH, params).await.map(drop)
}

pub(super) async fn abandon<S: Sql>(sql: &mut S, key: &TokenHash) -> Result<(), StoreError> {
    sql.execute(ABANDON, params![key]).await.map(drop)
}
