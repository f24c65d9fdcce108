//! What the writer knows of conversations and identities without asking the file, and what its batch
//! has still to write of them.
//!
//! The writer alone changes the file, so what it read or wrote once is so until it changes it. Heads
//! and memberships move with every message; they are written once for each conversation of a batch.
//! Not here: messages and their keys, which are written as they come. Invariant: at the end of a
//! batch, and before anybody in it looks at the tables of conversations and members, everything here
//! stands in the file; when a batch fails, everything is forgotten.

use std::collections::{BTreeMap, BTreeSet};

use quick_cache::unsync::Cache;
use rusqlite::{Connection, Error, OptionalExtension, params};

use super::sweep::ERASING;
use crate::model::{Holder, RoomId, UnixMillis, UserId};
use crate::store::rows::{holder, millis};

/// How many conversations are known at a time, and how many identities: about 150 octets each.
const KNOWN_MAX: usize = 16_384;

const HEAD: &str = "SELECT head, epoch FROM conversations WHERE room = $1";
const BEGIN: &str = "INSERT INTO conversations (room, head, epoch, changed) VALUES ($1, 0, $2, $3)";
const MOVE_HEAD: &str = "UPDATE conversations SET head = $1, changed = $2 WHERE room = $3";
const TAKEN_AT: &str = "SELECT taken_at FROM users WHERE user_id = $1";
const ERASED: &str = "SELECT user_id FROM ended_visitors WHERE ends_at = $1";
const PUT_MEMBER: &str = "INSERT INTO members (user_id, room, wrote_at) VALUES ($1, $2, $3) \
    ON CONFLICT (user_id, room) DO UPDATE SET wrote_at = excluded.wrote_at \
    WHERE excluded.wrote_at > coalesce(members.wrote_at, -1)";

/// The writer's knowledge.
pub(super) struct Ledger {
    conversations: Cache<RoomId, Conversation>,
    holders: Cache<UserId, Holder>,
    /// The conversations of this batch, which are not among the others meanwhile.
    moved: BTreeMap<RoomId, Conversation>,
    /// Users who are being erased; read when it is asked for. Nearly always empty.
    erased: Option<BTreeSet<String>>,
}

/// A conversation as it is after what this batch has done.
pub(super) struct Conversation {
    pub(super) head: i64,
    pub(super) epoch: u32,
    /// Its members, as far as the batches since it is known have met them.
    members: Vec<Member>,
}

struct Member {
    user: UserId,
    /// When he last wrote, as far as that is known.
    wrote_at: Option<UnixMillis>,
    /// Whether that is still to be written.
    is_news: bool,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self {
            conversations: Cache::new(KNOWN_MAX),
            holders: Cache::new(KNOWN_MAX),
            moved: BTreeMap::new(),
            erased: None,
        }
    }

    /// Whether a user is being erased.
    pub(super) fn is_being_erased(
        &mut self,
        conn: &Connection,
        user: &UserId,
    ) -> Result<bool, Error> {
        if let Some(erased) = &self.erased {
            return Ok(!erased.is_empty() && erased.contains(user.as_str()));
        }
        let mut find = conn.prepare_cached(ERASED)?;
        let found = find.query_map([millis(ERASING)], |row| row.get(0))?;
        let erased: BTreeSet<String> = found.collect::<Result<_, _>>()?;
        let is_erased = erased.contains(user.as_str());
        self.erased = Some(erased);
        Ok(is_erased)
    }

    /// The conversation, which the batch has moved from now on; a new one begins with `epoch`.
    pub(super) fn conversation(
        &mut self,
        conn: &Connection,
        room: RoomId,
        (epoch, position): (impl FnOnce() -> u32, i64),
    ) -> Result<&mut Conversation, Error> {
        use std::collections::btree_map::Entry;
        match self.moved.entry(room) {
            Entry::Occupied(moved) => Ok(moved.into_mut()),
            Entry::Vacant(place) => {
                let conversation = match self.conversations.remove(&room) {
                    Some((_, known)) => known,
                    None => read_or_begin(conn, room, (epoch, position))?,
                };
                Ok(place.insert(conversation))
            }
        }
    }

    /// Whose hands an identity is in; `None` of one that there is not.
    pub(super) fn holder(
        &mut self,
        conn: &Connection,
        user: &UserId,
    ) -> Result<Option<Holder>, Error> {
        if let Some(known) = self.holders.get(user) {
            return Ok(Some(*known));
        }
        let taken_at: Option<Option<i64>> = conn
            .prepare_cached(TAKEN_AT)?
            .query_row([user.as_str()], |row| row.get(0))
            .optional()?;
        let found = taken_at.map(holder);
        // Nobody is not remembered: he may be created.
        if let Some(found) = found {
            self.holders.insert(user.clone(), found);
        }
        Ok(found)
    }

    /// Writes what the batch has moved. Returns whether a head is among it.
    pub(super) fn write(&mut self, conn: &Connection, position: i64) -> Result<bool, Error> {
        if self.moved.is_empty() {
            return Ok(false);
        }
        let mut move_head = conn.prepare_cached(MOVE_HEAD)?;
        let mut put_member = conn.prepare_cached(PUT_MEMBER)?;
        for (room, mut conversation) in std::mem::take(&mut self.moved) {
            let octets = room.0.to_be_bytes();
            move_head.execute(params![conversation.head, position, octets])?;
            for member in conversation.members.iter_mut().filter(|it| it.is_news) {
                let wrote_at = member.wrote_at.map(millis);
                put_member.execute(params![member.user.as_str(), octets, wrote_at])?;
                member.is_news = false;
            }
            self.conversations.insert(room, conversation);
        }
        Ok(true)
    }

    /// This identity may be in other hands from now on.
    pub(super) fn changes_hands(&mut self, user: &UserId) {
        self.holders.remove(user);
    }

    /// Everything is read anew: a batch has failed, or a job changes what is known here.
    pub(super) fn forget(&mut self) {
        self.erased = None;
        self.moved.clear();
        self.conversations.clear();
        self.holders.clear();
    }
}

impl Conversation {
    /// A member, and when he wrote, if he did.
    pub(super) fn met(&mut self, user: &UserId, wrote_at: Option<UnixMillis>) {
        let Some(member) = self.members.iter_mut().find(|it| it.user == *user) else {
            self.members.push(Member {
                user: user.clone(),
                wrote_at,
                is_news: true,
            });
            return;
        };
        if wrote_at > member.wrote_at {
            member.wrote_at = wrote_at;
            member.is_news = true;
        }
    }
}

fn read_or_begin(
    conn: &Connection,
    room: RoomId,
    (epoch, position): (impl FnOnce() -> u32, i64),
) -> Result<Conversation, Error> {
    let octets = room.0.to_be_bytes();
    let found = conn
        .prepare_cached(HEAD)?
        .query_row([octets], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (head, epoch) = match found {
        Some(found) => found,
        None => {
            let epoch = epoch();
            let mut begin = conn.prepare_cached(BEGIN)?;
            begin.execute(params![octets, epoch, position])?;
            (0, epoch)
        }
    };
    Ok(Conversation {
        head,
        epoch,
        members: Vec::with_capacity(2),
    })
}
