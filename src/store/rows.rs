//! Rows as both databases hold them, and their way into the model.
//!
//! Not here: the drivers' own types. Invariant: what was written by this crate reads back as the
//! same value; anything else is a damaged row and an error, never a guess.

use std::time::Duration;

use super::{StoreError, StoredSlot, UserRecord};
use crate::model::{Holder, Kind, MessageId, RoomId, Standing, StoredMessage, UnixMillis, UserId};

/// The kinds of users as numbers.
pub(super) const KIND_VISITOR: i64 = 0;
const KIND_MEMBER: i64 = 1;

/// A row of `users`, in the order of its columns in `sql`.
#[derive(Debug)]
pub(super) struct UserRow {
    pub(super) user_id: String,
    pub(super) kind: i64,
    pub(super) is_loose: i64,
    pub(super) taken_at: Option<i64>,
    pub(super) name: String,
    pub(super) client_identifier: String,
    pub(super) created_at: i64,
    pub(super) last_seen: i64,
    pub(super) is_kept: i64,
}

impl TryFrom<UserRow> for UserRecord {
    type Error = StoreError;

    fn try_from(row: UserRow) -> Result<Self, StoreError> {
        let kind = match row.kind {
            KIND_VISITOR => Kind::Anonymous,
            KIND_MEMBER => Kind::Member,
            _ => return Err(damaged("users.kind")),
        };
        let taken_at = row.taken_at.map(time);
        let standing = match row.is_loose {
            0 => Standing::Firm { taken_at },
            _ => Standing::Loose { taken_at },
        };
        Ok(Self {
            user_id: user(&row.user_id)?,
            kind,
            standing,
            name: row.name,
            client_identifier: row
                .client_identifier
                .parse()
                .map_err(|_| damaged("users.client_identifier"))?,
            created_at: time(row.created_at),
            last_seen: time(row.last_seen),
            is_kept: row.is_kept != 0,
        })
    }
}

/// A row of `messages` with the epoch of its conversation, in the order of the columns in `sql`.
#[derive(Debug)]
pub(super) struct MessageRow {
    pub(super) room: Vec<u8>,
    pub(super) seq: i64,
    pub(super) epoch: i64,
    pub(super) id: Vec<u8>,
    pub(super) from_user: String,
    pub(super) from_name: String,
    pub(super) to_user: String,
    pub(super) client_id: Option<String>,
    pub(super) text: String,
    pub(super) accepted_at: i64,
}

impl TryFrom<MessageRow> for StoredMessage {
    type Error = StoreError;

    fn try_from(row: MessageRow) -> Result<Self, StoreError> {
        let client_id = row.client_id.map(|text| text.parse()).transpose();
        Ok(Self {
            room: room(&row.room)?,
            seq: unsigned(row.seq),
            epoch: u32::try_from(row.epoch).map_err(|_| damaged("conversations.epoch"))?,
            id: MessageId(wide(&row.id).ok_or_else(|| damaged("messages.id"))?),
            from: user(&row.from_user)?,
            from_name: row.from_name,
            to: user(&row.to_user)?,
            client_id: client_id.map_err(|_| damaged("messages.client_id"))?,
            text: row.text,
            timestamp: time(row.accepted_at),
        })
    }
}

/// A user's address out of a row.
pub(super) fn user(text: &str) -> Result<UserId, StoreError> {
    text.parse().map_err(|_| damaged("user_id"))
}

/// A conversation out of a row.
pub(super) fn room(octets: &[u8]) -> Result<RoomId, StoreError> {
    wide(octets).map(RoomId).ok_or_else(|| damaged("room"))
}

/// The hands that an identity is in, out of its `taken_at`.
pub(super) fn holder(taken_at: Option<i64>) -> Holder {
    Holder {
        taken_at: taken_at.map(time),
    }
}

/// A number that is never negative out of a row.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A number for a row; the databases have 63 bits, which no count or time here fills.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// What visitors have stored in one slot of time, out of a row.
pub(super) fn stored_slot(slot: i64, messages: i64, bytes: i64) -> StoredSlot {
    StoredSlot {
        visitors: 0,
        slot: unsigned(slot),
        messages: unsigned(messages),
        bytes: unsigned(bytes),
    }
}

/// The rows of visitors that end in one slot of time, out of a row.
pub(super) fn visitors_slot(slot: i64, visitors: i64) -> StoredSlot {
    StoredSlot {
        slot: unsigned(slot),
        visitors: unsigned(visitors),
        ..StoredSlot::default()
    }
}

/// A span of time for a statement.
pub(super) fn span(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// A time for a row.
pub(super) fn millis(time: UnixMillis) -> i64 {
    signed(time.0)
}

pub(super) fn time(millis: i64) -> UnixMillis {
    UnixMillis(unsigned(millis))
}

fn wide(octets: &[u8]) -> Option<u128> {
    octets.try_into().ok().map(u128::from_be_bytes)
}

fn damaged(what: &str) -> StoreError {
    StoreError::Unavailable(format!("a stored {what} cannot be read"))
}
