//! Which destination a request means, whether it may, and under which name it is shown.
//!
//! Not here: the rules themselves (`policy`), what happens at a destination (one file each).
//! Invariant: whatever a SEND was written to, the rules are asked about where it goes.

use super::{App, AppSettings, Live};
use crate::hub::Shown;
use crate::model::{Destination, Problem, Spelling};
use crate::policy::destinations::own;
use crate::policy::{may_send, may_subscribe};
use crate::session::{Send, Subscribe};

impl App {
    /// Finds out where a SEND goes, where answers to it go, and whether its sender may. What was
    /// aimed once is aimed again unchanged.
    pub(super) fn aim(&self, live: &Live, send: &mut Send) -> Result<(), Problem> {
        let AppSettings {
            relays,
            prefixes,
            rules,
            ..
        } = &self.settings;
        if let Destination::App(name) = &send.destination
            && let Some(aimed) = relays.aim(name, &send.body, prefixes)
        {
            send.destination = aimed?;
        }
        may_send(rules, live.principal().kind, &send.destination)?;
        self.address_replies(live, send)
    }

    /// Whether the session may SUBSCRIBE there.
    pub(super) fn may_subscribe(
        &self,
        live: &Live,
        destination: &Destination,
    ) -> Result<(), Problem> {
        let principal = live.principal();
        let (rules, kind) = (&self.settings.rules, principal.kind);
        let Destination::User(rest) = destination else {
            return may_subscribe(rules, kind, destination);
        };
        let own = own(&principal.user_id, rest);
        may_subscribe(rules, kind, &Destination::User(own.into()))
    }

    /// The destination that MESSAGE shows: as the subscriber wrote it.
    pub(super) fn shown(&self, subscribe: &Subscribe) -> Shown {
        let (written, destination) = (&*subscribe.written, &subscribe.destination);
        match self.settings.prefixes.spelling(written, destination) {
            // Inside it has the id of the user, or the token of the reply queue.
            Spelling::Canonical
                if matches!(
                    destination,
                    Destination::User(_) | Destination::TempQueue(_)
                ) =>
            {
                Shown::As(written.into())
            }
            Spelling::Canonical => Shown::Canonical,
            Spelling::Other => Shown::As(written.into()),
            Spelling::Under(prefix) => Shown::Under(prefix.into()),
        }
    }
}
