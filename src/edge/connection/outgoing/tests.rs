//! Clients that read slowly, over real sockets: the buffers of the kernel are part of what is tested.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep, timeout};

use crate::app::AppSettings;
use crate::edge::harness::{Client, Node, PATIENCE};
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
        .send("SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:r\n\n")
        .await;
    node.give_turn().await;
    client.receive("RECEIPT").await;
    node.give_turns();
    let body = "x".repeat(60_000);
    for _ in 0..5 {
        client
            .send(&format!("SEND\ndestination:/topic/a\n\n{body}"))
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
        stopped.elapsed() < Duration::from_secs(4),
        "{:?}",
        stopped.elapsed()
    );
}

/// A node with a client to which more is sent than it takes, and another client that is subscribed to `/topic/b`.
async fn with_blocked_reader(settings: EdgeSettings) -> (Node, Client, Client) {
    let node = Node::start(AppSettings::default(), settings).await;
    let mut reader = node.connected(Some(4 << 10)).await;
    reader
        .send("SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:r\n\n")
        .await;
    node.give_turn().await;
    reader.receive("RECEIPT").await;
    let mut other = node.connected(None).await;
    other
        .send("SUBSCRIBE\nid:1\ndestination:/topic/b\nreceipt:r\n\n")
        .await;
    node.give_turn().await;
    other.receive("RECEIPT").await;
    node.give_turns();
    let body = "x".repeat(60_000);
    for _ in 0..4 {
        other
            .send(&format!("SEND\ndestination:/topic/a\n\n{body}"))
            .await;
    }
    other
        .send("SEND\ndestination:/topic/b\n\nall are sent")
        .await;
    other.receive("MESSAGE").await;
    (node, reader, other)
}

#[tokio::test]
async fn unsubscribe_and_send_of_a_slow_reader_are_obeyed() {
    let settings = EdgeSettings::new(SessionConfig::default());
    let (_node, mut reader, mut other) = with_blocked_reader(settings).await;
    reader.send("UNSUBSCRIBE\nid:1\nreceipt:u\n\n").await;
    reader.send("SEND\ndestination:/topic/b\n\nmine").await;
    let message = other.receive("MESSAGE").await;
    assert!(message.contains("mine"), "{message}");
    other.send("SEND\ndestination:/topic/a\n\nlate").await;
    other.send("SEND\ndestination:/topic/b\n\nlate").await;
    other.receive("MESSAGE").await;
    for _ in 0..4 {
        let message = reader.receive("MESSAGE").await;
        assert!(message.contains("xxx"), "{message}");
    }
    reader.receive("RECEIPT").await;
    reader.send("DISCONNECT\nreceipt:d\n\n").await;
    let last = reader.receive("RECEIPT").await;
    assert!(last.contains("receipt-id:d"), "{last}");
}

#[tokio::test]
async fn a_drain_ends_the_session_of_a_slow_reader() {
    let mut settings = EdgeSettings::new(SessionConfig::default());
    settings.outbox_stall = PATIENCE * 3;
    settings.linger = Duration::from_millis(100);
    let (node, _reader, _other) = with_blocked_reader(settings).await;
    assert_eq!(node.edge.admission.sessions(), 2);
    node.edge.is_draining.store(true, Relaxed);
    node.edge.wheel.ring_all();
    let drained = async {
        while node.edge.admission.sessions() > 0 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, drained).await.unwrap();
}

/// Sends receipts to a client that takes nothing, until it is not read any more.
#[tokio::test]
async fn a_slow_reader_is_not_read_without_end() {
    let settings = EdgeSettings::new(SessionConfig::default());
    let (_node, mut reader, _other) = with_blocked_reader(settings).await;
    let frame = format!(
        "SEND\ndestination:/topic/c\nreceipt:{}\n\n\0",
        "r".repeat(200)
    );
    let frames = frame.repeat(100);
    let mut taken = 0;
    let flood = async {
        while taken < 64 << 20 {
            taken += reader.stream.write(frames.as_bytes()).await.unwrap();
        }
    };
    let stopped = timeout(Duration::from_secs(3), flood).await;
    assert!(stopped.is_err(), "{taken} bytes were read");
}
