//! What sessions make a node buffer, taken to its end by one address: the byte account stays below its
//! limit, others are served meanwhile, and afterwards everything is given back.

use std::net::Ipv4Addr;

use futures_util::StreamExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Duration, Instant, sleep};
use tokio_tungstenite::tungstenite::Message;

use crate::support::bystanders::{Bystanders, metric};
use crate::support::client::{Client, Opening, Received};
use crate::support::cluster::HIGH_LIMITS;
use crate::support::edge;
use crate::support::node::Node;

/// What the kernel holds of what a client does not read.
const KERNEL_BYTES: f64 = 128.0 * 1_024.0;

const MIB: f64 = 1_048_576.0;

/// Of 192 MiB one address gets half of the seven eighths that visitors may have.
const LIMIT: f64 = 192.0 * MIB;
const SHARE: f64 = LIMIT * 7.0 / 16.0;

/// What the readers of metrics may hold beside it, whose sockets are still being closed.
const OBSERVERS: f64 = ((4 * 34) << 10) as f64;

const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

async fn node(more: &[(&'static str, &'static str)]) -> Node {
    let mut environment = HIGH_LIMITS.to_vec();
    environment.push(("MEMORY_LIMIT", "192MiB"));
    environment.extend(more);
    Node::start("node", &environment).await
}

async fn used(node: &Node) -> f64 {
    metric(node, "budget_used{pool=\"memory\"}").await
}

/// What is used while nothing is on its way: the same at five looks in a row.
async fn used_at_rest(node: &Node) -> f64 {
    let began = Instant::now();
    let mut last = used(node).await;
    let mut alike = 0;
    while alike < 5 {
        assert!(began.elapsed() < Duration::from_secs(30), "it never rests");
        sleep(Duration::from_millis(20)).await;
        let now = used(node).await;
        alike = if now == last { alike + 1 } else { 0 };
        last = now;
    }
    last
}

/// Waits until the account is back where it was. Gives up after a minute.
async fn is_given_back(node: &Node, before: f64) {
    let began = Instant::now();
    loop {
        let now = used(node).await;
        if now == before {
            return;
        }
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "{now} of {before}"
        );
        sleep(Duration::from_millis(50)).await;
    }
}

/// A newcomer from another address connects, subscribes and receives what they publish.
async fn neighbour_is_served(node: &Node) {
    let origin = format!("http://{}", node.address());
    let headers = [("Origin", origin.as_str())];
    let opening = Opening {
        headers: &headers,
        from: Some(NEIGHBOUR),
        ..Opening::default()
    };
    let mut client = Client::connect_with(node.address(), &opening, "new").await;
    client.subscribe("/topic/neighbours").await;
    client
        .publish("/topic/neighbours", &"x".repeat(30_000))
        .await;
    for _ in 0..2 {
        let frame = client.frame().await;
        assert!(
            ["MESSAGE", "RECEIPT"].contains(&&*frame.command),
            "{frame:?}"
        );
    }
    client.disconnect().await;
}

/// A client frame of WebSocket with a mask of zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u64::try_from(payload.len()).unwrap().to_be_bytes();
    let (short, long) = match payload.len() {
        0..126 => (0x80 | length[7], &[][..]),
        _ => (0x80 | 127, &length[..]),
    };
    [&[first, short], long, &[0; 4], payload].concat()
}

const TEXT_BEGINS: u8 = 0x01;
const PING: u8 = 0x89;

/// What the server says next, and if that is an ERROR, everything up to the end. A ping is answered by a
/// server that has taken everything before it.
async fn refusal(client: &mut edge::Client) -> Option<Vec<String>> {
    let next = tokio::time::timeout(edge::PATIENCE, client.0.next());
    let first = match next.await.expect("an answer") {
        Some(Ok(Message::Text(text))) => text.to_string(),
        Some(Ok(Message::Pong(_))) => return None,
        other => panic!("{other:?}"),
    };
    if first.starts_with("RECEIPT") {
        return None;
    }
    let mut all = vec![first];
    all.extend(client.receive_all().await);
    Some(all)
}

fn is_about_memory(all: &[String]) -> bool {
    let error = all.iter().any(|frame| {
        frame.contains("message:limit_exceeded\n") && frame.contains("hold as much memory")
    });
    error
        && all
            .last()
            .is_some_and(|last| last == "close 1008 limit_exceeded")
}

#[tokio::test]
async fn frames_without_an_end_are_refused_at_the_share_of_their_network() {
    let node = node(&[("MAX_FRAME_BYTES", "1MiB")]).await;
    let mut bystanders = Bystanders::on(&node).await;
    let before = used_at_rest(&node).await;
    let body = "x".repeat(1_000_000);
    let begun = format!("SEND\ndestination:/topic/x\ncontent-length:1048000\n\n{body}");
    let mut attackers = Vec::new();
    let refused = loop {
        let (mut client, _) = edge::Client::connect(node.address()).await;
        let line: &mut TcpStream = client.0.get_mut();
        // The message of WebSocket has no end either.
        let begun = [frame(TEXT_BEGINS, begun.as_bytes()), frame(PING, b"")].concat();
        line.write_all(&begun).await.unwrap();
        if let Some(all) = refusal(&mut client).await {
            break all;
        }
        attackers.push(client);
        assert!(attackers.len() < 300, "nobody is refused");
    };
    assert!(is_about_memory(&refused), "{refused:?}");
    let held = used(&node).await - before;
    assert!(
        (SHARE * 0.8..SHARE + OBSERVERS).contains(&held),
        "{held} of {SHARE}"
    );
    neighbour_is_served(&node).await;
    bystanders.talk("frames without an end").await;
    drop(attackers);
    is_given_back(&node, before).await;
}

#[tokio::test]
async fn transactions_are_refused_at_the_share_of_their_network() {
    let node = node(&[]).await;
    let mut bystanders = Bystanders::on(&node).await;
    let before = used_at_rest(&node).await;
    let body = "x".repeat(60_000);
    let step = format!("SEND\ndestination:/topic/x\ntransaction:t\n\n{body}\0");
    let mut attackers = Vec::new();
    let refused = loop {
        let (mut client, _) = edge::Client::connect(node.address()).await;
        client.send("BEGIN\ntransaction:t\n\n\0").await;
        for _ in 0..16 {
            client.send(&step).await;
        }
        client
            .send("BEGIN\ntransaction:last\nreceipt:last\n\n\0")
            .await;
        if let Some(all) = refusal(&mut client).await {
            break all;
        }
        attackers.push(client);
        assert!(attackers.len() < 300, "nobody is refused");
    };
    assert!(is_about_memory(&refused), "{refused:?}");
    let held = used(&node).await - before;
    assert!(
        (SHARE * 0.8..SHARE + OBSERVERS).contains(&held),
        "{held} of {SHARE}"
    );
    neighbour_is_served(&node).await;
    bystanders.talk("transactions").await;
    drop(attackers);
    is_given_back(&node, before).await;
}

#[tokio::test]
async fn stalled_readers_of_the_same_frames_cost_a_node_those_frames_once() {
    let node = node(&[]).await;
    let mut bystanders = Bystanders::on(&node).await;
    let mut publisher = Client::connect(node.address()).await;
    let before = used_at_rest(&node).await;
    let mut stalled = Vec::new();
    for _ in 0..200 {
        let opening = Opening {
            receive_buffer: Some(4 << 10),
            ..Opening::default()
        };
        let mut reader = Client::connect_with(node.address(), &opening, "new").await;
        reader.subscribe("/topic/large").await;
        stalled.push(reader);
    }
    let connected = used(&node).await;
    let body = "x".repeat(60_000);
    for _ in 0..8 {
        let receipt = publisher.publish("/topic/large", &body).await;
        assert_eq!(publisher.frame().await.receipt(), receipt);
    }
    bystanders.talk("a fan-out to those who do not read").await;
    let cost = used(&node).await - connected;
    // Five or six of eight frames wait. Counted for each reader they would be 60 MiB and more. The rest is in the
    // kernel's buffers, and there each reader has its own.
    let in_kernel = 200.0 * KERNEL_BYTES;
    let frames = cost - in_kernel;
    assert!(
        (60_000.0 * 4.0..4.0 * MIB).contains(&frames),
        "{frames} of {cost}"
    );
    drop(stalled);
    is_given_back(&node, before).await;
}

#[tokio::test]
async fn readers_that_acknowledge_nothing_are_cut_at_the_share_of_their_network() {
    let node = node(&[]).await;
    let mut bystanders = Bystanders::on(&node).await;
    let before = used_at_rest(&node).await;
    let body = "x".repeat(60_000);
    let mut attackers = Vec::new();
    let code = 'attack: loop {
        let mut reader = Client::connect(node.address()).await;
        let number = attackers.len();
        reader
            .send(&format!(
                "SUBSCRIBE\nid:1\ndestination:/topic/{number}\nack:client\nprefetch-count:1000\n\n\0"
            ))
            .await;
        for _ in 0..60 {
            let send = format!("SEND\ndestination:/topic/{number}\n\n{body}\0");
            reader.send(&send).await;
            match reader.next().await {
                Received::Frame(frame) if frame.command == "MESSAGE" => {}
                Received::Frame(frame) => {
                    assert_eq!(frame.command, "ERROR", "{frame:?}");
                    break 'attack reader.end().await.code;
                }
                Received::Closed(code, _) => break 'attack code,
                Received::Gone => break 'attack 1006,
            }
        }
        attackers.push(reader);
        assert!(attackers.len() < 100, "nobody is cut");
    };
    assert_eq!(code, 4490);
    let held = used(&node).await - before;
    assert!(
        (SHARE * 0.8..SHARE + OBSERVERS).contains(&held),
        "{held} of {SHARE}"
    );
    neighbour_is_served(&node).await;
    bystanders.talk("windows").await;
    drop(attackers);
    is_given_back(&node, before).await;
}
