//! What is held of a pool, by whom, and which charge is the largest.
//!
//! Not here: how much each may hold (`pool`). Invariant: a total is the sum of what was added and not given back.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Weak;
use std::time::Instant;

use super::claimant::{Claimant, Key};
use super::pool::Evict;

/// What all hold together.
#[derive(Default)]
pub(super) struct Held {
    pub(super) used: u64,
    pub(super) used_by_visitors: u64,
    /// What each holds, with what is shared; nobody who holds nothing.
    pub(super) by_key: HashMap<Key, u64>,
    /// Charges that can be evicted.
    pub(super) evictable: BTreeMap<u64, Evictable>,
    pub(super) next: u64,
    pub(super) searched_at: Option<Instant>,
}

/// A charge that can be taken away.
pub(super) struct Evictable {
    pub(super) claimant: Claimant,
    pub(super) amount: Amount,
    pub(super) whose: Weak<dyn Evict>,
}

/// What a charge stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    /// What is used up of the pool.
    pub(super) own: u64,
    /// What others hold too and somebody else is charged for: it counts to the shares of the user and the
    /// network only.
    pub(super) shared: u64,
}

impl Amount {
    /// How much counts to the shares.
    pub(super) fn total(self) -> u64 {
        self.own + self.shared
    }
}

impl Held {
    pub(super) fn add(&mut self, claimant: &Claimant, more: Amount) {
        self.used += more.own;
        if !claimant.kind.has_account() {
            self.used_by_visitors += more.own;
        }
        for key in claimant.keys() {
            *self.by_key.entry(key).or_default() += more.total();
        }
    }

    pub(super) fn give_back(&mut self, claimant: &Claimant, less: Amount) {
        self.used = self.used.saturating_sub(less.own);
        if !claimant.kind.has_account() {
            self.used_by_visitors = self.used_by_visitors.saturating_sub(less.own);
        }
        for key in claimant.keys() {
            if let Entry::Occupied(mut held) = self.by_key.entry(key) {
                *held.get_mut() = held.get().saturating_sub(less.total());
                if *held.get() == 0 {
                    held.remove();
                }
            }
        }
    }

    /// The most that the claimant or one of their networks holds.
    pub(super) fn largest_of(&self, claimant: &Claimant) -> u64 {
        let held = |key: Key| self.by_key.get(&key).copied().unwrap_or(0);
        claimant.keys().into_iter().map(held).max().unwrap_or(0)
    }

    /// The largest charge in the network that holds most, if that is more than twice as much as the newcomer
    /// will have. A visitor takes nothing from a member.
    pub(super) fn largest_evictable(&self, newcomer: &Claimant, more: Amount) -> Option<u64> {
        let mine = self.largest_of(newcomer) + more.total();
        let weight = |it: &Evictable| (self.largest_of(&it.claimant), it.amount.total());
        let (number, found) = self
            .evictable
            .iter()
            .filter(|(_, it)| newcomer.kind.has_account() || !it.claimant.kind.has_account())
            .max_by_key(|(number, it)| (weight(it), **number))?;
        (weight(found).0 > mine.saturating_mul(2)).then_some(*number)
    }
}
