//! A part of a pool that a client holds.
//!
//! Not here: how much it may be (`pool`), what is known of it (`state`). Invariant: what a charge stands for is given
//! back exactly once, by its drop or by its eviction.

use std::sync::{Arc, Weak};

use super::claimant::Claimant;
use super::pool::{Evict, Eviction, Pool, Refused};
use super::room::{Missing, granted};
use super::state::{Amount, Slot};

/// A part of a pool; dropping it gives the part back.
///
/// After an eviction it stands for nothing, and may grow again as if it were new.
#[derive(Debug)]
pub struct Charge {
    pool: Arc<Pool>,
    slot: Slot,
}

impl Charge {
    /// Of nothing yet.
    pub(super) fn new(pool: Arc<Pool>, claimant: Claimant) -> Self {
        let slot = pool.lock().insert(claimant);
        Self { pool, slot }
    }

    /// Takes this much more. Evicts larger holders when the pool is short: not for callers that hold a lock which an
    /// eviction needs ([`Evict`]).
    ///
    /// # Errors
    /// As [`Pool::take`]; what was held before stays.
    pub fn grow(&mut self, more: u64) -> Result<(), Refused> {
        granted(|| self.try_grow(more))
    }

    /// Takes this much more, evicting or not, or takes nothing and finds out whether others could lose it
    /// ([`Eviction::Possible`]). An attempt that may not evict is not counted as a refusal: the caller has another one.
    ///
    /// # Errors
    /// As [`Pool::take`].
    pub fn grow_with(&mut self, eviction: Eviction, more: u64) -> Result<(), Refused> {
        match eviction {
            Eviction::Never => self.try_grow(more).map_err(|missing| missing.why()),
            Eviction::Possible => match self.try_grow(more) {
                Err(missing) if missing.evictions() == 0 => Err(missing.refused()),
                Ok(()) | Err(_) => Ok(()),
            },
            Eviction::Allowed => self.grow(more),
        }
    }

    /// Takes this much more of what is free, and evicts nothing.
    ///
    /// # Errors
    /// As [`Pool::take`].
    pub fn grow_of_free(&mut self, more: u64) -> Result<(), Refused> {
        self.try_grow(more).map_err(Missing::refused)
    }

    /// One attempt to take this much more, for [`granted`].
    ///
    /// # Errors
    /// What is missing.
    pub fn try_grow(&mut self, more: u64) -> Result<(), Missing> {
        let held = self.held();
        self.try_resize(Amount {
            own: held.own.saturating_add(more),
            ..held
        })
    }

    /// One attempt to stand for exactly this much. Less is never refused.
    pub(super) fn try_resize(&mut self, to: Amount) -> Result<(), Missing> {
        let mut state = self.pool.lock();
        let Some(record) = state.record(self.slot) else {
            return Ok(());
        };
        let more = to.minus(record.amount);
        if more.total() > 0
            && let change = (record.amount, to)
            && let Err(why) = self.pool.admit(&state, &record.claimant, change)
        {
            let claimant = record.claimant.clone();
            drop(state);
            return Err(Missing::new(&self.pool, claimant, change, why));
        }
        state.resize(self.slot, to);
        if more.total() == 0 {
            state.is_calm_below(self.pool.calm());
        }
        Ok(())
    }

    /// Gives this much back.
    pub fn shrink(&mut self, less: u64) {
        let held = self.held();
        self.set(Amount {
            own: held.own.saturating_sub(less),
            ..held
        });
    }

    /// Takes this much more without asking whether it may: for what is there already, such as what an
    /// earlier run has stored.
    pub fn restore(&mut self, more: u64) {
        let held = self.held();
        self.set(Amount {
            own: held.own.saturating_add(more),
            ..held
        });
    }

    /// Refers to so many shared bytes, whether or not that may be.
    #[cfg(test)]
    pub(super) fn refer(&mut self, shared: u64) {
        let held = self.held();
        self.set(Amount { shared, ..held });
    }

    fn set(&mut self, to: Amount) {
        let mut state = self.pool.lock();
        state.resize(self.slot, to);
        state.is_calm_below(self.pool.calm());
    }

    /// The client who holds it.
    #[must_use]
    pub fn claimant(&self) -> Claimant {
        let state = self.pool.lock();
        let record = state.record(self.slot);
        record.map_or_else(Claimant::unknown, |it| it.claimant.clone())
    }

    /// How much of the pool it stands for.
    #[must_use]
    pub fn amount(&self) -> u64 {
        self.held().own
    }

    pub(super) fn held(&self) -> Amount {
        self.pool.lock().amount(self.slot)
    }

    /// From now on it counts as this claimant's: the same client, of whom more is known, or another one who takes
    /// it over. Nothing is refused by this.
    pub fn identify(&mut self, claimant: &Claimant) {
        self.pool.lock().identify(self.slot, claimant);
    }

    /// Takes it anew for this claimant, who may be refused it: then it stays whose it was. What it stands for
    /// does not count against them, and is free for a moment. What is only possible changes nothing ([`Eviction::Possible`]).
    ///
    /// # Errors
    /// As [`Pool::take`].
    pub fn retake(&mut self, eviction: Eviction, claimant: &Claimant) -> Result<(), Refused> {
        let (held, whose) = {
            let mut state = self.pool.lock();
            let held = (state.amount(self.slot), state.whose(self.slot));
            state.resize(self.slot, Amount::default());
            held
        };
        let mut taken = self.pool.charge(claimant);
        let outcome = taken.grow_with(eviction, held.own);
        if outcome.is_err() || eviction == Eviction::Possible {
            drop(taken);
            self.set(held);
            return outcome;
        }
        if let Some(whose) = whose {
            taken.set_evictable(whose);
        }
        *self = taken;
        Ok(())
    }

    /// When the pool is short this may be taken away: then `whose` is told, and it counts as given back.
    pub fn set_evictable(&mut self, whose: Weak<dyn Evict>) {
        self.pool.lock().set_whose(self.slot, Some(whose));
    }

    /// From now on nothing takes it away, until it is made evictable again. What was taken away a moment ago, while
    /// it came into use again, is taken back: `amount` is what it stands for.
    pub fn protect(&mut self, amount: u64) {
        let mut state = self.pool.lock();
        state.set_whose(self.slot, None);
        let held = state.amount(self.slot);
        let own = held.own.max(amount);
        state.resize(self.slot, Amount { own, ..held });
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        state.remove(self.slot);
        state.is_calm_below(self.pool.calm());
    }
}
