//! Refusals as the log shows them: one line a minute for each pool.
//!
//! Not here: what is refused (`pool`), counters of each refusal (`room`). Invariant: however many clients are refused, a
//! pool writes one line a minute, and no whole address.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::claimant::Claimant;
use super::pool::Refused;

/// How often a pool writes a line.
const LOGGED_EVERY: Duration = Duration::from_secs(60);

/// The refusals of one pool since the last line.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    number: u64,
    logged_at: Option<Instant>,
}

impl Refusals {
    /// One more. Writes the line when it is due.
    pub(super) fn note(&self, pool: &'static str, claimant: &Claimant, why: Refused) {
        let Some(number) = self.due(Instant::now()) else {
            return;
        };
        let network = claimant.network.truncated();
        let (who, advice) = match why {
            Refused::User => ("a user holds", "a user has a part of what is free"),
            Refused::Network => (
                "a network holds",
                "NETWORK_LIMITS gives a named network more",
            ),
            Refused::Full => (
                "all together hold",
                "the node is as full as its settings allow",
            ),
        };
        tracing::warn!(
            pool,
            refused = number,
            last_of = %network,
            "clients were refused, because {who} as much as they may now; {advice}"
        );
    }

    /// How many there were since the last line, if the next one is due.
    fn due(&self, now: Instant) -> Option<u64> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.number += 1;
        let is_due = (counted.logged_at).is_none_or(|at| now.duration_since(at) >= LOGGED_EVERY);
        is_due.then(|| {
            counted.logged_at = Some(now);
            std::mem::take(&mut counted.number)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_writes_one_line_a_minute_that_says_how_many_were_refused() {
        let (refusals, began) = (Refusals::default(), Instant::now());
        let at = |seconds| refusals.due(began + Duration::from_secs(seconds));
        assert_eq!(
            [at(0), at(1), at(59), at(60), at(61)],
            [Some(1), None, None, Some(3), None]
        );
    }
}
