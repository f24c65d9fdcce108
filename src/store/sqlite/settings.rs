//! The limits of the SQLite engine.
//!
//! Invariant: a store is opened only with limits that were checked.

use std::time::Duration;

use crate::store::StoreError;

/// The limits of a SQLite store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteSettings {
    /// Threads that read, 1 to 64.
    pub readers: usize,
    /// Writes that may wait, 1 to 1,000,000; beyond: [`StoreError::Overloaded`].
    pub queue_max: usize,
    /// Octets of messages that may wait, 64 KiB to 4 GiB; beyond: [`StoreError::Overloaded`].
    pub queue_bytes_max: usize,
    /// Writes in one transaction, 1 to 10,000.
    pub batch_max: usize,
    /// How long a foreign lock on the file is waited for (a backup tool), 1 ms to 60 s.
    pub busy_timeout: Duration,
    /// The size of the write-ahead log at which it is emptied even if readers must be waited for,
    /// 1 MiB to 4 GiB.
    pub wal_bytes_max: u64,
    /// How far the file may grow, at least 1 MiB; beyond, writing fails as on a full disk and
    /// reading goes on. `None`: as far as the disk allows.
    pub file_bytes_max: Option<u64>,
}

impl Default for SqliteSettings {
    fn default() -> Self {
        Self {
            readers: 2,
            queue_max: 8_192,
            queue_bytes_max: 64 << 20,
            batch_max: 512,
            busy_timeout: Duration::from_secs(5),
            wal_bytes_max: 64 << 20,
            file_bytes_max: None,
        }
    }
}

impl SqliteSettings {
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let busy_ms = self.busy_timeout.as_millis();
        for (name, is_allowed, allowed) in [
            ("readers", (1..=64).contains(&self.readers), "1 to 64"),
            (
                "queue_max",
                (1..=1_000_000).contains(&self.queue_max),
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
                "busy_timeout",
                (1..=60_000).contains(&busy_ms),
                "1 ms to 60 s",
            ),
            (
                "wal_bytes_max",
                (1 << 20..=4 << 30).contains(&self.wal_bytes_max),
                "1 MiB to 4 GiB",
            ),
            (
                "file_bytes_max",
                self.file_bytes_max.is_none_or(|bytes| bytes >= 1 << 20),
                "at least 1 MiB",
            ),
        ] {
            if !is_allowed {
                let words = format!("the SQLite setting {name} must be {allowed}");
                return Err(StoreError::Unavailable(words));
            }
        }
        Ok(())
    }
}
