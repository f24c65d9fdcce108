//! What is asked of accounts and what they answer.
//!
//! Not here: what the store keeps (`store::accounts`). Invariant: a `Debug` of these shows no
//! password, no e-mail and no token.

use crate::model::{Kind, Problem, SignInId, UserId};
use crate::store::accounts::Ban;

/// Somebody wants an account.
#[derive(Clone)]
pub struct Registration {
    /// The e-mail as it was written.
    pub email: String,
    /// The password.
    pub password: String,
    /// The name that is shown.
    pub name: String,
    /// What the client calls the device.
    pub device: String,
}

/// Somebody signs in.
#[derive(Clone)]
pub struct Login {
    /// The e-mail.
    pub email: String,
    /// The password.
    pub password: String,
    /// What the client calls the device.
    pub device: String,
    /// The secret of the visitor who is to become a part of the account.
    pub merge: Option<String>,
}

/// A visitor wants an account with the address that he has.
#[derive(Clone)]
pub struct Upgrade {
    /// The e-mail as it was written.
    pub email: String,
    /// The password.
    pub password: String,
    /// The name that is shown; without one the visitor's stays.
    pub name: Option<String>,
    /// What the client calls the device.
    pub device: String,
}

/// The two tokens of a sign-in, and whom they speak for.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// The address.
    pub user_id: UserId,
    /// Member, bot or admin.
    pub kind: Kind,
    /// The name that is shown.
    pub name: String,
    /// The access token.
    pub access_token: String,
    /// In how many seconds it ends.
    pub expires_in: u64,
    /// The refresh token, for one use.
    pub refresh_token: String,
    /// In how many seconds that ends.
    pub refresh_expires_in: u64,
    /// The sign-in.
    pub sign_in: SignInId,
}

/// Somebody has signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedIn {
    /// His tokens.
    pub pair: Pair,
    /// The visitor who became a part of the account; the caller lets his sessions be looked at.
    pub merged: Option<UserId>,
}

/// A refresh token was not exchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshRefused {
    /// Why.
    pub problem: Problem,
    /// Whose sign-in has ended because the token was used twice: his sessions are looked at.
    pub ended: Option<UserId>,
}

impl From<Problem> for RefreshRefused {
    fn from(problem: Problem) -> Self {
        Self {
            problem,
            ended: None,
        }
    }
}

/// What keeps somebody out or from writing, now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Banned {
    /// He may not be here.
    pub ban: Option<Ban>,
    /// He may not write.
    pub mute: Option<Ban>,
}

/// A link that carries a visitor to another browser.
pub(super) const LINK_SECONDS: u64 = 600;

macro_rules! without_secrets {
    ($($name:ident { $($field:ident),* })*) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name))
                    $(.field(stringify!($field), &self.$field))*
                    .finish_non_exhaustive()
            }
        }
    )*};
}

without_secrets! {
    Registration { device }
    Login { device }
    Upgrade { device }
    Pair { user_id, kind, sign_in }
}
