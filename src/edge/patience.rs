//! How long a peer is waited for that takes, or gives, its bytes slowly.
//!
//! Not here: what is read or written (`body`, `paced`). Invariant: a peer that moves nothing is waited for
//! as long as the settings say and no longer; one that moves bytes more slowly than [`BYTES_PER_SEC_MIN`]
//! is waited for less and less.

use std::time::Duration;

/// The slowest pace that goes on for ever, in bytes per second: a tenth of what a modem of 1995 did.
pub(super) const BYTES_PER_SEC_MIN: u64 = 512;

/// What is left of the patience with one peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    most: Duration,
    left: Duration,
}

impl Patience {
    /// Patience for a silence of this length.
    pub(super) fn new(most: Duration) -> Self {
        Self { most, left: most }
    }

    /// How long the peer may go on as it is.
    pub(super) fn left(&self) -> Duration {
        self.left
    }

    /// So many bytes moved after a wait of this length.
    pub(super) fn moved(&mut self, waited: Duration, bytes: usize) {
        let millis = (bytes as u64).saturating_mul(1_000) / BYTES_PER_SEC_MIN;
        let left = self.left.saturating_sub(waited);
        self.left = left.saturating_add(Duration::from_millis(millis));
        self.left = self.left.min(self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn silence_uses_patience_up_and_bytes_give_it_back() {
        let mut patience = Patience::new(10 * SECOND);
        patience.moved(4 * SECOND, 0);
        assert_eq!(patience.left(), 6 * SECOND);
        patience.moved(Duration::ZERO, 1_024);
        assert_eq!(patience.left(), 8 * SECOND);
        patience.moved(Duration::ZERO, 1 << 30);
        assert_eq!(patience.left(), 10 * SECOND);
    }

    #[test]
    fn a_trickle_below_the_slowest_pace_is_not_waited_for_for_ever() {
        let mut patience = Patience::new(10 * SECOND);
        let mut seconds = 0;
        while patience.left() >= SECOND {
            patience.moved(SECOND, 256);
            seconds += 1;
        }
        assert!((18..=20).contains(&seconds), "{seconds}");
        for _ in 0..1_000 {
            patience.moved(SECOND, 600);
        }
        assert_eq!(patience.left(), 10 * SECOND);
    }
}
