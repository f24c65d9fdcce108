//! How much clients may have stored.
//!
//! What visitors store is kept for a while, so a share of it comes back when its time is over. What members
//! store is kept, so it is the growth of a day that is limited. Not here: rates of messages (`rates`), free
//! space on the disk. Invariants: what is refused was not stored, and what was not stored does not count;
//! what counts is given back when it is removed, within a part of its life.
//!
//! After a restart the total is read from the store. Who stored it is not known any more, so it counts to
//! the end of the node, and shares begin anew.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{App, Live};
use crate::budget::{Charge, Claimant, Pool, PoolSettings, Portion, Refused, Tallies};
use crate::model::{Code, Kind, Network, Problem, UnixMillis, UserId};

/// What a stored message occupies beside its text: its row and what finds it.
const MESSAGE_COST_BYTES: u64 = 512;

/// Time is cut into so many slots; a share comes back when its slot is over.
const SLOTS: u32 = 24;

/// The shortest slot.
const SLOT_MIN: Duration = Duration::from_secs(60);

/// Tallies take so much at a time: most clients write little.
const CHUNK_BYTES: u64 = 1 << 10;

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
    /// Bytes that members may store in a day.
    pub members: u64,
}

impl Default for StoreSizes {
    fn default() -> Self {
        Self {
            visitors: 2 << 30,
            visitors_keep: DAY,
            members: 8 << 30,
        }
    }
}

/// What was stored through this node and is not removed yet.
#[derive(Debug)]
pub struct Stored {
    visitors: Aging,
    members: Aging,
}

/// Shares that come back with time.
#[derive(Debug)]
struct Aging {
    accounts: Tallies,
    slot_ms: u64,
    life: Duration,
    /// By when they end. A std mutex: held for a look-up, and when a slot is over for its end.
    slots: Mutex<BTreeMap<u64, Slot>>,
}

/// Who has an account: a user of a kind at a network.
type Writer = (Network, Option<UserId>, Kind);

#[derive(Debug, Default)]
struct Slot {
    by: BTreeMap<Writer, Portion>,
    /// What was stored before this node started.
    earlier: Option<Charge>,
}

/// Room that was taken for a message. It is given back unless the message is stored.
#[derive(Debug)]
pub(super) struct Room {
    portion: Portion,
    by: Writer,
    slot: u64,
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
            visitors: Aging::new(visitors, sizes.visitors_keep),
            members: Aging::new(members, DAY),
        })
    }

    /// What visitors have stored, for figures and tests.
    #[must_use]
    pub fn visitors(&self) -> &Arc<Pool> {
        self.visitors.accounts.pool()
    }

    /// Takes room for a message of so many bytes.
    fn take(&self, by: &Claimant, bytes: u64, now: UnixMillis) -> Result<Room, Refused> {
        let aging = self.of(by.kind);
        aging.end(now);
        Ok(Room {
            portion: aging.accounts.take(by, bytes + MESSAGE_COST_BYTES)?,
            by: (by.network, by.user.clone(), by.kind),
            slot: aging.slot(now.after(aging.life)),
        })
    }

    /// The message was stored: its room is given back when it is removed.
    pub(super) fn keep(&self, room: Room) {
        let (_, _, kind) = room.by;
        let mut slots = self.of(kind).lock();
        let by = &mut slots.entry(room.slot).or_default().by;
        match by.entry(room.by) {
            Entry::Vacant(vacant) => {
                vacant.insert(room.portion);
            }
            Entry::Occupied(mut known) => {
                // Of the same writer, so of the same account, which is open as long as this portion is.
                let _none = known.get_mut().join(room.portion);
            }
        }
    }

    fn of(&self, kind: Kind) -> &Aging {
        match kind.has_account() {
            true => &self.members,
            false => &self.visitors,
        }
    }
}

impl Aging {
    fn new(settings: PoolSettings, life: Duration) -> Self {
        let slot = (life / SLOTS).max(SLOT_MIN);
        Self {
            accounts: Tallies::with_chunk(Pool::new(settings), CHUNK_BYTES),
            slot_ms: u64::try_from(slot.as_millis()).unwrap_or(u64::MAX),
            life,
            slots: Mutex::default(),
        }
    }

    fn slot(&self, at: UnixMillis) -> u64 {
        at.0 / self.slot_ms
    }

    /// Gives back what was removed by now.
    fn end(&self, now: UnixMillis) {
        let present = self.slot(now);
        let mut slots = self.lock();
        while slots
            .first_key_value()
            .is_some_and(|(slot, _)| *slot < present)
        {
            slots.pop_first();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl App {
    /// Takes room in the store for a text of this session.
    pub(super) fn take_room(&self, live: &Live, text: &str) -> Result<Room, Problem> {
        let by = live.claimant();
        let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX / 2);
        let taken = self.settings.stored.take(&by, bytes, (self.clock)());
        taken.map_err(|why| refusal(why, by.kind))
    }

    /// Counts what visitors had stored before this node started: its part of it, since all nodes of a
    /// cluster share one store.
    pub(super) async fn count_stored(self: Arc<Self>) {
        let aging = &self.settings.stored.visitors;
        if aging.accounts.pool().capacity() == 0 {
            return;
        }
        let mut slots = self.broker.stored_by_visitors(aging.slot_ms).await;
        for _ in 1..ATTEMPTS {
            if slots.is_ok() {
                break;
            }
            tokio::time::sleep(AGAIN).await;
            slots = self.broker.stored_by_visitors(aging.slot_ms).await;
        }
        let slots = match slots {
            Ok(slots) => slots,
            Err(error) => {
                tracing::warn!(%error, "what visitors stored before this start is not counted");
                return;
            }
        };
        let nobody = Claimant::stranger(Network::from(Ipv4Addr::UNSPECIFIED));
        let present = aging.slot((self.clock)());
        let nodes = self.broker.nodes();
        for stored in slots {
            let cost = stored.bytes + stored.messages * MESSAGE_COST_BYTES;
            let mut charge = aging.accounts.pool().charge(&nobody);
            charge.restore(cost / nodes);
            if stored.slot >= present {
                aging.lock().entry(stored.slot).or_default().earlier = Some(charge);
            }
        }
    }
}

fn refusal(why: Refused, kind: Kind) -> Problem {
    let (whose, what) = match (why, kind.has_account()) {
        (Refused::User, false) => ("You have", "may be kept of one visitor"),
        (Refused::User, true) => ("You have", "one user may store in a day"),
        (Refused::Network, false) => (
            "The visitors of your network have",
            "may be kept of one network",
        ),
        (Refused::Network, true) => ("Your network has", "one network may store in a day"),
        (Refused::Full, _) => ("All have", "this node may store"),
    };
    let words =
        format!("{whose} stored as much as {what} at the moment. Send again later, or less.");
    Problem::new(Code::LimitExceeded, words).retry_after_ms(60_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn stored() -> Arc<Stored> {
        Stored::new(StoreSizes {
            visitors: 100 << 10,
            visitors_keep: Duration::from_secs(24 * 3_600),
            members: 100 << 10,
        })
    }

    fn by(address: &str, user: &str, kind: Kind) -> Claimant {
        Claimant {
            user: Some(user.parse().unwrap()),
            kind,
            ..Claimant::stranger(Network::of(address.parse().unwrap()))
        }
    }

    fn fill(stored: &Stored, by: &Claimant, now: UnixMillis) -> u64 {
        let mut bytes = 0;
        while let Ok(room) = stored.take(by, 512, now) {
            stored.keep(room);
            bytes += 1_024;
        }
        bytes
    }

    #[test]
    fn one_visitor_and_one_network_have_a_share_that_comes_back() {
        let stored = stored();
        let user = |number: u32| by("192.0.2.1", &format!("user_{number}"), Kind::Anonymous);
        assert_eq!(fill(&stored, &user(1), NOW), 20 << 10);
        for number in 2..50 {
            fill(&stored, &user(number), NOW);
        }
        let network = user(1).network;
        assert_eq!(stored.visitors().held_by_network(network), 50 << 10);
        let elsewhere = by("192.0.2.2", "user_x", Kind::Anonymous);
        assert!(fill(&stored, &elsewhere, NOW) > 8 << 10);
        let before = NOW.after(Duration::from_secs(23 * 3_600));
        assert_eq!(fill(&stored, &user(1), before), 0);
        let after = NOW.after(Duration::from_secs(26 * 3_600));
        assert_eq!(fill(&stored, &user(1), after), 20 << 10);
        assert_eq!(stored.visitors().used(), 20 << 10);
    }

    #[test]
    fn what_is_not_stored_does_not_count() {
        let stored = stored();
        let visitor = by("192.0.2.1", "user_a", Kind::Anonymous);
        drop(stored.take(&visitor, 512, NOW).unwrap());
        assert_eq!(stored.visitors().used(), 0);
        assert!(stored.take(&visitor, 60 << 10, NOW).is_err());
        assert_eq!(stored.visitors().used(), 0);
    }

    #[test]
    fn visitors_leave_members_theirs() {
        let stored = stored();
        for number in 0..200 {
            let visitor = by(&format!("192.0.2.{number}"), "user_a", Kind::Anonymous);
            fill(&stored, &visitor, NOW);
        }
        let member = by("192.0.2.1", "user_m", Kind::Member);
        assert_eq!(fill(&stored, &member, NOW), 20 << 10);
        let tomorrow = NOW.after(Duration::from_secs(26 * 3_600));
        assert_eq!(fill(&stored, &member, tomorrow), 20 << 10);
    }
}
