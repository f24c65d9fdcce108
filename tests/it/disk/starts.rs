//! The files of the store when a node starts: missing, empty, damaged. A start that is refused changes nothing.
//!
//! Not here: what happens to them while it runs (`disk`).

use std::fs;

use stompbox::store::sqlite::backup;
use stompbox::store::{SqliteSettings, SqliteStore, Store as _};

use super::{beside, connected, is_receipted, stored_messages};
use crate::conformance_store::{message, pair};
use crate::support::node::Node;

#[tokio::test]
async fn a_damaged_database_is_refused_and_its_log_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("a.db"), folder.path().join("b.db"));
    let settings = SqliteSettings::default();
    SqliteStore::open(&path, &settings).unwrap().close().await;
    let store = SqliteStore::open(&path, &settings).unwrap();
    store.append(message(&pair("damage"), "one")).await.unwrap();
    for ending in ["", "-wal"] {
        fs::copy(beside(&path, ending), beside(&copy, ending)).unwrap();
    }
    store.close().await;
    let mut damaged = fs::read(&copy).unwrap();
    let half = damaged.len() / 2;
    damaged[half..].fill(7);
    fs::write(&copy, &damaged).unwrap();
    let log = fs::read(beside(&copy, "-wal")).unwrap();
    let refused = SqliteStore::open(&copy, &settings).unwrap_err().to_string();
    assert!(refused.contains("damaged"), "{refused}");
    assert!(fs::read(&copy).unwrap() == damaged);
    assert!(fs::read(beside(&copy, "-wal")).unwrap() == log);
}

#[tokio::test]
async fn a_log_without_its_database_keeps_the_node_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stompbox.db");
    let (log, away) = (beside(&path, "-wal"), folder.path().join("away.db"));
    let node = Node::start_in("node", folder.path(), &[]).await;
    let mut client = connected(&node).await;
    for number in 1..=3 {
        assert!(is_receipted(&mut client, number).await);
    }
    node.kill().await;
    let in_the_log = fs::read(&log).unwrap();
    fs::rename(&path, &away).unwrap();
    for is_empty in [false, true] {
        if is_empty {
            fs::write(&path, "").unwrap();
        }
        let refused = Node::try_start_in("node", folder.path(), &[]).await;
        let output = refused.expect_err("it starts").output;
        assert!(output.contains("put the database back"), "{output}");
        assert!(backup::migrate(&path).is_err());
        assert_eq!(fs::read(&log).unwrap(), in_the_log);
        assert_eq!(path.exists(), is_empty);
    }
    assert!(backup::backup(&path, &folder.path().join("copy.db")).is_err());
    assert_eq!(fs::read(&log).unwrap(), in_the_log);
    fs::rename(&away, &path).unwrap();
    Node::start_in("node", folder.path(), &[])
        .await
        .stop()
        .await;
    assert_eq!(stored_messages(&path), 3);
}

#[tokio::test]
async fn a_new_database_where_a_node_has_run_is_said() {
    const SENTENCE: &str = "a new, empty one is begun";
    let folder = tempfile::tempdir().unwrap();
    for is_deleted in [false, true, false] {
        if is_deleted {
            fs::remove_file(folder.path().join("stompbox.db")).unwrap();
        }
        let ended = Node::start_in("node", folder.path(), &[])
            .await
            .stop()
            .await;
        let output = ended.output;
        assert_eq!(output.contains(SENTENCE), is_deleted, "{output}");
    }
}
