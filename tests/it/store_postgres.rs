//! What the PostgreSQL engine has to show beside the contract: commits in flight at an answer, cut
//! connections, a server that is away, lanes that end.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use stompbox::model::{Holder, RoomId, UserId};
use stompbox::store::{Append, Position, PostgresSettings, PostgresStore, Store, StoreError};
use tokio_util::task::TaskTracker;

use crate::conformance_store::{complete, message, pair, visitor};
use crate::support::postgres::{Postgres, connect};

/// One server for all of it: starting one costs more than the checks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_postgresql_store_survives_what_happens_to_databases() {
    let server = Postgres::start();
    server.ready().await;
    let url = server.fresh_database().await;
    let tracker = TaskTracker::new();
    let settings = PostgresSettings {
        lanes: 2,
        connections: 4,
        ..PostgresSettings::default()
    };
    let store = PostgresStore::connect(&url, &settings, &tracker)
        .await
        .unwrap();
    a_commit_in_flight_at_an_answer_is_found_by_the_next(&store, &url).await;
    a_conversation_that_is_locked_holds_up_only_its_lane(&store, &url).await;
    a_take_over_in_flight_is_waited_for(&store, &url).await;
    cut_connections_cost_no_message_and_double_none(&store, &url).await;
    a_message_that_is_refused_costs_its_neighbours_nothing(&store, &url).await;
    a_read_only_database_fails_its_check(&store, &url).await;
    a_pool_without_a_free_connection_is_overloaded_and_not_away(&store, &url).await;
    store.close().await;
    tracker.close();
    tracker.wait().await;
    no_table_is_read_as_a_whole(&server, &settings).await;

    another_encoding_is_refused(&server, &settings).await;
    a_full_lane_says_so_and_loses_nothing(&url, &settings).await;
    lanes_end_with_their_store(&url, &settings).await;
    a_server_that_is_away_is_said_so_at_once(server, &url, &settings).await;
}

async fn a_pool_without_a_free_connection_is_overloaded_and_not_away(
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

async fn a_commit_in_flight_at_an_answer_is_found_by_the_next(store: &PostgresStore, url: &str) {
    let (slow, fast) = (pair("slow"), pair("fast"));
    let users = [slow.0.clone(), fast.0.clone()];
    let room = RoomId::direct(&slow.0, &slow.1);
    let octets = room.0.to_be_bytes();
    store.append(message(&slow, "1")).await.unwrap();
    // As a lane of another node would do it, stopped before its COMMIT.
    let other = connect(url).await;
    other.batch_execute("BEGIN").await.unwrap();
    other
        .execute(
            "UPDATE conversations SET head = head + 1, \
             changed = pg_current_xact_id()::text::bigint WHERE room = $1",
            &[&octets.as_slice()],
        )
        .await
        .unwrap();
    // Later transactions begin and commit meanwhile.
    for _ in 0..5 {
        store.append(message(&fast, "x")).await.unwrap();
    }
    let answer = store.heads(&users, Position::START).await.unwrap();
    let head = |answer: &stompbox::store::Heads| {
        answer
            .heads
            .iter()
            .find(|head| head.user == slow.0)
            .map(|head| head.seq)
    };
    assert_eq!(head(&answer), Some(1));
    other.batch_execute("COMMIT").await.unwrap();
    let next = store.heads(&users, answer.position).await.unwrap();
    assert_eq!(head(&next), Some(2), "{next:?}");
    let quiet = store.heads(&users, next.position).await.unwrap();
    assert!(quiet.heads.is_empty(), "{quiet:?}");
}

async fn a_conversation_that_is_locked_holds_up_only_its_lane(store: &PostgresStore, url: &str) {
    let locked = pair("locked");
    let room = RoomId::direct(&locked.0, &locked.1);
    let free = (0..)
        .map(|n| pair(&format!("free{n}")))
        .find(|free| RoomId::direct(&free.0, &free.1).0 % 2 != room.0 % 2)
        .unwrap();
    store.append(message(&locked, "1")).await.unwrap();
    let other = connect(url).await;
    other.batch_execute("BEGIN").await.unwrap();
    other
        .query(
            "SELECT 1 FROM conversations WHERE room = $1 FOR UPDATE",
            &[&room.0.to_be_bytes().as_slice()],
        )
        .await
        .unwrap();
    let waiting = store.append(message(&locked, "2"));
    store.append(message(&free, "x")).await.unwrap();
    other.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(waiting.await.unwrap().message.seq, 2);
}

async fn a_take_over_in_flight_is_waited_for(store: &PostgresStore, url: &str) {
    let pair = pair("hands");
    let first = Holder { taken_at: None };
    let held = || Append {
        to_holder: Some(first),
        ..message(&pair, "for the first holder")
    };
    assert!(
        store
            .create_visitor(visitor(pair.1.as_str(), 1, "0"))
            .await
            .unwrap()
    );
    store.append(held()).await.unwrap();
    let other = connect(url).await;
    other.batch_execute("BEGIN").await.unwrap();
    let taken = other
        .execute(
            "UPDATE users SET taken_at = 2000 WHERE user_id = $1",
            &[&pair.1.as_str()],
        )
        .await;
    assert_eq!(taken.unwrap(), 1);
    let waiting = store.append(held());
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'stompbox' \
        AND datname = current_database() AND wait_event_type = 'Lock'";
    // Inside a transaction the list of connections stays what it was when it was first asked for.
    let watcher = connect(url).await;
    let begin = Instant::now();
    while watcher.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        assert!(
            begin.elapsed() < Duration::from_secs(20),
            "it does not wait"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    other.batch_execute("COMMIT").await.unwrap();
    let refused = waiting.await;
    assert!(
        matches!(&refused, Err(StoreError::ChangedHands(user)) if *user == pair.1),
        "{refused:?}"
    );
}

async fn cut_connections_cost_no_message_and_double_none(store: &PostgresStore, url: &str) {
    let pair = pair("cut");
    let room = RoomId::direct(&pair.0, &pair.1);
    let killer = connect(url).await;
    let mut answered = Vec::new();
    for n in 0..120 {
        let keyed = || Append {
            client_id: Some(format!("c{n}").parse().unwrap()),
            ..message(&pair, &n.to_string())
        };
        if n % 10 == 3 {
            killer
                .execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                     WHERE application_name = 'stompbox' AND datname = current_database()",
                    &[],
                )
                .await
                .unwrap();
        }
        // As a client would: the same message again until it is receipted.
        let begin = Instant::now();
        let appended = loop {
            match store.append(keyed()).await {
                Ok(appended) => break appended,
                Err(err) => assert!(begin.elapsed() < Duration::from_secs(20), "{err}"),
            }
        };
        assert_eq!(appended.message.text, n.to_string());
        answered.push(appended.message.seq);
    }
    assert_eq!(answered, (1..=120).collect::<Vec<u64>>());
    assert_eq!(complete(store, room).await, 120);
}

async fn a_message_that_is_refused_costs_its_neighbours_nothing(store: &PostgresStore, url: &str) {
    let other = connect(url).await;
    // No client can make PostgreSQL refuse a message; a rule of the test's own can.
    other
        .batch_execute("ALTER TABLE messages ADD CONSTRAINT no_poison CHECK (text <> 'poison')")
        .await
        .unwrap();
    let pair = pair("poison");
    let room = RoomId::direct(&pair.0, &pair.1);
    let texts = ["one", "poison", "two", "three", "poison", "four"];
    let commits: Vec<_> = texts.map(|text| store.append(message(&pair, text))).into();
    for (text, commit) in texts.into_iter().zip(commits) {
        let answer = commit.await;
        assert_eq!(answer.is_ok(), text != "poison", "{text}: {answer:?}");
    }
    assert_eq!(complete(store, room).await, 4);
}

async fn a_read_only_database_fails_its_check(store: &PostgresStore, url: &str) {
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

async fn a_full_lane_says_so_and_loses_nothing(url: &str, settings: &PostgresSettings) {
    let settings = PostgresSettings {
        lane_queue_max: 8,
        batch_max: 4,
        ..settings.clone()
    };
    let tracker = TaskTracker::new();
    let store = PostgresStore::connect(url, &settings, &tracker)
        .await
        .unwrap();
    let pair = pair("flood");
    let commits: Vec<_> = (0..500)
        .map(|_| store.append(message(&pair, "x")))
        .collect();
    let (mut taken, mut refused) = (0, 0);
    for commit in commits {
        match commit.await {
            Ok(_) => taken += 1,
            Err(StoreError::Overloaded) => refused += 1,
            Err(err) => panic!("{err}"),
        }
    }
    assert!(
        taken >= 8 && refused > 0,
        "{taken} taken, {refused} refused"
    );
    let room = RoomId::direct(&pair.0, &pair.1);
    assert_eq!(complete(store.as_ref(), room).await, taken);
    store.close().await;
}

/// A plan that reads a whole table is right while the table is small; kept while it grows, it made
/// one hot conversation a hundred times slower.
async fn no_table_is_read_as_a_whole(server: &Postgres, settings: &PostgresSettings) {
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

async fn another_encoding_is_refused(server: &Postgres, settings: &PostgresSettings) {
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

async fn lanes_end_with_their_store(url: &str, settings: &PostgresSettings) {
    let tracker = TaskTracker::new();
    let store = PostgresStore::connect(url, settings, &tracker)
        .await
        .unwrap();
    let pair = pair("dropped");
    let queued = store.append(message(&pair, "x"));
    drop(store);
    queued.await.expect("what was queued is written");
    tracker.close();
    tracker.wait().await;
}

async fn a_server_that_is_away_is_said_so_at_once(
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
