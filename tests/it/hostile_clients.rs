//! Clients that mean harm within the rules of the protocol: what they make the server do is
//! bounded, and nobody else notices.

use tokio::time::{Duration, Instant};

use crate::support::bystanders::Bystanders;
use crate::support::client::{Client, Opening};
use crate::support::cluster::HIGH_LIMITS;
use crate::support::node::Node;

/// Nearly as much as a WebSocket message may hold.
const MESSAGE_BYTES: usize = 96 << 10;

#[tokio::test]
async fn a_thousand_requests_in_one_message_keep_nobody_waiting() {
    let node = Node::start("node", &HIGH_LIMITS).await;
    let mut bystanders = Bystanders::on(&node).await;
    let opening = Opening {
        receive_buffer: Some(4 << 10),
        ..Opening::default()
    };
    let mut client = Client::connect_with(node.address(), &opening, "new").await;
    for id in 0..8 {
        let destination = "/user/queue/errors";
        let frame = format!("SUBSCRIBE\nid:{id}\ndestination:{destination}\n\n\0");
        client.send(&frame).await;
    }
    let nowhere = "SEND\ndestination:/app/x\n\n\0";
    client
        .send(&nowhere.repeat(MESSAGE_BYTES / nowhere.len()))
        .await;
    let began = Instant::now();
    for _ in 0..10 {
        bystanders.talk("thousands of refusals").await;
    }
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn who_asks_for_what_there_is_not_over_and_over_is_cut() {
    let node = Node::start("node", &HIGH_LIMITS).await;
    let mut client = Client::connect(node.address()).await;
    client.subscribe("/user/queue/errors").await;
    let nowhere = "SEND\ndestination:/app/x\n\n\0";
    client.send(&nowhere.repeat(1_000)).await;
    let ending = client.end().await;
    assert_eq!(ending.code, 4429, "{ending:?}");
}

#[tokio::test]
async fn another_user_agent_is_not_another_bucket() {
    let limits = [("RATE_BURST", "3"), ("RATE_ANON_PER_MIN", "1")];
    let node = Node::start("node", &limits).await;
    let mut first = Client::connect(node.address()).await;
    let (user, secret) = (first.user().to_owned(), first.secret().to_owned());
    for _ in 0..3 {
        first.publish("/topic/x", "mine").await;
        assert_eq!(first.frame().await.command, "RECEIPT");
    }
    let headers = [("user-agent", "somebody else")];
    let opening = Opening {
        headers: &headers,
        ..Opening::default()
    };
    let mut second = Client::connect_with(node.address(), &opening, &secret).await;
    assert_eq!(second.user(), user);
    second.publish("/topic/x", "more").await;
    let ending = second.end().await;
    assert_eq!(ending.code, 4429, "{ending:?}");
}

#[tokio::test]
async fn one_network_cannot_keep_the_others_out() {
    let limits = [("CONNECTION_RATE", "10"), ("CONNECTION_BURST", "50")];
    let node = Node::start("node", &limits).await;
    let mut opened = 0;
    for _ in 0..100 {
        let opening = Opening::default();
        opened += usize::from(Client::try_open(node.address(), &opening).await.is_ok());
    }
    assert!((10..40).contains(&opened), "{opened} of a fifth of 50");
    let opening = Opening {
        from: Some([127, 0, 0, 2].into()),
        ..Opening::default()
    };
    assert!(Client::try_open(node.address(), &opening).await.is_ok());
}
