//! A batch of messages as the arrays of its statements.
//!
//! Invariant: the arrays of one statement are of one length, and what a statement may touch once
//! only (heads, members) is in them once.

use std::collections::BTreeMap;

use crate::model::{ClientId, RoomId, StoredMessage};
use crate::store::Append;
use crate::store::rows::{millis, signed};

/// Keys as arrays for a statement.
#[derive(Default)]
pub(super) struct KeyColumns<'a> {
    pub(super) rooms: Vec<Vec<u8>>,
    pub(super) senders: Vec<&'a str>,
    pub(super) client_ids: Vec<&'a str>,
}

impl<'a> KeyColumns<'a> {
    /// The keys of all of these that have one.
    pub(super) fn of(appends: &[&'a Append]) -> Self {
        let mut columns = Self::default();
        for &append in appends {
            if let Some(client_id) = &append.client_id {
                columns.push(append, client_id);
            }
        }
        columns
    }

    fn push(&mut self, append: &'a Append, client_id: &'a ClientId) {
        self.rooms.push(octets(append.room.0));
        self.senders.push(append.from.as_str());
        self.client_ids.push(client_id.as_str());
    }
}

/// A batch as arrays for its statements.
#[derive(Default)]
pub(super) struct Columns<'a> {
    pub(super) rooms: Vec<Vec<u8>>,
    pub(super) seqs: Vec<i64>,
    pub(super) ids: Vec<Vec<u8>>,
    pub(super) from_users: Vec<&'a str>,
    pub(super) from_names: Vec<&'a str>,
    pub(super) to_users: Vec<&'a str>,
    pub(super) client_ids: Vec<Option<&'a str>>,
    pub(super) texts: Vec<&'a str>,
    pub(super) accepted_at: Vec<i64>,
    pub(super) expires_at: Vec<Option<i64>>,
    pub(super) keys: KeyColumns<'a>,
    pub(super) key_seqs: Vec<i64>,
    pub(super) head_rooms: Vec<Vec<u8>>,
    pub(super) heads: Vec<i64>,
    pub(super) member_users: Vec<&'a str>,
    pub(super) member_rooms: Vec<Vec<u8>>,
    pub(super) wrote_at: Vec<Option<i64>>,
}

impl<'a> Columns<'a> {
    /// The messages that are new, each with its place.
    pub(super) fn of(fresh: &[(&'a Append, &StoredMessage)]) -> Self {
        let mut columns = Self::default();
        let (mut heads, mut members) = (BTreeMap::new(), BTreeMap::new());
        for &(append, message) in fresh {
            columns.push(append, message.seq);
            // The last one of a conversation is its head.
            heads.insert(append.room, message.seq);
            members.entry((&append.to, append.room)).or_insert(None);
            let wrote_at = members.entry((&append.from, append.room)).or_insert(None);
            *wrote_at = (*wrote_at).max(Some(millis(append.timestamp)));
        }
        for (room, head) in heads {
            columns.head_rooms.push(octets(room.0));
            columns.heads.push(signed(head));
        }
        for ((user, room), wrote_at) in members {
            columns.member_users.push(user.as_str());
            columns.member_rooms.push(octets(room.0));
            columns.wrote_at.push(wrote_at);
        }
        columns
    }

    fn push(&mut self, append: &'a Append, seq: u64) {
        self.rooms.push(octets(append.room.0));
        self.seqs.push(signed(seq));
        self.ids.push(octets(append.id.0));
        self.from_users.push(append.from.as_str());
        self.from_names.push(&append.from_name);
        self.to_users.push(append.to.as_str());
        self.client_ids
            .push(append.client_id.as_ref().map(ClientId::as_str));
        self.texts.push(&append.text);
        self.accepted_at.push(millis(append.timestamp));
        self.expires_at.push(append.expires_at.map(millis));
        if let Some(client_id) = &append.client_id {
            self.keys.push(append, client_id);
            self.key_seqs.push(signed(seq));
        }
    }
}

/// The conversations of a batch, each once, in the order in which they are locked.
pub(super) fn rooms(appends: &[&Append]) -> Vec<Vec<u8>> {
    let mut rooms: Vec<RoomId> = appends.iter().map(|append| append.room).collect();
    rooms.sort_unstable();
    rooms.dedup();
    rooms.into_iter().map(|room| octets(room.0)).collect()
}

/// An id as it is stored: most significant octet first.
pub(super) fn octets(wide: u128) -> Vec<u8> {
    wide.to_be_bytes().to_vec()
}
