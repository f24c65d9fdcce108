//! Whether the database takes what is to be stored.
//!
//! Not here: how readiness is answered (`edge`). Invariant: a database that only answers
//! questions is no store: one that is read-only, or whose disk is full, fails the check.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::PostgresStore;
use crate::store::StoreError;

/// A standby after a fail-over, and a database that was switched to read-only by hand, answer questions.
const IS_READ_ONLY: &str =
    "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool";

/// Text that does not compress, as long as a large message: a disk on which only small ones still fit
/// counts as full.
const PROBE: &str = "INSERT INTO meta (key, value) \
    SELECT 'probe', string_agg(md5(random()::text), '') FROM generate_series(1, 2048) \
    ON CONFLICT (key) DO UPDATE SET value = excluded.value";

/// How long the check waits while every connection of the pool is at work; less than readiness waits for the check.
const WAIT_MAX: Duration = Duration::from_secs(2);

const END_OF_PROBE: &str = "DELETE FROM meta WHERE key = 'probe'";

impl PostgresStore {
    /// Asks whether the database can be written to; after a batch that failed, by writing.
    ///
    /// # Errors
    /// [`StoreError::Overloaded`] while clients keep all connections busy and nothing has failed.
    pub(super) async fn check_writing(&self) -> Result<(), StoreError> {
        match self.try_writing().await {
            Err(StoreError::Overloaded) if self.has_failed() => {
                let detail = "PostgreSQL: statements fail, and no connection is free";
                Err(StoreError::Unavailable(detail.to_owned()))
            }
            checked => checked,
        }
    }

    /// Whether the last batch failed, or the last question got no answer.
    fn has_failed(&self) -> bool {
        [self.is_failing.as_ref(), &self.is_late]
            .iter()
            .any(|flag| flag.load(Ordering::Relaxed))
    }

    async fn try_writing(&self) -> Result<(), StoreError> {
        let client = tokio::time::timeout(WAIT_MAX, self.client()).await;
        let client = client.unwrap_or(Err(StoreError::Overloaded))?;
        let rows = self.ask_by(client, IS_READ_ONLY, &[]).await?;
        let is_read_only = match rows.first() {
            Some(row) => row.try_get(0)?,
            None => true,
        };
        if is_read_only {
            let detail =
                "PostgreSQL: the database is read-only; connect to the primary, or allow writing";
            return Err(StoreError::Unavailable(detail.to_owned()));
        }
        if self.is_failing.load(Ordering::Relaxed) {
            self.ask(PROBE, &[]).await?;
            self.ask(END_OF_PROBE, &[]).await?;
            self.is_failing.store(false, Ordering::Relaxed);
        }
        Ok(())
    }
}
