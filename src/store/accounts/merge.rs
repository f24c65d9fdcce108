//! A visitor becomes a part of an account.
//!
//! Not here: how his messages move (`moving`). Invariant: it happens as a whole: afterwards nobody
//! has the visitor's address, and its secrets and its address lead to the account. The visitor's messages follow in steps ([`gather`]), the first of them with the merge. Users are locked before
//! conversations, as in everything that appends.

use std::collections::BTreeSet;

use super::moving::{Move, Step, conversations, lock, move_messages};
use super::people::locked_visitor;
use super::sql::{Sql, params};
use super::{Merge, Merged};
use crate::model::{UnixMillis, UserId};
use crate::store::rows::KIND_VISITOR;
use crate::store::{StoreError, TokenHash};

const MOVED: &str = "SELECT old_id, new_id FROM moved_tokens WHERE token = $1";
const OWNER: &str = "SELECT user_id FROM visitor_tokens WHERE token = $1 AND expires_at > $2";
/// What holds longer counts; no end is the longest.
const UNITE_BANS: &str = "INSERT INTO bans \
    (kind, subject, act, ends_at, reason, made_by, created_at) \
    SELECT kind, $1, act, ends_at, reason, made_by, created_at FROM bans \
    WHERE kind = 'user' AND subject = $2 \
    ON CONFLICT (kind, subject, act) DO UPDATE SET ends_at = excluded.ends_at, \
    reason = excluded.reason, made_by = excluded.made_by, created_at = excluded.created_at \
    WHERE bans.ends_at IS NOT NULL \
    AND (excluded.ends_at IS NULL OR excluded.ends_at > bans.ends_at)";
const DROP_BANS: &str = "DELETE FROM bans WHERE kind = 'user' AND subject = $1";
const MOVE_TOKENS: &str = "INSERT INTO moved_tokens (token, old_id, new_id, moved_at) \
    SELECT token, user_id, $1, $2 FROM visitor_tokens WHERE user_id = $3 \
    ON CONFLICT (token) DO NOTHING";
const PUT_ALIAS: &str = "INSERT INTO aliases (old_id, new_id, merged_at, since) \
    VALUES ($1, $2, $3, $4) ON CONFLICT (old_id) DO UPDATE \
    SET new_id = excluded.new_id, merged_at = excluded.merged_at, since = excluded.since";
/// Who is a member of a conversation under an address that leads elsewhere.
const STRAYED: &str = "SELECT DISTINCT a.old_id, a.new_id, a.since FROM aliases a \
    JOIN members m ON m.user_id = a.old_id ORDER BY a.old_id LIMIT 100";
const IS_MEMBER: &str = "SELECT 1 FROM members WHERE user_id = $1 LIMIT 1";
/// What led to the visitor leads to the account, so that every way is one step long.
const LEAD_ON: [&str; 2] = [
    "UPDATE aliases SET new_id = $1 WHERE new_id = $2",
    "UPDATE moved_tokens SET new_id = $1 WHERE new_id = $2",
];
const DROP_TOKENS: &str = "DELETE FROM visitor_tokens WHERE user_id = $1";
const DROP_USER: &str = "DELETE FROM users WHERE user_id = $1";

pub(super) async fn moved<S: Sql>(
    sql: &mut S,
    token: &TokenHash,
) -> Result<Option<UserId>, StoreError> {
    let rows = sql.query(MOVED, params![token]).await?;
    rows.first().map(|row| row.user(1)).transpose()
}

pub(super) async fn merge<S: Sql>(sql: &mut S, merge: &Merge) -> Result<Merged, StoreError> {
    let Some(old) = owner(sql, merge).await? else {
        return moved_before(sql, merge).await;
    };
    let new = &merge.into;
    lock_both(sql, &old, new).await?;
    let visitor = locked_visitor(sql, &old).await?;
    // What was read before the lock may have changed until then.
    let Some(visitor) = visitor.filter(|_| old != *new) else {
        return moved_before(sql, merge).await;
    };
    if owner(sql, merge).await?.as_ref() != Some(&old) {
        return moved_before(sql, merge).await;
    }
    let since = visitor.taken_at.unwrap_or_default();
    let times = (since, merge.now);
    let is_all = move_conversations(sql, (&old, new), times, &mut Step::default()).await?;
    move_the_rest(sql, &old, new, (merge.now, since)).await?;
    Ok(match is_all {
        true => Merged::Done(old),
        false => Merged::Begun(old),
    })
}

/// One step of what a merge left behind, and of messages that were checked before it and committed after it: they went to an
/// address that nobody has, and follow their recipient. Returns for how many addresses; call it again until that is none.
pub(super) async fn gather<S: Sql>(sql: &mut S, now: &UnixMillis) -> Result<u64, StoreError> {
    let strayed = sql.query(STRAYED, params![]).await?;
    let mut step = Step::default();
    for row in &strayed {
        if step.is_over() {
            break;
        }
        let (old, new, since) = (row.user(0)?, row.user(1)?, row.time(2)?);
        let statement = format!("SELECT 1 FROM users WHERE user_id = $1{}", S::LOCK);
        sql.query(&statement, params![&new]).await?;
        move_conversations(sql, (&old, &new), (since, *now), &mut step).await?;
    }
    Ok(strayed.len() as u64)
}

/// As far as the step goes. Returns whether nothing is left.
async fn move_conversations<S: Sql>(
    sql: &mut S,
    (old, new): (&UserId, &UserId),
    times: (UnixMillis, UnixMillis),
    step: &mut Step,
) -> Result<bool, StoreError> {
    let moves = conversations(sql, (old, new), step).await?;
    lock_peers(sql, old, &moves).await?;
    let mut heads = lock(sql, &moves).await?;
    for one in &moves {
        move_messages(sql, one, (old, new), times, (&mut heads, step)).await?;
    }
    Ok(sql.query(IS_MEMBER, params![old]).await?.is_empty())
}

/// Whose live secret it is.
async fn owner<S: Sql>(sql: &mut S, merge: &Merge) -> Result<Option<UserId>, StoreError> {
    let rows = sql.query(OWNER, params![&merge.token, merge.now]).await?;
    rows.first().map(|row| row.user(0)).transpose()
}

/// The secret opens no visitor: perhaps because the same merge was done before.
async fn moved_before<S: Sql>(sql: &mut S, merge: &Merge) -> Result<Merged, StoreError> {
    let rows = sql.query(MOVED, params![&merge.token]).await?;
    match rows.first() {
        Some(row) if row.user(1)? == merge.into => Ok(Merged::Already(row.user(0)?)),
        Some(_) | None => Ok(Merged::NoVisitor),
    }
}

/// Keeps others from changing the two, in the order of their ids, as everybody does it.
async fn lock_both<S: Sql>(sql: &mut S, old: &UserId, new: &UserId) -> Result<(), StoreError> {
    let statement = format!(
        "SELECT user_id, kind FROM users WHERE user_id IN ($1, $2) ORDER BY user_id{}",
        S::LOCK
    );
    let rows = sql.query(&statement, params![old, new]).await?;
    for row in &rows {
        if row.user(0)? == *new && row.int(1)? != KIND_VISITOR {
            return Ok(());
        }
    }
    let words = "there is no account to become a part of; sign in again".to_owned();
    Err(StoreError::Unavailable(words))
}

/// Keeps those from being erased meanwhile to whom he wrote: their words would come back.
async fn lock_peers<S: Sql>(sql: &mut S, old: &UserId, moves: &[Move]) -> Result<(), StoreError> {
    let peers: BTreeSet<&UserId> = moves.iter().map(|one| &one.peer).collect();
    let statement = format!("SELECT 1 FROM users WHERE user_id = $1{}", S::LOCK);
    for peer in peers.into_iter().filter(|peer| *peer != old) {
        sql.query(&statement, params![peer]).await?;
    }
    Ok(())
}

async fn move_the_rest<S: Sql>(
    sql: &mut S,
    old: &UserId,
    new: &UserId,
    (now, since): (UnixMillis, UnixMillis),
) -> Result<(), StoreError> {
    sql.execute(UNITE_BANS, params![new, old]).await?;
    sql.execute(DROP_BANS, params![old]).await?;
    sql.execute(MOVE_TOKENS, params![new, now, old]).await?;
    for statement in LEAD_ON {
        sql.execute(statement, params![new, old]).await?;
    }
    sql.execute(PUT_ALIAS, params![old, new, now, since])
        .await?;
    sql.execute(DROP_TOKENS, params![old]).await?;
    sql.execute(DROP_USER, params![old]).await.map(drop)
}
