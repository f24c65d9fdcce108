//! The node looks at its parts.
//!
//! Not here: the answer on the wire (`edge`).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout;

use crate::bus::Bus;
use crate::edge::{Health, HealthSource, MemoryState, PartState};
use crate::location::Location;
use crate::store::{Store, StoreError};

/// How long the check of one part may take before it counts as failed. Less than the edge waits for all of them.
const PART_TIMEOUT: Duration = Duration::from_millis(2_500);

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
        let location = async { self.location.peers().await.is_ok() };
        look(
            self.store.check(),
            (!self.alone).then_some((location, self.bus.is_up())),
        )
        .await
    }
}

/// Checks the store, and what a cluster needs besides: the location, and whether the bus is up. Each part has a
/// deadline of its own, so that one that hangs does not make the others look down.
async fn look(
    store: impl Future<Output = Result<(), StoreError>>,
    cluster: Option<(impl Future<Output = bool>, bool)>,
) -> Health {
    let state = |up: bool| if up { PartState::Up } else { PartState::Down };
    let store = async {
        state(
            timeout(PART_TIMEOUT, store)
                .await
                .is_ok_and(|it| answers(&it)),
        )
    };
    let others = async {
        let Some((location, is_bus_up)) = cluster else {
            return (PartState::NotUsed, PartState::NotUsed);
        };
        let is_up = timeout(PART_TIMEOUT, location).await.unwrap_or(false);
        (state(is_up), state(is_bus_up))
    };
    let (database, (redis, rabbitmq)) = tokio::join!(store, others);
    Health {
        database,
        redis,
        rabbitmq,
        // The edge knows both: it has the account, and it is what drains.
        memory: MemoryState::default(),
        draining: false,
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

    #[tokio::test(start_paused = true)]
    async fn a_part_that_hangs_makes_no_other_look_down() {
        use PartState::{Down, NotUsed, Up};
        let parts = |health: Health| [health.database, health.redis, health.rabbitmq];
        let alone = None::<(std::future::Ready<bool>, bool)>;
        let health = look(std::future::pending(), alone).await;
        assert_eq!(parts(health), [Down, NotUsed, NotUsed]);
        let there = Some((std::future::ready(true), true));
        let health = look(std::future::pending(), there).await;
        assert_eq!(parts(health), [Down, Up, Up]);
        let hangs = Some((std::future::pending(), true));
        let health = look(std::future::ready(Ok(())), hangs).await;
        assert_eq!(parts(health), [Up, Down, Up]);
    }
}
