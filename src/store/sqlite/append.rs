//! Appending a message, inside the writer's transaction.
//!
//! Invariant: one append is a handful of prepared statements on rows that the writer alone changes,
//! so the next `seq` is read and written without a race.

use rusqlite::{Error, OptionalExtension, Row, params};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::visits;
use super::writer::{Job, Unit};
use crate::model::{ClientId, StoredMessage, UserId};
use crate::store::alike::{epoch, placed};
use crate::store::rows::{MessageRow, millis, signed, unsigned};
use crate::store::sql::message_columns;
use crate::store::{Append, Appended, StoreError};

/// The heads of the rooms of some users (a JSON array) that moved after a position.
pub(super) const HEADS: &str = "SELECT m.user_id, m.room, c.head \
    FROM (SELECT DISTINCT value FROM json_each($1)) w \
    CROSS JOIN members m ON m.user_id = w.value \
    CROSS JOIN conversations c ON c.room = m.room \
    WHERE c.changed > $2 ORDER BY m.user_id, m.room";

const FIRST: &str = concat!(
    "SELECT ",
    message_columns!(),
    " FROM message_keys k JOIN messages m ON m.room = k.room AND m.seq = k.seq",
    " JOIN conversations c ON c.room = k.room",
    " WHERE k.room = $1 AND k.sender = $2 AND k.client_id = $3"
);
const PUT_MESSAGE: &str = "INSERT INTO messages (room, seq, id, from_user, from_name, to_user, \
    client_id, text, accepted_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
/// Changes nothing when the key is known.
const PUT_KEY: &str = "INSERT INTO message_keys (room, sender, client_id, seq) \
    VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";

/// One append on its way.
pub(super) struct AppendJob {
    append: Append,
    /// How it ended, once it ran. A refusal is an answer, no failure: the batch goes on.
    outcome: Option<Result<Appended, StoreError>>,
    reply: oneshot::Sender<Result<Appended, StoreError>>,
    /// Its share of the backlog, given back when the job is answered.
    _room: OwnedSemaphorePermit,
}

impl AppendJob {
    pub(super) fn new(
        append: Append,
        reply: oneshot::Sender<Result<Appended, StoreError>>,
        room: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            append,
            outcome: None,
            reply,
            _room: room,
        }
    }
}

impl Job for AppendJob {
    fn run(&mut self, unit: &Unit<'_>) -> Result<(), Error> {
        for keep in &self.append.visitors {
            visits::keep_visitor(unit.conn, keep)?;
        }
        self.outcome = Some(match changed_hands(&self.append, unit)? {
            None => Ok(put(&self.append, unit)?),
            // A repetition of what is committed is answered with that all the same.
            Some(user) => match first(&self.append, unit)? {
                Some(message) => Ok(repetition(message)),
                None => Err(StoreError::ChangedHands(user.clone())),
            },
        });
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        // Nobody may be waiting any more; the message is committed all the same.
        match (committed, self.outcome) {
            (Ok(()), Some(outcome)) => drop(self.reply.send(outcome)),
            (Err(err), _) => drop(self.reply.send(Err(err))),
            (Ok(()), None) => debug_assert!(false, "a batch commits only when every job ran"),
        }
    }
}

/// The message that was stored first under the same key.
fn first(append: &Append, unit: &Unit<'_>) -> Result<Option<StoredMessage>, Error> {
    let Some(client_id) = &append.client_id else {
        return Ok(None);
    };
    let room = append.room.0.to_be_bytes();
    let mut statement = unit.conn.prepare_cached(FIRST)?;
    let params = params![room, append.from.as_str(), client_id.as_str()];
    let row = statement
        .query_row(params, |row| message_row(row, 0))
        .optional()?;
    row.map(StoredMessage::try_from)
        .transpose()
        .map_err(|err| Error::ToSqlConversionFailure(Box::new(err)))
}

/// The first identity that is being erased, or not in the hands that it must be in. The writer is alone, so
/// it stays so until the commit.
fn changed_hands<'a>(append: &'a Append, unit: &Unit<'_>) -> Result<Option<&'a UserId>, Error> {
    for user in [&append.from, &append.to] {
        // A message would make them a member again of what they leave, and the erasure would not end.
        if unit.ledger().is_being_erased(unit.conn, user)? {
            return Ok(Some(user));
        }
    }
    for (user, wanted) in append.hands() {
        if unit.ledger().holder(unit.conn, user)? != Some(wanted) {
            return Ok(Some(user));
        }
    }
    Ok(None)
}

/// Gives the message its place and writes it, unless its key is known.
fn put(append: &Append, unit: &Unit<'_>) -> Result<Appended, Error> {
    let conn = unit.conn;
    let room = append.room.0.to_be_bytes();
    let mut ledger = unit.ledger();
    let fresh_epoch = || epoch(unit.store_id, append.room, append.id);
    let conversation = ledger.conversation(conn, append.room, (fresh_epoch, unit.position))?;
    let seq = conversation.head + 1;
    if let Some(client_id) = &append.client_id {
        let params = params![room, append.from.as_str(), client_id.as_str(), seq];
        if conn.prepare_cached(PUT_KEY)?.execute(params)? == 0 {
            // A key has a message as long as it is kept, and no longer.
            let known = first(append, unit)?.ok_or(Error::QueryReturnedNoRows)?;
            return Ok(repetition(known));
        }
    }
    conn.prepare_cached(PUT_MESSAGE)?.execute(params![
        room,
        seq,
        append.id.0.to_be_bytes(),
        append.from.as_str(),
        append.from_name,
        append.to.as_str(),
        append.client_id.as_ref().map(ClientId::as_str),
        append.text,
        millis(append.timestamp),
        append.expires_at.map(millis),
    ])?;
    conversation.head = seq;
    conversation.met(&append.from, Some(append.timestamp));
    conversation.met(&append.to, None);
    debug_assert_eq!(signed(unsigned(seq)), seq, "a seq is never negative");
    Ok(Appended {
        message: placed(append, unsigned(seq), conversation.epoch),
        duplicate: false,
    })
}

fn repetition(message: StoredMessage) -> Appended {
    Appended {
        message,
        duplicate: true,
    }
}

/// Reads the columns of a message from column `at` on.
pub(super) fn message_row(row: &Row<'_>, at: usize) -> Result<MessageRow, Error> {
    Ok(MessageRow {
        room: row.get(at)?,
        seq: row.get(at + 1)?,
        epoch: row.get(at + 2)?,
        id: row.get(at + 3)?,
        from_user: row.get(at + 4)?,
        from_name: row.get(at + 5)?,
        to_user: row.get(at + 6)?,
        client_id: row.get(at + 7)?,
        text: row.get(at + 8)?,
        accepted_at: row.get(at + 9)?,
    })
}
