//! Who a session speaks for.
//!
//! Not here: how that is found out (`identity`), nor what he may do (`policy`).

use super::ids::{ClientIdentifier, SignInId, UserId};
use super::time::UnixMillis;

/// What kind of user a principal is; also the header `kind` of CONNECTED.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A visitor without an account.
    Anonymous,
    /// The holder of an account, or a user of a site.
    Member,
    /// An account that a program uses.
    Bot,
    /// An account that looks after the service.
    Admin,
}

impl Kind {
    /// Every kind, for tables and documentation.
    pub const ALL: [Self; 4] = [Self::Anonymous, Self::Member, Self::Bot, Self::Admin];

    /// Whether it stands for an account rather than for a visitor.
    #[must_use]
    pub fn has_account(self) -> bool {
        self != Self::Anonymous
    }

    /// The kind of this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// The word on the wire and in metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Member => "member",
            Self::Bot => "bot",
            Self::Admin => "admin",
        }
    }
}

/// Whether a visitor's identity may still be opened by a fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Created by a handshake without an Origin, and its secret was never presented back. It owns
    /// nothing: no history, no mailbox. `taken_at` is when its present holder took it over by a
    /// fingerprint; `None` while the first holder has it.
    Loose {
        /// When the present holder took it over.
        taken_at: Option<UnixMillis>,
    },
    /// Opened by its secret only. Accounts are always firm.
    Firm {
        /// When its holder had taken it over by a fingerprint, before it became firm. What was
        /// meant for the holder before that stays out of his reach for ever.
        taken_at: Option<UnixMillis>,
    },
}

/// In whose hands a loose identity is, told apart from every other holder that it had or will have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Holder {
    /// When he took it over; `None` is the first holder.
    pub taken_at: Option<UnixMillis>,
}

impl Standing {
    /// Firm, and in the hands of its first holder.
    pub const FIRM: Self = Self::Firm { taken_at: None };

    /// When the present holder took the identity over; `None` while the first holder has it.
    #[must_use]
    pub fn taken_at(self) -> Option<UnixMillis> {
        match self {
            Self::Loose { taken_at } | Self::Firm { taken_at } => taken_at,
        }
    }

    /// Who holds the identity, as long as that can change; `None` of a firm one, which stays for
    /// ever in the hands that it is in.
    #[must_use]
    pub fn holder(self) -> Option<Holder> {
        match self {
            Self::Loose { taken_at } => Some(Holder { taken_at }),
            Self::Firm { .. } => None,
        }
    }

    /// Whether a fingerprint may still open it.
    #[must_use]
    pub fn is_loose(self) -> bool {
        matches!(self, Self::Loose { .. })
    }
}

/// How an identity was opened; the header `proof` of CONNECTED.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proof {
    /// The secret was presented.
    Token,
    /// Recognised by the fingerprint alone.
    Hint,
    /// Created just now.
    New,
    /// The password of an account.
    Password,
    /// An access token of an account, or of a site.
    Jwt,
}

impl Proof {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Hint => "hint",
            Self::New => "new",
            Self::Password => "password",
            Self::Jwt => "jwt",
        }
    }
}

/// Who a session speaks for, as the rest of the node needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The address of direct messages.
    pub user_id: UserId,
    /// Visitor or member.
    pub kind: Kind,
    /// Loose or firm, as it was when the session connected.
    pub standing: Standing,
    /// The name shown beside messages.
    pub name: String,
    /// The fingerprint of the connection, for the rate bucket.
    pub client_identifier: ClientIdentifier,
    /// The network of the connection (IPv4 address or IPv6 /64), keyed like the fingerprint.
    pub network: ClientIdentifier,
    /// The sign-in that it came by; none of a visitor, and none of a site's own user.
    pub sign_in: Option<SignInId>,
    /// When what it presented ends; none of a visitor, whose secret slides.
    pub expires_at: Option<UnixMillis>,
    /// When the secret of a visitor was made of whom nothing was kept when this connection opened their
    /// identity; none of everybody else.
    pub made_at: Option<UnixMillis>,
}
