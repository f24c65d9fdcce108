//! Who may begin to write to the holder of an account: what he has chosen.
//!
//! Not here: whether he can be reached (`reach`). Invariant: an answer is always allowed: whoever was
//! written to may write back.

use crate::model::{Code, Kind, Problem};

/// Who may begin to write to an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DmPolicy {
    /// Everybody, visitors too.
    #[default]
    Everyone,
    /// Holders of accounts.
    Members,
    /// Those to whom its holder has written.
    Contacts,
}

impl DmPolicy {
    /// Every policy.
    pub const ALL: [Self; 3] = [Self::Everyone, Self::Members, Self::Contacts];

    /// The word in the database and on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Everyone => "everyone",
            Self::Members => "members",
            Self::Contacts => "contacts",
        }
    }

    /// The policy of this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == word)
    }
}

/// Whether somebody of this kind may write to the holder of an account with this policy;
/// `recipient_wrote` says whether that one has ever written to him.
///
/// # Errors
/// `forbidden`.
pub fn may_write(policy: DmPolicy, sender: Kind, recipient_wrote: bool) -> Result<(), Problem> {
    let is_allowed = match policy {
        DmPolicy::Everyone => true,
        DmPolicy::Members => sender.has_account() || recipient_wrote,
        // Whoever looks after the service can always be heard.
        DmPolicy::Contacts => recipient_wrote || sender == Kind::Admin,
    };
    if is_allowed {
        return Ok(());
    }
    let words = match policy {
        DmPolicy::Everyone | DmPolicy::Members => {
            "The recipient is written to by holders of accounts only; register, or sign in."
        }
        DmPolicy::Contacts => "The recipient is written to by people he has written to only.",
    };
    Err(Problem::new(Code::Forbidden, words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_is_written_to_by_whom_he_has_chosen_and_answered_always() {
        let check = |policy, sender, wrote, allowed: bool| {
            let verdict = may_write(policy, sender, wrote);
            assert_eq!(verdict.is_ok(), allowed, "{policy:?} {sender:?} {wrote}");
            assert!(
                verdict
                    .err()
                    .is_none_or(|problem| problem.code == Code::Forbidden)
            );
        };
        for policy in DmPolicy::ALL {
            for kind in Kind::ALL {
                check(policy, kind, true, true);
            }
        }
        for kind in Kind::ALL {
            check(DmPolicy::Everyone, kind, false, true);
            check(DmPolicy::Members, kind, false, kind.has_account());
            check(DmPolicy::Contacts, kind, false, kind == Kind::Admin);
        }
    }
}
