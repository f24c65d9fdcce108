//! What the SQLite engine has to show beside the contract: durability, one process per file, a
//! damaged file, a full disk, a bounded log, a bounded queue.

mod erasing;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use stompbox::model::{RoomId, UnixMillis};
use stompbox::store::{Append, SqliteSettings, SqliteStore, Store, StoreError};

use tokio_util::task::TaskTracker;

use crate::conformance_store::{complete, message, pair, seq};

/// Set for the copy of this test that writes until it is killed: the file to write to.
const CHILD_FILE: &str = "STOMPBOX_TEST_SQLITE_CHILD";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_a_kill_and_nobody_else_opens_the_file() {
    if let Some(path) = std::env::var_os(CHILD_FILE) {
        write_until_killed(Path::new(&path)).await;
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chat.db");
    let pair = pair("killed");
    let room = RoomId::direct(&pair.0, &pair.1);
    let mut epoch = None;
    for round in 0..3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "--test-threads=1"])
            .arg("store_sqlite::what_was_answered_survives_a_kill_and_nobody_else_opens_the_file")
            .env(CHILD_FILE, &path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut answered: u64 = 0;
        let mut note = |line: String| {
            if let Some((_, number)) = line.split_once("committed ") {
                answered = number.parse().unwrap();
            }
            answered
        };
        // The first rounds leave whatever the kill happens to meet in the middle of.
        let enough = 40 + round * 173;
        while let Some(Ok(line)) = lines.next() {
            if note(line) >= enough {
                break;
            }
        }
        let refused = SqliteStore::open(&path, &SqliteSettings::default()).unwrap_err();
        let words = refused.to_string();
        assert!(words.contains("another process has it open"), "{words}");
        assert!(words.contains(&path.display().to_string()), "{words}");
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            note(line);
        }
        assert!(answered >= enough, "the child wrote {answered}");

        let store = SqliteStore::open(&path, &SqliteSettings::default()).unwrap();
        let head = complete(store.as_ref(), room).await;
        assert!(head >= answered, "{answered} was answered, {head} is there");
        let next = store.append(message(&pair, "next")).await.unwrap().message;
        assert_eq!(next.seq, head + 1, "it continues where it was");
        assert_eq!(*epoch.get_or_insert(next.epoch), next.epoch);
        store.close().await;
    }
}

async fn write_until_killed(path: &Path) {
    let store = SqliteStore::open(path, &SqliteSettings::default()).unwrap();
    let pair = pair("killed");
    // A bound, so that a child whose parent died does not write for ever.
    for _ in 0..2_000 {
        let commits: Vec<_> = (0..7)
            .map(|n| store.append(message(&pair, &n.to_string())))
            .collect();
        for commit in commits {
            let seq = seq(&commit.await);
            let mut out = std::io::stdout().lock();
            writeln!(out, "committed {seq}").unwrap();
            out.flush().unwrap();
        }
    }
}

#[tokio::test]
async fn a_file_opened_again_goes_on_as_the_same_store() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chat.db");
    let pair = pair("again");
    let settings = SqliteSettings::default();
    let store = SqliteStore::open(&path, &settings).unwrap();
    let id = store.store_id().await.unwrap();
    let first = store.append(message(&pair, "one")).await.unwrap().message;
    let users = [pair.0.clone()];
    let before = store
        .heads(&users, stompbox::store::Position::START)
        .await
        .unwrap();
    // Dropped without being closed: what is queued is written all the same.
    let queued = store.append(message(&pair, "two"));
    drop(store);
    assert_eq!(seq(&queued.await), 2);
    let store = SqliteStore::open(&path, &settings).unwrap();
    assert_eq!(store.store_id().await.unwrap(), id);
    let after = store.heads(&users, before.position).await.unwrap();
    assert_eq!(after.heads.len(), 1, "a position holds across a restart");
    assert!(after.position > before.position);
    let third = store.append(message(&pair, "three")).await.unwrap().message;
    assert_eq!((third.seq, third.epoch), (3, first.epoch));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "messages are for their owner");
    }
}

#[tokio::test]
async fn a_damaged_file_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chat.db");
    let refused = |what: &str| {
        let words = SqliteStore::open(&path, &SqliteSettings::default())
            .unwrap_err()
            .to_string();
        assert!(
            words.contains(&path.display().to_string()),
            "{what}: {words}"
        );
        assert!(words.contains("damaged"), "{what}: {words}");
    };
    std::fs::write(
        &path,
        "this is a letter to my aunt, and a long one. ".repeat(200),
    )
    .unwrap();
    refused("no SQLite file");

    std::fs::remove_file(&path).unwrap();
    let store = SqliteStore::open(&path, &SqliteSettings::default()).unwrap();
    let pair = pair("damage");
    for n in 0..200 {
        store
            .append(message(&pair, &format!("{n} {}", "x".repeat(500))))
            .await
            .unwrap();
    }
    store.close().await;
    drop(store);
    let mut bytes = std::fs::read(&path).unwrap();
    let (begin, end) = (bytes.len() / 2, bytes.len() / 2 + 20_000);
    bytes[begin..end].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    refused("overwritten in the middle");

    let nowhere = directory.path().join("missing").join("chat.db");
    let words = SqliteStore::open(&nowhere, &SqliteSettings::default())
        .unwrap_err()
        .to_string();
    assert!(words.contains("missing/chat.db"), "{words}");
}

#[tokio::test]
async fn settings_out_of_bounds_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chat.db");
    let settings = SqliteSettings {
        batch_max: 0,
        ..SqliteSettings::default()
    };
    let words = SqliteStore::open(&path, &settings).unwrap_err().to_string();
    assert!(words.contains("batch_max must be 1 to 10,000"), "{words}");
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_writing_and_not_reading() {
    let directory = tempfile::tempdir().unwrap();
    let settings = SqliteSettings {
        file_bytes_max: Some(1 << 20),
        ..SqliteSettings::default()
    };
    let store = SqliteStore::open(&directory.path().join("chat.db"), &settings).unwrap();
    let pair = pair("full");
    let expiring = |n: usize| Append {
        expires_at: Some(UnixMillis(10)),
        ..message(&pair, &format!("{n} {}", "x".repeat(10_000)))
    };
    let mut written = 0;
    let err = loop {
        match store.append(expiring(0)).await {
            Ok(appended) => written = appended.message.seq,
            Err(err) => break err,
        }
        assert!(written < 1_000);
    };
    assert!(err.to_string().contains("full"), "{err}");
    let words = store.check().await.unwrap_err().to_string();
    assert!(words.contains("full"), "a check sees it: {words}");
    let room = RoomId::direct(&pair.0, &pair.1);
    assert_eq!(
        complete(store.as_ref(), room).await,
        written,
        "nothing half written"
    );
    // Removing makes room.
    assert_eq!(
        store.purge(UnixMillis(10), UnixMillis(0)).await.unwrap(),
        written
    );
    let appended = store.append(expiring(1)).await.unwrap();
    assert_eq!(
        appended.message.seq,
        written + 1,
        "what failed took no place"
    );
    store.check().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_stays_bounded_while_others_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chat.db");
    let settings = SqliteSettings {
        wal_bytes_max: 1 << 20,
        ..SqliteSettings::default()
    };
    let store = SqliteStore::open(&path, &settings).unwrap();
    let pair = pair("log");
    let room = RoomId::direct(&pair.0, &pair.1);
    let tracker = TaskTracker::new();
    let is_written = Arc::new(AtomicBool::new(false));
    // One of its pages is read in far less time than a truncation waits for readers.
    let reader = tracker.spawn({
        let (store, is_written) = (Arc::clone(&store), Arc::clone(&is_written));
        async move {
            while !is_written.load(Relaxed) {
                store.range(room, 0, u64::MAX, 100).await.unwrap();
            }
        }
    });
    let mut highest = 0;
    for _ in 0..60 {
        let commits: Vec<_> = (0..40)
            .map(|_| store.append(message(&pair, &"x".repeat(4_000))))
            .collect();
        for commit in commits {
            commit.await.unwrap();
        }
        let log = std::fs::metadata(directory.path().join("chat.db-wal")).unwrap();
        highest = highest.max(log.len());
    }
    is_written.store(true, Relaxed);
    reader.await.unwrap();
    // 10 MB were written. One batch may come on top of the bound, and one truncation that a reader prevents.
    assert!(highest < 3 << 20, "the log grew to {highest} bytes");
    store.close().await;
    let log = std::fs::metadata(directory.path().join("chat.db-wal"));
    assert!(log.map_or(0, |log| log.len()) == 0, "closing empties it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_says_so_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let settings = SqliteSettings {
        queue_max: 8,
        batch_max: 4,
        queue_bytes_max: 64 << 10,
        ..SqliteSettings::default()
    };
    let store = SqliteStore::open(&directory.path().join("chat.db"), &settings).unwrap();
    let pair = pair("queue");
    let commits: Vec<_> = (0..2_000)
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
    // More octets at once than may wait.
    let large = store.append(message(&pair, &"x".repeat(70_000))).await;
    assert!(matches!(large, Err(StoreError::Overloaded)), "{large:?}");
}
