//! What the PostgreSQL engine has to show beside the contract: commits in flight at an answer, cut
//! connections, a server that is away, lanes that end.

mod databases;

use std::time::{Duration, Instant};

use stompbox::model::{Holder, RoomId};
use stompbox::store::{Append, Position, PostgresSettings, PostgresStore, Store, StoreError};
use tokio_util::task::TaskTracker;

use crate::conformance_store::{complete, message, pair, visitor};
use crate::support::postgres::{Postgres, connect};
use databases::{
    a_pool_without_a_free_connection_is_overloaded_and_not_away,
    a_read_only_database_fails_its_check, a_server_that_is_away_is_said_so_at_once,
    another_encoding_is_refused, no_table_is_read_as_a_whole,
};

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
    while watcher
        .query_one(waits, &[])
        .await
        .unwrap()
        .get::<_, i64>(0)
        == 0
    {
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
