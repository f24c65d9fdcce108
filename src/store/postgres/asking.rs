//! One question to the database, without a transaction.
//!
//! Not here: what is asked. Invariant: a connection whose answer came too late is not used again.

use std::sync::atomic::Ordering;

use deadpool_postgres::Object;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::{PostgresStore, late};
use crate::store::StoreError;

impl PostgresStore {
    /// Asks one question on a connection of the pool.
    pub(super) async fn ask(
        &self,
        statement: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        self.ask_by(self.client().await?, statement, params).await
    }

    /// The same on this connection, which goes back to the pool if it answers.
    pub(super) async fn ask_by(
        &self,
        client: Object,
        statement: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let answer = tokio::time::timeout(self.deadline, async {
            let statement = client.prepare_cached(statement).await?;
            client.query(&statement, params).await
        });
        let answer = answer.await;
        let is_late = answer.is_err();
        if self.is_late.load(Ordering::Relaxed) != is_late {
            self.is_late.store(is_late, Ordering::Relaxed);
        }
        if let Ok(answer) = answer {
            return Ok(answer?);
        }
        // What comes late must not be read by the next one.
        drop(Object::take(client));
        Err(late())
    }
}
