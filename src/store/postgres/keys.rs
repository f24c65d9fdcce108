//! The keys by which a lane finds that a message repeats another.
//!
//! Not here: when they are looked for (`lane`). Invariant: a message without a `client_id` has no
//! key and repeats nothing.

use std::collections::BTreeMap;

use tokio_postgres::Row;

use super::message_row;
use crate::model::{ClientId, RoomId, StoredMessage, UserId};
use crate::store::sql::message_columns;
use crate::store::{Append, StoreError};

/// The messages that are stored under some keys. Each key is looked up by itself, whatever the
/// planner believes: on a database that it has not counted yet, a plain join compared every key with
/// every message of the conversation, and a batch of 64 took seconds after some hundred messages.
pub(super) const KNOWN: &str = concat!(
    "SELECT ",
    message_columns!(),
    " FROM unnest($1::bytea[], $2::text[], $3::text[]) AS w (room, sender, client_id)",
    " CROSS JOIN LATERAL (SELECT * FROM message_keys k WHERE k.room = w.room",
    " AND k.sender = w.sender AND k.client_id = w.client_id LIMIT 1) k",
    " CROSS JOIN LATERAL (SELECT * FROM messages m WHERE m.room = k.room",
    " AND m.seq = k.seq LIMIT 1) m",
    " CROSS JOIN LATERAL (SELECT epoch FROM conversations c WHERE c.room = k.room LIMIT 1) c"
);

/// By what a repetition is recognised.
pub(super) type Key = (RoomId, UserId, ClientId);

/// The key of a message.
pub(super) fn key(append: &Append) -> Option<Key> {
    let client_id = append.client_id.clone()?;
    Some((append.room, append.from.clone(), client_id))
}

/// The messages that [`KNOWN`] found, by their keys.
pub(super) fn known_messages(rows: &[Row]) -> Result<BTreeMap<Key, StoredMessage>, StoreError> {
    let read = |row: &Row| -> Result<StoredMessage, StoreError> { message_row(row, 0)?.try_into() };
    let mut known = BTreeMap::new();
    for row in rows {
        let message = read(row)?;
        if let Some(client_id) = message.client_id.clone() {
            known.insert((message.room, message.from.clone(), client_id), message);
        }
    }
    Ok(known)
}
