//! The program as people run it beside a node: what it says, and its exit code.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use crate::support::api::{Member, PASSWORD};
use crate::support::node::Node;

const PATIENCE: Duration = Duration::from_secs(60);

/// How a command ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) code: i32,
    pub(super) out: String,
    pub(super) err: String,
}

impl Ended {
    /// What it wrote, as JSON.
    pub(super) fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("{self:?}"))
    }
}

/// Runs a command with these words, and this text on stdin.
pub(super) async fn run(words: &[&str], input: &str) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stompbox"));
    command
        .args(words)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that reads nothing may have ended already.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = timeout(PATIENCE, child.wait_with_output()).await;
    let output = output.expect("it does not end").unwrap();
    Ended {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs a command that asks this node.
pub(super) async fn beside(node: &Node, words: &str, input: &str) -> Ended {
    let port = node.address().port().to_string();
    let data_dir = node.data_dir().display().to_string();
    let mut all: Vec<_> = words.split(' ').collect();
    all.extend([
        "--config",
        "/dev/null",
        "--port",
        &port,
        "--data-dir",
        &data_dir,
    ]);
    run(&all, input).await
}

/// An admin, made by the command line, who has signed in.
pub(crate) async fn admin(node: &Node) -> Member {
    let words = "user create --email root@example.com --name Root --role admin --json";
    let made = beside(node, words, &format!("{PASSWORD}\n")).await;
    assert_eq!(made.json()["role"], "admin");
    Member::login(node.address(), "root@example.com", "desk").await
}
