//! The contract of the store: users, visitors' secrets, conversations and their messages.
//!
//! Not here: who may write (`policy`), where messages go (`broker`). Invariant: the store is the truth and linearizable;
//! what is committed is on disk (fsync); no reader ever sees `seq` n without n - 1; commit order is `seq` order.

pub mod accounts;
mod alike;
mod backlog;
mod lifetimes;
pub mod memory;
mod pace;
pub mod postgres;
mod rows;
mod sql;
pub mod sqlite;

pub use accounts::AccountStore;
use lifetimes::unkept_before;
pub use lifetimes::{ENDED_LIFE, StoredSlot, VISIT_LIFE};
pub use memory::MemoryStore;
pub use postgres::{PostgresSettings, PostgresStore};
pub use sqlite::{SqliteSettings, SqliteStore};

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;

use crate::model::{
    ClientId, ClientIdentifier, Holder, Kind, MessageId, RoomId, Standing, StoredMessage,
    UnixMillis, UserId,
};

/// SHA-256 of a visitor's secret; the secret itself is never stored.
pub type TokenHash = [u8; 32];

/// Resolves when the message is committed.
pub type Commit = Pin<Box<dyn Future<Output = Result<Appended, StoreError>> + Send>>;

/// A message to be appended to the conversation of its writer and its recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The conversation.
    pub room: RoomId,
    /// The id that the message gets, unless it is a repetition.
    pub id: MessageId,
    /// Who writes.
    pub from: UserId,
    /// The writer's name now.
    pub from_name: String,
    /// Who it is for; with `from` the members of the conversation.
    pub to: UserId,
    /// The key by which a repetition is recognised, together with `from` and `room`.
    pub client_id: Option<ClientId>,
    /// The text.
    pub text: String,
    /// When it was accepted.
    pub timestamp: UnixMillis,
    /// When retention may remove it; `None` keeps it for ever.
    pub expires_at: Option<UnixMillis>,
    /// The hands that the writer's identity must be in at the commit: those in which his session
    /// opened it. `None` asks nothing and costs nothing: a firm identity never changes hands.
    pub from_holder: Option<Holder>,
    /// The hands that the recipient's identity must be in at the commit: those in which whoever
    /// allowed the message found it. `None` as in `from_holder`.
    pub to_holder: Option<Holder>,
    /// Visitors who must be kept from now on, because this message is theirs: their rows are written in
    /// the same transaction, before anything is checked. Usually empty.
    pub visitors: Vec<Keep>,
}

impl Append {
    /// The identities that must be in certain hands, the writer's first.
    fn hands(&self) -> impl Iterator<Item = (&UserId, Holder)> {
        let both = [(&self.from, self.from_holder), (&self.to, self.to_holder)];
        both.into_iter()
            .filter_map(|(user, holder)| Some((user, holder?)))
    }
}

/// A committed message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The message as it is stored; of a repetition, the one that was stored first.
    pub message: StoredMessage,
    /// Whether it is a repetition: same writer, conversation and `client_id`.
    pub duplicate: bool,
}

/// A point in the order of commits. Comparable only between answers of one store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(pub u64);

impl Position {
    /// Before everything.
    pub const START: Self = Self(0);
}

/// The highest `seq` of a conversation that `user` is a member of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The member for whom it was asked.
    pub user: UserId,
    /// The conversation.
    pub room: RoomId,
    /// Its highest committed `seq`.
    pub seq: u64,
}

/// The answer to a question for heads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heads {
    /// Everything committed that this answer does not reflect will be found by asking with this.
    pub position: Position,
    /// The heads, sorted by user and room. May hold more than has changed, never less.
    pub heads: Vec<Head>,
}

/// A stretch of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// The messages in `seq` order. What is missing was removed by retention.
    pub messages: Vec<StoredMessage>,
    /// The answer is complete up to here: never beyond the head, and the limit may have cut it.
    pub through: u64,
}

/// A user as the store knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRecord {
    /// Their address.
    pub user_id: UserId,
    /// Visitor or member.
    pub kind: Kind,
    /// Loose or firm.
    pub standing: Standing,
    /// The name that others see.
    pub name: String,
    /// The fingerprint under which they were created.
    pub client_identifier: ClientIdentifier,
    /// When they were created.
    pub created_at: UnixMillis,
    /// When they last connected or disconnected.
    pub last_seen: UnixMillis,
    /// Whether something depends on the row. One of a visitor that is not kept goes an hour after
    /// `last_seen`.
    pub is_kept: bool,
}

/// A visitor to be created together with his secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewVisitor {
    /// The new address.
    pub user_id: UserId,
    /// The shown name.
    pub name: String,
    /// Whether a fingerprint may open it later.
    pub loose: bool,
    /// When its present holder took it over.
    pub taken_at: Option<UnixMillis>,
    /// The fingerprint of the connection.
    pub client_identifier: ClientIdentifier,
    /// The hash of the secret.
    pub token: TokenHash,
    /// When the secret ends unless it is used.
    pub token_expires_at: UnixMillis,
    /// Whether something depends on the row, so that it stays until the visitor has been idle for long.
    pub is_kept: bool,
    /// Now.
    pub now: UnixMillis,
}

/// A visitor of whom something is to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Who had a row when this was decided.
    Known(UserId),
    /// Who had none: it is written unless there is one by now, or the address was given up.
    New(NewVisitor),
}

/// What the store knows of a visitor's secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It opens this user's identity.
    Open {
        /// The user.
        record: UserRecord,
        /// When the secret ends unless it is used.
        expires_at: UnixMillis,
    },
    /// The address has a row, or had one, that this secret does not open.
    Ended,
    /// Nothing is stored of this secret or of the address.
    Nobody,
}

/// A loose identity to be taken over by whoever has its fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakeOver {
    /// The identity.
    pub user_id: UserId,
    /// `taken_at` as the taker read it: the update happens only if it is still so, the identity is
    /// still loose, and `last_seen` is still what was read.
    pub taken_at_before: Option<UnixMillis>,
    /// `last_seen` as the taker read it.
    pub last_seen_before: UnixMillis,
    /// The new secret's hash; every older secret of the identity ends.
    pub token: TokenHash,
    /// When the new secret ends unless it is used.
    pub token_expires_at: UnixMillis,
    /// Becomes `taken_at` and `last_seen`. `taken_at` always grows, by a millisecond if it must:
    /// a second taker in the same millisecond would otherwise find everything as he read it.
    pub now: UnixMillis,
}

/// The store said no.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, is full, or failed. Nothing was committed, or it is not known; a
    /// second attempt with the same `client_id` is safe.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// More is waiting to be written than the store's queue may hold. Try again later.
    #[error("the store is overloaded")]
    Overloaded,
    /// Only of [`Store::append`]: this identity, the writer's or the recipient's, is no longer in
    /// the hands that the append asks for, or is gone. Nothing was committed, and the same append
    /// never will be. Of the recipient: tell the writer what he is told of somebody who cannot be
    /// reached. Of the writer: end his session, it speaks for somebody else's address.
    #[error("an identity has changed hands")]
    ChangedHands(UserId),
}

/// Users, secrets, conversations, messages.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    /// The id of this store: made by the first who asks, the same for everybody after.
    async fn store_id(&self) -> Result<String, StoreError>;

    /// Appends a message. The place in the queue is taken when this returns, so that messages
    /// which one caller appends to one conversation get `seq` in the order of the calls; the
    /// future resolves at the commit.
    ///
    /// Atomic and idempotent by (`from`, `room`, `client_id`); yields the next `seq` of the
    /// conversation without holes, and records both members. A NUL in the text is stored as
    /// U+FFFD, since not every engine can hold it.
    ///
    /// Conditional, where it names holders: a [`Store::take_over`] of the writer or the recipient
    /// comes either wholly before it, and then it is [`StoreError::ChangedHands`] and leaves no
    /// trace, or wholly after its commit. A repetition of what is committed is answered with that
    /// in any case.
    fn append(&self, append: Append) -> Commit;

    /// The heads of the conversations of these users that may have changed since `since`.
    async fn heads(&self, users: &[UserId], since: Position) -> Result<Heads, StoreError>;

    /// The messages with `after < seq <= through`, at most `limit` of them.
    async fn range(
        &self,
        room: RoomId,
        after: u64,
        through: u64,
        limit: u32,
    ) -> Result<Range, StoreError>;

    /// What visitors have stored, by slots of `slot_ms` in which retention may remove it: messages, and rows
    /// of visitors, which stay for `rows_keep` after they were last seen. A slot may come twice.
    /// Goes through all of it: meant for the start of a node.
    async fn stored_by_visitors(
        &self,
        slot_ms: u64,
        rows_keep: Duration,
    ) -> Result<Vec<StoredSlot>, StoreError>;

    /// Whether `from` has written to the conversation at or after `since`.
    async fn wrote_since(
        &self,
        room: RoomId,
        from: &UserId,
        since: UnixMillis,
    ) -> Result<bool, StoreError>;

    /// A user by his address.
    async fn user(&self, user_id: &UserId) -> Result<Option<UserRecord>, StoreError>;

    /// What the secret with this hash opens. `user` is the address that the secret itself names: then
    /// an answer that it opens nothing says whether the address was ever given to a row.
    async fn visitor(
        &self,
        token: TokenHash,
        user: Option<&UserId>,
        now: UnixMillis,
    ) -> Result<Found, StoreError>;

    /// The visitor whose live secret has this hash.
    async fn visitor_by_token(
        &self,
        token: TokenHash,
        now: UnixMillis,
    ) -> Result<Option<UserRecord>, StoreError> {
        Ok(match self.visitor(token, None, now).await? {
            Found::Open { record, .. } => Some(record),
            Found::Ended | Found::Nobody => None,
        })
    }

    /// Creates a visitor. `false`, and nothing happens, when the secret is somebody's live one
    /// already (a race), or the address is taken or was given up.
    async fn create_visitor(&self, visitor: NewVisitor) -> Result<bool, StoreError>;

    /// Something depends on this visitor from now on. An address that was given up stays so.
    async fn keep_visitor(&self, keep: Keep) -> Result<(), StoreError>;

    /// The secret was presented back: its life slides to `expires_at`, its owner is firm from now
    /// on (his `taken_at` stays what it was) and was seen now. Nothing happens when it is not a
    /// live one.
    async fn confirm_token(
        &self,
        token: TokenHash,
        expires_at: UnixMillis,
        now: UnixMillis,
    ) -> Result<(), StoreError>;

    /// The loose visitors with this fingerprint that were seen at or after `seen_after`, at most
    /// two: more than one is as good as any number.
    async fn loose_visitors(
        &self,
        client: &ClientIdentifier,
        seen_after: UnixMillis,
    ) -> Result<Vec<UserRecord>, StoreError>;

    /// Takes a loose identity over, by one conditional update. `false` for whoever was late, and
    /// when the secret is somebody's live one already.
    async fn take_over(&self, take_over: TakeOver) -> Result<bool, StoreError>;

    /// The user connected or disconnected now.
    async fn seen(&self, user_id: &UserId, now: UnixMillis) -> Result<(), StoreError>;

    /// The same of several at once, in one piece of work: callers bound how many.
    async fn seen_all(&self, user_ids: &[UserId], now: UnixMillis) -> Result<(), StoreError> {
        for user_id in user_ids {
            self.seen(user_id, now).await?;
        }
        Ok(())
    }

    /// Everything that the user wrote or received and the store still has, oldest first, at most
    /// `limit` messages after `after`: the user's own copy. No message follows once the texts have
    /// `bytes_max` bytes, so that an answer has less than that and one message more.
    async fn export(
        &self,
        user_id: &UserId,
        after: Option<MessageId>,
        limit: u32,
        bytes_max: u64,
    ) -> Result<Vec<StoredMessage>, StoreError>;

    /// Forgets a user: his row, his secrets, his memberships, the words of his messages (their
    /// places stay for the others). A conversation in which nobody is left goes as a whole. No secret
    /// opens the address until `ends_at`, whether there was a row or not.
    ///
    /// From the first moment nothing opens the address, neither a secret nor an account; the rest may be done in
    /// several steps, so that no other client waits for a long history. Until the last one an append from or to
    /// the address is [`StoreError::ChangedHands`]. What was cut off by the end of a node, [`Store::purge`] completes.
    async fn erase(&self, user_id: &UserId, ends_at: UnixMillis) -> Result<(), StoreError>;

    /// The first step of [`Store::erase`]. Returns whether it was the only one; otherwise call that for the rest.
    async fn begin_erasure(
        &self,
        user_id: &UserId,
        ends_at: UnixMillis,
    ) -> Result<bool, StoreError> {
        self.erase(user_id, ends_at).await.map(|()| true)
    }

    /// Removes what has expired (messages, secrets) and the visitors not seen since `idle_before`
    /// with all that [`Store::erase`] takes, apart from words that somebody else may still read. Rows
    /// of visitors on which nothing depends go an hour after they were last seen.
    /// Returns the number of messages that expired, of secrets and of visitors removed.
    async fn purge(&self, now: UnixMillis, idle_before: UnixMillis) -> Result<u64, StoreError>;

    /// Whether the store answers now.
    async fn check(&self) -> Result<(), StoreError>;

    /// The orderly end: what is queued is committed and answered before this returns; what comes
    /// later is refused with [`StoreError::Unavailable`]. An engine without a queue does nothing.
    async fn close(&self) {}
}
