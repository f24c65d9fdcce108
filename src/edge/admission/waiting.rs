//! Clients in the reserve of places of whom it is not known yet whether they are members.
//!
//! Not here: how many places the reserve has (`admission`). Invariants: they are a quarter of the reserve at most, so
//! that the rest is left for members; one who comes always gets in, and for them the one goes who has waited longest
//! of the network that has most.
//!
//! Before CONNECT everyone is a stranger, so a member who comes when visitors have all that visitors may have cannot be
//! told from one more visitor. They get their places from the reserve until their CONNECT: a member keeps them, and a
//! visitor has to find places among those of visitors, or is refused then. Who sends no CONNECT is pushed out by those
//! who come after them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::budget::{Claimant, Evict, Parts, PushOut};
use crate::model::Network;

/// Those who wait.
#[derive(Debug)]
pub(in crate::edge) struct Waiting {
    /// A std mutex: held for some look-ups, never while one of them is told that they go.
    room: Mutex<PushOut<Network, Weak<dyn Evict>>>,
}

/// Stands for one who waits; dropped when it is known who they are, or when they are gone.
#[derive(Debug)]
pub(in crate::edge) struct Ticket {
    waiting: Arc<Waiting>,
    number: u64,
}

impl Waiting {
    /// Room for so many, at least one.
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            room: Mutex::new(PushOut::new(max, Parts::DEFAULT)),
        })
    }

    /// One more waits. `whose` is told when they have to go.
    pub(in crate::edge) fn enter(
        self: &Arc<Self>,
        who: &Claimant,
        whose: Weak<dyn Evict>,
    ) -> Ticket {
        let levels = who.network.levels().map(|level| (level, level.width()));
        let (number, pushed_out) = self.room().insert(levels.collect(), who.multiple, whose);
        for whose in pushed_out {
            if let Some(whose) = whose.upgrade() {
                whose.evict();
            }
        }
        Ticket {
            waiting: Arc::clone(self),
            number,
        }
    }

    fn room(&self) -> MutexGuard<'_, PushOut<Network, Weak<dyn Evict>>> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.room().len()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.waiting.room().remove(self.number);
    }
}
