//! The limits of the PostgreSQL engine.
//!
//! Invariant: a store is opened only with limits that were checked.

use std::time::Duration;

use crate::store::StoreError;

/// The limits of a PostgreSQL store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresSettings {
    /// Lanes, each with a connection of its own that writes one batch at a time, 1 to 64.
    pub lanes: usize,
    /// Connections for everything else, 1 to 256.
    pub connections: usize,
    /// Messages that may wait in a lane, 1 to 1,000,000; beyond: [`StoreError::Overloaded`].
    pub lane_queue_max: usize,
    /// Octets of messages that may wait in all lanes, 64 KiB to 4 GiB; beyond:
    /// [`StoreError::Overloaded`].
    pub queue_bytes_max: usize,
    /// Messages in one transaction, 1 to 10,000.
    pub batch_max: usize,
    /// How long a new connection may take, and how long one is waited for, 10 ms to 60 s.
    pub connect_timeout: Duration,
    /// How long a statement may run, 10 ms to 10 min.
    pub statement_timeout: Duration,
}

impl Default for PostgresSettings {
    fn default() -> Self {
        Self {
            lanes: 1,
            connections: 8,
            lane_queue_max: 4_096,
            queue_bytes_max: 64 << 20,
            batch_max: 512,
            connect_timeout: Duration::from_secs(3),
            statement_timeout: Duration::from_secs(5),
        }
    }
}

impl PostgresSettings {
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let connect_ms = self.connect_timeout.as_millis();
        let statement_ms = self.statement_timeout.as_millis();
        for (name, is_allowed, allowed) in [
            ("lanes", (1..=64).contains(&self.lanes), "1 to 64"),
            (
                "connections",
                (1..=256).contains(&self.connections),
                "1 to 256",
            ),
            (
                "lane_queue_max",
                (1..=1_000_000).contains(&self.lane_queue_max),
                "1 to 1,000,000",
            ),
            (
                "queue_bytes_max",
                (64 << 10..=4 << 30).contains(&self.queue_bytes_max),
                "64 KiB to 4 GiB",
            ),
            (
                "batch_max",
                (1..=10_000).contains(&self.batch_max),
                "1 to 10,000",
            ),
            (
                "connect_timeout",
                (10..=60_000).contains(&connect_ms),
                "10 ms to 60 s",
            ),
            (
                "statement_timeout",
                (10..=600_000).contains(&statement_ms),
                "10 ms to 10 min",
            ),
        ] {
            if !is_allowed {
                let words = format!("the PostgreSQL setting {name} must be {allowed}");
                return Err(StoreError::Unavailable(words));
            }
        }
        Ok(())
    }
}
