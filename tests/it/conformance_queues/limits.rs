//! Nothing grows without a limit.

use bytes::Bytes;
use stompbox::budget::Refused;
use stompbox::bus::queue::memory::MemoryQueues;
use stompbox::bus::queue::{QueueError, QueueMessage, QueueSettings, Scarce};
use stompbox::model::{QueueArguments, Verdict};

use super::rig::{Engine, Node, PLAIN, message, text, texts};

pub(super) async fn a_full_queue_refuses_and_keeps_what_it_has(engine: &Engine) {
    let node = engine.node().await;
    let three = QueueArguments {
        length_max: Some(3),
        ..PLAIN
    };
    for text in ["1", "2", "3"] {
        node.send_to("/queue/full", &three, message(text))
            .await
            .unwrap();
    }
    for _ in 0..3 {
        let refused = node.send_to("/queue/full", &three, message("4")).await;
        assert_eq!(refused, Err(QueueError::Full));
    }
    let mut hand = node.consume("/queue/full", 1).await;
    let first = hand.take().await;
    // What is unsettled has made room.
    node.send("/queue/full", "5").await.unwrap();
    assert_eq!(node.send("/queue/full", "6").await, Err(QueueError::Full));
    // A refusal finds its place also where there is none.
    hand.settle(&[&first], Verdict::Requeue).await;
    let mut left = Vec::new();
    for _ in 0..4 {
        left.push(hand.done().await);
    }
    let mut left = texts(&left);
    left.sort_unstable();
    assert_eq!(left, ["1", "2", "3", "5"]);
    hand.is_quiet().await;

    let small = engine.world(super::small()).join("b").await;
    let large = QueueMessage {
        body: Bytes::from(vec![b'x'; 700]),
        ..message("large")
    };
    let mut refused = 0;
    for _ in 0..5 {
        let sent = small.send_to("/queue/octets", &PLAIN, large.clone()).await;
        refused += u32::from(sent == Err(QueueError::Full));
    }
    assert!((2..=3).contains(&refused), "{refused} of 5 were refused");
    small.close().await;
    node.close().await;
}

pub(super) async fn dead_letters_make_room_for_newer_ones(engine: &Engine) {
    let node = engine.world(super::small()).join("a").await;
    let mut hand = node.consume("/queue/deadly", 1).await;
    for number in 0..8 {
        node.send("/queue/deadly", &number.to_string())
            .await
            .unwrap();
        let taken = hand.take().await;
        hand.settle(&[&taken], Verdict::Reject).await;
    }
    let mut grave = node.consume("/queue/DLQ.deadly", 10).await;
    let dead = grave.take_many(5).await;
    assert_eq!(texts(&dead), ["3", "4", "5", "6", "7"]);
    grave.is_quiet().await;
    node.close().await;
}

/// Nothing is left.
fn share(of: Scarce) -> QueueError {
    QueueError::Share {
        of,
        why: Refused::Full,
    }
}

pub(super) async fn a_node_has_so_many_queues_and_consumers(engine: &Engine) {
    let node = engine.world(super::small()).join("a").await;
    for name in ["/queue/l1", "/queue/l2", "/queue/l3"] {
        node.send(name, "x").await.unwrap();
    }
    let refused = node.send("/queue/l4", "x").await;
    assert_eq!(refused, Err(share(Scarce::Queues)));
    let refused = node.try_consume("/queue/l4", &PLAIN, 1).await;
    assert_eq!(refused.err(), Some(share(Scarce::Queues)));
    let mut first = node.consume("/queue/l1", 1).await;
    let _second = node.consume("/queue/l1", 1).await;
    let refused = node.try_consume("/queue/l2", &PLAIN, 1).await;
    assert_eq!(refused.err(), Some(QueueError::Limit("consumers")));
    // The limit of queues is not that of dead letters.
    let taken = first.take().await;
    first.settle(&[&taken], Verdict::Reject).await;
    drop(first);
    let mut third = loop {
        // A consumer may take a moment to end.
        match node.try_consume("/queue/DLQ.l1", &PLAIN, 1).await {
            Ok(hand) => break hand,
            Err(QueueError::Limit("consumers")) => tokio::task::yield_now().await,
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(text(&third.done().await), "x");
    node.close().await;
}

pub(super) async fn all_queues_together_are_bounded() {
    let settings = QueueSettings {
        bytes_max: 10_000,
        ..QueueSettings::default()
    };
    let node = Node(MemoryQueues::new(settings));
    let large = QueueMessage {
        body: Bytes::from(vec![b'x'; 9_000]),
        ..message("large")
    };
    let mut taken = 0;
    for number in 0..20 {
        let queue = format!("/queue/together/{number}");
        let sent = node.send_to(&queue, &PLAIN, large.clone()).await;
        let full = share(Scarce::Bytes);
        assert!(sent == Ok(()) || sent == Err(full.clone()), "{sent:?}");
        taken += u32::from(sent.is_ok());
    }
    assert_eq!(taken, 4);
    // What is settled makes room.
    let mut hand = node.consume("/queue/together/0", 1).await;
    let first = hand.take().await;
    let refused = node.send_to("/queue/more", &PLAIN, large.clone()).await;
    assert_eq!(refused, Err(share(Scarce::Bytes)));
    hand.settle(&[&first], Verdict::Ack).await;
    node.send_to("/queue/more", &PLAIN, large).await.unwrap();
    node.0.close().await;
}
