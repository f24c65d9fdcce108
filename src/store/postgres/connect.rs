//! Connecting: the pools, what every connection sets, the schema, and the words of errors.
//!
//! Invariant: every connection goes to a primary, commits to disk before it answers, and ends its
//! statements by itself; no error has the password in its words.

use std::error::Error as _;
use std::time::Duration;

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, TimeoutType,
};
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::{Config, NoTls};

use super::{PostgresSettings, PostgresStore};
use crate::store::{StoreError, alike, sql};

mod embedded {
    refinery::embed_migrations!("migrations/postgres");
}

/// The advisory lock under which one node at a time changes the schema: `stompbox` in ASCII.
const SCHEMA_LOCK: i64 = 0x7374_6f6d_7062_6f78;
/// Every statement of this engine finds its rows by key, so no plan may read a table or a room as a
/// whole. PostgreSQL would choose that while a table is small or has no statistics yet, and keep
/// such a plan of a prepared statement while the table grows: one hot conversation then falls to
/// some hundred messages a second.
const PLANS: &str = "-c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off \
    -c enable_bitmapscan=off -c jit=off";
/// A question is planned each time that it is asked.
const FRESH_PLANS: &str = "-c plan_cache_mode=force_custom_plan";
/// What the lanes execute has one plan only, whatever the planner believes of the tables: each row is
/// found by itself, from what is handed in. To find that plan anew for each batch costs more than a
/// small batch does.
const KEPT_PLANS: &str = "-c plan_cache_mode=force_generic_plan";
/// How long the schema may take, the wait for other nodes that start included.
const SCHEMA_TIMEOUT: Duration = Duration::from_secs(120);

/// The connections for questions, and those of the lanes, which nothing else may take away.
pub(super) fn pools(url: &str, settings: &PostgresSettings) -> Result<(Pool, Pool), StoreError> {
    let pool = |size, plans| {
        let manager = Manager::from_config(
            config(url, settings, plans)?,
            NoTls,
            ManagerConfig {
                // Asking the connection's own task is enough: what it does not know yet is found
                // by the deadline of the next statement.
                recycling_method: RecyclingMethod::Fast,
            },
        );
        Pool::builder(manager)
            .max_size(size)
            .runtime(Runtime::Tokio1)
            .create_timeout(Some(settings.connect_timeout))
            .wait_timeout(Some(settings.connect_timeout))
            .recycle_timeout(Some(settings.connect_timeout))
            .build()
            .map_err(|err| StoreError::Unavailable(format!("PostgreSQL: {err}")))
    };
    Ok((
        pool(settings.connections, FRESH_PLANS)?,
        pool(settings.lanes, KEPT_PLANS)?,
    ))
}

impl PostgresStore {
    /// Brings the schema up to date without opening the store. Returns its version before (0 when
    /// there was none) and now.
    ///
    /// # Errors
    /// As [`PostgresStore::connect`].
    pub async fn migrate(url: &str, settings: &PostgresSettings) -> Result<(i64, i64), StoreError> {
        settings.check()?;
        let (_, pool) = pools(url, settings)?;
        let prepared = prepared(&pool).await?;
        Ok((prepared.before, prepared.now))
    }
}

/// Brings the schema up to date and yields the id of the store.
pub(super) async fn prepare(pool: &Pool) -> Result<String, StoreError> {
    prepared(pool).await.map(|prepared| prepared.store_id)
}

/// What was found and done.
pub(super) struct Prepared {
    store_id: String,
    /// The version of the schema before; 0 when there was none.
    pub(super) before: i64,
    /// The version of the schema now.
    pub(super) now: i64,
}

pub(super) async fn prepared(pool: &Pool) -> Result<Prepared, StoreError> {
    let mut client = pool.get().await?;
    let outcome = tokio::time::timeout(SCHEMA_TIMEOUT, async {
        check_server(&client).await?;
        let before = migrate(&mut client).await?;
        let (store_id, now) = (store_id(&client).await?, schema(&client).await?);
        Ok(Prepared {
            store_id,
            before,
            now,
        })
    })
    .await
    .map_err(|_| super::late())
    .flatten();
    // The session ends here, and with it the lock, however this went.
    drop(Object::take(client));
    outcome
}

/// How long a statement is waited for: the server ends it earlier, unless it cannot be heard.
pub(super) fn deadline(settings: &PostgresSettings) -> Duration {
    settings.statement_timeout + settings.connect_timeout
}

/// An error's words without row contents, which PostgreSQL gives as a detail.
pub(super) fn words(err: &tokio_postgres::Error) -> String {
    if let Some(found) = err.as_db_error() {
        return format!("{} ({})", found.message(), found.code().code());
    }
    let mut words = err.to_string();
    let mut source = err.source();
    while let Some(inner) = source {
        let inner_words = inner.to_string();
        if !words.contains(&inner_words) {
            words.push_str(": ");
            words.push_str(&inner_words);
        }
        source = inner.source();
    }
    words
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(err: tokio_postgres::Error) -> Self {
        Self::Unavailable(format!("PostgreSQL: {}", words(&err)))
    }
}

impl From<PoolError> for StoreError {
    fn from(err: PoolError) -> Self {
        match err {
            // Every connection is at work: more is asked than they can answer.
            PoolError::Timeout(TimeoutType::Wait) => Self::Overloaded,
            PoolError::Backend(err) => err.into(),
            PoolError::Closed => super::closed(),
            other @ (PoolError::Timeout(_)
            | PoolError::NoRuntimeSpecified
            | PoolError::PostCreateHook(_)) => Self::Unavailable(format!("PostgreSQL: {other}")),
        }
    }
}

fn config(url: &str, settings: &PostgresSettings, plans: &str) -> Result<Config, StoreError> {
    // The parser's own words may repeat parts of the address, and the password is one of them.
    let mut config: Config = url.parse().map_err(|_| {
        StoreError::Unavailable(
            "the address of the database cannot be read; \
             postgres://user:password@host:port/database is expected"
                .to_owned(),
        )
    })?;
    let millis = settings.statement_timeout.as_millis();
    let own = format!(
        "-c synchronous_commit=on -c statement_timeout={millis} -c lock_timeout={millis} \
         -c idle_in_transaction_session_timeout={} {PLANS} {plans}",
        millis * 2
    );
    // What the address itself sets comes first, so that the promises of this engine win.
    let options = match config.get_options() {
        Some(given) => format!("{given} {own}"),
        None => own,
    };
    config
        .options(options)
        .application_name("stompbox")
        .connect_timeout(settings.connect_timeout)
        .target_session_attrs(TargetSessionAttrs::ReadWrite)
        .keepalives_idle(Duration::from_secs(10))
        .keepalives_interval(Duration::from_secs(5))
        .keepalives_retries(3)
        .tcp_user_timeout(deadline(settings));
    Ok(config)
}

async fn check_server(client: &Object) -> Result<(), StoreError> {
    let row = client
        .query_one(
            "SELECT current_setting('server_encoding'), current_setting('fsync')",
            &[],
        )
        .await?;
    let (encoding, fsync): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
    if encoding != "UTF8" {
        return Err(StoreError::Unavailable(format!(
            "PostgreSQL: the encoding of the database is {encoding}, it must be UTF8"
        )));
    }
    if fsync != "on" {
        tracing::warn!("PostgreSQL runs with fsync=off: a power cut loses what was receipted");
    }
    Ok(())
}

/// The version of the schema; 0 when there is none.
async fn schema(client: &Object) -> Result<i64, StoreError> {
    let is_there = "SELECT to_regclass('refinery_schema_history') IS NOT NULL";
    if !client
        .query_one(is_there, &[])
        .await?
        .try_get::<_, bool>(0)?
    {
        return Ok(0);
    }
    let newest = "SELECT coalesce(max(version), 0)::bigint FROM refinery_schema_history";
    Ok(client.query_one(newest, &[]).await?.try_get(0)?)
}

/// Brings the schema up to date; yields its version before.
async fn migrate(client: &mut Object) -> Result<i64, StoreError> {
    let lock = format!(
        "SET statement_timeout = 0; SET lock_timeout = 0; SELECT pg_advisory_lock({SCHEMA_LOCK})"
    );
    client.batch_execute(&lock).await?;
    let before = schema(client).await?;
    embedded::migrations::runner()
        // One transaction, so that a schema and its entry in the history are never apart.
        .set_grouped(true)
        // A node of the version before may start beside a newer schema, because migrations only add.
        .set_abort_missing(false)
        .run_async(&mut ***client)
        .await
        .map_err(|err| {
            StoreError::Unavailable(format!(
                "PostgreSQL: the schema cannot be brought up to date: {err}"
            ))
        })?;
    let unlock = format!("SELECT pg_advisory_unlock({SCHEMA_LOCK})");
    client.batch_execute(&unlock).await?;
    Ok(before)
}

/// The first who asks makes it; everybody reads what is there.
async fn store_id(client: &Object) -> Result<String, StoreError> {
    let fresh = alike::fresh_store_id()?;
    client
        .execute(sql::PUT_META, &[&"store_id", &fresh])
        .await?;
    let row = client.query_one(sql::META, &[&"store_id"]).await?;
    Ok(row.try_get(0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_be_read_does_not_show_its_password() {
        let settings = PostgresSettings::default();
        let err = config("postgres://u:hunter2@h:port/db", &settings, KEPT_PLANS).unwrap_err();
        assert!(!err.to_string().contains("hunter2"), "{err}");
    }

    #[test]
    fn the_promises_of_the_engine_come_after_what_the_address_sets() {
        let settings = PostgresSettings::default();
        let url = "postgres://h/db?options=-c%20synchronous_commit%3Doff";
        let config = config(url, &settings, KEPT_PLANS).unwrap();
        let options = config.get_options().unwrap();
        let (off, on) = (options.find("=off"), options.find("synchronous_commit=on"));
        assert!(off < on, "{options}");
    }
}
