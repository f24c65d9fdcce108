//! A part of a pool that a client holds.
//!
//! Not here: how much it may be (`pool`). Invariant: what a charge stands for is given back exactly once, by its
//! drop or by its eviction.

use std::sync::{Arc, Weak};

use super::claimant::Claimant;
use super::held::{Amount, Evictable, Held};
use super::pool::{Evict, Pool, Refused};

/// A part of a pool that somebody holds; dropping it gives it back.
#[derive(Debug)]
pub struct Charge {
    pool: Arc<Pool>,
    claimant: Claimant,
    amount: Amount,
    /// The number under which it can be evicted.
    evictable: Option<u64>,
}

impl Charge {
    /// Of nothing yet.
    pub(super) fn new(pool: Arc<Pool>, claimant: Claimant) -> Self {
        Self {
            pool,
            claimant,
            amount: Amount::default(),
            evictable: None,
        }
    }

    /// Takes so much more.
    ///
    /// # Errors
    /// As [`Pool::take`]; what was held before stays.
    pub fn grow(&mut self, more: u64) -> Result<(), Refused> {
        self.grow_by(Amount {
            own: more,
            shared: 0,
        })
    }

    /// The same without evicting anybody, for callers that hold a lock which an eviction may need.
    ///
    /// # Errors
    /// As [`Pool::take`].
    pub fn grow_of_free(&mut self, more: u64) -> Result<(), Refused> {
        self.grow_quietly(more, 0)
            .inspect_err(|_| self.pool.count_refusal())
    }

    /// Counts so much more to the shares of the user and the network, of which the pool is charged for
    /// elsewhere, once for everybody.
    ///
    /// # Errors
    /// As [`Pool::take`].
    pub fn grow_shared(&mut self, more: u64) -> Result<(), Refused> {
        self.grow_by(Amount {
            own: 0,
            shared: more,
        })
    }

    /// Takes more, and nothing from anybody else: for callers that hold a lock which an eviction may need.
    pub(super) fn grow_quietly(&mut self, own: u64, shared: u64) -> Result<(), Refused> {
        self.try_grow(Amount { own, shared })
    }

    fn grow_by(&mut self, more: Amount) -> Result<(), Refused> {
        match self.try_grow(more) {
            Err(_) if self.pool.evict_for(&self.claimant, more) => self.try_grow(more),
            outcome => outcome,
        }
        .inspect_err(|_| self.pool.count_refusal())
    }

    fn try_grow(&mut self, more: Amount) -> Result<(), Refused> {
        let pool = Arc::clone(&self.pool);
        let mut state = pool.lock();
        self.forget_what_was_evicted(&state);
        pool.admit(&state, &self.claimant, more)?;
        state.add(&self.claimant, more);
        self.note(&mut state, |amount| {
            amount.own += more.own;
            amount.shared += more.shared;
        });
        Ok(())
    }

    /// After an eviction the charge stands for nothing, and can grow again.
    fn forget_what_was_evicted(&mut self, state: &Held) {
        if self.is_evicted(state) {
            self.amount = Amount::default();
            self.evictable = None;
        }
    }

    /// Gives so much back.
    pub fn shrink(&mut self, less: u64) {
        let own = less.min(self.amount.own);
        self.shrink_by(Amount { own, shared: 0 });
    }

    /// Counts so much less to the shares.
    pub fn shrink_shared(&mut self, less: u64) {
        let shared = less.min(self.amount.shared);
        self.shrink_by(Amount { own: 0, shared });
    }

    fn shrink_by(&mut self, less: Amount) {
        let pool = Arc::clone(&self.pool);
        let mut state = pool.lock();
        if self.is_evicted(&state) {
            self.forget_what_was_evicted(&state);
            return;
        }
        state.give_back(&self.claimant, less);
        self.note(&mut state, |amount| {
            amount.own -= less.own;
            amount.shared -= less.shared;
        });
    }

    /// Who holds it.
    #[must_use]
    pub fn claimant(&self) -> &Claimant {
        &self.claimant
    }

    /// How much of the pool it stands for.
    #[must_use]
    pub fn amount(&self) -> u64 {
        self.amount.own
    }

    /// How much counts to the shares only.
    #[must_use]
    pub fn shared(&self) -> u64 {
        self.amount.shared
    }

    /// From now on it counts as somebody else's: the same client, of whom more is known. Nothing is
    /// refused by this.
    pub fn identify(&mut self, claimant: Claimant) {
        let pool = Arc::clone(&self.pool);
        let mut state = pool.lock();
        if !self.is_evicted(&state) {
            state.give_back(&self.claimant, self.amount);
            state.add(&claimant, self.amount);
        }
        self.claimant = claimant;
        self.note(&mut state, |_| {});
    }

    /// Under pressure this may be taken away: then `whose` is told, and it counts as given back.
    pub fn set_evictable(&mut self, whose: Weak<dyn Evict>) {
        let pool = Arc::clone(&self.pool);
        let mut state = pool.lock();
        self.forget_what_was_evicted(&state);
        state.next += 1;
        let number = state.next;
        if let Some(before) = self.evictable.replace(number) {
            state.evictable.remove(&before);
        }
        let it = Evictable {
            claimant: self.claimant.clone(),
            amount: self.amount,
            whose,
        };
        state.evictable.insert(number, it);
    }

    /// From now on nothing takes it away any more, until it is made evictable again.
    pub fn protect(&mut self) {
        let pool = Arc::clone(&self.pool);
        let mut state = pool.lock();
        self.forget_what_was_evicted(&state);
        if let Some(number) = self.evictable.take() {
            state.evictable.remove(&number);
        }
    }

    /// Takes so much more without asking whether it may: for what is there already, such as what an
    /// earlier run has stored.
    pub fn restore(&mut self, more: u64) {
        let more = Amount {
            own: more,
            shared: 0,
        };
        let pool = Arc::clone(&self.pool);
        let mut state = pool.lock();
        self.forget_what_was_evicted(&state);
        state.add(&self.claimant, more);
        self.note(&mut state, |amount| amount.own += more.own);
    }

    fn is_evicted(&self, state: &Held) -> bool {
        self.evictable
            .is_some_and(|number| !state.evictable.contains_key(&number))
    }

    /// Changes the amount here and where an eviction looks it up.
    fn note(&mut self, state: &mut Held, change: impl FnOnce(&mut Amount)) {
        change(&mut self.amount);
        if let Some(number) = self.evictable
            && let Some(it) = state.evictable.get_mut(&number)
        {
            it.amount = self.amount;
            it.claimant = self.claimant.clone();
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        if self.is_evicted(&state) {
            return;
        }
        if let Some(number) = self.evictable {
            state.evictable.remove(&number);
        }
        state.give_back(&self.claimant, self.amount);
    }
}
