//! Clients that read slowly, over real sockets: the buffers of the kernel are part of what is tested.

use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::time::{Instant, sleep, timeout};

use crate::app::AppSettings;
use crate::edge::harness::{Node, PATIENCE};
use crate::edge::settings::EdgeSettings;
use crate::session::SessionConfig;

/// With a tenth of the time for everything: one silence is a second, and the client takes 1 KiB in 100 ms. Time
/// cannot be advanced here, because the kernel has timers of its own.
#[tokio::test]
async fn a_client_that_reads_slowly_is_not_cut_and_one_that_reads_nothing_is() {
    let mut settings = EdgeSettings::new(SessionConfig::default());
    settings.outbox_stall = Duration::from_secs(1);
    settings.linger = Duration::from_millis(100);
    let node = Node::start(AppSettings::default(), settings).await;
    let mut client = node.connected(Some(4 << 10)).await;
    client
        .say("SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:r\n\n")
        .await;
    node.give_turn().await;
    client.hear("RECEIPT").await;
    let body = "x".repeat(60_000);
    for _ in 0..5 {
        client
            .say(&format!("SEND\ndestination:/topic/a\n\n{body}"))
            .await;
    }
    let mut bytes = [0; 1 << 10];
    for _ in 0..40 {
        sleep(Duration::from_millis(100)).await;
        let read = client.stream.read_exact(&mut bytes).await;
        read.unwrap();
    }
    // The kernel would deliver what it holds also for a connection that was cut.
    assert_eq!(
        node.edge.admission.sessions(),
        1,
        "it was cut while it read"
    );
    // Now it reads nothing.
    let stopped = Instant::now();
    let cut = async {
        while node.edge.admission.sessions() > 0 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, cut).await.unwrap();
    assert!(
        stopped.elapsed() < Duration::from_secs(12),
        "{:?}",
        stopped.elapsed()
    );
}
