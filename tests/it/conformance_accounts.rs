//! One suite for the contract of accounts, run on SQLite and on a real PostgreSQL with two nodes.
//!
//! Not here: what identities do with it. Invariant: as in `conformance_store`: a check knows its
//! store only by its contracts and uses names of its own; what touches everybody runs last.

mod merging;
mod merging_at_once;
mod merging_expired;
mod merging_in_steps;
mod people;
mod records;
mod sign_ins;

use std::sync::Arc;

use stompbox::model::{SignInId, UnixMillis, UserId};
use stompbox::store::accounts::{NewAccount, NewSignIn, Role};
use stompbox::store::{
    AccountStore, NewVisitor, PostgresSettings, PostgresStore, SqliteSettings, SqliteStore, Store,
};
use tokio_util::task::TaskTracker;

use crate::support::postgres::Postgres;

/// A store with both contracts.
pub(crate) trait Whole: Store + AccountStore {}

impl<T: Store + AccountStore> Whole for T {}

type Both = [Arc<dyn Whole>; 2];

/// When everything here happens, unless a check says otherwise.
pub(crate) const NOW: UnixMillis = UnixMillis(2_000_000);
/// After that.
pub(crate) const LATER: UnixMillis = UnixMillis(9_000_000);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_in_sqlite_keep_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chat.db");
    let store = SqliteStore::open(&path, &SqliteSettings::default()).unwrap();
    keeps_the_contract([store.clone(), store.clone()]).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_in_postgresql_keep_the_contract_on_two_nodes() {
    let url = Postgres::shared().await.fresh_database().await;
    let tracker = TaskTracker::new();
    let settings = PostgresSettings::default();
    let (one, other) = tokio::join!(
        PostgresStore::connect(&url, &settings, &tracker),
        PostgresStore::connect(&url, &settings, &tracker),
    );
    let (one, other) = (one.unwrap(), other.unwrap());
    keeps_the_contract([one.clone(), other.clone()]).await;
    one.close().await;
    other.close().await;
    tracker.close();
    tracker.wait().await;
}

async fn keeps_the_contract(both: Both) {
    people::a_registration_makes_an_account_that_is_found(&both).await;
    people::one_of_two_registrations_of_an_email_counts(&both).await;
    people::a_visitor_becomes_the_holder_of_an_account(&both).await;
    people::an_upgrade_needs_a_live_secret_and_a_free_email(&both).await;
    people::one_of_two_upgrades_counts(&both).await;
    people::a_sites_user_is_known_and_never_somebody_else(&both).await;
    people::what_an_account_is_can_be_changed(&both).await;
    people::accounts_come_in_their_order(&both).await;
    people::an_erased_account_is_forgotten_and_its_ban_stays(&both).await;
    sign_ins::a_sign_in_stands_until_it_ends(&both).await;
    sign_ins::of_too_many_sign_ins_the_least_recently_used_ends(&both).await;
    sign_ins::a_refresh_token_is_exchanged_once(&both).await;
    sign_ins::a_refresh_token_that_comes_twice_at_once_has_one_successor(&both).await;
    sign_ins::a_stolen_refresh_token_ends_the_sign_in(&both).await;
    sign_ins::a_new_password_ends_the_other_sign_ins(&both).await;
    records::a_one_use_token_is_used_once(&both).await;
    records::a_new_secret_ends_the_older_ones(&both).await;
    records::a_ban_stands_until_it_ends_or_is_lifted(&both).await;
    records::notes_come_latest_first(&both).await;
    records::a_keyed_request_is_done_once(&both).await;
    records::a_question_that_fails_leaves_nothing_behind(&both).await;
    merging::what_a_visitor_has_moves_behind_what_is_there(&both).await;
    merging_expired::what_has_expired_before_a_merge_goes(&both).await;
    merging_in_steps::much_moves_in_steps_and_in_its_order(&both).await;
    merging::what_was_on_its_way_during_a_merge_follows(&both).await;
    merging::notes_and_talks_with_the_account_become_its_notes(&both).await;
    merging::what_was_written_before_a_take_over_stays(&both).await;
    merging::a_key_goes_along_with_its_message(&both).await;
    merging::the_longer_ban_counts(&both).await;
    merging::addresses_and_secrets_lead_on(&both).await;
    merging::only_a_visitor_becomes_a_part_of_somebody(&both).await;
    merging_at_once::one_merge_comes_twice_at_once(&both).await;
    merging_at_once::two_who_wrote_to_each_other_become_one(&both).await;
    merging_at_once::nothing_is_lost_that_is_written_meanwhile(&both).await;
    // It looks at everybody.
    records::what_has_expired_goes(&both).await;
}

pub(crate) fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

/// A hash that only this text has.
pub(crate) fn hash(text: &str) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(text).into()
}

/// A sign-in that only this text has.
pub(crate) fn sign_in_id(text: &str) -> SignInId {
    let mut octets = [0; 16];
    octets.copy_from_slice(&hash(text)[..16]);
    SignInId(u128::from_be_bytes(octets))
}

/// A sign-in of somebody, whose first refresh token is named like its device.
pub(crate) fn new_sign_in(owner: &str, device: &str) -> NewSignIn {
    NewSignIn {
        id: sign_in_id(device),
        user_id: user(owner),
        device: device.to_owned(),
        refresh: hash(device),
        refresh_expires_at: LATER,
        now: NOW,
    }
}

/// An account with an e-mail like its address, and a first sign-in named `<address>-first`.
pub(crate) fn new_account(name: &str) -> NewAccount {
    NewAccount {
        user_id: user(name),
        name: Some(format!("이름 {name}")),
        email: format!("{name}@Example.com"),
        password: "$argon2id$...".to_owned(),
        role: Role::Member,
        client_identifier: "7".repeat(26).parse().unwrap(),
        now: NOW,
        sign_in: Some(new_sign_in(name, &format!("{name}-first"))),
    }
}

/// A loose visitor whose secret is named like him.
pub(crate) fn new_visitor(name: &str) -> NewVisitor {
    NewVisitor {
        user_id: user(name),
        name: format!("손님 {name}"),
        loose: true,
        taken_at: None,
        is_kept: true,
        client_identifier: "5".repeat(26).parse().unwrap(),
        token: hash(name),
        token_expires_at: LATER,
        now: NOW,
    }
}

/// Makes a visitor.
pub(crate) async fn visit(store: &dyn Whole, name: &str) -> UserId {
    assert!(store.create_visitor(new_visitor(name)).await.unwrap());
    user(name)
}

/// Makes an account.
pub(crate) async fn register(store: &dyn Whole, name: &str) -> UserId {
    use stompbox::store::accounts::Registered;
    let done = store.register(new_account(name)).await.unwrap();
    assert_eq!(done, Registered::Done);
    user(name)
}
