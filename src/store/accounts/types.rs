//! What the contract of accounts is about.
//!
//! Not here: what is done with it. Invariant: no secret stands in a value of these, only hashes.

use crate::model::{ClientIdentifier, Kind, MessageId, SignInId, UnixMillis, UserId};
pub use crate::policy::DmPolicy;
use crate::store::TokenHash;

/// What an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// What everybody may.
    Member,
    /// The account of a program.
    Bot,
    /// Looks after the service.
    Admin,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Member, Self::Bot, Self::Admin];

    /// The kind of user that it makes.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::Member => Kind::Member,
            Self::Bot => Kind::Bot,
            Self::Admin => Kind::Admin,
        }
    }

    /// The word in the database and on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.kind().as_str()
    }

    /// The role of this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

/// An account.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// The address.
    pub user_id: UserId,
    /// The name that is shown.
    pub name: String,
    /// The e-mail as it was written.
    pub email: String,
    /// The hash of the password, as a PHC string.
    pub password: String,
    /// What it may do.
    pub role: Role,
    /// Who may begin to write to it.
    pub dm_policy: DmPolicy,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When its holder had taken the address over by a fingerprint, while he was a visitor.
    pub taken_at: Option<UnixMillis>,
}

impl std::fmt::Debug for Account {
    /// Without the e-mail and the hash of the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account")
            .field("user_id", &self.user_id)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// What a request or a review needs to know of somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserState {
    /// Visitor, member, bot, admin.
    pub kind: Kind,
    /// The name that is shown.
    pub name: String,
    /// Who may begin to write to him.
    pub dm_policy: DmPolicy,
    /// Whether the sign-in that was asked for stands; `true` when none was asked for.
    pub is_signed_in: bool,
    /// When he had taken the address over by a fingerprint, while he was a visitor: what was meant for
    /// its holder before stays out of his reach.
    pub taken_at: Option<UnixMillis>,
    /// The sign-in by which he became the holder of an account, if he was a visitor before: sessions
    /// that he had then belong to it.
    pub upgraded_by: Option<SignInId>,
}

/// A new account, and the first sign-in of it.
#[derive(Clone, PartialEq, Eq)]
pub struct NewAccount {
    /// The address: a new one, or that of the visitor who is upgraded.
    pub user_id: UserId,
    /// The name that is shown; `None` keeps a visitor's.
    pub name: Option<String>,
    /// The e-mail as it was written.
    pub email: String,
    /// The hash of the password, as a PHC string.
    pub password: String,
    /// What it may do.
    pub role: Role,
    /// The fingerprint of whoever registers.
    pub client_identifier: ClientIdentifier,
    /// Now.
    pub now: UnixMillis,
    /// The first sign-in; `None` when the account is made by somebody else.
    pub sign_in: Option<NewSignIn>,
}

impl std::fmt::Debug for NewAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewAccount")
            .field("user_id", &self.user_id)
            .finish_non_exhaustive()
    }
}

/// What became of a registration or an upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// It is done.
    Done,
    /// The e-mail belongs to an account already. Nothing was changed.
    EmailTaken,
    /// Only of an upgrade: the secret opens no visitor (any more). Nothing was changed.
    NoVisitor,
}

/// A user of a site, by one of its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct External {
    /// The address: the `sub`.
    pub user_id: UserId,
    /// The name that is shown.
    pub name: String,
    /// Now.
    pub now: UnixMillis,
}

/// What became of a site's user who came with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// He is known from now on.
    New,
    /// He was known before.
    Known,
    /// The address is a visitor's, or has an account here, or was a visitor's who became a part of
    /// somebody: no site may speak for it. Nothing was changed.
    Taken,
}

/// A visitor becomes a part of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merge {
    /// The visitor's secret.
    pub token: TokenHash,
    /// The account.
    pub into: UserId,
    /// Now.
    pub now: UnixMillis,
}

/// What became of a merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Merged {
    /// This visitor is a part of the account now.
    Done(UserId),
    /// The same, but some of its messages are left: `gather` moves them, one step with each call.
    Begun(UserId),
    /// He was before: the same merge came twice.
    Already(UserId),
    /// The secret opens no visitor, or one that became a part of somebody else.
    NoVisitor,
}

/// A sign-in on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// Its id.
    pub id: SignInId,
    /// What the client calls the device.
    pub device: String,
    /// When it began.
    pub created_at: UnixMillis,
    /// When it was last used.
    pub last_seen: UnixMillis,
}

/// A sign-in to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSignIn {
    /// Its id.
    pub id: SignInId,
    /// Whose it is.
    pub user_id: UserId,
    /// What the client calls the device.
    pub device: String,
    /// The hash of its first refresh token.
    pub refresh: TokenHash,
    /// When that ends.
    pub refresh_expires_at: UnixMillis,
    /// Now.
    pub now: UnixMillis,
}

/// A refresh token is presented; its successor follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The hash of what was presented.
    pub token: TokenHash,
    /// The hash of its successor.
    pub successor: TokenHash,
    /// When the successor ends.
    pub successor_expires_at: UnixMillis,
    /// For how many milliseconds after its first use it may come again.
    pub grace_ms: u64,
    /// Now.
    pub now: UnixMillis,
}

/// What became of an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exchanged {
    /// The successor counts from now on (or did since a moment ago: the same one).
    Done {
        /// Whose it is.
        user_id: UserId,
        /// The sign-in that goes on.
        sign_in: SignInId,
    },
    /// It was used before: the sign-in has ended with all its tokens.
    Reused {
        /// Whose it was.
        user_id: UserId,
        /// The sign-in that has ended.
        sign_in: SignInId,
    },
    /// It is none, has expired, or its sign-in has ended.
    Unknown,
}

/// What a one-use token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Setting a new password.
    Reset,
    /// Carrying a visitor to another browser.
    Link,
}

/// A one-use token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once {
    /// Its hash.
    pub token: TokenHash,
    /// What it is for.
    pub purpose: Purpose,
    /// Whom it is for.
    pub user_id: UserId,
    /// When it ends.
    pub expires_at: UnixMillis,
}

/// Whether somebody is kept out, or only kept from writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BanAct {
    /// May not connect.
    Ban,
    /// May not write.
    Mute,
}

impl BanAct {
    /// The word in the database and on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ban => "ban",
            Self::Mute => "mute",
        }
    }

    /// The act of this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Ban, Self::Mute]
            .into_iter()
            .find(|act| act.as_str() == word)
    }
}

/// Whom a ban is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A user.
    User(UserId),
    /// Everybody with this fingerprint.
    Client(ClientIdentifier),
    /// Everybody in this network, keyed.
    Network(ClientIdentifier),
}

impl Subject {
    /// The word for its kind in the database and on the wire.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Client(_) => "client",
            Self::Network(_) => "network",
        }
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::User(user) => user.as_str(),
            Self::Client(client) | Self::Network(client) => client.as_str(),
        }
    }
}

/// A ban or a mute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Whom it is about.
    pub subject: Subject,
    /// What it keeps him from.
    pub act: BanAct,
    /// When it ends; `None` for never.
    pub until: Option<UnixMillis>,
    /// Why, for the audit and for him.
    pub reason: String,
    /// Who did it.
    pub by: String,
    /// When.
    pub created_at: UnixMillis,
}

/// One act of somebody who looks after the service, or of somebody about his own account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// Orders them.
    pub id: MessageId,
    /// When.
    pub at: UnixMillis,
    /// Who.
    pub actor: String,
    /// What, such as `ban` or `role`.
    pub act: String,
    /// To whom.
    pub subject: String,
    /// More about it, for people; no secrets.
    pub detail: String,
}

/// A request with an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedRequest {
    /// The hash of the caller, the path and the key.
    pub key: TokenHash,
    /// The hash of what is asked.
    pub request: TokenHash,
    /// Until when it is kept.
    pub expires_at: UnixMillis,
    /// Now.
    pub now: UnixMillis,
}

/// What is known of a request with an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It is new: do it, then `finish` or `abandon`.
    New,
    /// The same one is being done.
    InProgress,
    /// The key was used for another request.
    Mismatch,
    /// It was done.
    Done {
        /// The status of the answer.
        status: u16,
        /// The answer, as it was given to `finish`.
        answer: Vec<u8>,
    },
}
