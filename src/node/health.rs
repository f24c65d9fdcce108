//! The node looks at its parts.
//!
//! Not here: the answer on the wire (`edge`).

use std::sync::Arc;

use async_trait::async_trait;

use crate::bus::Bus;
use crate::edge::{Health, HealthSource, MemoryState, PartState};
use crate::location::Location;
use crate::store::{Store, StoreError};

/// The parts, and whether they are others' processes.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) store: Arc<dyn Store>,
    pub(super) location: Arc<dyn Location>,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) alone: bool,
}

#[async_trait]
impl HealthSource for Parts {
    async fn health(&self) -> Health {
        let state = |up: bool| if up { PartState::Up } else { PartState::Down };
        let remote = |up: bool| {
            if self.alone {
                PartState::NotUsed
            } else {
                state(up)
            }
        };
        let (store, peers) = tokio::join!(self.store.check(), self.location.peers());
        Health {
            database: state(answers(&store)),
            redis: remote(peers.is_ok()),
            rabbitmq: remote(self.bus.is_up()),
            // The edge knows both: it has the account, and it is what drains.
            memory: MemoryState::default(),
            draining: false,
        }
    }
}

/// Whether the store works. One that has too much to do does: a client that fills its queue must not take the node out
/// of service.
fn answers(store: &Result<(), StoreError>) -> bool {
    matches!(store, Ok(()) | Err(StoreError::Overloaded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_with_too_much_to_do_is_not_down() {
        assert!(answers(&Ok(())));
        assert!(answers(&Err(StoreError::Overloaded)));
        let away = StoreError::Unavailable("the disk is full".to_owned());
        assert!(!answers(&Err(away)));
    }
}
