//! The files of the store while a node runs: deleted, replaced, shortened, out of reach. What is not stored gets no
//! RECEIPT, and readiness says so.
//!
//! Not here: a full disk as the engine sees it (`store_sqlite`), what a start makes of the files (`starts`).

mod starts;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use stompbox::model::RoomId;
use stompbox::store::sqlite::backup;
use stompbox::store::{SqliteSettings, SqliteStore, Store};

use crate::conformance_store::{complete, message, pair};
use crate::support::client::{Client, get};
use crate::support::node::Node;

/// How long readiness may take to notice.
const PATIENCE: Duration = Duration::from_secs(20);

fn beside(path: &Path, ending: &str) -> PathBuf {
    PathBuf::from(format!("{}{ending}", path.display()))
}

/// A visitor who hears of refusals.
async fn connected(node: &Node) -> Client {
    let mut client = Client::connect(node.address()).await;
    client.subscribe("/user/queue/errors").await;
    client
}

/// Sends one message to themselves; whether it was receipted.
async fn is_receipted(client: &mut Client, number: u32) -> bool {
    let user = client.user().to_owned();
    let body =
        format!("{{\"to\":\"{user}\",\"message\":\"{number}\",\"client_id\":\"c{number}\"}}");
    let frame = format!(
        "SEND\ndestination:/app/chat.send\ncontent-type:application/json\nreceipt:r{number}\n\n{body}\0"
    );
    client.send(&frame).await;
    loop {
        let frame = client.frame().await;
        match &*frame.command {
            "RECEIPT" => return true,
            "MESSAGE" if frame.body.contains("store_unavailable") => return false,
            "ERROR" => {
                assert!(frame.body.contains("store_unavailable"), "{frame:?}");
                return false;
            }
            _ => {}
        }
    }
}

async fn until_not_ready(node: &Node) {
    let began = Instant::now();
    while get(node.address(), "/api/v1/health/ready").await.0 != 503 {
        assert!(began.elapsed() < PATIENCE, "it stays ready");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn until_ready(node: &Node) {
    let began = Instant::now();
    while get(node.address(), "/api/v1/health/ready").await.0 != 200 {
        assert!(began.elapsed() < PATIENCE, "it does not become ready");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_deleted_database_file_ends_receipts_and_readiness() {
    let node = Node::start("node", &[]).await;
    let path = node.data_dir().join("stompbox.db");
    let mut client = connected(&node).await;
    assert!(is_receipted(&mut client, 1).await);
    assert_eq!(get(node.address(), "/api/v1/health/ready").await.0, 200);
    fs::remove_file(&path).unwrap();
    assert!(!is_receipted(&mut client, 2).await);
    until_not_ready(&node).await;
    let output = node.output_with("start the node again").await;
    assert!(
        output.contains("was deleted while the node was running"),
        "{output}"
    );
    assert_eq!(
        output.matches("start the node again").count(),
        1,
        "{output}"
    );
    // Newcomers get in, also beside a visitor with the same fingerprint.
    for _ in 0..3 {
        connected(&node).await;
    }
}

#[tokio::test]
async fn a_replaced_database_file_ends_receipts_and_is_left_alone() {
    let node = Node::start("node", &[]).await;
    let path = node.data_dir().join("stompbox.db");
    let mut client = connected(&node).await;
    assert!(is_receipted(&mut client, 1).await);
    let other = beside(&path, ".new");
    fs::write(&other, "a backup").unwrap();
    fs::rename(&other, &path).unwrap();
    fs::write(beside(&path, "-wal.new"), "its log").unwrap();
    fs::rename(beside(&path, "-wal.new"), beside(&path, "-wal")).unwrap();
    assert!(!is_receipted(&mut client, 2).await);
    until_not_ready(&node).await;
    // A file that comes back after it was away may have been changed meanwhile.
    assert!(!is_receipted(&mut client, 3).await);
    let ended = node.stop().await;
    assert!(ended.output.contains("was replaced"), "{}", ended.output);
}

/// A link that leads to itself stands for everything that keeps the system from looking at a path.
#[tokio::test]
async fn a_directory_that_cannot_be_looked_at_refuses_until_it_can() {
    let outer = tempfile::tempdir().unwrap();
    let (folder, aside) = (outer.path().join("data"), outer.path().join("aside"));
    fs::create_dir(&folder).unwrap();
    std::os::unix::fs::symlink(&folder, &aside).unwrap();
    // In one step: the node may look at any time, and must never find nothing there.
    let exchange = || {
        let flags = rustix::fs::RenameFlags::EXCHANGE;
        rustix::fs::renameat_with(rustix::fs::CWD, &folder, rustix::fs::CWD, &aside, flags)
            .unwrap();
    };
    let node = Node::start_in("node", &folder, &[]).await;
    let mut client = connected(&node).await;
    assert!(is_receipted(&mut client, 1).await);
    for number in [2, 4] {
        exchange();
        assert!(!is_receipted(&mut client, number).await);
        until_not_ready(&node).await;
        exchange();
        // Nothing has replaced the files meanwhile, so the node goes on without a restart.
        assert!(is_receipted(&mut client, number + 1).await);
        until_ready(&node).await;
    }
    let conn = rusqlite::Connection::open(folder.join("stompbox.db")).unwrap();
    let count: u32 = conn
        .query_row("SELECT count(*) FROM messages", [], |row| row.get(0))
        .unwrap();
    assert_eq!(count, 3);
}

#[tokio::test]
async fn an_idle_node_notices_by_its_readiness_alone() {
    let node = Node::start("node", &[]).await;
    fs::remove_file(node.data_dir().join("stompbox.db")).unwrap();
    until_not_ready(&node).await;
}

#[tokio::test]
async fn what_was_receipted_survives_a_deleted_log_and_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start_in("node", folder.path(), &[]).await;
    let path = folder.path().join("stompbox.db");
    let mut client = connected(&node).await;
    for number in 1..=3 {
        assert!(is_receipted(&mut client, number).await);
    }
    fs::remove_file(beside(&path, "-wal")).unwrap();
    assert!(!is_receipted(&mut client, 4).await);
    node.output_with("was copied into the database").await;
    node.kill().await;
    let conn = rusqlite::Connection::open(&path).unwrap();
    let count: u32 = conn
        .query_row("SELECT count(*) FROM messages", [], |row| row.get(0))
        .unwrap();
    assert_eq!(count, 3);
}

#[tokio::test]
async fn files_that_were_moved_away_and_back_stay_refused_until_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat.db");
    let settings = SqliteSettings::default();
    let store = SqliteStore::open(&path, &settings).unwrap();
    let pair = pair("moved");
    store.append(message(&pair, "one")).await.unwrap();
    let away = folder.path().join("away.db");
    fs::rename(&path, &away).unwrap();
    let refused = store.append(message(&pair, "two")).await.unwrap_err();
    assert!(refused.to_string().contains("was deleted"), "{refused}");
    assert!(store.user(&pair.0).await.is_err(), "nothing is read either");
    fs::rename(&away, &path).unwrap();
    store.append(message(&pair, "two")).await.unwrap_err();
    store.check().await.unwrap_err();
    store.close().await;
    let store = SqliteStore::open(&path, &settings).unwrap();
    let room = RoomId::direct(&pair.0, &pair.1);
    assert_eq!(complete(store.as_ref(), room).await, 1);
    store.append(message(&pair, "two")).await.unwrap();
    store.close().await;
}

/// Cuts a file to so many bytes where it is.
fn shorten(path: &Path, bytes: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(bytes).unwrap();
}

fn stored_messages(path: &Path) -> u32 {
    let conn = rusqlite::Connection::open(path).unwrap();
    let count = "SELECT count(*) FROM messages";
    conn.query_row(count, [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn a_database_shortened_in_place_ends_receipts_and_keeps_its_log() {
    for bytes in [0, 40_960] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stompbox.db");
        Node::start_in("node", folder.path(), &[])
            .await
            .stop()
            .await;
        let node = Node::start_in("node", folder.path(), &[]).await;
        let mut client = connected(&node).await;
        assert!(is_receipted(&mut client, 1).await);
        let log = fs::read(beside(&path, "-wal")).unwrap();
        assert!(fs::metadata(&path).unwrap().len() > bytes);
        shorten(&path, bytes);
        assert!(!is_receipted(&mut client, 2).await);
        until_not_ready(&node).await;
        assert!(!is_receipted(&mut client, 3).await);
        until_not_ready(&node).await;
        let output = node.output_with("start the node again").await;
        assert!(output.contains("was shortened"), "{output}");
        node.stop().await;
        // Nothing was copied into what is left of the database, so the log has what was receipted.
        assert_eq!(fs::metadata(&path).unwrap().len(), bytes);
        assert_eq!(fs::read(beside(&path, "-wal")).unwrap(), log);
        let refused = Node::try_start_in("node", folder.path(), &[]).await;
        let output = refused.expect_err("it starts").output;
        assert!(output.contains("restore"), "{output}");
        assert_eq!(fs::metadata(&path).unwrap().len(), bytes);
        assert_eq!(fs::read(beside(&path, "-wal")).unwrap(), log);
    }
}

#[tokio::test]
async fn a_log_shortened_in_place_ends_receipts_and_is_rescued_from_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stompbox.db");
    for number in [1, 2] {
        let node = Node::start_in("node", folder.path(), &[]).await;
        let mut client = connected(&node).await;
        assert!(is_receipted(&mut client, number).await);
        if number == 1 {
            node.stop().await;
            continue;
        }
        shorten(&beside(&path, "-wal"), 0);
        for refused in 3..=5 {
            assert!(!is_receipted(&mut client, refused).await);
            until_not_ready(&node).await;
        }
        let output = node.output_with("was copied from memory").await;
        assert!(output.contains("was shortened"), "{output}");
        node.kill().await;
    }
    // What was in the database before is whole, and the copy has the rest.
    Node::start_in("node", folder.path(), &[])
        .await
        .stop()
        .await;
    assert_eq!(stored_messages(&path), 1);
    backup::restore(&beside(&path, ".rescued"), &path).unwrap();
    Node::start_in("node", folder.path(), &[])
        .await
        .stop()
        .await;
    assert_eq!(stored_messages(&path), 2);
}

#[tokio::test]
async fn an_idle_node_notices_a_shortened_file_by_its_readiness_alone() {
    for ending in ["", "-wal"] {
        let node = Node::start("node", &[]).await;
        shorten(&beside(&node.data_dir().join("stompbox.db"), ending), 0);
        until_not_ready(&node).await;
    }
}

#[tokio::test]
async fn a_log_that_the_node_empties_itself_is_no_loss() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat.db");
    let settings = SqliteSettings {
        wal_bytes_max: 1 << 20,
        ..SqliteSettings::default()
    };
    let store = SqliteStore::open(&path, &settings).unwrap();
    let pair = pair("emptied");
    let text = "x".repeat(60_000);
    let mut emptied = 0;
    for _ in 0..10 {
        // Together more than the bound.
        let appends = join_all((0..40).map(|_| store.append(message(&pair, &text))));
        let checks = join_all((0..200).map(|_| store.check()));
        let (stored, checked) = tokio::join!(appends, checks);
        stored.into_iter().for_each(|stored| drop(stored.unwrap()));
        checked.into_iter().for_each(Result::unwrap);
        // What was beyond the bound was copied back before this.
        store.append(message(&pair, "small")).await.unwrap();
        let bytes = fs::metadata(beside(&path, "-wal")).unwrap().len();
        emptied += u32::from(bytes <= settings.wal_bytes_max);
    }
    assert!(emptied > 0, "the log never became shorter");
    store.close().await;
}

#[tokio::test]
async fn a_store_that_ends_copies_nothing_into_a_shortened_database() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chat.db");
    let settings = SqliteSettings::default();
    SqliteStore::open(&path, &settings).unwrap().close().await;
    let store = SqliteStore::open(&path, &settings).unwrap();
    store.append(message(&pair("ends"), "one")).await.unwrap();
    let log = fs::read(beside(&path, "-wal")).unwrap();
    shorten(&path, 4_096);
    store.close().await;
    assert_eq!(fs::metadata(&path).unwrap().len(), 4_096);
    assert_eq!(fs::read(beside(&path, "-wal")).unwrap(), log);
}
