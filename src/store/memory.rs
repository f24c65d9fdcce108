//! The reference engine: a store in memory, for simulations and tests.
//!
//! Not durable, and not for serving people. Invariant: fully deterministic. It has no thread, no
//! clock and no randomness; an append is committed when the call returns, and its future is ready.

mod state;
mod visits;

use std::fmt;
use std::future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use state::State;

use super::alike::storable;
use super::{
    Append, Commit, Found, Heads, Keep, NewVisitor, Position, Range, Store, StoreError, StoredSlot,
    TakeOver, TokenHash, UserRecord,
};
use crate::model::{ClientIdentifier, MessageId, RoomId, StoredMessage, UnixMillis, UserId};

/// A handle on a store in memory; clones share it.
#[derive(Clone)]
pub struct MemoryStore {
    /// A std mutex: every question is a short computation, and nothing is awaited under it.
    state: Arc<Mutex<State>>,
}

impl MemoryStore {
    /// An empty store with this `store_id`.
    #[must_use]
    pub fn new(store_id: impl Into<String>) -> Self {
        Self {
            state: Arc::new(Mutex::new(State::new(store_id.into()))),
        }
    }

    /// No step leaves the state half changed except by a bug that the debug assertions look for,
    /// so a panic elsewhere does not make the store useless.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryStore {
    /// Without what is stored: people's words and the hashes of their secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new("memory")
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn store_id(&self) -> Result<String, StoreError> {
        Ok(self.state().store_id())
    }

    fn append(&self, append: Append) -> Commit {
        let appended = self.state().append(&storable(append));
        Box::pin(future::ready(appended))
    }

    async fn heads(&self, users: &[UserId], since: Position) -> Result<Heads, StoreError> {
        Ok(self.state().heads(users, since))
    }

    async fn range(
        &self,
        room: RoomId,
        after: u64,
        through: u64,
        limit: u32,
    ) -> Result<Range, StoreError> {
        Ok(self.state().range(room, (after, through), limit))
    }

    async fn wrote_since(
        &self,
        room: RoomId,
        from: &UserId,
        since: UnixMillis,
    ) -> Result<bool, StoreError> {
        Ok(self.state().wrote_since(room, from, since))
    }

    async fn stored_by_visitors(
        &self,
        slot_ms: u64,
        rows_keep: Duration,
    ) -> Result<Vec<StoredSlot>, StoreError> {
        Ok(self.state().stored_by_visitors(slot_ms, rows_keep))
    }

    async fn user(&self, user_id: &UserId) -> Result<Option<UserRecord>, StoreError> {
        Ok(self.state().user(user_id))
    }

    async fn visitor(
        &self,
        token: TokenHash,
        user: Option<&UserId>,
        now: UnixMillis,
    ) -> Result<Found, StoreError> {
        Ok(self.state().visitor(&token, user, now))
    }

    async fn keep_visitor(&self, keep: Keep) -> Result<(), StoreError> {
        self.state().keep_visitor(keep);
        Ok(())
    }

    async fn create_visitor(&self, visitor: NewVisitor) -> Result<bool, StoreError> {
        Ok(self.state().create_visitor(visitor))
    }

    async fn confirm_token(
        &self,
        token: TokenHash,
        expires_at: UnixMillis,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        self.state().confirm_token(&token, expires_at, now);
        Ok(())
    }

    async fn loose_visitors(
        &self,
        client: &ClientIdentifier,
        seen_after: UnixMillis,
    ) -> Result<Vec<UserRecord>, StoreError> {
        Ok(self.state().loose_visitors(client, seen_after))
    }

    async fn take_over(&self, take_over: TakeOver) -> Result<bool, StoreError> {
        Ok(self.state().take_over(take_over))
    }

    async fn seen(&self, user_id: &UserId, now: UnixMillis) -> Result<(), StoreError> {
        self.state().seen(user_id, now);
        Ok(())
    }

    async fn export(
        &self,
        user_id: &UserId,
        after: Option<MessageId>,
        limit: u32,
        bytes_max: u64,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        Ok(self.state().export(user_id, after, limit, bytes_max))
    }

    async fn erase(&self, user_id: &UserId, ends_at: UnixMillis) -> Result<(), StoreError> {
        self.state().erase(user_id, ends_at);
        Ok(())
    }

    async fn purge(&self, now: UnixMillis, idle_before: UnixMillis) -> Result<u64, StoreError> {
        Ok(self.state().purge(now, idle_before))
    }

    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Head;

    #[test]
    fn an_append_is_there_when_the_call_returns() {
        let store = MemoryStore::default();
        let (a, b): (UserId, UserId) = ("a".parse().unwrap(), "b".parse().unwrap());
        let room = RoomId::direct(&a, &b);
        let before = store
            .state()
            .heads(std::slice::from_ref(&b), Position::START);
        assert!(before.heads.is_empty());
        drop(store.append(Append {
            room,
            id: MessageId(1),
            from: a,
            from_name: "A".to_owned(),
            to: b.clone(),
            client_id: None,
            text: "x\0y".to_owned(),
            timestamp: UnixMillis(1),
            expires_at: None,
            from_holder: None,
            to_holder: None,
            visitors: Vec::new(),
        }));
        let after = store
            .clone()
            .state()
            .heads(std::slice::from_ref(&b), before.position);
        assert_eq!(
            after.heads,
            [Head {
                user: b,
                room,
                seq: 1
            }]
        );
        let range = store.state().range(room, (0, 9), 9);
        assert_eq!(
            (range.messages[0].text.as_str(), range.through),
            ("x\u{fffd}y", 1)
        );
    }
}
