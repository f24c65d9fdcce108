//! The deliveries that the messages of one session make, as work that takes turns.
//!
//! Not here: whom a message reaches (`hub`). Invariant: between two turns of its network a session makes at
//! most [`PIECE`] deliveries to topics, whether one message reaches many or many messages reach a few each.

use std::sync::atomic::{AtomicU16, Ordering};

use super::Turns;
use crate::model::Network;

/// How many deliveries are made in one go, before others have their turn: a quarter of a millisecond of those that
/// cost most.
pub const PIECE: usize = 256;

/// The turns of one session that sends.
#[derive(Clone, Copy, Debug)]
pub struct Deliveries<'a> {
    turns: &'a Turns,
    network: Network,
    /// Deliveries since the last turn.
    made: &'a AtomicU16,
}

impl<'a> Deliveries<'a> {
    /// The turns of a session of this network, which has made so many deliveries since the last.
    #[must_use]
    pub fn new(turns: &'a Turns, network: Network, made: &'a AtomicU16) -> Self {
        Self {
            turns,
            network,
            made,
        }
    }

    /// How many may be made in one go now.
    #[must_use]
    pub fn room(&self) -> usize {
        PIECE.saturating_sub(usize::from(self.made.load(Ordering::Relaxed)))
    }

    /// So many more were made. Waits for the next turn of the network, once they are [`PIECE`].
    pub async fn made(&self, more: usize) {
        // The requests of a session are done one at a time, so nobody else counts meanwhile.
        let made = usize::from(self.made.load(Ordering::Relaxed)).saturating_add(more);
        if made < PIECE {
            let made = u16::try_from(made).unwrap_or(u16::MAX);
            return self.made.store(made, Ordering::Relaxed);
        }
        self.made.store(0, Ordering::Relaxed);
        self.turns.send(self.network).await;
    }
}
