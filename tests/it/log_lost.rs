//! A node whose log cannot be written: the disk of the log is full, or its reader has ended or stalls.
//!
//! Invariant: only the log is lost. Requests and messages are answered, and the node ends with exit code 0.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::process::Stdio;

use crate::support::api::call;
use crate::support::client::Client;
use crate::support::node::Node;

#[tokio::test]
async fn a_log_on_a_full_disk_disturbs_nobody() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    only_the_log_is_lost(full.into()).await;
}

#[tokio::test]
async fn a_log_that_nobody_reads_disturbs_nobody() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    only_the_log_is_lost(writer.into()).await;
}

#[tokio::test]
async fn a_log_whose_reader_stalls_disturbs_nobody() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    // What is full already blocks the first line.
    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    rustix::fs::fcntl_setfl(&writer, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    while writer.write(&[b'\n'; 4_096]).is_ok() {}
    rustix::fs::fcntl_setfl(&writer, flags).unwrap();
    only_the_log_is_lost(writer.into()).await;
    drop(reader);
}

async fn only_the_log_is_lost(log: Stdio) {
    let folder = tempfile::tempdir().unwrap();
    let settings = [("LOG_LEVEL", "trace")];
    let node = Node::start_with_log("lost", folder.path(), log, &settings).await;
    for _ in 0..3 {
        let answer = call(node.address(), "GET", "/api/v1/me", &[], None).await;
        assert_eq!(answer.status, 401, "{answer:?}");
    }
    let mut one = Client::connect(node.address()).await;
    let mut other = Client::connect(node.address()).await;
    other.subscribe("/user/queue/messages").await;
    let to = other.user().to_owned();
    one.say(&to, "hello").await;
    assert_eq!(other.frame().await.command, "MESSAGE");
    let ended = node.stop().await;
    assert!(ended.status.success(), "{ended:?}");
}
