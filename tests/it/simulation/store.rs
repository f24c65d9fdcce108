//! The store with faults: slow, away for a while, and silent about what it has done.
//!
//! Not here: what is stored (the store in memory). Invariant: linearizable. A statement that has
//! left a node may take effect although the node is dead or was told of a failure.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use stompbox::model::{ClientIdentifier, MessageId, RoomId, StoredMessage, UnixMillis, UserId};
use stompbox::store::{
    Append, Commit, Found, Heads, Keep, MemoryStore, NewVisitor, Position, Range, Store,
    StoreError, StoredSlot, TakeOver, TokenHash, UserRecord,
};
use tokio::sync::oneshot;

use super::world::{Fate, Weather, World};

#[derive(Debug)]
pub(super) struct SimStore {
    inner: MemoryStore,
    world: Arc<World>,
    fate: Arc<Fate>,
}

fn away() -> StoreError {
    StoreError::Unavailable("away".to_owned())
}

impl SimStore {
    pub(super) fn new(inner: MemoryStore, world: Arc<World>, fate: Arc<Fate>) -> Self {
        Self { inner, world, fate }
    }

    async fn ask<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let world = &self.world;
        self.fate.thawed().await;
        let slow = world.is(Weather::StoreSlow).then_some(400);
        let (before, after) = world.latency(slow);
        world.pause(before).await;
        if world.is(Weather::StoreDown) {
            world.pause(world.below(100)).await;
            return Err(away());
        }
        let answer = work.await;
        world.pause(after).await;
        self.fate.thawed().await;
        answer
    }
}

#[async_trait]
impl Store for SimStore {
    fn append(&self, append: Append) -> Commit {
        let (world, fate) = (Arc::clone(&self.world), Arc::clone(&self.fate));
        let inner = self.inner.clone();
        let (answer, answered) = oneshot::channel();
        // A task of its own: dropping the future, or killing the node, does not call it back.
        self.world.tracker.spawn(async move {
            fate.thawed().await;
            let slow = world.is(Weather::StoreSlow).then_some(800);
            let (before, after) = world.latency(slow);
            world.pause(before).await;
            let is_unsent = fate.is_killed() && world.chance(0.5);
            if is_unsent || world.is(Weather::StoreDown) {
                // The node may have gone; then nobody waits.
                let _gone = answer.send(Err(away()));
                return;
            }
            let appended = inner.append(append).await;
            if let Ok(appended) = &appended {
                world.ledger().committed(&appended.message);
                world.note(format_args!(
                    "commit {} {}{}",
                    appended.message.text,
                    appended.message.seq,
                    if appended.duplicate { " again" } else { "" },
                ));
            }
            fate.commits();
            let is_forgotten = world.is(Weather::StoreDoubt) && world.chance(0.4);
            world.pause(after + 1).await;
            fate.thawed().await;
            let _gone = answer.send(if is_forgotten { Err(away()) } else { appended });
        });
        Box::pin(async move { answered.await.unwrap_or_else(|_| Err(away())) })
    }

    async fn heads(&self, users: &[UserId], since: Position) -> Result<Heads, StoreError> {
        self.ask(self.inner.heads(users, since)).await
    }

    async fn range(
        &self,
        room: RoomId,
        after: u64,
        through: u64,
        limit: u32,
    ) -> Result<Range, StoreError> {
        self.ask(self.inner.range(room, after, through, limit.min(3)))
            .await
    }

    async fn store_id(&self) -> Result<String, StoreError> {
        self.inner.store_id().await
    }

    async fn stored_by_visitors(
        &self,
        slot_ms: u64,
        rows_keep: Duration,
    ) -> Result<Vec<StoredSlot>, StoreError> {
        self.inner.stored_by_visitors(slot_ms, rows_keep).await
    }

    async fn wrote_since(
        &self,
        room: RoomId,
        from: &UserId,
        since: UnixMillis,
    ) -> Result<bool, StoreError> {
        self.inner.wrote_since(room, from, since).await
    }

    async fn user(&self, user_id: &UserId) -> Result<Option<UserRecord>, StoreError> {
        self.inner.user(user_id).await
    }

    async fn visitor(
        &self,
        token: TokenHash,
        user: Option<&UserId>,
        now: UnixMillis,
    ) -> Result<Found, StoreError> {
        self.inner.visitor(token, user, now).await
    }

    async fn keep_visitor(&self, keep: Keep) -> Result<(), StoreError> {
        self.inner.keep_visitor(keep).await
    }

    async fn create_visitor(&self, visitor: NewVisitor) -> Result<bool, StoreError> {
        self.inner.create_visitor(visitor).await
    }

    async fn confirm_token(
        &self,
        token: TokenHash,
        expires_at: UnixMillis,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        self.inner.confirm_token(token, expires_at, now).await
    }

    async fn loose_visitors(
        &self,
        client: &ClientIdentifier,
        seen_after: UnixMillis,
    ) -> Result<Vec<UserRecord>, StoreError> {
        self.inner.loose_visitors(client, seen_after).await
    }

    async fn take_over(&self, take_over: TakeOver) -> Result<bool, StoreError> {
        self.inner.take_over(take_over).await
    }

    async fn seen(&self, user_id: &UserId, now: UnixMillis) -> Result<(), StoreError> {
        self.inner.seen(user_id, now).await
    }

    async fn export(
        &self,
        user_id: &UserId,
        after: Option<MessageId>,
        limit: u32,
        bytes_max: u64,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        self.inner.export(user_id, after, limit, bytes_max).await
    }

    async fn erase(&self, user_id: &UserId, ends_at: UnixMillis) -> Result<(), StoreError> {
        self.inner.erase(user_id, ends_at).await
    }

    async fn purge(&self, now: UnixMillis, idle_before: UnixMillis) -> Result<u64, StoreError> {
        self.inner.purge(now, idle_before).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.inner.check().await
    }
}
