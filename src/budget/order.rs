//! In which order charges are taken away: the networks that hold most, and the largest charges of each.
//!
//! Not here: whether one is taken away at all (`state`, `pool`). Invariant: it names exactly the charges that can
//! be taken away, with what they stand for now.
//!
//! It is made when a pool is short for the first time, which looks at every charge once, and costs nothing before.
//! From then on each change and each search takes logarithmic time, so that a newcomer never waits until a search
//! may run again, and no search holds the lock of the pool for long.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::claimant::Claimant;
use super::state::{Amount, Slot};
use crate::model::Network;

/// The charges of one widest network: those of visitors, or those of members and bots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Group {
    has_account: bool,
    multiple: u32,
    network: Network,
}

impl Group {
    pub(super) fn of(claimant: &Claimant) -> Self {
        Self {
            has_account: claimant.kind.has_account(),
            multiple: claimant.multiple.max(1),
            network: claimant.network.widest(),
        }
    }

    pub(super) fn network(self) -> Network {
        self.network
    }

    /// By what groups of one kind are compared: of a network that may hold more, less counts.
    fn rank(self, held: u64) -> (u64, Self) {
        (held / u64::from(self.multiple), self)
    }
}

/// One of the two parts of an amount.
#[derive(Debug, Default)]
struct Part {
    visitors: BTreeSet<(u64, Group)>,
    members: BTreeSet<(u64, Group)>,
    charges: BTreeSet<(Group, u64, Slot)>,
}

/// The order.
#[derive(Debug)]
pub(super) struct Order {
    made_at: Instant,
    held: BTreeMap<Group, Amount>,
    own: Part,
    shared: Part,
}

impl Part {
    fn change_group(&mut self, group: Group, from: u64, to: u64) {
        let groups = match group.has_account {
            true => &mut self.members,
            false => &mut self.visitors,
        };
        if from > 0 {
            groups.remove(&group.rank(from));
        }
        if to > 0 {
            groups.insert(group.rank(to));
        }
    }

    fn change_charge(&mut self, group: Group, slot: Slot, from: u64, to: u64) {
        if from > 0 {
            self.charges.remove(&(group, from, slot));
        }
        if to > 0 {
            self.charges.insert((group, to, slot));
        }
    }

    fn largest_group(&self, has_account: bool) -> Option<Group> {
        let groups = match has_account {
            true => &self.members,
            false => &self.visitors,
        };
        groups.last().map(|(_, group)| *group)
    }

    fn largest_charge(&self, group: Group) -> Option<(u64, Slot)> {
        let last = (group, u64::MAX, Slot::LAST);
        let (found, amount, slot) = self.charges.range(..=last).next_back()?;
        (*found == group).then_some((*amount, *slot))
    }
}

impl Order {
    /// Of no charges.
    pub(super) fn new(made_at: Instant) -> Self {
        Self {
            made_at,
            held: BTreeMap::new(),
            own: Part::default(),
            shared: Part::default(),
        }
    }

    pub(super) fn made_at(&self) -> Instant {
        self.made_at
    }

    /// A charge stands for more or less than before.
    pub(super) fn change(&mut self, group: Group, slot: Slot, from: Amount, to: Amount) {
        let before = self.held.get(&group).copied().unwrap_or_default();
        let after = before.minus(from).plus(to);
        if after.total() == 0 {
            self.held.remove(&group);
        } else {
            self.held.insert(group, after);
        }
        self.own.change_group(group, before.own, after.own);
        self.shared.change_group(group, before.shared, after.shared);
        self.own.change_charge(group, slot, from.own, to.own);
        self.shared
            .change_charge(group, slot, from.shared, to.shared);
    }

    /// The heaviest charge of the heaviest group; without `of_members` of visitors only.
    pub(super) fn largest(
        &self,
        of_members: bool,
        weigh: impl Fn(Amount) -> u64,
    ) -> Option<(Group, Slot)> {
        let kinds: &[bool] = match of_members {
            true => &[false, true],
            false => &[false],
        };
        let parts = [&self.own, &self.shared];
        let groups = kinds.iter().flat_map(|kind| {
            let groups = parts.iter().filter_map(|part| part.largest_group(*kind));
            groups.collect::<Vec<_>>()
        });
        let weight = |group: Group| {
            let held = self.held.get(&group).copied().unwrap_or_default();
            weigh(held) / u64::from(group.multiple)
        };
        let group = groups.max_by_key(|group| weight(*group))?;
        if weight(group) == 0 {
            return None;
        }
        let own = self.own.largest_charge(group).map(|(own, slot)| {
            let amount = Amount { own, shared: 0 };
            (weigh(amount), slot)
        });
        let shared = self.shared.largest_charge(group).map(|(shared, slot)| {
            let amount = Amount { own: 0, shared };
            (weigh(amount), slot)
        });
        let (_, slot) = own.max(shared)?;
        Some((group, slot))
    }
}
