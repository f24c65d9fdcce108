//! Bans and mutes, and the notes of what was done.
//!
//! Not here: what a ban does to somebody (`identity`). Invariant: of one subject there is one ban
//! and one mute at most.

use super::sql::{Row, Sql, damaged, params};
use super::{Audit, Ban, BanAct, Subject};
use crate::model::{MessageId, UnixMillis};
use crate::store::StoreError;

const BANS: &str = "SELECT kind, subject, act, ends_at, reason, made_by, created_at FROM bans \
    WHERE ends_at IS NULL OR ends_at > $1 ORDER BY kind, subject, act";
const AUDIT: &str = "SELECT id, noted_at, actor, act, subject, detail FROM audit \
    WHERE id < $1 ORDER BY id DESC LIMIT $2";
const PUT_BAN: &str = "INSERT INTO bans \
    (kind, subject, act, ends_at, reason, made_by, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7) \
    ON CONFLICT (kind, subject, act) DO UPDATE SET ends_at = excluded.ends_at, \
    reason = excluded.reason, made_by = excluded.made_by, created_at = excluded.created_at";
const LIFT: &str = "DELETE FROM bans WHERE kind = $1 AND subject = $2 AND act = $3";
const NOTE: &str = "INSERT INTO audit (id, noted_at, actor, act, subject, detail) \
    VALUES ($1, $2, $3, $4, $5, $6)";

pub(super) async fn bans<S: Sql>(sql: &mut S, now: &UnixMillis) -> Result<Vec<Ban>, StoreError> {
    let rows = sql.query(BANS, params![*now]).await?;
    rows.iter().map(ban_of).collect()
}

pub(super) async fn audit<S: Sql>(
    sql: &mut S,
    before: &Option<MessageId>,
    limit: &u32,
) -> Result<Vec<Audit>, StoreError> {
    // Longer than every id and made of the highest octet: nothing is greater.
    let before = before.map_or([u8::MAX; 17].to_vec(), |id| id.0.to_be_bytes().to_vec());
    let rows = sql.query(AUDIT, params![&before[..], *limit]).await?;
    rows.iter()
        .map(|row| {
            Ok(Audit {
                id: row.message_id(0)?,
                at: row.time(1)?,
                actor: row.text(2)?,
                act: row.text(3)?,
                subject: row.text(4)?,
                detail: row.text(5)?,
            })
        })
        .collect()
}

pub(super) async fn put_ban<S: Sql>(sql: &mut S, ban: &Ban) -> Result<(), StoreError> {
    let params = params![
        ban.subject.kind(),
        ban.subject.as_str(),
        ban.act.as_str(),
        ban.until,
        &ban.reason,
        &ban.by,
        ban.created_at,
    ];
    sql.execute(PUT_BAN, params).await.map(drop)
}

pub(super) async fn lift<S: Sql>(
    sql: &mut S,
    subject: &Subject,
    act: &BanAct,
) -> Result<bool, StoreError> {
    let params = params![subject.kind(), subject.as_str(), act.as_str()];
    Ok(sql.execute(LIFT, params).await? > 0)
}

pub(super) async fn note<S: Sql>(sql: &mut S, audit: &Audit) -> Result<(), StoreError> {
    let params = params![
        audit.id,
        audit.at,
        &audit.actor,
        &audit.act,
        &audit.subject,
        &audit.detail,
    ];
    sql.execute(NOTE, params).await.map(drop)
}

fn ban_of(row: &Row) -> Result<Ban, StoreError> {
    let (kind, text) = (row.text(0)?, row.text(1)?);
    let subject = match kind.as_str() {
        "user" => Subject::User(row.user(1)?),
        "client" => Subject::Client(text.parse().map_err(|_| damaged())?),
        "network" => Subject::Network(text.parse().map_err(|_| damaged())?),
        _ => return Err(damaged()),
    };
    Ok(Ban {
        subject,
        act: BanAct::from_word(&row.text(2)?).ok_or_else(damaged)?,
        until: row.optional_time(3)?,
        reason: row.text(4)?,
        by: row.text(5)?,
        created_at: row.time(6)?,
    })
}
