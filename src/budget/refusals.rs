//! Refusals as the log shows them: one line a minute for each pool.
//!
//! Not here: what is refused (`pool`), counters of each refusal (`room`). Invariant: however many clients are refused, a
//! pool writes one line a minute, and no whole address.

use std::time::Instant;

use super::claimant::Claimant;
use super::pool::Refused;
use crate::model::EveryMinute;

/// The refusals of one pool since the last line.
#[derive(Debug, Default)]
pub(super) struct Refusals(EveryMinute);

impl Refusals {
    /// One more. Writes the line when it is due.
    pub(super) fn note(&self, pool: &'static str, claimant: &Claimant, why: Refused) {
        let Some(number) = self.0.due(Instant::now()) else {
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
}
