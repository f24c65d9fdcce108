//! What each kind of user may do, as a table.
//!
//! Not here: open destinations (`rules`), how often (`bucket`). Invariant: the table is
//! total, so that a new action cannot be forgotten for one kind.

use crate::model::{Code, Kind, Problem};

/// Something that a session asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Write to another user.
    SendDirect,
    /// Subscribe to one's own `/user/queue/**`.
    SubscribeOwnQueue,
}

impl Action {
    /// Every action, for tables and documentation.
    pub const ALL: [Self; 2] = [Self::SendDirect, Self::SubscribeOwnQueue];
}

/// Whether this kind of user may do that.
#[must_use]
pub fn is_permitted(kind: Kind, action: Action) -> bool {
    // Columns: visitor, member. A visitor writes too, within his rate.
    let (visitor, member) = match action {
        Action::SendDirect => (true, true),
        Action::SubscribeOwnQueue => (true, true),
    };
    match kind {
        Kind::Anonymous => visitor,
        Kind::Member => member,
    }
}

/// The same as a verdict.
///
/// # Errors
/// `anonymous_not_allowed` for a visitor, `forbidden` for a member.
pub fn permit(kind: Kind, action: Action) -> Result<(), Problem> {
    if is_permitted(kind, action) {
        return Ok(());
    }
    Err(match kind {
        Kind::Anonymous => Problem::new(Code::AnonymousNotAllowed, "Only members may do this."),
        Kind::Member => Problem::new(Code::Forbidden, "You may not do this."),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visitors_and_members_may_do_what_the_table_says() {
        for action in Action::ALL {
            for kind in [Kind::Anonymous, Kind::Member] {
                assert_eq!(permit(kind, action), Ok(()), "{kind:?} {action:?}");
            }
        }
    }
}
