//! What the store in memory holds, and what every question does to it.
//!
//! Invariant: a change is made as a whole under one lock, so no question meets half of one.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{ClientId, Holder, Kind, MessageId, RoomId, StoredMessage, UnixMillis, UserId};
use crate::store::alike::{epoch, placed, stretch};
use crate::store::{
    Append, Appended, Head, Heads, Position, Range, StoreError, StoredSlot, TokenHash, UserRecord,
    unkept_before,
};

/// Everything that is stored. Each field is what a table is in the other engines.
#[derive(Default)]
pub(super) struct State {
    store_id: String,
    /// Grows by one with every commit that moves a head.
    position: u64,
    pub(super) users: BTreeMap<UserId, UserRecord>,
    pub(super) tokens: BTreeMap<TokenHash, Token>,
    conversations: BTreeMap<RoomId, Conversation>,
    /// When the member last wrote there, if ever.
    members: BTreeMap<(UserId, RoomId), Option<UnixMillis>>,
    keys: BTreeMap<(RoomId, UserId, ClientId), u64>,
    /// Addresses that were given up, and until when no secret opens them.
    pub(super) ended: BTreeMap<UserId, UnixMillis>,
}

pub(super) struct Token {
    pub(super) user_id: UserId,
    pub(super) expires_at: UnixMillis,
}

struct Conversation {
    head: u64,
    epoch: u32,
    /// The position of the commit that last moved the head.
    changed: u64,
    messages: BTreeMap<u64, Kept>,
}

struct Kept {
    message: StoredMessage,
    expires_at: Option<UnixMillis>,
}

impl State {
    pub(super) fn new(store_id: String) -> Self {
        Self {
            store_id,
            ..Self::default()
        }
    }

    pub(super) fn store_id(&self) -> String {
        self.store_id.clone()
    }

    pub(super) fn append(&mut self, append: &Append) -> Result<Appended, StoreError> {
        let key = append
            .client_id
            .clone()
            .map(|client_id| (append.room, append.from.clone(), client_id));
        if let Some(first) = key.as_ref().and_then(|key| self.first(key)) {
            return Ok(Appended {
                message: first,
                duplicate: true,
            });
        }
        for keep in &append.visitors {
            self.keep_visitor(keep.clone());
        }
        for (user, holder) in append.hands() {
            if self.holder(user) != Some(holder) {
                return Err(StoreError::ChangedHands(user.clone()));
            }
        }
        self.position += 1;
        let conversation = self
            .conversations
            .entry(append.room)
            .or_insert_with(|| Conversation {
                head: 0,
                epoch: epoch(&self.store_id, append.room, append.id),
                changed: 0,
                messages: BTreeMap::new(),
            });
        conversation.head += 1;
        conversation.changed = self.position;
        let message = placed(append, conversation.head, conversation.epoch);
        let kept = Kept {
            message: message.clone(),
            expires_at: append.expires_at,
        };
        let before = conversation.messages.insert(message.seq, kept);
        debug_assert!(before.is_none(), "a place is given once");
        if let Some(key) = key {
            self.keys.insert(key, message.seq);
        }
        self.members
            .entry((append.to.clone(), append.room))
            .or_default();
        let wrote_at = self
            .members
            .entry((append.from.clone(), append.room))
            .or_default();
        *wrote_at = (*wrote_at).max(Some(append.timestamp));
        Ok(Appended {
            message,
            duplicate: false,
        })
    }

    /// Whose hands an identity is in; `None` of one that there is not.
    fn holder(&self, user: &UserId) -> Option<Holder> {
        let taken_at = self.users.get(user)?.standing.taken_at();
        Some(Holder { taken_at })
    }

    fn first(&self, key: &(RoomId, UserId, ClientId)) -> Option<StoredMessage> {
        let seq = self.keys.get(key)?;
        let kept = self.conversations.get(&key.0)?.messages.get(seq)?;
        Some(kept.message.clone())
    }

    pub(super) fn heads(&self, users: &[UserId], since: Position) -> Heads {
        let mut heads = Vec::new();
        for user in users {
            for room in self.rooms_of(user) {
                let Some(conversation) = self.conversations.get(&room) else {
                    continue;
                };
                if conversation.changed > since.0 {
                    heads.push(Head {
                        user: user.clone(),
                        room,
                        seq: conversation.head,
                    });
                }
            }
        }
        heads.sort_by(|a, b| (&a.user, a.room).cmp(&(&b.user, b.room)));
        heads.dedup();
        Heads {
            position: Position(self.position),
            heads,
        }
    }

    pub(super) fn range(&self, room: RoomId, (after, through): (u64, u64), limit: u32) -> Range {
        let Some(conversation) = self.conversations.get(&room) else {
            return stretch(Vec::new(), (after, through), limit, 0);
        };
        let found = conversation
            .messages
            .range(after.saturating_add(1)..)
            .take_while(|(seq, _)| **seq <= through)
            .take(limit as usize)
            .map(|(_, kept)| kept.message.clone())
            .collect();
        stretch(found, (after, through), limit, conversation.head)
    }

    pub(super) fn wrote_since(&self, room: RoomId, from: &UserId, since: UnixMillis) -> bool {
        let wrote_at = self.members.get(&(from.clone(), room)).copied();
        wrote_at.flatten().is_some_and(|at| at >= since)
    }

    pub(super) fn user(&self, user_id: &UserId) -> Option<UserRecord> {
        self.users.get(user_id).cloned()
    }

    pub(super) fn export(
        &self,
        user: &UserId,
        after: Option<MessageId>,
        limit: u32,
        bytes_max: u64,
    ) -> Vec<StoredMessage> {
        let rooms = self.rooms_of(user);
        let mut found: Vec<&StoredMessage> = rooms
            .iter()
            .filter_map(|room| self.conversations.get(room))
            .flat_map(|conversation| conversation.messages.values())
            .map(|kept| &kept.message)
            .filter(|message| after.is_none_or(|after| message.id > after))
            .collect();
        found.sort_by_key(|message| (message.id, message.room, message.seq));
        let mut bytes = 0;
        let within = |message: &&StoredMessage| {
            let is_within = bytes < bytes_max;
            bytes += message.text.len() as u64;
            is_within
        };
        let found = found.into_iter().take(limit as usize);
        found.take_while(within).cloned().collect()
    }

    pub(super) fn erase(&mut self, user: &UserId, ends_at: UnixMillis) {
        let ended = self.ended.entry(user.clone()).or_default();
        *ended = ends_at.max(*ended);
        self.users.remove(user);
        self.tokens.retain(|_, token| token.user_id != *user);
        for room in self.rooms_of(user) {
            let Some(conversation) = self.conversations.get_mut(&room) else {
                continue;
            };
            for kept in conversation.messages.values_mut() {
                if kept.message.from == *user {
                    kept.message.text.clear();
                    kept.message.from_name.clear();
                }
            }
        }
        self.leave_everything(user);
    }

    pub(super) fn stored_by_visitors(&self, slot_ms: u64, rows_keep: Duration) -> Vec<StoredSlot> {
        let kept = self
            .conversations
            .values()
            .flat_map(|it| it.messages.values());
        let mut slots = BTreeMap::new();
        for (kept, at) in kept.filter_map(|kept| Some((kept, kept.expires_at?))) {
            let slot = at.0 / slot_ms.max(1);
            let stored: &mut StoredSlot = slots.entry(slot).or_default();
            stored.slot = slot;
            stored.messages += 1;
            stored.bytes += kept.message.text.len() as u64;
        }
        let kept = |user: &&UserRecord| user.kind == Kind::Anonymous && user.is_kept;
        for user in self.users.values().filter(kept) {
            let slot = user.last_seen.after(rows_keep).0 / slot_ms.max(1);
            let stored = slots.entry(slot).or_default();
            stored.slot = slot;
            stored.visitors += 1;
        }
        slots.into_values().collect()
    }

    pub(super) fn purge(&mut self, now: UnixMillis, idle_before: UnixMillis) -> u64 {
        self.ended.retain(|_, ends_at| *ends_at > now);
        let mut removed = 0;
        for conversation in self.conversations.values_mut() {
            let keys = &mut self.keys;
            conversation.messages.retain(|_, kept| {
                let has_expired = kept.expires_at.is_some_and(|at| at <= now);
                if has_expired {
                    removed += 1;
                    let message = &kept.message;
                    if let Some(client_id) = &message.client_id {
                        keys.remove(&(message.room, message.from.clone(), client_id.clone()));
                    }
                }
                !has_expired
            });
        }
        let idle: Vec<UserId> = self
            .users
            .values()
            .filter(|user| user.kind == Kind::Anonymous)
            .filter(|user| {
                let is_unkept = !user.is_kept && user.last_seen < unkept_before(now);
                is_unkept || user.last_seen < idle_before
            })
            .map(|user| user.user_id.clone())
            .collect();
        self.tokens.retain(|_, token| {
            let is_over = token.expires_at <= now || idle.binary_search(&token.user_id).is_ok();
            removed += u64::from(is_over);
            !is_over
        });
        for user in &idle {
            self.users.remove(user);
            self.leave_everything(user);
            removed += 1;
        }
        removed
    }

    /// Ends all memberships of a user who is gone, and the conversations in which nobody is left.
    fn leave_everything(&mut self, user: &UserId) {
        for room in self.rooms_of(user) {
            self.members.remove(&(user.clone(), room));
            if !self.members.keys().any(|(_, other)| *other == room) {
                self.conversations.remove(&room);
                self.keys.retain(|(key_room, _, _), _| *key_room != room);
            }
        }
    }

    fn rooms_of(&self, user: &UserId) -> Vec<RoomId> {
        self.members
            .range((user.clone(), RoomId(0))..=(user.clone(), RoomId(u128::MAX)))
            .map(|((_, room), _)| *room)
            .collect()
    }
}
