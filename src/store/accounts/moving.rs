//! The messages of a visitor's conversation go behind those of an account's conversation.
//!
//! Not here: who becomes a part of whom (`merge`). Invariant: `seq` of the conversation they go to
//! never changes, only grows, without holes and in the order that they had; what was written before
//! the visitor was in these hands stays with the other one. A key goes along only with its message.
//! A step moves a bounded amount ([`Step`]), because everybody's messages wait for it; while some are left, the visitor
//! stays a member of their conversation, and the next step goes on there.

use std::collections::{BTreeMap, BTreeSet};

use super::sql::{Row, Sql, damaged, params};
use crate::model::{MessageId, RoomId, UnixMillis, UserId};
use crate::store::StoreError;
use crate::store::alike::epoch;

/// What one step moves at most, but for one message, which always is moved.
const STEP: Step = Step {
    rooms: 50,
    messages: 1_000,
    bytes: 1 << 20,
};

const ROOMS: &str = "SELECT room FROM members WHERE user_id = $1 ORDER BY room LIMIT $2";
/// Of the first so many messages: how many there are, their bytes, and where the last of them stands.
const FIRST_MESSAGES: &str = "SELECT count(*), coalesce(sum(bytes), 0), coalesce(max(seq), 0) FROM ( \
    SELECT seq, octet_length(text) AS bytes FROM messages WHERE room = $1 AND accepted_at >= $2 \
    ORDER BY seq LIMIT $3) m";
const MESSAGES_AFTER: &str =
    "SELECT 1 FROM messages WHERE room = $1 AND accepted_at >= $2 AND seq > $3 LIMIT 1";
const OTHER_MEMBER: &str = "SELECT user_id FROM members WHERE room = $1 AND user_id <> $2";
const ONE_MESSAGE: &str = "SELECT from_user, to_user FROM messages WHERE room = $1 LIMIT 1";
const FIRST: &str = "SELECT id FROM messages WHERE room = $1 AND accepted_at >= $2 \
    ORDER BY seq LIMIT 1";
const BEGIN: &str = "INSERT INTO conversations (room, head, epoch, changed) \
    VALUES ($1, 0, $2, 0) ON CONFLICT (room) DO NOTHING";
/// Two of one writer may have one key, when he was two until now: the first keeps it.
const MOVE_KEYS: &str = "INSERT INTO message_keys (room, sender, client_id, seq) \
    SELECT $1, CASE WHEN k.sender = $2 THEN $3 ELSE k.sender END, k.client_id, $4 + p.place \
    FROM (SELECT seq, from_user, client_id, row_number() OVER (ORDER BY seq) AS place \
        FROM messages WHERE room = $5 AND accepted_at >= $6 AND seq <= $7) p \
    JOIN message_keys k ON k.room = $5 AND k.sender = p.from_user \
        AND k.client_id = p.client_id AND k.seq = p.seq \
    WHERE true ORDER BY p.seq ON CONFLICT (room, sender, client_id) DO NOTHING";
/// A message whose key did not go along has none any more.
const MOVE_MESSAGES: &str = "INSERT INTO messages (room, seq, id, from_user, from_name, to_user, \
    client_id, text, accepted_at, expires_at) \
    SELECT $1, $2 + p.place, p.id, CASE WHEN p.from_user = $3 THEN $4 ELSE p.from_user END, \
    p.from_name, CASE WHEN p.to_user = $3 THEN $4 ELSE p.to_user END, \
    (SELECT k.client_id FROM message_keys k WHERE k.room = $1 \
        AND k.sender = CASE WHEN p.from_user = $3 THEN $4 ELSE p.from_user END \
        AND k.client_id = p.client_id AND k.seq = $2 + p.place), \
    p.text, p.accepted_at, \
    CASE WHEN p.from_user = $3 AND p.expires_at > $5 THEN NULL ELSE p.expires_at END \
    FROM (SELECT m.*, row_number() OVER (ORDER BY m.seq) AS place FROM messages m \
        WHERE m.room = $6 AND m.accepted_at >= $7 AND m.seq <= $8) p";
/// What the visitor wrote and retention has not removed yet would be taken for what the account wrote, and kept.
const DROP_EXPIRED_KEYS: &str = "DELETE FROM message_keys WHERE room = $1 AND seq IN ( \
    SELECT seq FROM messages WHERE room = $1 AND from_user = $2 AND accepted_at >= $3 \
    AND expires_at <= $4 AND seq <= $5)";
const DROP_EXPIRED: &str = "DELETE FROM messages WHERE room = $1 AND from_user = $2 \
    AND accepted_at >= $3 AND expires_at <= $4 AND seq <= $5";
const DROP_KEYS: &str = "DELETE FROM message_keys WHERE room = $1 AND seq IN ( \
    SELECT seq FROM messages WHERE room = $1 AND accepted_at >= $2 AND seq <= $3)";
const DROP_MESSAGES: &str =
    "DELETE FROM messages WHERE room = $1 AND accepted_at >= $2 AND seq <= $3";
const MEMBERS: &str = "SELECT user_id, wrote_at FROM members WHERE room = $1";
const PUT_MEMBER: &str = "INSERT INTO members (user_id, room, wrote_at) VALUES ($1, $2, $3) \
    ON CONFLICT (user_id, room) DO UPDATE SET wrote_at = excluded.wrote_at \
    WHERE excluded.wrote_at > coalesce(members.wrote_at, -1)";
const DROP_MEMBER: &str = "DELETE FROM members WHERE user_id = $1 AND room = $2";
/// With what hangs on it: keys of messages that retention has removed.
const DROP_EMPTY: &str = "DELETE FROM conversations WHERE room = $1 AND ( \
    NOT EXISTS (SELECT 1 FROM members o WHERE o.room = conversations.room) \
    OR NOT EXISTS (SELECT 1 FROM messages m WHERE m.room = conversations.room))";

/// How much is left of a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    rooms: i64,
    messages: i64,
    bytes: i64,
}

impl Default for Step {
    fn default() -> Self {
        STEP
    }
}

impl Step {
    pub(super) fn is_over(&self) -> bool {
        self.rooms <= 0 || self.messages <= 0 || self.bytes <= 0
    }
}

/// What is moved of a conversation in one step: so many messages, up to this place, and whether that is all.
struct Portion {
    count: i64,
    last: i64,
    is_all: bool,
}

/// One conversation on its way.
pub(super) struct Move {
    /// The other one; himself in notes to himself.
    pub(super) peer: UserId,
    /// The visitor's conversation.
    from: RoomId,
    /// The account's conversation with the same peer.
    to: RoomId,
}

/// The head of each conversation that is there and locked.
pub(super) type Heads = BTreeMap<RoomId, i64>;

/// The conversations of a visitor that this step begins with, and where they go.
pub(super) async fn conversations<S: Sql>(
    sql: &mut S,
    (old, new): (&UserId, &UserId),
    step: &Step,
) -> Result<Vec<Move>, StoreError> {
    let rows = sql.query(ROOMS, params![old, step.rooms]).await?;
    let mut moves = Vec::with_capacity(rows.len());
    for row in &rows {
        let from = row.room(0)?;
        let peer = peer(sql, from, old).await?;
        // Notes to himself, and what he wrote to the account or it to him, become its own notes.
        let is_own = peer == *old;
        let to = RoomId::direct(new, if is_own { new } else { &peer });
        moves.push(Move { peer, from, to });
    }
    Ok(moves)
}

/// The other one of a conversation, also when nothing but his messages is left of him.
async fn peer<S: Sql>(sql: &mut S, room: RoomId, old: &UserId) -> Result<UserId, StoreError> {
    let rows = sql.query(OTHER_MEMBER, params![room, old]).await?;
    if let Some(row) = rows.first() {
        return row.user(0);
    }
    let rows = sql.query(ONE_MESSAGE, params![room]).await?;
    let Some(row) = rows.first() else {
        return Ok(old.clone());
    };
    let (from, to) = (row.user(0)?, row.user(1)?);
    Ok(if from == *old { to } else { from })
}

/// Keeps others from appending to all of these, in the order of their ids, as a batch does it.
pub(super) async fn lock<S: Sql>(sql: &mut S, moves: &[Move]) -> Result<Heads, StoreError> {
    let rooms: BTreeSet<RoomId> = moves.iter().flat_map(|it| [it.from, it.to]).collect();
    let mut heads = Heads::new();
    for room in rooms {
        if let Some(head) = locked_head(sql, room).await? {
            heads.insert(room, head);
        }
    }
    Ok(heads)
}

/// Moves what was written since `since`, as far as the step goes; the visitor is no member afterwards, unless some is left.
pub(super) async fn move_messages<S: Sql>(
    sql: &mut S,
    one: &Move,
    (old, new): (&UserId, &UserId),
    (since, now): (UnixMillis, UnixMillis),
    (heads, step): (&mut Heads, &mut Step),
) -> Result<(), StoreError> {
    if step.is_over() {
        return Ok(());
    }
    let Portion {
        count,
        last,
        is_all,
    } = portion(sql, one, since, step).await?;
    // Nobody takes away one of them meanwhile because it has expired: their places depend on it.
    let statement = format!(
        "SELECT count(*) FROM (SELECT 1 FROM messages WHERE room = $1 AND accepted_at >= $2 AND seq <= $3{}) m",
        S::LOCK
    );
    let rows = sql
        .query(&statement, params![one.from, since, last])
        .await?;
    let count = rows.first().map_or(Ok(count), |row| row.int(0))?;
    let count = count - drop_expired(sql, one, old, (since, now, last)).await?;
    if count > 0 {
        let rows = sql.query(FIRST, params![one.from, since]).await?;
        let first = rows.first().ok_or_else(damaged)?.message_id(0)?;
        let head = head(sql, one.to, first, heads).await?;
        let keys = params![one.to, old, new, head, one.from, since, last];
        sql.execute(MOVE_KEYS, keys).await?;
        let messages = params![one.to, head, old, new, now, one.from, since, last];
        sql.execute(MOVE_MESSAGES, messages).await?;
        sql.execute(DROP_KEYS, params![one.from, since, last])
            .await?;
        sql.execute(DROP_MESSAGES, params![one.from, since, last])
            .await?;
        let statement = format!(
            "UPDATE conversations SET head = $1, changed = {} WHERE room = $2",
            sql.changed()
        );
        sql.execute(&statement, params![head + count, one.to])
            .await?;
        heads.insert(one.to, head + count);
        put_members(sql, one, (old, new), since).await?;
    }
    if !is_all {
        return Ok(());
    }
    sql.execute(DROP_MEMBER, params![old, one.from]).await?;
    sql.execute(DROP_EMPTY, params![one.from]).await.map(drop)
}

/// How much of a conversation this step moves.
async fn portion<S: Sql>(
    sql: &mut S,
    one: &Move,
    since: UnixMillis,
    step: &mut Step,
) -> Result<Portion, StoreError> {
    let mut most = step.messages.max(1);
    let (count, bytes, last) = loop {
        let rows = sql
            .query(FIRST_MESSAGES, params![one.from, since, most])
            .await?;
        let row = rows.first().ok_or_else(damaged)?;
        let (count, bytes) = (row.int(0)?, row.int(1)?);
        if bytes <= step.bytes.max(0) || count <= 1 {
            break (count, bytes, row.int(2)?);
        }
        most = (count / 2).max(1);
    };
    let after = sql
        .query(MESSAGES_AFTER, params![one.from, since, last])
        .await?;
    let is_all = after.is_empty();
    step.rooms -= 1;
    step.messages -= count;
    step.bytes -= bytes;
    Ok(Portion {
        count,
        last,
        is_all,
    })
}

/// Removes what the visitor wrote and what has expired since. Returns how many messages.
async fn drop_expired<S: Sql>(
    sql: &mut S,
    one: &Move,
    old: &UserId,
    (since, now, last): (UnixMillis, UnixMillis, i64),
) -> Result<i64, StoreError> {
    let expired = params![one.from, old, since, now, last];
    sql.execute(DROP_EXPIRED_KEYS, expired).await?;
    let expired = params![one.from, old, since, now, last];
    let dropped = sql.execute(DROP_EXPIRED, expired).await?;
    i64::try_from(dropped).map_err(|_| damaged())
}

/// The head of a conversation, which begins with this message when there is none.
async fn head<S: Sql>(
    sql: &mut S,
    room: RoomId,
    first: MessageId,
    heads: &Heads,
) -> Result<i64, StoreError> {
    if let Some(head) = heads.get(&room) {
        return Ok(*head);
    }
    let epoch = i64::from(epoch(sql.store_id(), room, first));
    sql.execute(BEGIN, params![room, epoch]).await?;
    // Another node may have begun it just now.
    locked_head(sql, room).await?.ok_or_else(damaged)
}

async fn locked_head<S: Sql>(sql: &mut S, room: RoomId) -> Result<Option<i64>, StoreError> {
    let statement = format!("SELECT head FROM conversations WHERE room = $1{}", S::LOCK);
    let rows = sql.query(&statement, params![room]).await?;
    rows.first().map(|row| row.int(0)).transpose()
}

/// The members of the old conversation become those of the new one. Who wrote only before the
/// visitor was in these hands has not written to the account.
async fn put_members<S: Sql>(
    sql: &mut S,
    one: &Move,
    (old, new): (&UserId, &UserId),
    since: UnixMillis,
) -> Result<(), StoreError> {
    let rows = sql.query(MEMBERS, params![one.from]).await?;
    let member = |row: &Row| -> Result<_, StoreError> {
        let wrote_at = row.optional_time(1)?.filter(|at| *at >= since);
        Ok((row.user(0)?, wrote_at))
    };
    for row in &rows {
        let (user, wrote_at) = member(row)?;
        let user = if user == *old { new } else { &user };
        sql.execute(PUT_MEMBER, params![user, one.to, wrote_at])
            .await?;
    }
    Ok(())
}
