//! A connection over TCP on a node whose turns are given by the test.

use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::app::AppSettings;
use crate::edge::connection::{Connection, Opened};
use crate::edge::harness::{Client, Node};
use crate::edge::settings::{EdgeSettings, MessageKind};
use crate::edge::socket::Socket;
use crate::edge::websocket::{Messages, WebSocket};
use crate::identity::Handshake;
use crate::policy::bucket::Rate;
use crate::session::SessionConfig;
use crate::turns::PIECE;

async fn node() -> Node {
    let settings = EdgeSettings::new(SessionConfig::default());
    Node::start(AppSettings::default(), settings).await
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
    let mut reader = node.connected(None).await;
    reader
        .send("SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:r1\n\n")
        .await;
    node.give_turn().await;
    reader.receive("RECEIPT").await;
    // From here on a SUBSCRIBE waits, and a SEND behind it.
    reader
        .send("SUBSCRIBE\nid:2\ndestination:/topic/b\nreceipt:r2\n\n\0SEND\ndestination:/topic/b\n\nmine")
        .await;
    let mut writer = node.connected(None).await;
    writer.send("SEND\ndestination:/topic/a\n\nhello").await;
    let message = reader.receive("MESSAGE").await;
    assert!(
        message.contains("/topic/a") && message.contains("hello"),
        "{message}"
    );
    for _ in 0..3 {
        assert_eq!(reader.next().await, "", "a heart-beat");
    }
    node.give_turn().await;
    let receipt = reader.receive("RECEIPT").await;
    assert!(receipt.contains("r2"), "{receipt}");
    let message = reader.receive("MESSAGE").await;
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
    let mut client = node.connected(None).await;
    client
        .send("SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:r1\n\n")
        .await;
    node.give_turn().await;
    client.receive("RECEIPT").await;
    client
        .send("SUBSCRIBE\nid:2\ndestination:/topic/b\nreceipt:r2\n\n")
        .await;
    let refused = client.receive("ERROR").await;
    assert!(refused.contains("rate_limited"), "{refused}");
    assert!(!node.edge.turns.give_one(), "nobody waits");
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_waits_too_long_is_refused_with_the_time_to_come_again() {
    let node = node().await;
    let mut client = node.client(None).await;
    client.send("CONNECT\naccept-version:1.2\n\n").await;
    let refused = client.receive("ERROR").await;
    assert!(refused.contains("try_later"), "{refused}");
    assert!(refused.contains("\"retry_after_ms\":5000"), "{refused}");
}

#[tokio::test]
async fn a_session_that_says_goodbye_is_forgotten_in_its_turn() {
    let node = node().await;
    let mut client = node.connected(None).await;
    client.send("DISCONNECT\nreceipt:bye\n\n").await;
    client.receive("RECEIPT").await;
    node.wait_for(1).await;
    node.give_turn().await;
    assert_eq!(client.stream.read(&mut [0]).await.unwrap(), 0, "it ends");
}

#[tokio::test]
async fn a_large_message_waits_for_the_turn_of_its_network_whatever_it_comes_in() {
    let node = node().await;
    let frame = format!(
        "SEND\ndestination:/topic/a\nreceipt:r\n\n{}\0",
        "x".repeat(60_000)
    );
    let mut clients = Vec::new();
    for piece_bytes in [60_000, 1_000] {
        let mut client = node.connected(None).await;
        for piece in frame.as_bytes().chunks(piece_bytes) {
            client.stream.write_all(piece).await.unwrap();
        }
        node.wait_for(1).await;
        node.give_turn().await;
        client.receive("RECEIPT").await;
        // The end of a session takes a turn too.
        clients.push(client);
    }
    let mut client = node.connected(None).await;
    for _ in 0..100 {
        client
            .send("SEND\ndestination:/topic/a\nreceipt:r\n\nsmall")
            .await;
        client.receive("RECEIPT").await;
    }
}

#[tokio::test]
async fn a_session_that_ends_behind_a_subscribe_that_waits_is_told_so() {
    let node = node().await;
    let mut client = node.connected(None).await;
    client
        .send("SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:r\n\n\0ACK\nsubscription:1\n\n")
        .await;
    node.wait_for(1).await;
    node.give_turn().await;
    client.receive("RECEIPT").await;
    let error = client.receive("ERROR").await;
    assert!(error.contains("Missing id"), "{error}");
    assert_eq!(client.stream.read(&mut [0]).await.unwrap(), 0, "it ends");
}

/// A session that sends, and others with 32 subscriptions to its topic; every 256 deliveries take a turn.
async fn writer_and_readers(node: &Node) -> (Client, Vec<Client>) {
    let mut readers = Vec::new();
    for _ in 0..4 {
        let mut reader = node.connected(None).await;
        // In one write, so that they are read at once and take one turn.
        let subscribe =
            |id| format!("SUBSCRIBE\nid:{id}\ndestination:/topic/a\nreceipt:{id}\n\n\0");
        let all: String = (0..8).map(subscribe).collect();
        reader.stream.write_all(all.as_bytes()).await.unwrap();
        node.give_turn().await;
        for _ in 0..8 {
            reader.receive("RECEIPT").await;
        }
        readers.push(reader);
    }
    (node.connected(None).await, readers)
}

/// Messages of which the last one waits, and their receipts come but for the last.
async fn the_last_one_waits(node: &Node, frames: &[String]) {
    let (mut writer, _readers) = writer_and_readers(node).await;
    for (number, frame) in frames.iter().enumerate() {
        writer.send(frame).await;
        if number < frames.len() - 1 {
            let receipt = writer.receive("RECEIPT").await;
            assert!(receipt.contains(&format!("r{number}\n")), "{receipt}");
        }
    }
    node.wait_for(1).await;
    for _ in 0..3 {
        assert_eq!(writer.next().await, "", "a heart-beat");
    }
    node.give_turn().await;
    let receipt = writer.receive("RECEIPT").await;
    assert!(receipt.contains(&format!("r{}\n", frames.len() - 1)));
}

#[tokio::test]
async fn a_session_whose_messages_reach_many_waits_for_its_turn_and_beats() {
    let node = Node::start(AppSettings::default(), EdgeSettings::new(beating())).await;
    let send = |number| format!("SEND\ndestination:/topic/a\nreceipt:r{number}\n\nhello");
    let frames: Vec<_> = (0..8).map(send).collect();
    the_last_one_waits(&node, &frames).await;
}

#[tokio::test]
async fn messages_of_transactions_that_reach_many_wait_for_a_turn_too() {
    let node = Node::start(AppSettings::default(), EdgeSettings::new(beating())).await;
    let send = "SEND\ndestination:/topic/a\ntransaction:t\n\nhello\0";
    let commit = |number| {
        let end = format!("COMMIT\ntransaction:t\nreceipt:r{number}\n\n");
        format!("BEGIN\ntransaction:t\n\n\0{send}{send}{end}")
    };
    let frames: Vec<_> = (0..4).map(commit).collect();
    the_last_one_waits(&node, &frames).await;
}

#[tokio::test]
async fn an_ack_of_many_messages_waits_for_its_turn_and_the_session_beats() {
    let many = Rate {
        capacity: 1_000,
        per_10_min: 1_000,
    };
    let settings = AppSettings {
        rate_visitor: many,
        rate_network: many,
        rate_frames: many,
        ..AppSettings::default()
    };
    let node = Node::start(settings, EdgeSettings::new(beating())).await;
    let (mut writer, _readers) = writer_and_readers(&node).await;
    let mut reader = node.connected(None).await;
    reader
        .send(
            "SUBSCRIBE\nid:w\ndestination:/topic/w\nack:client\nprefetch-count:300\nreceipt:s\n\n",
        )
        .await;
    node.give_turn().await;
    reader.receive("RECEIPT").await;
    let mut last = String::new();
    for _ in 0..PIECE {
        writer.send("SEND\ndestination:/topic/w\n\nhello").await;
        last = reader.receive("MESSAGE").await;
        if node.edge.turns.waiting() > 0 {
            node.give_turn().await;
        }
    }
    let ack = last
        .lines()
        .find_map(|line| line.strip_prefix("ack:"))
        .unwrap();
    reader.send(&format!("ACK\nid:{ack}\nreceipt:a\n\n")).await;
    node.wait_for(1).await;
    for _ in 0..3 {
        assert_eq!(reader.next().await, "", "a heart-beat");
    }
    node.give_turn().await;
    reader.receive("RECEIPT").await;
}

#[tokio::test]
async fn a_transaction_is_done_to_its_end_when_its_client_goes_while_it_waits() {
    let node = Node::start(AppSettings::default(), EdgeSettings::new(beating())).await;
    let (mut writer, mut readers) = writer_and_readers(&node).await;
    let queue = "SUBSCRIBE\nid:q\ndestination:/queue/w\nack:client-individual\nreceipt:s\n\n";
    writer.send(queue).await;
    node.give_turn().await;
    writer.receive("RECEIPT").await;
    writer.send("SEND\ndestination:/queue/w\n\nanswered").await;
    let message = writer.receive("MESSAGE").await;
    let id = message.lines().find_map(|line| line.strip_prefix("ack:"));
    let ack = format!("ACK\nid:{}\ntransaction:t\n\n\0", id.unwrap());
    let before = node.edge.app.memory().used();
    // Nine messages of 32 deliveries each: the ninth, and the ACK behind it, come after a turn.
    let body = "x".repeat(1_000);
    let send = format!("SEND\ndestination:/topic/a\ntransaction:t\n\n{body}\0").repeat(9);
    writer
        .send(&format!(
            "BEGIN\ntransaction:t\n\n\0{send}{ack}COMMIT\ntransaction:t\n\n"
        ))
        .await;
    node.wait_for(1).await;
    // It does not read, and its beats find nobody.
    SockRef::from(&writer.stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(writer);
    for _ in 0..8 * 8 {
        readers[0].receive("MESSAGE").await;
    }
    for _ in 0..4 {
        assert_eq!(readers[0].next().await, "", "a heart-beat");
    }
    assert_eq!(node.edge.turns.waiting(), 1, "the session stays until then");
    let kept = node.edge.app.memory().used() - before;
    assert!(kept >= 8_000, "{kept} bytes are charged for the steps");
    node.give_turns();
    for _ in 0..8 {
        readers[0].receive("MESSAGE").await;
    }
    // What the ACK has settled is not delivered again.
    let mut other = node.client(None).await;
    other.send("CONNECT\naccept-version:1.2\n\n").await;
    other.receive("CONNECTED").await;
    other.send(queue).await;
    other.receive("RECEIPT").await;
    other.send("SEND\ndestination:/queue/w\n\nnext").await;
    let message = other.receive("MESSAGE").await;
    assert!(message.contains("next"), "{message}");
}

#[tokio::test]
async fn a_client_that_ignores_its_error_waits_for_the_turn_of_its_network() {
    let node = node().await;
    let mut client = node.connected(None).await;
    client.send("ACK\nsubscription:1\n\n").await;
    client.receive("ERROR").await;
    client.stream.write_all(&[b'x'; 100_000]).await.unwrap();
    node.wait_for(1).await;
}

#[tokio::test]
async fn a_long_message_that_is_told_only_whole_waits_for_the_turn_of_its_network() {
    let node = node().await;
    let (mut client, stream, peer) = node.socket(false).await;
    let address = peer.address.ip();
    let opened = Opened {
        handshake: Handshake::without_page(address),
        subprotocol: None,
        permits: node.edge.admit(&peer, address).unwrap(),
    };
    let mut unfinished = vec![0x82, 0xff];
    unfinished.extend_from_slice(&300_000_u64.to_be_bytes());
    unfinished.resize(unfinished.len() + 4 + 100_000, 0);
    client.write_all(&unfinished).await.unwrap();
    let socket = WebSocket::new(stream, &[], 350_000, MessageKind::Auto, Messages::Whole);
    let socket = Socket::WebSocket(Box::new(socket));
    Connection::spawn(Arc::clone(&node.edge), socket, opened);
    node.wait_for(1).await;
}
