//! What the questions of accounts are asked of: a connection of this engine.
//!
//! Not here: the questions. Invariant: a change is one transaction, tried again when PostgreSQL
//! ended it because of somebody else's; a connection whose transaction has not ended in order is
//! given up and never lent again.

use std::time::Duration;

use deadpool_postgres::Object;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Error, Row as Found};

use super::connect::words;
use super::visits::{ATTEMPTS_MAX, SWEEP_TIMEOUT, is_somebody_elses};
use super::{PostgresStore, late};
use crate::store::StoreError;
use crate::store::accounts::sql::{Row, Sql, Value, damaged};

/// A connection that is lent for one question.
pub(in crate::store) struct Connected<'a> {
    /// `None` once it is given back or given up.
    client: Option<Object>,
    store: &'a PostgresStore,
    limit: Duration,
    is_in_transaction: bool,
    /// Whether PostgreSQL ended the transaction because of another one.
    is_to_be_tried_again: bool,
}

impl PostgresStore {
    /// Lends a connection for a question of one statement.
    pub(in crate::store) async fn ask_accounts(&self) -> Result<Connected<'_>, StoreError> {
        Ok(Connected {
            client: Some(self.client().await?),
            store: self,
            limit: self.deadline,
            is_in_transaction: false,
            is_to_be_tried_again: false,
        })
    }

    /// Begins a change.
    pub(in crate::store) async fn change_accounts(
        &self,
        attempt: &mut u32,
    ) -> Result<Connected<'_>, StoreError> {
        self.begin("BEGIN ISOLATION LEVEL READ COMMITTED", attempt)
            .await
    }

    /// Begins a change that may touch everything of somebody, and take as long as that.
    pub(in crate::store) async fn move_accounts(
        &self,
        attempt: &mut u32,
    ) -> Result<Connected<'_>, StoreError> {
        let millis = SWEEP_TIMEOUT.as_millis();
        let begin =
            format!("BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = {millis}");
        let mut sql = self.begin(&begin, attempt).await?;
        sql.limit = sql.limit.max(SWEEP_TIMEOUT);
        Ok(sql)
    }

    async fn begin(&self, begin: &str, attempt: &mut u32) -> Result<Connected<'_>, StoreError> {
        if *attempt > 0 {
            // Those that met once should not meet again: each waits for a time of its own.
            let spread = rand::random_range(1..=10 * u64::from(*attempt));
            tokio::time::sleep(Duration::from_millis(spread)).await;
        }
        *attempt += 1;
        let mut sql = self.ask_accounts().await?;
        // Whoever stops waiting for the answer gives up the connection, too.
        sql.is_in_transaction = true;
        let begun = tokio::time::timeout(self.deadline, sql.client()?.batch_execute(begin)).await;
        begun.map_err(|_| late())??;
        Ok(sql)
    }
}

impl Connected<'_> {
    /// How long the question may take.
    pub(in crate::store) fn limit(&self) -> Duration {
        self.limit
    }

    /// Gives the connection back after a question.
    pub(in crate::store) fn end<T>(
        mut self,
        outcome: Option<Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        // What comes late must not be read by the next one.
        self.is_in_transaction = outcome.is_none();
        outcome.unwrap_or_else(|| Err(late()))
    }

    /// Ends a change; `None` when it is to be tried again.
    pub(in crate::store) async fn commit<T>(
        mut self,
        outcome: Option<Result<T, StoreError>>,
        attempt: u32,
    ) -> Option<Result<T, StoreError>> {
        let outcome = outcome.unwrap_or_else(|| Err(late()));
        let end = if outcome.is_ok() {
            "COMMIT"
        } else {
            "ROLLBACK"
        };
        let client = match self.client() {
            Ok(client) => client,
            Err(err) => return Some(Err(err)),
        };
        let ended = tokio::time::timeout(self.limit, client.batch_execute(end)).await;
        self.is_in_transaction = !matches!(ended, Ok(Ok(())));
        if outcome.is_err() {
            let is_again = self.is_to_be_tried_again && attempt < ATTEMPTS_MAX;
            return (!is_again).then_some(outcome);
        }
        Some(match ended {
            Ok(Ok(())) => outcome,
            Ok(Err(err)) => Err(err.into()),
            Err(_) => Err(late()),
        })
    }

    fn client(&self) -> Result<&Object, StoreError> {
        self.client.as_ref().ok_or_else(late)
    }

    /// An error, and whether the next attempt may go better.
    fn failed(&mut self, err: &Error) -> StoreError {
        self.is_to_be_tried_again |= is_somebody_elses(err);
        StoreError::Unavailable(format!("PostgreSQL: {}", words(err)))
    }
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        if self.is_in_transaction
            && let Some(client) = self.client.take()
        {
            drop(Object::take(client));
        }
    }
}

impl Sql for Connected<'_> {
    const LOCK: &'static str = " FOR UPDATE";

    fn changed(&self) -> String {
        "pg_current_xact_id()::text::bigint".to_owned()
    }

    fn store_id(&self) -> &str {
        &self.store.store_id
    }

    async fn execute(&mut self, statement: &str, params: &[Value]) -> Result<u64, StoreError> {
        let client = self.client()?;
        let outcome = async {
            let statement = client.prepare_cached(statement).await?;
            client.execute(&statement, &borrowed(params)).await
        };
        outcome.await.map_err(|err| self.failed(&err))
    }

    async fn query(&mut self, statement: &str, params: &[Value]) -> Result<Vec<Row>, StoreError> {
        let client = self.client()?;
        let outcome = async {
            let statement = client.prepare_cached(statement).await?;
            client.query(&statement, &borrowed(params)).await
        };
        let found = outcome.await.map_err(|err| self.failed(&err))?;
        found.iter().map(row).collect()
    }
}

fn borrowed(params: &[Value]) -> Vec<&(dyn ToSql + Sync)> {
    params
        .iter()
        .map(|value| value as &(dyn ToSql + Sync))
        .collect()
}

impl ToSql for Value {
    fn to_sql(
        &self,
        wanted: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Int(number) => number.to_sql_checked(wanted, out),
            Self::Text(text) => text.to_sql_checked(wanted, out),
            Self::Bytes(bytes) => bytes.to_sql_checked(wanted, out),
        }
    }

    /// What is in it decides, and that is looked at when it is sent.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

fn row(found: &Found) -> Result<Row, StoreError> {
    let columns = found.columns().iter().enumerate();
    let values = columns.map(|(at, column)| {
        Ok(match *column.type_() {
            Type::INT8 => found
                .try_get::<_, Option<i64>>(at)?
                .map_or(Value::Null, Value::Int),
            Type::INT4 => found
                .try_get::<_, Option<i32>>(at)?
                .map_or(Value::Null, |number| Value::Int(number.into())),
            Type::TEXT => found
                .try_get::<_, Option<String>>(at)?
                .map_or(Value::Null, Value::Text),
            Type::BYTEA => found
                .try_get::<_, Option<Vec<u8>>>(at)?
                .map_or(Value::Null, Value::Bytes),
            _ => return Err(damaged()),
        })
    });
    values.collect::<Result<_, StoreError>>().map(Row)
}
