//! The real stomp.py from PyPI over TCP, against one node, against three, and against three behind a
//! real nginx.
//!
//! The scenarios are Python (`tests/py/scenarios.py`), which says what was not as it must be.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::support::cluster::{Cluster, HIGH_LIMITS};
use crate::support::nginx::Nginx;
use crate::support::node::Node;
use crate::support::ports;

/// How long all scenarios together may take. Generous: the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(240);

/// Runs the scenarios of a group against nodes at these ports.
async fn scenarios(group: &str, ports: &[u16]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (folder, python) = (root.join("tests/py"), root.join("target/python/bin/python"));
    assert!(
        python.exists(),
        "stomp.py is missing; fetch it with: python3 -m venv target/python && \
         target/python/bin/pip install -r tests/py/requirements.txt \
         (Debian package python3-venv)"
    );
    let running = Command::new(python)
        .arg("scenarios.py")
        .arg(group)
        .args(ports.iter().map(u16::to_string))
        .current_dir(folder)
        // Looking up the machine's own name may take seconds, and serves nothing here.
        .env("STOMP_SKIP_HOSTNAME_SCAN", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let Ok(done) = timeout(PATIENCE, running).await else {
        panic!("the scenarios did not end within {PATIENCE:?}");
    };
    let done = done.unwrap();
    let said = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let (words, mistakes) = (said(&done.stdout), said(&done.stderr));
    assert!(done.status.success(), "{}\n{words}{mistakes}", done.status);
    assert!(words.lines().all(|line| line.starts_with("ok ")), "{words}");
    assert!(
        words.lines().count() >= 10,
        "few scenarios were run:\n{words}"
    );
}

/// A node's environment with STOMP over TCP at this port.
fn with_tcp<'a>(port: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut environment = vec![
        ("STOMP_TCP_PORT", port),
        ("CLIENT_FRAMES_PER_10S", "100000"),
        ("HEART_BEAT", "500,500"),
    ];
    environment.extend(more);
    environment
}

#[tokio::test]
async fn stomp_py_finds_on_one_node_what_it_expects() {
    let port = ports::free();
    let text = port.to_string();
    let _node = Node::start("node", &with_tcp(&text, &HIGH_LIMITS)).await;
    scenarios("one", &[port]).await;
}

/// Three nodes with STOMP over TCP, and where that listens.
async fn three_nodes(
    cluster: &Cluster,
    more: &[(&'static str, &'static str)],
) -> (Vec<Node>, Vec<u16>) {
    let (mut nodes, mut listening) = (Vec::new(), Vec::new());
    for name in ["a", "b", "c"] {
        let port = ports::free();
        let text = port.to_string();
        nodes.push(cluster.node_with(name, &with_tcp(&text, more)).await);
        listening.push(port);
    }
    (nodes, listening)
}

/// A visitor may write to another by his name.
const OPENED: (&str, &str) = (
    "DESTINATION_RULES",
    "all /topic/** anyone; all /queue/** anyone; send /user/** anyone",
);

#[tokio::test]
async fn stomp_py_works_across_three_nodes() {
    let cluster = Cluster::start().await;
    let (_nodes, listening) = three_nodes(&cluster, &[OPENED]).await;
    scenarios("across", &listening).await;
}

/// One port for all: what a client does next to another, it does on another node than the other.
#[tokio::test]
async fn stomp_py_works_through_nginx_against_three_nodes() {
    let cluster = Cluster::start().await;
    let accepting = [OPENED, ("PROXY_PROTOCOL", "accept")];
    let (nodes, listening) = three_nodes(&cluster, &accepting).await;
    let http: Vec<_> = nodes.iter().map(Node::address).collect();
    let tcp = listening
        .iter()
        .map(|port| SocketAddr::from(([127, 0, 0, 1], *port)));
    let (_nginx, address) = Nginx::start_with_tcp(&http, &tcp.collect::<Vec<_>>()).await;
    scenarios("one", &[address.port()]).await;
    scenarios("across", &[address.port(); 3]).await;
}
