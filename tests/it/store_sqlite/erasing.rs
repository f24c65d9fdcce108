//! A long history is removed in steps, between which others write; one that was cut off is completed. Nothing
//! keeps an erasure from ending, and nothing opens the address meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stompbox::model::{UnixMillis, UserId};
use stompbox::store::{AccountStore, Position, SqliteSettings, SqliteStore, Store, StoreError};
use tokio_util::task::TaskTracker;

use crate::conformance_accounts::{new_account, new_sign_in, register};
use crate::conformance_store::{complete, message, pair, visitor};

/// How long three quarters of the messages may wait.
const HELD_MAX: Duration = Duration::from_millis(50);

/// As many messages of 1 KiB as a visitor stores in 60 MiB: enough for others to have their turn ten times, also
/// beside other tests.
const MESSAGES: usize = 60_000;

fn open(path: &Path) -> Arc<SqliteStore> {
    SqliteStore::open(path, &SqliteSettings::default()).unwrap()
}

/// A visitor with a row and a long history: with another user, and alone.
async fn history(store: &SqliteStore, name: &str, token: u8) -> (UserId, UserId) {
    let (user, other) = pair(name);
    let row = visitor(user.as_str(), token, "4");
    assert!(store.create_visitor(row).await.unwrap());
    write(store, &user, &other).await;
    (user, other)
}

/// A long history of a user: with another user, and alone.
async fn write(store: &SqliteStore, user: &UserId, other: &UserId) {
    let text = "x".repeat(1 << 10);
    let both = [(user, other), (other, user), (user, user), (user, user)];
    for block in 0..MESSAGES / 400 {
        let commits: Vec<_> = (0..400)
            .map(|number| {
                let (from, to) = both[(block + number) % 4];
                store.append(message(&(from.clone(), to.clone()), &text))
            })
            .collect();
        for commit in commits {
            commit.await.unwrap();
        }
    }
}

/// What the other one still reads.
async fn texts(store: &SqliteStore, reader: &UserId, from: &UserId) -> (usize, usize) {
    let (mut after, mut counts) = (None, (0, 0));
    loop {
        let page = store.export(reader, after, 1_000, 64 << 20).await.unwrap();
        let Some(last) = page.last() else {
            return counts;
        };
        after = Some(last.id);
        for message in page.iter().filter(|message| message.from == *from) {
            counts.0 += 1;
            counts.1 += usize::from(!message.text.is_empty());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_history_is_erased_while_others_write() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("chat.db"));
    let (user, other) = history(&store, "long", 1).await;
    let erasing = {
        let (store, user) = (Arc::clone(&store), user.clone());
        async move { store.erase(&user, UnixMillis(1)).await }
    };
    let erasing = TaskTracker::new().spawn(erasing);
    let others = pair("others");
    let (to, from) = ((other.clone(), user.clone()), (user.clone(), other.clone()));
    let (mut waits, mut refused, mut has_ended) = (Vec::new(), 0, false);
    while !has_ended {
        let begun = Instant::now();
        let written = store.append(message(&others, "meanwhile"));
        // Each of these would make the user a member again of what they have left.
        let more = [&to, &from].map(|pair| store.append(message(pair, "more")));
        written.await.unwrap();
        waits.push(begun.elapsed());
        for commit in more {
            match commit.await {
                Err(StoreError::ChangedHands(erased)) if erased == user => refused += 1,
                // Just before the first step, or just after the last.
                Ok(_) => has_ended = refused > 0,
                Err(other) => panic!("{other:?}"),
            }
        }
        assert!(waits.len() < 10_000, "it does not end");
    }
    assert!(refused >= 10, "{refused} were refused");
    let erased = tokio::time::timeout(Duration::from_secs(10), erasing).await;
    erased.expect("an end").unwrap().unwrap();
    // In one transaction there would be one of these, and it would have waited for all of it.
    assert!(waits.len() >= 10, "{} messages meanwhile", waits.len());
    waits.sort_unstable();
    // A test beside others is held up by them now and then; a step that is too long would be so each time.
    let usual = waits[waits.len() * 3 / 4];
    assert!(usual < HELD_MAX, "{usual:?} of {waits:?}");

    assert_eq!(store.user(&user).await.unwrap(), None);
    let (written, left) = texts(&store, &other, &user).await;
    // A message may have come just before the first step, and one just after the last.
    assert!(written >= MESSAGES / 4 && left <= 1, "{left} of {written}");
    let (theirs, kept) = texts(&store, &other, &other).await;
    assert!(theirs >= MESSAGES / 4);
    assert_eq!(theirs, kept);
    complete(store.as_ref(), message(&others, "").room).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_that_was_cut_off_is_completed_by_the_next_purge() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat.db");
    let store = open(&path);
    let (user, other) = history(&store, "half", 2).await;
    let token = visitor(user.as_str(), 2, "4").token;
    let erasing = {
        let (store, user) = (Arc::clone(&store), user.clone());
        async move { store.erase(&user, UnixMillis(u64::MAX >> 2)).await }
    };
    let erasing = TaskTracker::new().spawn(erasing);
    let opens = async || store.visitor_by_token(token, UnixMillis(1_500)).await;
    while opens().await.unwrap().is_some() {
        tokio::task::yield_now().await;
    }
    // Ended after its first steps, as by the end of the node.
    erasing.abort();
    assert!(erasing.await.unwrap_err().is_cancelled());
    store.close().await;
    let store = open(&path);
    assert!(
        texts(&store, &other, &user).await.1 > 0,
        "nothing is left to do"
    );
    let found = store.visitor_by_token(token, UnixMillis(1_500)).await;
    assert_eq!(found.unwrap(), None, "its secret opens nothing any more");
    store.purge(UnixMillis(1_500), UnixMillis(0)).await.unwrap();
    assert_eq!(store.user(&user).await.unwrap(), None);
    assert_eq!(texts(&store, &other, &user).await, (MESSAGES / 4, 0));
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_ends_with_the_first_step_of_its_erasure() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("chat.db"));
    let user = register(store.as_ref(), "member").await;
    let (_, other) = pair("member");
    store.sign_in(new_sign_in("member", "phone")).await.unwrap();
    write(&store, &user, &other).await;

    assert!(!store.begin_erasure(&user, UnixMillis(1)).await.unwrap());
    let email = new_account("member").email;
    assert!(store.account_by_email(email).await.unwrap().is_none());
    assert!(store.sign_ins(user.clone()).await.unwrap().is_empty());
    assert_eq!(store.standing(user.clone(), None).await.unwrap(), None);
    // A password that was right just before.
    let late = store.sign_in(new_sign_in("member", "tablet")).await;
    assert!(late.is_err(), "{late:?}");
    assert!(
        texts(&store, &other, &user).await.1 > 0,
        "nothing is left to do"
    );

    store.erase(&user, UnixMillis(1)).await.unwrap();
    assert_eq!(texts(&store, &other, &user).await, (MESSAGES / 4, 0));
    let left = store.heads(&[user], Position::START).await.unwrap();
    assert!(left.heads.is_empty());
    store.close().await;
}
