//! Clients that mean harm within the rules of the protocol: what they make the server do is
//! bounded, and nobody else notices.

use tokio::io::AsyncWriteExt as _;
use tokio::time::{Duration, Instant, sleep};

use crate::support::bystanders::Bystanders;
use crate::support::client::{Client, Opening};
use crate::support::cluster::HIGH_LIMITS;
use crate::support::edge;
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

/// A frame of a client with a key of zeros: its first octet and its payload.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[first, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

const TEXT_BEGINS: u8 = 0x01;
const GOES_ON: u8 = 0x00;
const PING: u8 = 0x89;

#[tokio::test]
async fn a_message_that_does_not_end_is_not_waited_for_whatever_comes_meanwhile() {
    let node = Node::start("node", &[("PARTIAL_FRAME_TIMEOUT", "500ms")]).await;
    let fragment = frame(TEXT_BEGINS, b"SEND\n");
    let ping = frame(PING, b"");
    let goes_on = frame(GOES_ON, b"x");
    for (beginning, again) in [
        (&fragment[..], &[][..]),
        (&fragment[..], &ping[..]),
        (&fragment[..], &goes_on[..]),
        (&fragment[..3], &[]),
        (&ping[..1], &[]),
    ] {
        let (mut client, _) = edge::Client::connect(node.address()).await;
        let line = client.0.get_mut();
        line.write_all(beginning).await.unwrap();
        for _ in 0..20 {
            sleep(Duration::from_millis(100)).await;
            let _may_be_closed = line.write_all(again).await;
        }
        let all = client.receive_all().await;
        let found = all
            .iter()
            .any(|frame| frame.contains("message:Frame timeout\n"));
        assert!(found, "{all:?}");
        assert_eq!(all.last().unwrap(), "close 1002 bad_request");
    }
}

#[tokio::test]
async fn messages_in_pieces_that_do_end_are_fine_for_as_long_as_they_come() {
    let node = Node::start("node", &[("PARTIAL_FRAME_TIMEOUT", "400ms")]).await;
    let (mut client, _) = edge::Client::connect(node.address()).await;
    for number in 0..10 {
        let line = client.0.get_mut();
        let send = format!("SEND\ndestination:/topic/x\nreceipt:{number}\n\nx\0");
        let (one, two) = send.as_bytes().split_at(10);
        let octets = [frame(TEXT_BEGINS, one), frame(PING, b"x"), frame(0x80, two)].concat();
        let (early, late) = octets.split_at(number * 4 + 1);
        line.write_all(early).await.unwrap();
        sleep(Duration::from_millis(100)).await;
        line.write_all(late).await.unwrap();
        let receipt = client.receive().await;
        assert!(
            receipt.contains(&format!("receipt-id:{number}\n")),
            "{receipt}"
        );
    }
}

#[tokio::test]
async fn a_million_empty_fragments_are_nearly_all_too_many() {
    let node = Node::start("node", &HIGH_LIMITS).await;
    let mut bystanders = Bystanders::on(&node).await;
    let (mut client, _) = edge::Client::connect(node.address()).await;
    let line = client.0.get_mut();
    line.write_all(&frame(TEXT_BEGINS, b"S")).await.unwrap();
    let thousand = frame(GOES_ON, b"").repeat(1_000);
    for _ in 0..1_000 {
        // The server reads away what comes after its close, and may have let go.
        let _may_be_closed = line.write_all(&thousand).await;
    }
    bystanders.talk("a million fragments").await;
    let all = client.receive_all().await;
    let error = all
        .iter()
        .any(|frame| frame.contains("message:bad_request\n"));
    assert!(error, "{all:?}");
    assert_eq!(all.last().unwrap(), "close 1002 bad_request");
    bystanders.talk("its end").await;
}

#[tokio::test]
async fn a_flood_of_pings_is_cut() {
    let node = Node::start("node", &[]).await;
    let mut bystanders = Bystanders::on(&node).await;
    let (mut client, _) = edge::Client::connect(node.address()).await;
    let pings = frame(PING, b"are you there").repeat(10_000);
    let _may_be_closed = client.0.get_mut().write_all(&pings).await;
    let all = client.receive_all().await;
    let last = all.last().unwrap();
    assert_eq!(last, "close 4429 rate_limited;retry_after_ms=10000");
    bystanders.talk("a flood of pings").await;
}
