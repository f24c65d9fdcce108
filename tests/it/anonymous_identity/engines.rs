//! The engines in memory with a network in between: every call waits for a few turns of the
//! runtime first, by a seed, so that clients who ask at once get in each other's way in every order.
//!
//! Not slow in time. Invariant: the same seed gives the same interleaving.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use stompbox::location::{
    Located, Location, LocationError, Peer, Renewal, SessionEntry, StoreClaim,
};
use stompbox::model::{
    ClientIdentifier, Destination, MessageId, NamedNetworks, RoomId, SessionId, StoredMessage,
    UnixMillis, Unkept, UserId,
};
use stompbox::store::{
    Append, Commit, Found, Heads, Keep, NewVisitor, Position, Range, Store, StoreError, StoredSlot,
    TakeOver, TokenHash, UserRecord,
};

/// The way to the engines.
#[derive(Debug, Default)]
pub(super) struct Wire {
    state: AtomicU64,
    location_is_away: AtomicBool,
    store_is_full: AtomicBool,
}

impl Wire {
    /// The interleaving of what follows; zero for none.
    pub(super) fn seed(&self, seed: u64) {
        self.state.store(seed, Ordering::Relaxed);
    }

    pub(super) fn set_location_away(&self, away: bool) {
        self.location_is_away.store(away, Ordering::Relaxed);
    }

    pub(super) fn set_store_full(&self, full: bool) {
        self.store_is_full.store(full, Ordering::Relaxed);
    }

    async fn cross_to_write(&self) -> Result<(), StoreError> {
        self.cross().await;
        if self.store_is_full.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("the disk is full".to_owned()));
        }
        Ok(())
    }

    async fn cross(&self) {
        let state = self.state.load(Ordering::Relaxed);
        if state == 0 {
            return;
        }
        // The multiplier is Knuth's (MMIX); the high bits are the good ones.
        let next = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.state.store(next.max(1), Ordering::Relaxed);
        for _ in 0..next >> 61 {
            tokio::task::yield_now().await;
        }
    }

    async fn cross_to_location(&self) -> Result<(), LocationError> {
        self.cross().await;
        if self.location_is_away.load(Ordering::Relaxed) {
            return Err(LocationError("cut".to_owned()));
        }
        Ok(())
    }
}

/// An engine behind the wire.
#[derive(Clone, Debug)]
pub(super) struct Far<E> {
    pub(super) engine: E,
    pub(super) wire: Arc<Wire>,
}

#[async_trait]
impl<E: Store + ?Sized> Store for Far<Arc<E>> {
    async fn store_id(&self) -> Result<String, StoreError> {
        self.engine.store_id().await
    }

    fn append(&self, append: Append) -> Commit {
        self.engine.append(append)
    }

    async fn heads(&self, users: &[UserId], since: Position) -> Result<Heads, StoreError> {
        self.engine.heads(users, since).await
    }

    async fn range(
        &self,
        room: RoomId,
        after: u64,
        through: u64,
        limit: u32,
    ) -> Result<Range, StoreError> {
        self.engine.range(room, after, through, limit).await
    }

    async fn wrote_since(
        &self,
        room: RoomId,
        from: &UserId,
        since: UnixMillis,
    ) -> Result<bool, StoreError> {
        self.wire.cross().await;
        self.engine.wrote_since(room, from, since).await
    }

    async fn stored_by_visitors(
        &self,
        slot_ms: u64,
        rows_keep: Duration,
    ) -> Result<Vec<StoredSlot>, StoreError> {
        self.engine.stored_by_visitors(slot_ms, rows_keep).await
    }

    async fn user(&self, user_id: &UserId) -> Result<Option<UserRecord>, StoreError> {
        self.wire.cross().await;
        self.engine.user(user_id).await
    }

    async fn visitor(
        &self,
        token: TokenHash,
        user: Option<&UserId>,
        now: UnixMillis,
    ) -> Result<Found, StoreError> {
        self.wire.cross().await;
        self.engine.visitor(token, user, now).await
    }

    async fn keep_visitor(&self, keep: Keep) -> Result<(), StoreError> {
        self.wire.cross_to_write().await?;
        self.engine.keep_visitor(keep).await
    }

    async fn create_visitor(&self, visitor: NewVisitor) -> Result<bool, StoreError> {
        self.wire.cross_to_write().await?;
        self.engine.create_visitor(visitor).await
    }

    async fn confirm_token(
        &self,
        token: TokenHash,
        expires_at: UnixMillis,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        self.wire.cross_to_write().await?;
        self.engine.confirm_token(token, expires_at, now).await
    }

    async fn loose_visitors(
        &self,
        client: &ClientIdentifier,
        seen_after: UnixMillis,
    ) -> Result<Vec<UserRecord>, StoreError> {
        self.wire.cross().await;
        self.engine.loose_visitors(client, seen_after).await
    }

    async fn take_over(&self, take_over: TakeOver) -> Result<bool, StoreError> {
        self.wire.cross_to_write().await?;
        self.engine.take_over(take_over).await
    }

    async fn seen(&self, user_id: &UserId, now: UnixMillis) -> Result<(), StoreError> {
        self.wire.cross_to_write().await?;
        self.engine.seen(user_id, now).await
    }

    async fn export(
        &self,
        user_id: &UserId,
        after: Option<MessageId>,
        limit: u32,
        bytes_max: u64,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        self.engine.export(user_id, after, limit, bytes_max).await
    }

    async fn erase(&self, user_id: &UserId, ends_at: UnixMillis) -> Result<(), StoreError> {
        self.engine.erase(user_id, ends_at).await
    }

    async fn purge(&self, now: UnixMillis, idle_before: UnixMillis) -> Result<u64, StoreError> {
        self.engine.purge(now, idle_before).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.engine.check().await
    }
}

#[async_trait]
impl<E: Location> Location for Far<Arc<E>> {
    async fn attach(&self, entries: &[(UserId, SessionEntry)]) -> Result<(), LocationError> {
        self.wire.cross_to_location().await?;
        self.engine.attach(entries).await
    }

    async fn detach(&self, sessions: &[(UserId, SessionId)]) -> Result<(), LocationError> {
        self.wire.cross_to_location().await?;
        self.engine.detach(sessions).await
    }

    async fn want(&self, wants: &[(Destination, u64)]) -> Result<Vec<Destination>, LocationError> {
        self.engine.want(wants).await
    }

    async fn unwant(&self, wants: &[(Destination, u64)]) -> Result<(), LocationError> {
        self.engine.unwant(wants).await
    }

    async fn locate(
        &self,
        users: &[UserId],
        destinations: &[Destination],
    ) -> Result<Located, LocationError> {
        self.wire.cross_to_location().await?;
        self.engine.locate(users, destinations).await
    }

    async fn claim(&self) -> Result<(), LocationError> {
        self.engine.claim().await
    }

    async fn renew(&self) -> Result<Renewal, LocationError> {
        self.engine.renew().await
    }

    async fn drain(&self) -> Result<(), LocationError> {
        self.engine.drain().await
    }

    async fn release(&self) -> Result<(), LocationError> {
        self.engine.release().await
    }

    async fn peers(&self) -> Result<Vec<Peer>, LocationError> {
        self.engine.peers().await
    }

    async fn claim_store(&self, store_id: &str) -> Result<StoreClaim, LocationError> {
        self.engine.claim_store(store_id).await
    }

    async fn introduce(
        &self,
        user: &UserId,
        visitor: &Arc<Unkept>,
        from: &NamedNetworks,
    ) -> Result<(), LocationError> {
        self.wire.cross_to_location().await?;
        self.engine.introduce(user, visitor, from).await
    }

    async fn introduced(&self, user: &UserId) -> Result<Option<Arc<Unkept>>, LocationError> {
        self.wire.cross_to_location().await?;
        self.engine.introduced(user).await
    }

    async fn loose(
        &self,
        client: &ClientIdentifier,
    ) -> Result<Vec<(UserId, Arc<Unkept>)>, LocationError> {
        self.wire.cross_to_location().await?;
        self.engine.loose(client).await
    }

    fn reconnects(&self) -> u64 {
        self.engine.reconnects()
    }
}
