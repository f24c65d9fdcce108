//! Room for a claimant in a pool that is short: whether others lose for them, and how many charges.
//!
//! Not here: which charge goes first (`state`, `order`), what a claimant may hold (`pool`). Invariants: nothing is
//! taken away for a claimant who is refused anyway; a charge that is evicted counts as given back from that moment on.
//!
//! Evictions end when a pool is no longer short, so a claimant whose share is too small even then can be granted
//! something only when a large charge goes. Which charges would go is therefore tried out first, under the lock of the
//! pool, and undone:
//!
//! ```text
//! enough when the last of them has gone                            they go
//! more than EVICTIONS_MAX, for a claimant who is within their      they go, and the next attempt
//! share as soon as the pool is no longer short                     goes on with what they made free
//! otherwise                                                        none goes
//! ```

use std::sync::Arc;

use smallvec::SmallVec;

use super::claimant::Claimant;
use super::pool::{Pool, Refused};
use super::state::{Amount, PoolState, Slot};

/// A pool is short when less than this part of it is free. Before that a refusal is the claimant's own share, and
/// nobody else loses for it.
pub(super) const SHORT_PART: u64 = 16;

/// How many charges are taken away for one attempt of a claimant, who may need more than the largest of them was.
const EVICTIONS_MAX: u32 = 64;

/// The same for a claimant whose share is too small when the pool is no longer short. Few, because each attempt of
/// such a claimant tries them out, and mostly in vain.
const EVICTIONS_BEYOND_MAX: u32 = 8;

/// What a claimant was not granted.
#[derive(Debug)]
pub struct Missing {
    pool: Arc<Pool>,
    claimant: Claimant,
    /// What their charge stands for, and what it is to stand for.
    change: (Amount, Amount),
    why: Refused,
}

impl Missing {
    pub(super) fn new(
        pool: &Arc<Pool>,
        claimant: Claimant,
        change: (Amount, Amount),
        why: Refused,
    ) -> Self {
        Self {
            pool: Arc::clone(pool),
            claimant,
            change,
            why,
        }
    }

    /// Why it was not granted. Counts nothing.
    pub(super) fn why(&self) -> Refused {
        self.why
    }

    /// Counts the refusal.
    #[must_use]
    pub fn refused(self) -> Refused {
        let name = self.pool.name();
        metrics::counter!("budget_refused_total", "pool" => name).increment(1);
        self.pool.refusals.note(name, &self.claimant, self.why);
        self.why
    }

    /// How many charges may be taken from others for this; zero when it would be refused anyway.
    pub(super) fn evictions(&self) -> u32 {
        let mut state = self.pool.lock();
        let short = self.pool.capacity() / SHORT_PART;
        let at_short = (self.pool).admit_at(short, &state, &self.claimant, self.change);
        let is_within = at_short.is_ok();
        let most = match is_within {
            true => EVICTIONS_MAX,
            false => EVICTIONS_BEYOND_MAX,
        };
        let mut tried: SmallVec<[(Slot, Amount); 8]> = SmallVec::new();
        let mut going = 0;
        let mut needed = 0;
        for number in 1..=most {
            let Some((slot, shared)) = self.next(&mut state, going) else {
                break;
            };
            tried.push((slot, state.amount(slot)));
            state.resize(slot, Amount::default());
            going += shared;
            let free = self.pool.free(&state, self.claimant.kind, going);
            let admitted = (self.pool).admit_at(free, &state, &self.claimant, self.change);
            if admitted.is_ok() || (is_within && number == most) {
                needed = number;
                break;
            }
        }
        for (slot, amount) in tried.into_iter().rev() {
            state.resize(slot, amount);
        }
        needed
    }

    /// Takes one charge away. Returns whether there was one.
    fn make_room(&self) -> bool {
        let whose = {
            let mut state = self.pool.lock();
            let next = self.next(&mut state, 0);
            let Some(whose) = next.and_then(|(slot, _)| state.evict(slot)) else {
                return false;
            };
            whose
        };
        metrics::counter!("budget_evicted_total", "pool" => self.pool.name()).increment(1);
        if let Some(whose) = whose.upgrade() {
            whose.evict();
        }
        true
    }

    /// The charge that goes next, if the pool is short and its holder has much more than the claimant, and how much
    /// that makes free of what shared things use up. `going` is what they will use up less.
    fn next(&self, state: &mut PoolState, going: u64) -> Option<(Slot, u64)> {
        let (from, to) = self.change;
        let more = to.minus(from);
        let free = self.pool.free(state, self.claimant.kind, going);
        if free >= more.own && free > self.pool.capacity() / SHORT_PART {
            return None;
        }
        let together = self.pool.used_by_shared().saturating_sub(going);
        let slot = state.largest(&self.claimant, more, together)?;
        let references = Amount {
            own: 0,
            ..state.amount(slot)
        };
        Some((slot, state.weigh(references, together)))
    }
}

/// Attempts something until it is granted, and takes charges from the largest holder in between. The attempt may take
/// locks; none is held while room is made.
///
/// # Errors
/// The refusal, when no one else holds much more, or too little can be made free.
pub fn granted<T>(mut attempt: impl FnMut() -> Result<T, Missing>) -> Result<T, Refused> {
    let (mut left, mut taken) = (0, 0);
    loop {
        let missing = match attempt() {
            Ok(granted) => return Ok(granted),
            Err(missing) => missing,
        };
        if left == 0 {
            // Again when less became free than was expected: the place of a pattern passes to its next subscriber.
            left = missing.evictions().min(EVICTIONS_MAX - taken);
        }
        if left == 0 || !missing.make_room() {
            return Err(missing.refused());
        }
        left -= 1;
        taken += 1;
    }
}
