//! Clients that want more than they may have: too many messages, subscriptions, sessions, visitors.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::sleep;

use super::{assert_ended, node};
use crate::sockjs::talker::Talker;
use crate::support::bystanders::{Bystanders, metric, metric_becomes};
use crate::support::client::{Client, Opening};
use crate::support::node::Node;

#[tokio::test]
async fn who_writes_too_fast_is_told_when_to_write_again() {
    let node = node(&[("RATE_BURST", "5"), ("RATE_ANON_PER_MIN", "30")]).await;
    let mut client = Client::connect(node.address()).await;
    client.subscribe("/user/queue/errors").await;
    let me = client.user().to_owned();
    let mut taken = 0;
    let problem = loop {
        client.say(&me, "quick").await;
        let answer = client.frame().await;
        if answer.command != "RECEIPT" {
            break answer.json();
        }
        taken += 1;
        let left: u64 = answer.header("x-rate-remaining").parse().unwrap();
        assert!(left < 5, "{answer:?}");
    };
    assert!(
        (5..10).contains(&taken),
        "{taken} of a burst of 5 were taken"
    );
    assert_eq!(
        (&problem["code"], &problem["status"]),
        (&"rate_limited".into(), &429.into())
    );
    let wait = problem["retry_after_ms"]
        .as_u64()
        .expect("when to try again");
    assert!(
        (1..=2_000).contains(&wait),
        "one token comes back in two seconds, not {wait} ms"
    );
    // The operator sees which rate it was.
    assert!(metric(&node, "rate_refused_total{rate=\"user_messages\"}").await >= 1.0);
    node.output_with("rate=\"user_messages\"").await;
    sleep(Duration::from_millis(wait + 50)).await;
    client.say(&me, "patient").await;
    assert_eq!(client.frame().await.command, "RECEIPT");
    // The neighbour has a bucket of their own.
    Bystanders::on(&node)
        .await
        .talk("another client was refused")
        .await;
}

#[tokio::test]
async fn who_does_not_heed_the_refusals_is_cut() {
    let node = node(&[("RATE_BURST", "1"), ("RATE_ANON_PER_MIN", "1")]).await;
    let mut client = Client::connect(node.address()).await;
    client.subscribe("/user/queue/errors").await;
    let me = client.user().to_owned();
    let frame =
        format!("SEND\ndestination:/app/chat.send\n\n{{\"to\":\"{me}\",\"message\":\"again\"}}\0");
    client.send(&frame.repeat(320)).await;
    let ending = client.end().await;
    assert_eq!(ending.code, 4429, "{ending:?}");
    assert!(
        ending.reason.starts_with("rate_limited;retry_after_ms="),
        "{ending:?}"
    );
}

#[tokio::test]
async fn ten_thousand_subscriptions_are_too_many() {
    // So fast they are too many frames; and however slowly, too many subscriptions.
    for (per_10_s, message, code) in [
        ("100", "rate_limited", 4429),
        ("1000000", "limit_exceeded", 1008),
    ] {
        let node = node(&[("CLIENT_FRAMES_PER_10S", per_10_s)]).await;
        let mut bystanders = Bystanders::on(&node).await;
        let mut client = Client::connect(node.address()).await;
        for hundred in 0..100 {
            let subscribe = |n: u32| {
                let id = hundred * 100 + n;
                format!("SUBSCRIBE\nid:{id}\ndestination:/topic/t.{id}\nreceipt:{id}\n\n\0")
            };
            client
                .send(&(0..100).map(subscribe).collect::<String>())
                .await;
        }
        let mut settled = 0;
        let error = loop {
            match client.frame().await {
                frame if frame.command == "RECEIPT" => settled += 1,
                frame => break frame,
            }
        };
        assert_eq!(error.header("message"), message, "{error:?}");
        assert!(settled <= 256, "{settled} subscriptions");
        let ending = client.end().await;
        assert_eq!(ending.code, code, "{ending:?}");
        bystanders.talk(message).await;
        metric_becomes(&node, "chat_channels_active", 0.0).await;
    }
}

#[tokio::test]
async fn the_oldest_session_of_a_visitor_makes_room() {
    let node = node(&[("SESSIONS_VISITOR", "3")]).await;
    let opening = Opening::default();
    let mut first = Client::connect(node.address()).await;
    // Which session is older is known to the millisecond.
    sleep(Duration::from_millis(2)).await;
    let mut others = Vec::new();
    for _ in 0..3 {
        let other = Client::connect_with(node.address(), &opening, first.secret()).await;
        assert_eq!(other.user(), first.user());
        others.push(other);
    }
    let ending = first.end().await;
    assert_ended(
        "the oldest",
        &ending,
        "limit_exceeded",
        4409,
        "too_many_devices",
    );
    for other in &mut others {
        let receipt = other.publish("/topic/x", "alive").await;
        assert_eq!(other.frame().await.receipt(), receipt);
    }
}

#[tokio::test]
async fn too_many_new_visitors_of_one_network_are_told_to_wait() {
    let node = node(&[("VISITORS_PER_NETWORK", "3")]).await;
    for _ in 0..3 {
        Client::connect(node.address()).await;
    }
    let mut client = Client::open(node.address()).await;
    client
        .send("CONNECT\naccept-version:1.2\nvisitor-token:new\n\n\0")
        .await;
    let ending = client.end().await;
    assert_eq!(ending.code, 1013, "{ending:?}");
    assert!(
        ending.reason.starts_with("try_later;retry_after_ms="),
        "{ending:?}"
    );
    let problem = ending.error.expect("an ERROR frame").json();
    assert_eq!(problem["code"], "try_later");
}

#[tokio::test]
async fn empty_messages_are_not_for_free() {
    let node = node(&[]).await;
    let mut bystanders = Bystanders::on(&node).await;
    let mut client = Client::connect(node.address()).await;
    for _ in 0..200 {
        client.send("\n").await;
    }
    let ending = client.end().await;
    assert_ended(
        "empty messages",
        &ending,
        "rate_limited",
        4429,
        "rate_limited;retry_after_ms=10000",
    );
    bystanders.talk("empty messages").await;
}

/// The rates of the defaults.
const DEFAULT_RATES: [(&str, &str); 4] = [
    ("RATE_BURST", "100"),
    ("RATE_ANON_PER_MIN", "200"),
    ("RATE_NET_BURST", "5000"),
    ("RATE_NET_PER_MIN", "60000"),
];

/// Visitors of one address who together send more than the address may at once.
const SENDERS: usize = 14;

const BODY: usize = 60_000;

/// A client that takes 0.8 MB a second in pieces of this size.
async fn pause(bytes: usize) {
    sleep(Duration::from_micros(bytes as u64 * 1_250 / 1_000)).await;
}

/// Sends until it is refused. Returns how often it was taken.
async fn burst(node: &Node, destination: &str, body: &str) -> usize {
    let mut sender = Client::connect(node.address()).await;
    sender.subscribe("/user/queue/errors").await;
    let mut sent = 0;
    loop {
        let receipt = sender.publish(destination, body).await;
        let answer = sender.frame().await;
        if answer.command != "RECEIPT" {
            assert_eq!(answer.json()["code"], "rate_limited", "{answer:?}");
            return sent;
        }
        assert_eq!(answer.receipt(), receipt);
        sent += 1;
    }
}

async fn all_burst(node: &Node, destination: &str, body: &str) -> usize {
    let bursts = (0..SENDERS).map(|_| burst(node, destination, body));
    join_all(bursts).await.iter().sum()
}

/// To a topic whose readers had something small before.
#[tokio::test]
async fn bursts_cut_no_client_that_reads_steadily() {
    let node = node(&DEFAULT_RATES).await;
    let opening = Opening {
        receive_buffer: Some(16 << 10),
        ..Opening::default()
    };
    let mut plain = Client::connect_with(node.address(), &opening, "new").await;
    plain.subscribe("/topic/burst").await;
    let mut others = Vec::new();
    for transport in ["websocket", "xhr_streaming"] {
        let mut other = Talker::open(node.address(), transport, &[]).await;
        other.connect("heart-beat:0,0\n").await;
        other
            .send(&["SUBSCRIBE\nid:0\ndestination:/topic/burst\nreceipt:s\n\n\0"])
            .await;
        other.message().await;
        others.push((transport, other));
    }
    let body = "x".repeat(BODY);
    let sent = all_burst(&node, "/topic/burst", &body).await;
    assert!(
        (80..=6 * SENDERS).contains(&sent),
        "{sent} of what a network may"
    );
    let reading = async {
        for number in 0..sent {
            let frame = plain.frame().await;
            assert_eq!(frame.body.len(), BODY, "{number}: {frame:?}");
            pause(BODY).await;
        }
    };
    let others = others.iter_mut().map(|(transport, other)| async move {
        for number in 0..sent {
            let message = other.message().await;
            assert!(message.len() > BODY, "{transport} {number}: {message}");
            pause(BODY).await;
        }
    });
    tokio::join!(reading, join_all(others));
    assert_eq!(metric(&node, "ws_close_total{code=\"4490\"}").await, 0.0);
}

#[tokio::test]
async fn direct_messages_of_one_address_cut_no_client_that_reads_steadily() {
    let node = node(&DEFAULT_RATES).await;
    let opening = Opening {
        receive_buffer: Some(16 << 10),
        ..Opening::default()
    };
    let mut reader = Client::connect_with(node.address(), &opening, "new").await;
    reader.subscribe("/user/queue/messages").await;
    // Four bytes a character, as long as a message may be.
    let body = json!({"to": reader.user(), "message": "\u{1d54f}".repeat(3_900)}).to_string();
    let sent = all_burst(&node, "/app/chat.send", &body).await;
    assert!(
        (300..=25 * SENDERS).contains(&sent),
        "{sent} of what a network may"
    );
    for number in 0..sent {
        let frame = reader.frame().await;
        assert_eq!(frame.command, "MESSAGE", "{number}: {frame:?}");
        pause(frame.body.len()).await;
    }
    assert_eq!(metric(&node, "ws_close_total{code=\"4490\"}").await, 0.0);
}
