//! The contract of accounts: who signs in with what, on which devices, and who may not.
//!
//! One store is behind it and [`super::Store`]. Each question is written once, in SQL that both
//! databases speak (the modules here), and runs in one transaction; the engines give it their connection
//! (`sql::Sql`). Not here: passwords and tokens themselves, which come as hashes (`identity`).
//! Invariant: a change happens as a whole or not at all, and of two that exclude each other (two
//! registrations of one e-mail, two uses of one link) exactly one happens.

mod bans;
mod devices;
mod idempotency;
mod merge;
mod moving;
mod people;
mod refresh;
pub(super) mod sql;
mod types;

pub use types::*;

use async_trait::async_trait;

use super::{PostgresStore, SqliteStore, StoreError, TokenHash};
use crate::model::{MessageId, SignInId, UnixMillis, UserId};

/// How many sign-ins a user has at most: devices, and sessions that came with a password.
pub const SIGN_INS_MAX: u32 = 1_000;

/// How many rows of one kind one call of `purge_accounts` removes: a transaction of a few milliseconds.
pub const PURGE_ROWS: u32 = 250;

/// Declares the questions: the trait, and for each engine how it asks them. `reads` are one statement
/// each and so see one moment, `changes` are one transaction, and so are `moves`, which may touch
/// messages, conversations and the hands of identities and may take long.
macro_rules! contract {
    (
        reads { $($(#[doc = $rdoc:literal])* $rmod:ident::$rname:ident($($rarg:ident: $rty:ty),*) -> $rout:ty;)* }
        changes { $($(#[doc = $wdoc:literal])* $wmod:ident::$wname:ident($($warg:ident: $wty:ty),*) -> $wout:ty;)* }
        moves { $($(#[doc = $mdoc:literal])* $mmod:ident::$mname:ident($($marg:ident: $mty:ty),*) -> $mout:ty;)* }
    ) => {
        /// Accounts, sign-ins, bans, and what else is kept for them.
        #[async_trait]
        pub trait AccountStore: Send + Sync + std::fmt::Debug {
            $($(#[doc = $rdoc])* async fn $rname(&self, $($rarg: $rty),*) -> Result<$rout, StoreError>;)*
            $($(#[doc = $wdoc])* async fn $wname(&self, $($warg: $wty),*) -> Result<$wout, StoreError>;)*
            $($(#[doc = $mdoc])* async fn $mname(&self, $($marg: $mty),*) -> Result<$mout, StoreError>;)*
        }

        #[async_trait]
        impl AccountStore for SqliteStore {
            $(async fn $rname(&self, $($rarg: $rty),*) -> Result<$rout, StoreError> {
                self.ask_accounts(move |sql| sql::ready($rmod::$rname(sql, $(&$rarg),*))).await
            })*
            $(async fn $wname(&self, $($warg: $wty),*) -> Result<$wout, StoreError> {
                self.change_accounts(move |sql| sql::ready($wmod::$wname(sql, $(&$warg),*))).await
            })*
            $(async fn $mname(&self, $($marg: $mty),*) -> Result<$mout, StoreError> {
                self.move_accounts(move |sql| sql::ready($mmod::$mname(sql, $(&$marg),*))).await
            })*
        }

        #[async_trait]
        impl AccountStore for PostgresStore {
            $(async fn $rname(&self, $($rarg: $rty),*) -> Result<$rout, StoreError> {
                let mut sql = self.ask_accounts().await?;
                let outcome = sql::in_time(sql.limit(), $rmod::$rname(&mut sql, $(&$rarg),*)).await;
                sql.end(outcome)
            })*
            $(async fn $wname(&self, $($warg: $wty),*) -> Result<$wout, StoreError> {
                let mut attempt = 0;
                loop {
                    let mut sql = self.change_accounts(&mut attempt).await?;
                    let outcome = sql::in_time(sql.limit(), $wmod::$wname(&mut sql, $(&$warg),*)).await;
                    if let Some(outcome) = sql.commit(outcome, attempt).await {
                        return outcome;
                    }
                }
            })*
            $(async fn $mname(&self, $($marg: $mty),*) -> Result<$mout, StoreError> {
                let mut attempt = 0;
                loop {
                    let mut sql = self.move_accounts(&mut attempt).await?;
                    let outcome = sql::in_time(sql.limit(), $mmod::$mname(&mut sql, $(&$marg),*)).await;
                    if let Some(outcome) = sql.commit(outcome, attempt).await {
                        return outcome;
                    }
                }
            })*
        }
    };
}

contract! {
    reads {
        /// The account of a user; none of a visitor.
        people::account(user: UserId) -> Option<Account>;
        /// The account with this e-mail, without regard to case.
        people::account_by_email(email: String) -> Option<Account>;
        /// The accounts in the order of their ids, at most `limit` after `after`.
        people::accounts(after: Option<UserId>, limit: u32) -> Vec<Account>;
        /// Everything that says whether a sign-in still stands: one question for each request and
        /// each review.
        people::standing(user: UserId, sign_in: Option<SignInId>) -> Option<UserState>;
        /// Who an address stands for now: itself, or the account that it was merged into.
        people::follow(user: UserId) -> UserId;
        /// The sign-ins of a user that have not ended, the latest first.
        devices::sign_ins(user: UserId) -> Vec<SignIn>;
        /// The sign-in that a refresh token belongs to, whether the token was used or not.
        refresh::sign_in_of(token: TokenHash) -> Option<SignInId>;
        /// The bans and mutes that stand at this time.
        bans::bans(now: UnixMillis) -> Vec<Ban>;
        /// What was done by those who look after the service, latest first, before `before`.
        bans::audit(before: Option<MessageId>, limit: u32) -> Vec<Audit>;
        /// The account that a visitor with this secret became a part of.
        merge::moved(token: TokenHash) -> Option<UserId>;
    }
    changes {
        /// Makes a new user with an account and his first sign-in. `EmailTaken` leaves nothing behind.
        people::register(new: NewAccount) -> Registered;
        /// Makes sure that a site's own user is known. His name becomes that of
        /// the token.
        people::admit_external(external: External) -> Admitted;
        /// Replaces the password; every sign-in but `keep` ends. `false` when there is no account.
        people::set_password(user: UserId, password: String, keep: Option<SignInId>, now: UnixMillis) -> bool;
        /// Changes the name that is shown.
        people::set_name(user: UserId, name: String) -> bool;
        /// Changes the role of an account.
        people::set_role(user: UserId, role: Role) -> bool;
        /// Changes who may write to an account.
        people::set_dm_policy(user: UserId, policy: DmPolicy) -> bool;
        /// Opens a sign-in with its first refresh token. Beyond [`SIGN_INS_MAX`] of a user the one that was used least
        /// recently ends.
        devices::sign_in(new: NewSignIn) -> ();
        /// Exchanges a refresh token for its successor, or finds that it was used before.
        refresh::exchange(exchange: Exchange) -> Exchanged;
        /// Ends one sign-in of a user. `false` when it is not there, or not his.
        devices::end_sign_in(user: UserId, sign_in: SignInId, now: UnixMillis) -> bool;
        /// Ends all sign-ins of a user. Returns how many.
        devices::end_all(user: UserId, now: UnixMillis) -> u64;
        /// The user of a sign-in was seen now.
        devices::touch(sign_in: SignInId, now: UnixMillis) -> ();
        /// Puts a one-use token aside.
        devices::put_once(once: Once) -> ();
        /// Uses a one-use token: nobody gets it a second time.
        devices::use_once(token: TokenHash, purpose: Purpose, now: UnixMillis) -> Option<UserId>;
        /// Gives a visitor another secret and ends all that he had; `false` when he is none.
        devices::replace_secret(user: UserId, token: TokenHash, expires_at: UnixMillis) -> bool;
        /// Bans or mutes. One that there is for the same subject is replaced.
        bans::put_ban(ban: Ban) -> ();
        /// Lifts a ban or a mute.
        bans::lift(subject: Subject, act: BanAct) -> bool;
        /// Notes what somebody did.
        bans::note(audit: Audit) -> ();
        /// Begins a request with an idempotency key, or finds what became of it.
        idempotency::begin(request: KeyedRequest) -> Begun;
        /// Keeps the answer of a request that was begun.
        idempotency::finish(key: TokenHash, status: u16, answer: Vec<u8>) -> ();
        /// Forgets a request that was begun and came to nothing.
        idempotency::abandon(key: TokenHash) -> ();
        /// Removes what has expired: sign-ins, tokens, bans, kept answers; at most [`PURGE_ROWS`] rows of
        /// each. Returns how many rows it removed: call it again until that is 0.
        devices::purge_accounts(now: UnixMillis) -> u64;
    }
    moves {
        /// Makes a visitor the holder of an account, with the same address: his secrets end, what he
        /// wrote and still is there becomes permanent.
        people::upgrade(new: NewAccount, token: TokenHash) -> Registered;
        /// A visitor becomes a part of an account, or of a site's user: what he wrote and received
        /// since he is in these hands goes behind what is there in that user's conversations.
        merge::merge(merge: Merge) -> Merged;
        /// Has messages follow that went to an address after its holder became a part of an account.
        /// Returns how many addresses there were.
        merge::gather(now: UnixMillis) -> u64;
    }
}
