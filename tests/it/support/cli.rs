//! The command line, as people type it, against a node that runs.

use std::process::Output;

use tokio::process::Command;

use super::node::Node;

/// Runs `stompbox` with these words and only this environment.
pub(crate) async fn stompbox(words: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stompbox"));
    command
        .env_clear()
        .envs(environment.iter().copied())
        .args(["--config", "/dev/null"])
        .args(words);
    command.output().await.unwrap()
}

/// Has a node whose secret is known make an administrator of somebody.
pub(crate) async fn make_admin(node: &Node, secret: &str, user_id: &str) {
    let url = node.url("");
    let words = ["user", "role", user_id, "admin", "--url", &url];
    let done = stompbox(&words, &[("JWT_SECRET", secret)]).await;
    assert!(done.status.success(), "{done:?}");
}
