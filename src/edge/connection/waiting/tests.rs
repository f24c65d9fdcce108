//! A connection over TCP on a node whose turns are given by the test.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::app::AppSettings;
use crate::edge::harness::{Node, PATIENCE};
use crate::edge::settings::EdgeSettings;
use crate::edge::tcp;
use crate::policy::bucket::Rate;
use crate::session::SessionConfig;

async fn client(node: &Node) -> Client {
    let (stream, accepted, peer) = node.socket(false).await;
    tcp::serve(Arc::clone(&node.edge), accepted, peer).await;
    Client {
        stream,
        read: Vec::new(),
    }
}

async fn connected(node: &Node) -> Client {
    let mut client = client(node).await;
    client
        .say("CONNECT\naccept-version:1.2\nheart-beat:0,100\n\n")
        .await;
    node.give_turn().await;
    client.hear("CONNECTED").await;
    client
}

struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    async fn say(&mut self, frame: &str) {
        self.stream.write_all(frame.as_bytes()).await.unwrap();
        self.stream.write_all(b"\0").await.unwrap();
    }

    /// The next frame, or a heart-beat as an empty text.
    async fn next(&mut self) -> String {
        let next = async {
            loop {
                if self.read.first() == Some(&b'\n') {
                    self.read.remove(0);
                    return String::new();
                }
                if let Some(end) = self.read.iter().position(|byte| *byte == 0) {
                    let frame: Vec<u8> = self.read.drain(..=end).collect();
                    return String::from_utf8(frame).unwrap();
                }
                let read = self.stream.read_buf(&mut self.read).await.unwrap();
                assert_ne!(read, 0, "the connection ends");
            }
        };
        timeout(PATIENCE, next).await.unwrap()
    }

    /// The next frame, which is this one.
    async fn hear(&mut self, command: &str) -> String {
        loop {
            let frame = self.next().await;
            if !frame.is_empty() {
                assert!(frame.starts_with(command), "{command}: {frame}");
                return frame;
            }
        }
    }
}

fn beating() -> SessionConfig {
    SessionConfig {
        beat_out: Duration::from_millis(100),
        ..SessionConfig::default()
    }
}

#[tokio::test]
async fn a_session_whose_subscribe_waits_for_its_turn_beats_and_gets_its_messages() {
    let node = Node::start(AppSettings::default(), EdgeSettings::new(beating())).await;
    let mut reader = connected(&node).await;
    reader
        .say("SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:r1\n\n")
        .await;
    node.give_turn().await;
    reader.hear("RECEIPT").await;
    // From here on a SUBSCRIBE waits, and a SEND behind it.
    reader
        .say("SUBSCRIBE\nid:2\ndestination:/topic/b\nreceipt:r2\n\n\0SEND\ndestination:/topic/b\n\nmine")
        .await;
    let mut writer = connected(&node).await;
    writer.say("SEND\ndestination:/topic/a\n\nhello").await;
    let message = reader.hear("MESSAGE").await;
    assert!(
        message.contains("/topic/a") && message.contains("hello"),
        "{message}"
    );
    for _ in 0..3 {
        assert_eq!(reader.next().await, "", "a heart-beat");
    }
    node.give_turn().await;
    let receipt = reader.hear("RECEIPT").await;
    assert!(receipt.contains("r2"), "{receipt}");
    let message = reader.hear("MESSAGE").await;
    assert!(message.contains("mine"), "{message}");
}

#[tokio::test]
async fn a_subscribe_beyond_the_rate_of_its_session_is_refused_before_it_waits() {
    let settings = AppSettings {
        rate_frames: Rate {
            capacity: 1,
            per_10_min: 1,
        },
        ..AppSettings::default()
    };
    let node = Node::start(settings, EdgeSettings::new(SessionConfig::default())).await;
    let mut client = connected(&node).await;
    client
        .say("SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:r1\n\n")
        .await;
    node.give_turn().await;
    client.hear("RECEIPT").await;
    client
        .say("SUBSCRIBE\nid:2\ndestination:/topic/b\nreceipt:r2\n\n")
        .await;
    let refused = client.hear("ERROR").await;
    assert!(refused.contains("rate_limited"), "{refused}");
    assert!(!node.edge.turns.give_one(), "nobody waits");
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_waits_too_long_is_refused_with_the_time_to_come_again() {
    let node = Node::start(
        AppSettings::default(),
        EdgeSettings::new(SessionConfig::default()),
    )
    .await;
    let mut client = client(&node).await;
    client.say("CONNECT\naccept-version:1.2\n\n").await;
    let refused = client.hear("ERROR").await;
    assert!(refused.contains("try_later"), "{refused}");
    assert!(refused.contains("\"retry_after_ms\":5000"), "{refused}");
}
