//! Many small things of one client, counted together: messages in queues.
//!
//! Not here: what may be held (`pool`). Invariants: a tally covers at least the sum of its portions, and
//! at most one chunk more; a tally without portions does not exist, so there are at most as many as the pool has
//! chunks.
//!
//! A charge for each message would cost a look-up for every level of a network, and more memory than a
//! small message. A tally takes from its pool in chunks, and a portion is a number and a reference.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::charge::Charge;
use super::claimant::Claimant;
use super::pool::{Pool, Refused};
use crate::model::{Kind, Network, UserId};

/// The largest chunk that is taken from a pool at a time.
const CHUNK_MAX: u64 = 4 << 10;

/// A pool has at least so many chunks, so that rounding up takes little of it.
const CHUNKS_MIN: u64 = 1 << 16;

/// The tallies of a pool, one for each client who holds something of it.
#[derive(Debug)]
pub struct Tallies {
    pool: Arc<Pool>,
    chunk: u64,
    /// Asked by key only. A std mutex: held for a look-up. A tally removes itself with its last portion.
    open: Arc<Mutex<HashMap<Key, Weak<Tally>>>>,
}

/// Who has a tally: a user at one network, as one kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    user: Option<UserId>,
    network: Network,
    kind: Kind,
}

#[derive(Debug)]
struct Tally {
    key: Key,
    chunk: u64,
    open: Arc<Mutex<HashMap<Key, Weak<Self>>>>,
    /// A std mutex: held for some arithmetic, and for a turn of the pool when a chunk is used up.
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    charge: Charge,
    used: u64,
}

/// A part of a tally; dropping it gives it back.
#[derive(Debug)]
pub struct Portion {
    tally: Arc<Tally>,
    amount: u64,
}

impl Tallies {
    /// No tallies yet.
    #[must_use]
    pub fn new(pool: Arc<Pool>) -> Self {
        Self {
            chunk: (pool.capacity() / CHUNKS_MIN).clamp(1, CHUNK_MAX),
            pool,
            open: Arc::default(),
        }
    }

    /// The pool behind them.
    #[must_use]
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Takes so much for a client.
    ///
    /// # Errors
    /// As [`Pool::take`].
    pub fn take(&self, claimant: &Claimant, amount: u64) -> Result<Portion, Refused> {
        let tally = self.tally(claimant);
        {
            let mut held = tally.lock();
            let wanted = held.used.saturating_add(amount);
            let missing = wanted.saturating_sub(held.charge.amount());
            if missing > 0 {
                let more = missing.div_ceil(self.chunk).saturating_mul(self.chunk);
                // Of what is free: an eviction may need this tally.
                held.charge.grow_of_free(more)?;
            }
            held.used = wanted;
        }
        Ok(Portion { tally, amount })
    }

    fn tally(&self, claimant: &Claimant) -> Arc<Tally> {
        let key = Key {
            user: claimant.user.clone(),
            network: claimant.network,
            kind: claimant.kind,
        };
        let mut open = lock(&self.open);
        if let Some(tally) = open.get(&key).and_then(Weak::upgrade) {
            return tally;
        }
        let tally = Arc::new(Tally {
            key: key.clone(),
            chunk: self.chunk,
            open: Arc::clone(&self.open),
            held: Mutex::new(Held {
                charge: self.pool.charge(claimant),
                used: 0,
            }),
        });
        open.insert(key, Arc::downgrade(&tally));
        tally
    }
}

impl Tally {
    fn lock(&self) -> MutexGuard<'_, Held> {
        lock(&self.held)
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        // Another one may have been opened since the last portion of this one was given back.
        if open.get(&self.key).is_some_and(|it| it.strong_count() == 0) {
            open.remove(&self.key);
        }
    }
}

impl Portion {
    /// How much it is.
    #[must_use]
    pub fn amount(&self) -> u64 {
        self.amount
    }

    /// Makes one of two portions of the same tally. Those of different tallies come back as they are.
    ///
    /// # Errors
    /// The other portion, when it is of another tally.
    pub fn join(&mut self, mut other: Self) -> Result<(), Self> {
        if !Arc::ptr_eq(&self.tally, &other.tally) {
            return Err(other);
        }
        self.amount += std::mem::take(&mut other.amount);
        Ok(())
    }

    /// Gives so much of it back.
    pub fn give_back(&mut self, less: u64) {
        let less = less.min(self.amount);
        self.amount -= less;
        let mut held = self.tally.lock();
        held.used = held.used.saturating_sub(less);
        let unused = held.charge.amount().saturating_sub(held.used);
        let unused = unused / self.tally.chunk * self.tally.chunk;
        if unused > 0 {
            held.charge.shrink(unused);
        }
    }
}

impl Drop for Portion {
    fn drop(&mut self) {
        self.give_back(self.amount);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::PoolSettings;

    fn at(address: &str) -> Claimant {
        Claimant::stranger(Network::of(address.parse().unwrap()))
    }

    #[test]
    fn an_account_takes_chunks_and_ends_with_its_last_portion() {
        let pool = Pool::new(PoolSettings::new("test", 1 << 30));
        let tallies = Tallies::new(Arc::clone(&pool));
        let first = tallies.take(&at("192.0.2.1"), 100).unwrap();
        let mut second = tallies.take(&at("192.0.2.1"), 4_000).unwrap();
        assert_eq!(pool.used(), 8 << 10);
        second.give_back(3_999);
        assert_eq!((second.amount(), pool.used()), (1, 4 << 10));
        second.join(first).unwrap();
        let other = tallies.take(&at("192.0.2.2"), 1).unwrap();
        let other = second.join(other).unwrap_err();
        assert_eq!(lock(&tallies.open).len(), 2);
        drop((second, other));
        assert_eq!((pool.used(), lock(&tallies.open).len()), (0, 0));
    }

    #[test]
    fn a_refused_portion_leaves_nothing_behind() {
        let pool = Pool::new(PoolSettings::new("test", 1_000));
        let tallies = Tallies::new(Arc::clone(&pool));
        assert!(tallies.take(&at("192.0.2.1"), 999).is_err());
        assert_eq!((pool.used(), lock(&tallies.open).len()), (0, 0));
        let held = tallies.take(&at("192.0.2.1"), 375).unwrap();
        assert!(tallies.take(&at("192.0.2.1"), 1).is_err());
        assert_eq!((held.amount(), pool.used()), (375, 375));
    }
}
