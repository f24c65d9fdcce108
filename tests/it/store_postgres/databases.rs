//! The PostgreSQL engine and the state of its database: read-only, away, of another encoding, without a free connection.
//!
//! Not here: commits, locks and lanes (`store_postgres`).

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use stompbox::model::{Holder, RoomId, UserId};
use stompbox::store::{Append, Position, PostgresSettings, PostgresStore, Store, StoreError};
use tokio_util::task::TaskTracker;

use crate::conformance_store::{message, pair, visitor};
use crate::support::postgres::{Postgres, connect};

pub(super) async fn a_read_only_database_fails_its_check(store: &PostgresStore, url: &str) {
    let other = connect(url).await;
    let set = async |how: &str| {
        let own = "SET default_transaction_read_only = off";
        other.batch_execute(own).await.unwrap();
        other.batch_execute(how).await.unwrap();
        let reload = "SELECT pg_reload_conf()";
        other.batch_execute(reload).await.unwrap();
    };
    // The configuration is read by the server in its own time.
    let until = async |is_up: bool| {
        let began = Instant::now();
        loop {
            let checked = store.check().await;
            if checked.is_ok() == is_up {
                return checked;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "{checked:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let pair = pair("read-only");
    set("ALTER SYSTEM SET default_transaction_read_only = on").await;
    let refused = until(false).await.unwrap_err().to_string();
    assert!(refused.contains("read-only"), "{refused}");
    store.append(message(&pair, "one")).await.unwrap_err();
    set("ALTER SYSTEM RESET default_transaction_read_only").await;
    until(true).await.unwrap();
    store.append(message(&pair, "one")).await.unwrap();
    // A disk that takes no new pages: questions are answered, batches fail, and so does the check.
    let full = "ALTER TABLE meta ADD CONSTRAINT full_disk CHECK (length(value) < 1000); \
         ALTER TABLE messages ADD CONSTRAINT full_disk CHECK (text <> 'full')";
    other.batch_execute(full).await.unwrap();
    store.append(message(&pair, "full")).await.unwrap_err();
    until(false).await.unwrap_err();
    let freed = "ALTER TABLE meta DROP CONSTRAINT full_disk; \
         ALTER TABLE messages DROP CONSTRAINT full_disk";
    other.batch_execute(freed).await.unwrap();
    until(true).await.unwrap();
    store.append(message(&pair, "two")).await.unwrap();
}

/// A plan that reads a whole table is right while the table is small; kept while it grows, it made
/// one hot conversation a hundred times slower.
pub(super) async fn no_table_is_read_as_a_whole(server: &Postgres, settings: &PostgresSettings) {
    let url = server.fresh_database().await;
    let open = async || {
        let tracker = TaskTracker::new();
        let store = PostgresStore::connect(&url, settings, &tracker).await;
        store.unwrap()
    };
    // Making the schema reads the tables as a whole, once for every index.
    open().await.close().await;
    let before = whole_reads(&url).await;
    let store = open().await;
    let pair = pair("plans");
    let room = RoomId::direct(&pair.0, &pair.1);
    assert!(
        store
            .create_visitor(visitor(pair.1.as_str(), 1, "0"))
            .await
            .unwrap()
    );
    for n in 0..30 {
        let append = Append {
            client_id: Some(format!("p{n}").parse().unwrap()),
            to_holder: Some(Holder { taken_at: None }),
            ..message(&pair, "x")
        };
        store.append(append.clone()).await.unwrap();
        assert!(store.append(append).await.unwrap().duplicate);
        store.range(room, n, n + 1, 1).await.unwrap();
        let users = [pair.0.clone()];
        store.heads(&users, Position::START).await.unwrap();
    }
    store.close().await;
    assert_eq!(whole_reads(&url).await, before);
}

/// How often each table was read as a whole, by the sessions that have ended: all but this one.
async fn whole_reads(url: &str) -> Vec<(String, i64)> {
    let client = connect(url).await;
    let stompbox = "SELECT count(*) FROM pg_stat_activity \
        WHERE application_name = 'stompbox' AND datname = current_database()";
    let alive = async || -> i64 { client.query_one(stompbox, &[]).await.unwrap().get(0) };
    while alive().await > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let tables = "SELECT relname::text, seq_scan FROM pg_stat_user_tables \
        WHERE relname IN ('conversations', 'members', 'messages', 'message_keys', 'users') \
        ORDER BY 1";
    let rows = client.query(tables, &[]).await.unwrap();
    assert_eq!(rows.len(), 5);
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

pub(super) async fn another_encoding_is_refused(server: &Postgres, settings: &PostgresSettings) {
    let client = connect(&server.url("postgres")).await;
    client
        .batch_execute("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
        .await
        .unwrap();
    let refused = PostgresStore::connect(&server.url("latin"), settings, &TaskTracker::new()).await;
    let words = refused.unwrap_err().to_string();
    assert!(
        words.contains("LATIN1") && words.contains("UTF8"),
        "{words}"
    );
}

pub(super) async fn a_server_that_is_away_is_said_so_at_once(
    server: Postgres,
    url: &str,
    settings: &PostgresSettings,
) {
    let tracker = TaskTracker::new();
    let store = PostgresStore::connect(url, settings, &tracker)
        .await
        .unwrap();
    drop(server);
    let begin = Instant::now();
    let user: UserId = "away.a".parse().unwrap();
    let unavailable = |what: &str, err: Option<StoreError>| {
        assert!(
            matches!(err, Some(StoreError::Unavailable(_))),
            "{what}: {err:?}"
        );
    };
    unavailable(
        "append",
        store.append(message(&pair("away"), "x")).await.err(),
    );
    unavailable("check", store.check().await.err());
    unavailable("user", store.user(&user).await.err());
    unavailable(
        "erase",
        store
            .erase(&user, stompbox::model::UnixMillis(0))
            .await
            .err(),
    );
    let taken = begin.elapsed();
    assert!(taken < Duration::from_secs(10), "{taken:?}");
    store.close().await;

    let secret = url.replace("stompbox@", "stompbox:hunter2@");
    let refused = PostgresStore::connect(&secret, settings, &tracker).await;
    let words = format!("{:?}", refused.unwrap_err());
    assert!(!words.contains("hunter2"), "{words}");
}

pub(super) async fn a_pool_without_a_free_connection_is_overloaded_and_not_away(
    store: &PostgresStore,
    url: &str,
) {
    let other = connect(url).await;
    let lock = "BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE";
    other.batch_execute(lock).await.unwrap();
    let (user, _) = pair("overloaded");
    let reads = join_all((0..4).map(|_| store.user(&user)));
    let checked = async {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
            AND datname = current_database() AND application_name = 'stompbox'";
        // By a connection without a transaction, in which the answer would stay the same.
        let watcher = connect(url).await;
        let begin = Instant::now();
        loop {
            let row = watcher.query_one(waiting, &[]).await.unwrap();
            if row.get::<_, i64>(0) >= 4 {
                break;
            }
            assert!(begin.elapsed() < Duration::from_secs(4), "they do not wait");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let checked = store.check().await;
        other.batch_execute("COMMIT").await.unwrap();
        checked
    };
    let (reads, checked) = tokio::join!(reads, checked);
    assert!(
        matches!(checked, Err(StoreError::Overloaded)),
        "{checked:?}"
    );
    assert!(reads.iter().all(Result::is_ok), "{reads:?}");
    store.check().await.unwrap();
}
