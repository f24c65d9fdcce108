//! One suite for the contract of the store, run on every engine, a real PostgreSQL included.
//!
//! Not here: what only one engine has to show (`store_sqlite`, `store_postgres`). Invariant: a check
//! knows its store only as `Arc<dyn Store>`, and uses names of its own, so that all checks share one
//! store; what touches everybody (`purge`) runs last, with times that only its own rows have.

mod hands;
mod life;
mod messages;
mod visitors;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use stompbox::model::{ClientIdentifier, MessageId, RoomId, UnixMillis, UserId};
use stompbox::store::{
    Append, Appended, MemoryStore, NewVisitor, PostgresSettings, PostgresStore, SqliteSettings,
    SqliteStore, Store, StoreError,
};
use tokio_util::task::TaskTracker;

use crate::support::postgres::Postgres;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_in_memory_keeps_the_contract() {
    let store = Arc::new(MemoryStore::default());
    keeps_the_contract(store.clone(), store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_in_sqlite_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chat.db");
    let store = SqliteStore::open(&path, &SqliteSettings::default()).unwrap();
    keeps_the_contract(store.clone(), store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_in_postgresql_keeps_the_contract_on_two_nodes() {
    let url = Postgres::shared().await.fresh_database().await;
    let tracker = TaskTracker::new();
    // At once, so that they also meet at the schema and at the id of the store.
    let settings = PostgresSettings::default();
    let (one, other) = tokio::join!(
        PostgresStore::connect(&url, &settings, &tracker),
        PostgresStore::connect(&url, &settings, &tracker),
    );
    keeps_the_contract(one.unwrap(), other.unwrap()).await;
    tracker.close();
    tracker.wait().await;
}

/// Every check, on two handles of one store: two nodes, or twice the same where there is only one.
async fn keeps_the_contract(one: Arc<dyn Store>, other: Arc<dyn Store>) {
    let both = [one, other];
    messages::one_id_for_everybody(&both).await;
    messages::seq_runs_without_holes(&both).await;
    messages::the_order_of_calls_is_the_order_of_seq(&both).await;
    messages::a_repetition_is_found(&both).await;
    messages::no_reader_sees_a_hole(&both).await;
    messages::heads_since_a_position_miss_nothing(&both).await;
    messages::a_range_keeps_its_limits(&both).await;
    messages::a_text_comes_back_as_it_was(&both).await;
    messages::who_wrote_is_remembered(&both).await;
    visitors::a_visitor_is_opened_by_his_secret(&both).await;
    visitors::a_secret_lives_as_long_as_it_is_used(&both).await;
    visitors::one_secret_opens_one_visitor(&both).await;
    visitors::loose_visitors_are_found_by_fingerprint(&both).await;
    visitors::a_row_is_written_with_the_message_that_needs_it(&both).await;
    visitors::one_of_two_takers_wins(&both).await;
    visitors::a_taker_who_is_wrong_about_anything_loses(&both).await;
    hands::an_append_may_ask_in_whose_hands_its_people_are(&both).await;
    hands::a_take_over_and_an_append_never_pass_each_other(&both).await;
    life::everybody_gets_his_own_copy(&both).await;
    life::an_erased_user_is_forgotten(&both).await;
    life::what_has_expired_goes(&both).await;
    life::what_visitors_have_stored_is_told_by_when_it_ends(&both).await;
    visitors::a_secret_without_a_row_is_told_from_one_that_has_ended(&both).await;
    visitors::a_row_that_is_being_written_has_not_ended(&both).await;
    life::a_row_that_nothing_depends_on_goes_in_an_hour(&both).await;
    a_closed_store_refuses(&both).await;
}

type Both = [Arc<dyn Store>; 2];

async fn a_closed_store_refuses(both: &Both) {
    let pair = pair("closing");
    let queued: Vec<_> = (0..50)
        .map(|n| both[0].append(message(&pair, &n.to_string())))
        .collect();
    both[0].close().await;
    both[1].close().await;
    for commit in queued {
        commit.await.expect("what was queued is committed");
    }
    let late = both[0].append(message(&pair, "late")).await;
    // The store in memory has nothing to close.
    if !format!("{:?}", both[0]).starts_with("MemoryStore") {
        assert!(matches!(late, Err(StoreError::Unavailable(_))), "{late:?}");
    }
}

/// Two people that only one check knows.
pub(crate) fn pair(name: &str) -> (UserId, UserId) {
    let person = |role: &str| format!("{name}.{role}").parse().unwrap();
    (person("a"), person("b"))
}

/// A message of the first to the second, with an id above all before it.
pub(crate) fn message((from, to): &(UserId, UserId), text: &str) -> Append {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    Append {
        room: RoomId::direct(from, to),
        id: MessageId::from_parts(1_000_000 + number, u128::from(number)),
        from: from.clone(),
        from_name: "name".to_owned(),
        to: to.clone(),
        client_id: None,
        text: text.to_owned(),
        timestamp: UnixMillis(1_000_000),
        expires_at: None,
        from_holder: None,
        to_holder: None,
        visitors: Vec::new(),
    }
}

/// Whether all of it is there, in order and without holes; yields the highest `seq`.
pub(crate) async fn complete(store: &dyn Store, room: RoomId) -> u64 {
    let mut head = 0;
    loop {
        let range = store.range(room, head, u64::MAX, 1_000).await.unwrap();
        for message in &range.messages {
            head += 1;
            assert_eq!(message.seq, head, "a hole");
        }
        if range.messages.is_empty() {
            return head;
        }
    }
}

/// The `seq` of an answer that must be there.
pub(crate) fn seq(answer: &Result<Appended, StoreError>) -> u64 {
    answer.as_ref().unwrap().message.seq
}

/// A loose visitor, seen at 1,000, whose secret ends at 2,000.
pub(crate) fn visitor(name: &str, token: u8, client: &str) -> NewVisitor {
    NewVisitor {
        user_id: name.parse().unwrap(),
        name: format!("손님 {name}"),
        loose: true,
        taken_at: None,
        is_kept: true,
        client_identifier: fingerprint(client),
        token: [token; 32],
        token_expires_at: UnixMillis(2_000),
        now: UnixMillis(1_000),
    }
}

fn fingerprint(digit: &str) -> ClientIdentifier {
    digit.repeat(26).parse().unwrap()
}
