//! SockJS octet by octet: every demand of its protocol, on the services that conformance suites
//! use, and STOMP over it on a node.

mod closing;
mod pages;
mod polling;
mod raw;
mod stomp;
mod stomp_guard;
mod streaming;
pub(crate) mod talker;
mod websocket;

#[path = "../../examples/sockjs_services.rs"]
#[expect(dead_code, reason = "the example's own main is not called")]
mod services;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The services of the example, on a port of their own, until the test ends.
async fn services() -> SocketAddr {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let tracker = TaskTracker::new();
    let serving = stompbox::edge::sockjs::serve(
        tcp,
        services::services(),
        tracker.clone(),
        CancellationToken::new(),
    );
    tracker.spawn(serving);
    address
}

/// The path of a session that nobody has used.
fn session(base: &str) -> String {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    format!("{base}/000/session-{number}")
}
