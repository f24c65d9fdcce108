//! How long a peer is waited for that takes, or gives, its bytes slowly.
//!
//! Not here: what is read or written (`body`, `paced`). Invariant: a peer that moves nothing is waited for
//! as long as the settings say, or as it has earned, and no longer; one that moves bytes more slowly than
//! [`BYTES_PER_SEC_MIN`] is waited for less and less.

use std::time::Duration;

/// The slowest pace that goes on for ever, in bytes per second: a tenth of what a modem of 1995 did.
pub(super) const BYTES_PER_SEC_MIN: u64 = 512;

/// How many silences a reader can earn. With the default of 10 s for one it is 80 s, in which a reader of 1 kB/s
/// reads the first window of a TCP connection (64 KiB).
const SILENCES_MAX: u32 = 8;

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

    /// Patience with a reader. Its own system takes bytes ahead of it and then nothing until it has read
    /// many of them, so what it has taken earns more than one silence: up to [`SILENCES_MAX`] of them.
    pub(super) fn with_reader(silence: Duration) -> Self {
        Self {
            most: silence * SILENCES_MAX,
            left: silence,
        }
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
    fn what_a_reader_has_taken_earns_several_silences() {
        let mut patience = Patience::with_reader(10 * SECOND);
        assert_eq!(patience.left(), 10 * SECOND);
        patience.moved(Duration::ZERO, 4_096);
        assert_eq!(patience.left(), 18 * SECOND);
        patience.moved(Duration::ZERO, 1 << 20);
        assert_eq!(patience.left(), 80 * SECOND);
        // 1 kB/s, seen in steps of half a window.
        for _ in 0..100 {
            patience.moved(32 * SECOND, 32 << 10);
        }
        assert_eq!(patience.left(), 80 * SECOND);
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
