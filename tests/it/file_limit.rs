//! Idle sockets of many addresses on a node that may open few files.
//!
//! Invariant: clients cannot open the last file of a node, so others get in and its health is answered.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::support::client::{Client, get, get_from};
use crate::support::node::Node;

const FILES: u32 = 540;

/// So many files more are kept for the node itself.
const KEPT: usize = 64;

/// Opens a socket from this address and sends nothing. The kernel may accept what the node does not.
async fn idle(from: Ipv4Addr, node: &Node) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let connected = timeout(Duration::from_secs(1), socket.connect(node.address()));
    connected.await.ok()?.ok()
}

#[tokio::test]
async fn idle_sockets_of_many_addresses_leave_files_to_others() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start_with_files("few", folder.path(), FILES, &[]).await;
    let mut held = Vec::new();
    for last in 2..42 {
        for _ in 0..40 {
            held.extend(idle(Ipv4Addr::new(127, 0, 0, last), &node).await);
        }
    }
    let open = std::fs::read_dir(format!("/proc/{}/fd", node.pid())).unwrap();
    let open = open.count();
    assert!(open > FILES as usize / 4, "{open}: the sockets are there");
    assert!(open + KEPT <= FILES as usize, "{open} of {FILES}");
    let (status, _) = get_from(Ipv4Addr::new(127, 0, 1, 1), node.address(), "/health").await;
    assert_eq!(status, 200);
    let mut one = Client::connect(node.address()).await;
    let to = one.user().to_owned();
    let receipt = one.say(&to, "still here").await;
    assert_eq!(one.frame().await.receipt(), receipt);
    let (_, metrics) = get(node.address(), "/metrics").await;
    for pool in [
        "memory",
        "sockets",
        "sessions",
        "patterns",
        "queue_consumers",
        "subscriptions",
    ] {
        for gauge in ["budget_used", "budget_capacity"] {
            let line = format!("{gauge}{{pool=\"{pool}\"}}");
            assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
        }
    }
}
