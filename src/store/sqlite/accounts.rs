//! What the questions of accounts are asked of: a connection of this engine.
//!
//! Not here: the questions. Invariant: a question that fails leaves nothing behind and does not make
//! its neighbours in the batch fail; only a file that cannot be written makes all of them fail.

use std::future::{Future, ready};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Error, ToSql, params_from_iter};

use tokio::sync::oneshot;

use super::writer::{Call, Unit};
use super::{SqliteStore, closed};
use crate::store::StoreError;
use crate::store::accounts::sql::{Row, Sql, Value};

/// A connection, and what the store knows beside it.
pub(in crate::store) struct Connected<'a> {
    conn: &'a Connection,
    store_id: &'a str,
    /// The position of this batch; of a reader none.
    position: i64,
}

impl SqliteStore {
    /// Asks a question of one statement on a reader's connection.
    pub(in crate::store) async fn ask_accounts<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Connected<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.read(move |conn| {
            question(&mut Connected {
                conn,
                store_id: "",
                position: 0,
            })
        })
        .await
    }

    /// Makes a change that touches neither conversations nor the hands of identities. While messages come, it waits
    /// up to 100 ms for one to be committed with, so that no message waits for its sync.
    pub(in crate::store) async fn change_accounts<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Connected<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let call = Call::new(move |unit: &Unit<'_>| apart(unit, question), reply);
        self.enqueue(Box::new(call.patient()))?;
        answer.await.map_err(|_| closed())??
    }

    /// Makes a change that may touch everything.
    pub(in crate::store) async fn move_accounts<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Connected<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.write(move |unit| {
            unit.open_the_ledger()?;
            unit.moves_a_head();
            apart(unit, question)
        })
        .await?
    }
}

/// Does it so that it can be taken back alone.
fn apart<T>(
    unit: &Unit<'_>,
    question: impl FnOnce(&mut Connected<'_>) -> Result<T, StoreError>,
) -> Result<Result<T, StoreError>, Error> {
    unit.conn.execute_batch("SAVEPOINT question")?;
    let outcome = question(&mut Connected {
        conn: unit.conn,
        store_id: unit.store_id,
        position: unit.position,
    });
    if outcome.is_err() {
        // Where SQLite has ended the whole transaction by itself, this fails, and the batch with it.
        unit.conn.execute_batch("ROLLBACK TO question")?;
    }
    unit.conn.execute_batch("RELEASE question")?;
    Ok(outcome)
}

impl Connected<'_> {
    fn rows(&self, statement: &str, params: &[Value]) -> Result<Vec<Row>, StoreError> {
        let mut statement = self.conn.prepare_cached(statement)?;
        let columns = statement.column_count();
        let mut rows = statement.query(params_from_iter(params))?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let values = (0..columns).map(|column| Ok(value(row.get_ref(column)?)));
            found.push(Row(values.collect::<Result<_, Error>>()?));
        }
        Ok(found)
    }

    fn change(&self, statement: &str, params: &[Value]) -> Result<u64, StoreError> {
        let mut statement = self.conn.prepare_cached(statement)?;
        Ok(statement.execute(params_from_iter(params))? as u64)
    }
}

impl Sql for Connected<'_> {
    /// The writer is alone.
    const LOCK: &'static str = "";

    fn changed(&self) -> String {
        self.position.to_string()
    }

    fn store_id(&self) -> &str {
        self.store_id
    }

    fn execute(
        &mut self,
        statement: &str,
        params: &[Value],
    ) -> impl Future<Output = Result<u64, StoreError>> + Send {
        ready(self.change(statement, params))
    }

    fn query(
        &mut self,
        statement: &str,
        params: &[Value],
    ) -> impl Future<Output = Result<Vec<Row>, StoreError>> + Send {
        ready(self.rows(statement, params))
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>, Error> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

fn value(found: ValueRef<'_>) -> Value {
    match found {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Int(number),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
        // No column holds one.
        ValueRef::Real(_) => Value::Null,
    }
}
