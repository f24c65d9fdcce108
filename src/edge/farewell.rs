//! What a client sends after the goodbye: it is read and dropped, in the turns of its network.
//!
//! Not here: the goodbye itself, which each transport writes (`socket`). Invariants: after every 32 KiB that are
//! dropped the client waits for its turn, as an open session does that sends much at once; after [`AT_ONCE_BYTES`] it
//! also waits for [`PAUSE`].
//!
//! A socket that is dropped with bytes unread resets the connection, and takes the goodbye with it. So the node reads
//! on until the client has closed, or the time is over. A client that ignores the goodbye can send as fast as it likes
//! during that time, and 20 of them would keep a processor busy. Nothing is lost by reading them slowly: the goodbye
//! reaches them all the same.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::connection::TURN_BYTES;
use crate::model::Network;
use crate::turns::Turns;

/// So much is dropped without a pause: what a client has mostly sent before it receives the goodbye.
const AT_ONCE_BYTES: usize = 128 << 10;

/// How long a client waits for each further 32 KiB.
const PAUSE: Duration = Duration::from_millis(100);

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

    /// Counts bytes that were dropped, and waits until more may be read. Dropped while it waits, it gives its place up.
    pub(super) async fn dropped(&mut self, bytes: usize) {
        self.dropped = self.dropped.saturating_add(bytes);
        self.since_turn = self.since_turn.saturating_add(bytes);
        if self.since_turn <= usize::from(TURN_BYTES) {
            return;
        }
        self.since_turn = 0;
        if self.dropped > AT_ONCE_BYTES {
            sleep(PAUSE).await;
        }
        self.give_way().await;
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
