//! What visitors and others have of the queues of a node, and for how long.

use std::time::Duration;

use bytes::Bytes;
use stompbox::budget::Claimant;
use stompbox::bus::queue::{QueueError, QueueMessage, QueueSettings, Scarce};
use stompbox::model::{Kind, Network};
use tokio::time::{Instant, sleep};

use super::rig::{Engine, LONG, Node, PLAIN, message, service, texts};

/// A visitor; everyone has an address of their own unless two numbers are equal modulo 10.
fn visitor(number: u8) -> Claimant {
    Claimant {
        user: Some(format!("user_{number}").parse().unwrap()),
        kind: Kind::Anonymous,
        ..Claimant::stranger(Network::of([192, 0, 2, number % 10].into()))
    }
}

async fn makes(node: &Node, queue: &str, by: &Claimant) -> Result<(), QueueError> {
    node.send_by(queue, &PLAIN, message("x"), by).await
}

fn is_refused(sent: &Result<(), QueueError>, which: Scarce) -> bool {
    match sent {
        Ok(()) => false,
        Err(QueueError::Share { of, .. }) if *of == which => true,
        Err(other) => panic!("{other}"),
    }
}

pub(super) async fn one_address_leaves_queues_to_others_and_all_come_back(engine: &Engine) {
    let settings = QueueSettings {
        queues_max: 8,
        visitor_expires: Duration::from_secs(3),
        ..QueueSettings::default()
    };
    let node = engine.world(settings).join("a").await;
    let mut made = 0;
    for number in 0..6 {
        let sent = makes(
            &node,
            &format!("/queue/of.{number}"),
            &visitor(number * 10 + 1),
        )
        .await;
        made += u32::from(!is_refused(&sent, Scarce::Queues));
    }
    assert_eq!(made, 3, "half of what visitors have");
    makes(&node, "/queue/elsewhere", &visitor(2)).await.unwrap();
    makes(&node, "/queue/service", &service()).await.unwrap();
    // A queue that exists costs nobody anything.
    makes(&node, "/queue/of.0", &visitor(61)).await.unwrap();
    let give_up_at = Instant::now() + LONG;
    let mut number = 10;
    let mut again = 0;
    while again < 3 {
        assert!(Instant::now() < give_up_at, "they do not come back");
        sleep(Duration::from_millis(500)).await;
        number += 1;
        let sent = makes(&node, &format!("/queue/again.{number}"), &visitor(1)).await;
        again += u32::from(!is_refused(&sent, Scarce::Queues));
        if again == 1 {
            // The others of this address as well; one user has less.
            let sent = makes(&node, "/queue/again.other", &visitor(11)).await;
            again += u32::from(!is_refused(&sent, Scarce::Queues));
        }
    }
    node.close().await;
}

pub(super) async fn a_queue_of_visitors_goes_in_minutes_unless_others_use_it(engine: &Engine) {
    let settings = QueueSettings {
        visitor_expires: Duration::from_secs(6),
        ..QueueSettings::default()
    };
    let world = engine.world(settings);
    let (a, b) = (world.join("a").await, world.join("b").await);
    makes(&a, "/queue/visitors", &visitor(1)).await.unwrap();
    makes(&a, "/queue/shared", &visitor(1)).await.unwrap();
    b.send("/queue/shared", "kept").await.unwrap();
    a.send("/queue/members", "first").await.unwrap();
    makes(&a, "/queue/members", &visitor(1)).await.unwrap();
    sleep(Duration::from_secs(14)).await;
    let mut shared = a.consume("/queue/shared", 10).await;
    assert_eq!(texts(&shared.take_many(2).await), ["x", "kept"]);
    let mut members = b.consume("/queue/members", 10).await;
    assert_eq!(texts(&members.take_many(2).await), ["first", "x"]);
    b.consume("/queue/visitors", 10).await.is_quiet().await;
    a.close().await;
    b.close().await;
}

pub(super) async fn bytes_in_queues_count_to_their_senders_until_they_are_gone(engine: &Engine) {
    let settings = QueueSettings {
        bytes_max: 64 << 10,
        ..QueueSettings::default()
    };
    let node = engine.world(settings).join("a").await;
    let send = async |by: &Claimant, number: u8| {
        let large = QueueMessage {
            body: Bytes::from(vec![b'x'; 8_000]),
            ..message("large")
        };
        let queue = format!("/queue/bytes.{}", number % 4);
        let sent = node.send_by(&queue, &PLAIN, large, by).await;
        !is_refused(&sent, Scarce::Bytes)
    };
    let mut sent = 0;
    for number in 0..25 {
        sent += u32::from(send(&visitor(number * 10 + 1), number).await);
    }
    assert!((11..=13).contains(&sent), "{sent}");
    assert!(send(&visitor(2), 0).await);
    assert!(!send(&visitor(1), 0).await);
    for number in 0..4 {
        let mut hand = node.consume(&format!("/queue/bytes.{number}"), 10).await;
        for _ in 0..sent / 4 {
            hand.done().await;
        }
    }
    let give_up_at = Instant::now() + LONG;
    while !send(&visitor(1), 0).await {
        assert!(Instant::now() < give_up_at, "they do not come back");
        sleep(Duration::from_millis(500)).await;
    }
    node.close().await;
}
