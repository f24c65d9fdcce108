//! `stompbox backup`, `restore` and `migrate`, with a running node and without one.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;
use stompbox::model::{RoomId, UnixMillis};
use stompbox::store::{PostgresSettings, PostgresStore, SqliteSettings, SqliteStore, Store};
use tokio::process::Command;
use tokio_util::task::TaskTracker;

use crate::conformance_store::{complete, message, pair};
use crate::support::client::Client;
use crate::support::cluster::HIGH_LIMITS;
use crate::support::node::Node;
use crate::support::postgres::Postgres;

/// A command about the store of a data directory.
async fn stompbox(data_dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_stompbox"))
        .env_clear()
        .args(["--config", "/dev/null", "--data-dir"])
        .arg(data_dir)
        .args(arguments)
        .output()
        .await
        .unwrap()
}

/// What it says when it is done.
fn done(output: &Output) -> String {
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{words}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What it says when it is refused.
fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A store with so many messages in one conversation, closed in order.
async fn store_with(path: &Path, messages: u32) {
    let store = SqliteStore::open(path, &SqliteSettings::default()).unwrap();
    for number in 0..messages {
        let append = message(&pair("kept"), &number.to_string());
        store.append(append).await.unwrap();
    }
    store.close().await;
}

/// The head and the epoch of that conversation.
async fn head_and_epoch(path: &Path) -> (u64, u32) {
    let store = SqliteStore::open(path, &SqliteSettings::default()).unwrap();
    let (from, to) = pair("kept");
    let room = RoomId::direct(&from, &to);
    let head = complete(store.as_ref(), room).await;
    let first = store.range(room, 0, 1, 1).await.unwrap();
    store.close().await;
    (head, first.messages[0].epoch)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|it| it.unwrap().file_name().into_string().unwrap());
    names.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_node_under_load_has_every_message_that_was_receipted() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start("node", &HIGH_LIMITS).await;
    let peer = Client::connect(node.address()).await.user().to_owned();
    let mut writer = Client::connect(node.address()).await;
    let user = writer.user().to_owned();
    let (file, mut receipted) = (folder.path().join("copy.db"), 0_u32);
    let (mut backups, mut before) = (Vec::new(), Vec::new());
    // Several copies, each begun in the middle of what is written.
    for number in 0..4 {
        for _ in 0..50 {
            say(&mut writer, &peer, receipted).await;
            receipted += 1;
        }
        before.push(receipted);
        let copy: PathBuf = format!("{}.{number}", file.display()).into();
        let text = copy.display().to_string();
        let arguments = ["backup", &text];
        let is_done = Cell::new(false);
        let command = async {
            let output = stompbox(node.data_dir(), &arguments).await;
            is_done.set(true);
            output
        };
        let load = async {
            while !is_done.get() {
                say(&mut writer, &peer, receipted).await;
                receipted += 1;
            }
        };
        let (output, ()) = tokio::join!(command, load);
        let said = done(&output);
        assert!(said.contains("jwt-secret"), "{said}");
        backups.push(copy);
    }
    for (copy, receipted) in backups.iter().zip(before) {
        assert_eq!(mode(copy), 0o600);
        let data_dir = folder.path().join(format!("restored-{receipted}"));
        let output = stompbox(&data_dir, &["restore", &copy.display().to_string()]).await;
        done(&output);
        let restored = data_dir.join("stompbox.db");
        assert_eq!(mode(&restored), 0o600);
        let store = SqliteStore::open(&restored, &SqliteSettings::default()).unwrap();
        let export = store
            .export(&user.parse().unwrap(), None, 100_000, u64::MAX)
            .await;
        let found: BTreeSet<u32> = export
            .unwrap()
            .iter()
            .map(|it| it.text.parse().unwrap())
            .collect();
        for number in 0..receipted {
            assert!(
                found.contains(&number),
                "{number} was receipted before the backup"
            );
        }
        store.close().await;
    }
    node.stop().await;
}

async fn say(writer: &mut Client, peer: &str, number: u32) {
    let receipt = writer.say(peer, &number.to_string()).await;
    assert_eq!(writer.frame().await.receipt(), receipt);
}

#[tokio::test]
async fn a_backup_overwrites_nothing_and_names_what_it_does_not_hold() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(
        data.join("jwt-secret"),
        "the secret itself, long enough for it",
    )
    .unwrap();
    store_with(&data.join("stompbox.db"), 3).await;
    let copy = folder.path().join("copy.db");
    let name = copy.display().to_string();
    let said = done(&stompbox(&data, &["backup", &name]).await);
    assert!(
        said.contains("jwt-secret") && said.contains("copy.db.keys.json"),
        "{said}"
    );
    let manifest = fs::read_to_string(folder.path().join("copy.db.keys.json")).unwrap();
    assert!(!manifest.contains("the secret itself"), "{manifest}");
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["keys"][0]["file"], "jwt-secret");
    assert_eq!(manifest["keys"][0]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(
        names(folder.path()),
        ["copy.db", "copy.db.keys.json", "data"]
            .map(String::from)
            .into()
    );
    let words = refused(&stompbox(&data, &["backup", &name]).await);
    assert!(words.contains("it is there already"), "{words}");
    let nowhere = folder.path().join("nowhere");
    let words = refused(&stompbox(&nowhere, &["backup", "/tmp/never-made.db"]).await);
    assert!(words.contains("there is none"), "{words}");
    assert!(!Path::new("/tmp/never-made.db").exists());
    // A directory with another secret is told so.
    let other = folder.path().join("other");
    let said = done(&stompbox(&other, &["restore", &name]).await);
    assert!(said.contains("other/jwt-secret"), "{said}");
    fs::copy(data.join("jwt-secret"), other.join("jwt-secret")).unwrap();
    let said = done(&stompbox(&other, &["restore", &name, "--yes"]).await);
    assert!(!said.contains("jwt-secret"), "{said}");
}

#[tokio::test]
async fn a_backup_without_room_leaves_no_part_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    store_with(&data.join("stompbox.db"), 3).await;
    // No file of this process may become longer than 64 KiB (128 KiB for some shells), less than the copy has, which is
    // the same to it as a disk without room.
    let script = "ulimit -f 128; trap '' XFSZ; exec \"$@\"";
    let output = Command::new("/bin/sh")
        .env_clear()
        .args(["-c", script, "sh", env!("CARGO_BIN_EXE_stompbox")])
        .args(["--config", "/dev/null", "--data-dir"])
        .arg(&data)
        .arg("backup")
        .arg(folder.path().join("copy.db"))
        .output()
        .await
        .unwrap();
    let said = refused(&output);
    assert!(
        said.contains("no room for the copy") && !said.contains("damaged"),
        "{said}"
    );
    assert_eq!(names(folder.path()), ["data".to_owned()].into());
    let kept = names(&data);
    let aside = kept.iter().find(|name| name.contains(".new"));
    assert_eq!(aside, None);
}

#[tokio::test]
async fn a_restored_store_begins_anew_and_what_was_there_is_put_away() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let (path, copy) = (data.join("stompbox.db"), data.join("copy.db"));
    let name = copy.display().to_string();
    store_with(&path, 3).await;
    done(&stompbox(data, &["backup", &name]).await);
    store_with(&path, 2).await;
    let (head, epoch) = head_and_epoch(&path).await;
    assert_eq!(head, 5);
    let words = refused(&stompbox(data, &["restore", &name]).await);
    assert!(words.contains("--yes"), "{words}");
    assert_eq!(
        head_and_epoch(&path).await,
        (5, epoch),
        "nothing was changed"
    );
    let said = done(&stompbox(data, &["restore", &name, "--yes"]).await);
    assert!(said.contains("stompbox.db.before-restore"), "{said}");
    let (head, restored) = head_and_epoch(&path).await;
    assert_eq!(head, 3);
    assert_ne!(
        restored, epoch,
        "a client that has seen 5 must not take 4 for what it knows"
    );
    let before = data.join("stompbox.db.before-restore");
    assert_eq!(head_and_epoch(&before).await, (5, epoch));
    let words = refused(&stompbox(data, &["restore", &name, "--yes"]).await);
    assert!(
        words.contains("before-restore: it is there already"),
        "{words}"
    );
}

#[tokio::test]
async fn what_is_no_whole_copy_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let (path, copy) = (data.join("stompbox.db"), data.join("copy.db"));
    store_with(&path, 50).await;
    done(&stompbox(data, &["backup", &copy.display().to_string()]).await);
    let whole = fs::read(&copy).unwrap();
    let (head, epoch) = head_and_epoch(&path).await;
    let refuse = async |octets: &[u8], expected: &str| {
        fs::write(data.join("bad.db"), octets).unwrap();
        let bad = data.join("bad.db").display().to_string();
        let words = refused(&stompbox(data, &["restore", &bad, "--yes"]).await);
        assert!(words.contains(expected), "{words}");
        assert!(words.contains("bad.db"), "{words}");
        assert_eq!(head_and_epoch(&path).await, (head, epoch));
        assert!(
            !names(data)
                .iter()
                .any(|it| it.contains("before") || it.contains(".new"))
        );
    };
    refuse(b"no database at all, but long enough to be one", "damaged").await;
    refuse(&whole[..whole.len() / 2], "damaged").await;
    let mut torn = whole.clone();
    for octet in &mut torn[4_096 * 2..4_096 * 8] {
        *octet = !*octet;
    }
    refuse(&torn, "damaged").await;
    refuse(b"", "no database of stompbox").await;
    let later = data.join("later.db");
    fs::copy(&copy, &later).unwrap();
    let change = "UPDATE refinery_schema_history SET version = 999 WHERE version = 1";
    let conn = rusqlite::Connection::open(&later).unwrap();
    conn.execute(change, []).unwrap();
    drop(conn);
    let later = later.display().to_string();
    let words = refused(&stompbox(data, &["restore", &later, "--yes"]).await);
    assert!(words.contains("a later version of stompbox"), "{words}");
}

#[tokio::test]
async fn a_node_that_runs_keeps_its_store() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start("node", &HIGH_LIMITS).await;
    let copy = folder.path().join("copy.db").display().to_string();
    done(&stompbox(node.data_dir(), &["backup", &copy]).await);
    for arguments in [&["restore", &copy, "--yes"][..], &["migrate"]] {
        let words = refused(&stompbox(node.data_dir(), arguments).await);
        assert!(words.contains("another process has it open"), "{words}");
    }
    assert!(
        !names(node.data_dir())
            .iter()
            .any(|it| it.contains("before-restore"))
    );
    node.stop().await;
}

#[tokio::test]
async fn migrate_makes_a_schema_and_says_when_there_is_nothing_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let said = done(&stompbox(&data, &["migrate"]).await);
    assert!(said.starts_with("the schema was made: version "), "{said}");
    let said = done(&stompbox(&data, &["migrate"]).await);
    assert!(
        said.starts_with("the schema is up to date: version "),
        "{said}"
    );
    store_with(&data.join("stompbox.db"), 1).await;

    let url = Postgres::shared().await.fresh_database().await;
    let said = done(&stompbox(&data, &["migrate", "--database-url", &url]).await);
    assert!(said.starts_with("the schema was made: version "), "{said}");
    let said = done(&stompbox(&data, &["migrate", "--database-url", &url]).await);
    assert!(
        said.starts_with("the schema is up to date: version "),
        "{said}"
    );
    let tracker = TaskTracker::new();
    let settings = PostgresSettings::default();
    let store = PostgresStore::connect(&url, &settings, &tracker);
    store
        .await
        .unwrap()
        .purge(UnixMillis(0), UnixMillis(0))
        .await
        .unwrap();
}

#[tokio::test]
async fn for_postgresql_its_own_tools_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let url = "postgres://somebody:hunter2@127.0.0.1:1/chat";
    for (command, tool) in [("backup", "pg_dump"), ("restore", "pg_restore")] {
        let arguments = [command, "/tmp/never-made.dump", "--database-url", url];
        let words = refused(&stompbox(folder.path(), &arguments).await);
        assert!(words.contains(tool), "{words}");
        assert!(!words.contains("hunter2"), "{words}");
    }
}
