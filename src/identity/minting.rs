//! How many visitors one node creates: a ceiling for floods that come from many networks at once.
//!
//! Not the limit per network (that one is shared by the nodes, through `quota`). Invariant: within
//! any hour at most twice the hourly number is created, and a refusal says when to come back.

use crate::model::UnixMillis;

const HOUR_MS: u64 = 60 * 60 * 1000;

/// The ceiling, kept as the time at which everything created so far has been worked off (the
/// generic cell rate algorithm): one number instead of a window of time stamps.
#[derive(Debug)]
pub(super) struct Minting {
    /// Zero when there is no ceiling.
    interval_ms: u64,
    worked_off_at: UnixMillis,
}

impl Minting {
    /// Zero switches the ceiling off.
    pub(super) fn per_hour(number: u32) -> Self {
        Self {
            interval_ms: HOUR_MS.checked_div(number.into()).unwrap_or(0),
            worked_off_at: UnixMillis(0),
        }
    }

    /// Counts one more, or says in how many milliseconds there is room for it.
    pub(super) fn take(&mut self, now: UnixMillis) -> Result<(), u64> {
        let next = self.worked_off_at.max(now).0 + self.interval_ms;
        let horizon = now.0 + HOUR_MS;
        if next > horizon {
            return Err(next - horizon);
        }
        self.worked_off_at = UnixMillis(next);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_no_ceiling() {
        let mut minting = Minting::per_hour(0);
        let now = UnixMillis(1_000_000_000);
        assert!((0..10_000).all(|_| minting.take(now).is_ok()));
    }

    #[test]
    fn an_hours_worth_at_once_and_then_one_by_one() {
        let mut minting = Minting::per_hour(5_000);
        let start = UnixMillis(1_000_000_000);
        assert_eq!(
            (0..6_000).filter(|_| minting.take(start).is_ok()).count(),
            5_000
        );
        assert_eq!(minting.take(start), Err(720));
        assert_eq!(minting.take(UnixMillis(start.0 + 719)), Err(1));
        assert_eq!(minting.take(UnixMillis(start.0 + 720)), Ok(()));
        assert_eq!(minting.take(UnixMillis(start.0 + 720)), Err(720));
        let later = UnixMillis(start.0 + 3 * HOUR_MS);
        assert_eq!(
            (0..6_000).filter(|_| minting.take(later).is_ok()).count(),
            5_000
        );
    }
}
