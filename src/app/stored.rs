//! How much clients may have stored.
//!
//! What visitors store is kept for a while, so a share of it comes back when its time is over. What members
//! store is kept, so it is the growth of a day that is limited. Not here: what becomes of a
//! reservation (`budget::Reservation`), rates of messages (`rates`), free space on the disk.
//! Invariants: what is refused was not stored, and what was not stored does not count; what counts is given back
//! when it is removed, within a part of its life.
//!
//! Not only messages count: the row of a visitor, the conversation that a message begins, and the answer that
//! is kept for an `Idempotency-Key` count to the client that caused them, each for as long as it is kept.
//!
//! After a restart the total is read from the store. Who stored it is not known any more, so it counts to
//! the end of the node, and shares begin anew.

#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use super::{App, Live};
use crate::budget::{
    Aging, Claimant, MESSAGE_COST_BYTES, Pool, PoolSettings, Refused, Reservation,
};
use crate::model::{Code, Kind, Network, Problem, UnixMillis};
use crate::store::{Append, Keep};

/// What the row of a visitor occupies, with the secret and what finds both.
const VISITOR_COST_BYTES: u64 = 1_024;

/// What a request with an `Idempotency-Key` occupies beside its answer.
const REQUEST_COST_BYTES: u64 = 512;

/// What members store counts for so long.
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// How long to wait when the store did not say how much there is.
const AGAIN: Duration = Duration::from_secs(30);

/// How often it is asked: it goes through all that visitors have stored.
const ATTEMPTS: usize = 5;

/// How much may be stored. Zero is without a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreSizes {
    /// Bytes that visitors may have stored at a time.
    pub visitors: u64,
    /// How long their messages are kept.
    pub visitors_keep: Duration,
    /// How long the row of a visitor is kept who does not come back, and the conversations.
    pub rows_keep: Duration,
    /// Bytes that members may store in a day.
    pub members: u64,
}

impl Default for StoreSizes {
    fn default() -> Self {
        Self {
            visitors: 2 << 30,
            visitors_keep: DAY,
            rows_keep: 90 * DAY,
            members: 8 << 30,
        }
    }
}

/// What was stored through this node and is not removed yet.
#[derive(Debug)]
pub struct Stored {
    visitors: Aging,
    members: Aging,
    rows_keep: Duration,
}

impl Stored {
    /// Nothing is stored yet.
    #[must_use]
    pub fn new(sizes: StoreSizes) -> Arc<Self> {
        let visitors = PoolSettings {
            reserve: 0,
            ..PoolSettings::new("visitor_store", sizes.visitors)
        };
        let members = PoolSettings::new("member_store", sizes.members);
        Arc::new(Self {
            visitors: Aging::new(visitors, sizes.visitors_keep, sizes.rows_keep),
            members: Aging::new(members, DAY, DAY),
            rows_keep: sizes.rows_keep,
        })
    }

    /// What visitors have stored, for figures and tests.
    #[must_use]
    pub fn visitors(&self) -> &Arc<Pool> {
        self.visitors.pool()
    }

    /// Sets bytes aside for an answer that is kept for a day.
    ///
    /// # Errors
    /// `limit_exceeded` when the caller or their network has stored as much as they may.
    pub fn reserve_answer(&self, by: &Claimant, now: UnixMillis) -> Result<Reservation, Problem> {
        let aging = self.of(by.kind);
        aging.end(now);
        let account = aging.account(by);
        let slot = aging.slot(now.after(DAY));
        Reservation::take(account, (REQUEST_COST_BYTES, 0), (slot, slot))
            .map_err(|why| refusal(why, by.kind))
    }

    fn of(&self, kind: Kind) -> &Aging {
        match kind.has_account() {
            true => &self.members,
            false => &self.visitors,
        }
    }
}

impl App {
    /// What clients have stored through this node.
    #[must_use]
    pub fn stored(&self) -> &Arc<Stored> {
        &self.settings.stored
    }

    /// Sets bytes aside in the store for a message of this session.
    pub(super) fn reserve(&self, live: &Live, append: &Append) -> Result<Reservation, Problem> {
        let principal = live.principal();
        let (stored, now) = (&self.settings.stored, append.timestamp);
        let aging = stored.of(principal.kind);
        aging.end(now);
        let open = || aging.account(&live.claimant());
        let account = live.activity.stored_account(&principal, open);
        let is_new = |keep: &&Keep| matches!(keep, Keep::New(_));
        let rows = append.visitors.iter().filter(is_new).count() as u64;
        let bytes = append.text.len() as u64 + MESSAGE_COST_BYTES;
        let slots = (
            aging.slot(now.after(aging.life())),
            aging.row_slot(now.after(aging.row_life())),
        );
        Reservation::take(account, (bytes, rows * VISITOR_COST_BYTES), slots)
            .map_err(|why| refusal(why, principal.kind))
    }

    /// Counts what visitors had stored before this node started: its part of it, since all nodes of a
    /// cluster share one store.
    pub(super) async fn count_stored(self: Arc<Self>) {
        let stored = &self.settings.stored;
        let aging = &stored.visitors;
        if aging.pool().capacity() == 0 {
            return;
        }
        let ask = || (self.broker).stored_by_visitors(aging.slot_ms(), stored.rows_keep);
        let mut slots = ask().await;
        for _ in 1..ATTEMPTS {
            if slots.is_ok() {
                break;
            }
            tokio::time::sleep(AGAIN).await;
            slots = ask().await;
        }
        let slots = match slots {
            Ok(slots) => slots,
            Err(error) => {
                tracing::warn!(%error, "what visitors stored before this start is not counted");
                return;
            }
        };
        let unattributed = Claimant::stranger(Network::from(Ipv4Addr::UNSPECIFIED));
        let nodes = self.broker.nodes();
        for found in slots {
            let cost = found.bytes
                + found.messages * MESSAGE_COST_BYTES
                + found.visitors * VISITOR_COST_BYTES;
            aging.restore(&unattributed, found.slot, cost / nodes, (self.clock)());
        }
    }
}

fn refusal(why: Refused, kind: Kind) -> Problem {
    let detail = match (why, kind.has_account()) {
        (Refused::User, false) => {
            "You have stored as much as one visitor may. Wait until your older messages expire, or create an account."
        }
        (Refused::User, true) => {
            "You have stored as much as one user may in a day. Send again tomorrow, or send shorter messages."
        }
        (Refused::Network, false) => {
            "The visitors on your network have stored as much as those of one network may. Wait until their older \
             messages expire, or sign in with an account."
        }
        (Refused::Network, true) => {
            "The users on your network have stored as much as those of one network may in a day. Send again later."
        }
        (Refused::Full, false) => {
            "This server's space for messages of visitors is full. Send again later, or sign in with an account."
        }
        (Refused::Full, true) => {
            "This server has stored as much as its users may store in a day. Send again later."
        }
    };
    Problem::new(Code::LimitExceeded, detail).retry_after_ms(60_000)
}
