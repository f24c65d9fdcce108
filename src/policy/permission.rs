//! What each kind of user may do, as a table.
//!
//! Not here: open destinations (`rules`), how often (`bucket`), what somebody may do in one room.
//! Invariant: the table is total, so that a new action cannot be forgotten for one kind, and it is the
//! only place where a kind allows something: `stompbox policy` prints it.

use crate::model::{Code, Kind, Problem};

/// The table: what it is, its word, and who may: visitor, member, bot, admin.
macro_rules! actions {
    ($($variant:ident $word:literal $visitor:ident $member:ident $bot:ident $admin:ident $about:literal;)*) => {
        /// Something that somebody asks for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Action {$(
            #[doc = $about]
            $variant,
        )*}

        impl Action {
            /// Every action, for tables and documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its word.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {$(Self::$variant => $word,)*}
            }

            /// What it is, for people.
            #[must_use]
            pub fn about(self) -> &'static str {
                match self {$(Self::$variant => $about,)*}
            }

            /// Who may, in the order of [`Kind::ALL`].
            fn row(self) -> [Grant; 4] {
                match self {$(
                    Self::$variant => [Grant::$visitor, Grant::$member, Grant::$bot, Grant::$admin],
                )*}
            }
        }
    };
}

/// What the table says of one kind and one action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// He may.
    Yes,
    /// He may, within a limit that others do not have.
    Limited,
    /// He may not.
    No,
}

impl Grant {
    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Limited => "limited",
            Self::No => "no",
        }
    }
}

actions! {
    Read "read" Yes Yes Yes Yes "Read what is written to him, and live rooms.";
    SendDirect "send_direct" Limited Yes Yes Yes "Write to another user; a visitor more slowly.";
    SubscribeOwnQueue "subscribe_own_queue" Yes Yes Yes Yes "Subscribe to his own `/user/queue/**`.";
    KeepHistory "keep_history" Limited Yes Yes Yes "Have what he writes kept; of a visitor for 24 hours.";
    CreateRoom "create_room" No Yes Yes Yes "Make a room.";
    ManageRoom "manage_room" No Limited Limited Yes "Change a room; a member where he has the role.";
    Upload "upload" No Yes Yes Yes "Upload a file.";
    ManyDevices "many_devices" No Yes Yes Yes "Be signed in on several devices; a visitor has one browser, with up to `SESSIONS_VISITOR` sessions (10).";
    ManageAccount "manage_account" No Yes Yes Yes "Have a password, sign-ins, and a name of his own.";
    Moderate "moderate" No No No Yes "Mute, ban, and read the audit.";
    Administer "administer" No No No Yes "Make accounts, change roles, ask for routes and traces.";
}

/// What the table says.
#[must_use]
pub fn grant(kind: Kind, action: Action) -> Grant {
    let [visitor, member, bot, admin] = action.row();
    match kind {
        Kind::Anonymous => visitor,
        Kind::Member => member,
        Kind::Bot => bot,
        Kind::Admin => admin,
    }
}

/// Whether this kind of user may do that, within his limits.
#[must_use]
pub fn is_permitted(kind: Kind, action: Action) -> bool {
    grant(kind, action) != Grant::No
}

/// The same as a verdict.
///
/// # Errors
/// `anonymous_not_allowed` for a visitor, `forbidden` for everybody else.
pub fn permit(kind: Kind, action: Action) -> Result<(), Problem> {
    if is_permitted(kind, action) {
        return Ok(());
    }
    Err(match kind {
        Kind::Anonymous => Problem::new(
            Code::AnonymousNotAllowed,
            "Visitors may not do this. Register, or sign in.",
        ),
        Kind::Member | Kind::Bot | Kind::Admin => {
            Problem::new(Code::Forbidden, "You may not do this.")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_may_do_what_the_table_says() {
        for action in Action::ALL.iter().copied() {
            for kind in Kind::ALL {
                let is_allowed = grant(kind, action) != Grant::No;
                let verdict = permit(kind, action);
                assert_eq!(verdict.is_ok(), is_allowed, "{kind:?} {action:?}");
                let code = match kind {
                    Kind::Anonymous => Code::AnonymousNotAllowed,
                    Kind::Member | Kind::Bot | Kind::Admin => Code::Forbidden,
                };
                assert!(verdict.is_ok() || verdict.unwrap_err().code == code);
            }
        }
    }

    #[test]
    fn a_visitor_may_do_less_than_a_member_and_an_admin_everything() {
        use Action::{Administer, CreateRoom, ManyDevices, Moderate, Upload};
        for action in [CreateRoom, Upload, ManyDevices, Moderate, Administer] {
            assert!(!is_permitted(Kind::Anonymous, action), "{action:?}");
        }
        for action in Action::ALL.iter().copied() {
            let visitor = is_permitted(Kind::Anonymous, action);
            assert!(!visitor || is_permitted(Kind::Member, action));
            assert_eq!(grant(Kind::Admin, action), Grant::Yes, "{action:?}");
        }
    }
}
