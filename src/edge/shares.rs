//! How many connections each network may hold: a part of those that are free.
//!
//! Not here: what is counted (`admission`), things that cost memory (`budget`). Invariant: `all` is the sum of
//! what the narrowest networks hold. Counts only, because there is one for each idle connection: a
//! `budget::Charge` would be larger than what the connection keeps itself.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::budget::{Part, Parts};
use crate::model::Network;

/// How much of the connections that are free a network may hold. More than of other things: a place costs
/// little beside the memory of its session, which has a share of its own, and a crowd behind one address may
/// be most of the clients of a node. One address ends at eight ninths, and then others still find places.
const PARTS: Parts = Parts {
    address: Part::quarters(32),
    net64: Part::quarters(16),
    net56: Part::quarters(24),
    net48: Part::quarters(32),
    ..Parts::DEFAULT
};

/// Fewer places than this are not shared out: one network may have them all.
const SHARED_MIN: usize = 64;

/// Things of which each network may hold a part of those that are free.
#[derive(Debug)]
pub(super) struct Shares {
    max: usize,
    /// A std mutex: held for some look-ups, never across an await.
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    /// By network, of each width; none that holds nothing.
    networks: HashMap<Network, u32>,
}

impl Shares {
    /// Up to so many; a handful is not shared out.
    pub(super) fn new(max: usize) -> Self {
        Self {
            max: if max < SHARED_MIN { 0 } else { max },
            held: Mutex::default(),
        }
    }

    /// Takes one, if the network may have it. `fixed_max` is a limit of the narrowest network beside its
    /// part; zero for none.
    pub(super) fn take(&self, network: Network, multiple: u32, fixed_max: u32) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let free = self.max.saturating_sub(held.all) as u64;
        for level in network.levels() {
            let count = held.networks.get(&level).copied().unwrap_or(0);
            let part = PARTS.of_network(level.width());
            let is_over = self.max > 0 && u64::from(count) + 1 > part.of(free, multiple);
            let is_fixed = level == network && fixed_max > 0 && count >= fixed_max;
            if is_over || is_fixed {
                return false;
            }
        }
        held.all += 1;
        for level in network.levels() {
            *held.networks.entry(level).or_default() += 1;
        }
        true
    }

    pub(super) fn give_back(&self, network: Network) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.all = held.all.saturating_sub(1);
        for level in network.levels() {
            if let Some(count) = held.networks.get_mut(&level) {
                *count -= 1;
                if *count == 0 {
                    held.networks.remove(&level);
                }
            }
        }
    }
}
