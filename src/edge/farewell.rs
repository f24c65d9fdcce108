//! What a client sends after the goodbye: it is read and dropped, in the turns of its network.
//!
//! Not here: the goodbye itself, which each transport writes (`socket`). Invariants: after every 32 KiB that are
//! dropped the client waits for its turn, as an open session does that sends much at once; after
//! [`DROPPED_BYTES_MAX`] nothing more is read.
//!
//! A socket that is dropped with bytes unread resets the connection, and takes the goodbye with it. So the node reads
//! on until the client has closed. A client that ignores the goodbye can send as fast as it likes during that time,
//! and 20 of them would keep the threads of the runtime busy for tens of milliseconds.

use std::sync::Arc;
use std::time::Duration;

use super::connection::TURN_BYTES;
use super::turns::Turns;
use crate::model::Network;

/// How many bytes are dropped for one client. More than the kernels hold of a client that stops at the goodbye.
pub(super) const DROPPED_BYTES_MAX: usize = 8 << 20;

/// How long, and how much, the node reads of one client after the goodbye.
#[derive(Debug)]
pub(super) struct Farewell {
    /// How long the goodbye may take, with everything that is dropped.
    pub(super) linger: Duration,
    turns: Option<(Arc<Turns>, Network)>,
    dropped: usize,
    since_turn: usize,
}

impl Farewell {
    /// Of a client of this network.
    pub(super) fn new(turns: &Arc<Turns>, network: Option<Network>, linger: Duration) -> Self {
        Self {
            turns: network.map(|network| (Arc::clone(turns), network)),
            ..Self::without_turns(linger)
        }
    }

    /// Of a client that gives way to the tasks that are ready, because there are no turns or its network is not known.
    pub(super) fn without_turns(linger: Duration) -> Self {
        Self {
            linger,
            turns: None,
            dropped: 0,
            since_turn: 0,
        }
    }

    /// Counts bytes that were dropped, and waits for the turn of the network if those are many. Returns whether more
    /// may be read. Dropped while it waits, it gives its place up.
    pub(super) async fn dropped(&mut self, bytes: usize) -> bool {
        self.dropped = self.dropped.saturating_add(bytes);
        self.since_turn = self.since_turn.saturating_add(bytes);
        if self.dropped >= DROPPED_BYTES_MAX {
            return false;
        }
        if self.since_turn > usize::from(TURN_BYTES) {
            self.since_turn = 0;
            self.give_way().await;
        }
        true
    }

    async fn give_way(&self) {
        let turns = self.turns.as_ref();
        match turns.and_then(|(turns, network)| turns.read(*network)) {
            Some(mut place) => {
                // Such a place is never refused.
                let _turn = place.turn().await;
            }
            None => tokio::task::yield_now().await,
        }
    }
}

#[cfg(test)]
mod tests;
