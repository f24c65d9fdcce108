//! Who gets what, and what becomes of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use stompbox::bus::queue::{
    Consumer, QueueError, QueueMessage, QueueSettings, Settler, Tag, Taken,
};
use stompbox::model::{QueueArguments, Verdict};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::rig::{Engine, Hand, PLAIN, message, service, text, texts};

pub(super) async fn messages_come_whole_and_in_order(engine: &Engine) {
    let node = engine.node().await;
    let strange = QueueMessage {
        id: "n-17".into(),
        headers: vec![
            ("x".into(), "1".into()),
            ("x".into(), "2".into()),
            ("ключ: \n\\".into(), String::new().into()),
            ("y".repeat(300).into(), "z".repeat(5_000).into()),
        ],
        body: Bytes::from([0, 255, 10, 13].repeat(5_000)),
        persistent: false,
        ttl: None,
        nacks: 0,
    };
    let by = service();
    let sent = node.0.send("/queue/whole", &PLAIN, strange.clone(), &by);
    let mut sents = vec![sent.await.unwrap()];
    // The order is that of the calls, whenever each of them is confirmed.
    let numbers: Vec<_> = (0..200).map(|number| number.to_string()).collect();
    for number in &numbers {
        let sent = node.0.send("/queue/whole", &PLAIN, message(number), &by);
        sents.push(sent.await.unwrap());
    }
    for sent in join_all(sents).await {
        sent.unwrap();
    }
    let mut hand = node.consume("/queue/whole", 20).await;
    let first = hand.done().await;
    assert_eq!(first.message, strange);
    assert!(!first.redelivered);
    for number in &numbers {
        assert_eq!(hand.done().await.message, message(number));
    }
    hand.is_quiet().await;
    node.close().await;
}

pub(super) async fn consumers_of_several_nodes_compete(engine: &Engine) {
    let world = engine.world(QueueSettings::default());
    let (a, b) = (world.join("a").await, world.join("b").await);
    let mut hands = Vec::new();
    for node in [&a, &b, &b] {
        hands.push(node.consume("/queue/jobs", 5).await);
    }
    for number in 0..15 {
        a.send("/queue/jobs", &number.to_string()).await.unwrap();
    }
    // Everybody has as much as he may: nobody was passed over.
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for hand in &mut hands {
        let taken = hand.take_many(5).await;
        seen.extend(texts(&taken).into_iter().map(str::to_owned));
        assert!(taken.iter().all(|taken| !taken.redelivered));
        all.push(taken);
    }
    assert_eq!(seen.len(), 15, "each message is at one consumer");
    for (hand, taken) in hands.iter_mut().zip(&all) {
        hand.settle(&taken.iter().collect::<Vec<_>>(), Verdict::Ack)
            .await;
        hand.is_quiet().await;
    }
    drop(hands);
    a.close().await;
    b.close().await;
}

pub(super) async fn no_more_than_prefetch_is_unsettled(engine: &Engine) {
    let node = engine.node().await;
    node.send_all("/queue/window", &["1", "2", "3", "4", "5"])
        .await;
    let mut hand = node.consume("/queue/window", 2).await;
    let taken = hand.take_many(2).await;
    assert_eq!(texts(&taken), ["1", "2"]);
    hand.is_quiet().await;
    hand.settle(&[&taken[1]], Verdict::Ack).await;
    assert_eq!(text(&hand.take().await), "3");
    hand.is_quiet().await;
    drop(hand);
    // Zero is one.
    let mut hand = node.consume("/queue/window", 0).await;
    assert_eq!(text(&hand.take().await), "1");
    hand.is_quiet().await;
    node.close().await;
}

pub(super) async fn several_are_settled_at_once_and_none_besides(engine: &Engine) {
    let node = engine.node().await;
    let numbers: Vec<_> = (0..10).map(|number| number.to_string()).collect();
    for number in &numbers {
        node.send("/queue/several", number).await.unwrap();
    }
    let mut hand = node.consume("/queue/several", 10).await;
    let taken = hand.take_many(10).await;
    // With a hole, then up to the hole and beyond, then what is settled already and what never was.
    hand.settle(&[&taken[4], &taken[2]], Verdict::Ack).await;
    hand.settle(&[&taken[0], &taken[1], &taken[5]], Verdict::Ack)
        .await;
    let void = [taken[0].tag, taken[4].tag, Tag(999), Tag(0)];
    for verdict in [Verdict::Ack, Verdict::Requeue, Verdict::Reject] {
        hand.settle_tags(&void, verdict).await;
    }
    hand.settle_tags(&[], Verdict::Ack).await;
    drop(hand);
    let mut hand = node.consume("/queue/several", 10).await;
    let left = hand.take_many(5).await;
    assert_eq!(texts(&left), ["3", "6", "7", "8", "9"]);
    assert!(left.iter().all(|taken| taken.redelivered));
    hand.settle(&left.iter().collect::<Vec<_>>(), Verdict::Ack)
        .await;
    drop(hand);
    let mut hand = node.consume("/queue/several", 10).await;
    hand.is_quiet().await;
    let mut dead = node.consume("/queue/DLQ.several", 10).await;
    dead.is_quiet().await;
    node.close().await;
}

/// A client that acknowledges one by one, in any order, has many settled beside each other.
pub(super) async fn many_settle_beside_each_other_and_none_comes_again(engine: &Engine) {
    let node = engine.node().await;
    for round in 0..5 {
        let numbers: Vec<_> = (0..200).map(|n| format!("{round}-{n}")).collect();
        let sending = numbers
            .iter()
            .map(|number| node.send("/queue/beside", number));
        join_all(sending).await.into_iter().for_each(Result::unwrap);
        let mut hand = node.consume("/queue/beside", 200).await;
        let taken = hand.take_many(200).await;
        let Hand(Consumer {
            taken: mut more,
            settler,
        }) = hand;
        let settler: Arc<dyn Settler> = settler.into();
        let settling = TaskTracker::new();
        for pair in taken.chunks(2) {
            // The later one first, so that each may or may not speak for what was before it.
            for tag in [pair[1].tag, pair[0].tag] {
                let settler = Arc::clone(&settler);
                settling.spawn(async move { settler.settle(&[tag], Verdict::Ack).await });
            }
        }
        settling.close();
        settling.wait().await;
        let quiet = timeout(Duration::from_millis(300), more.recv()).await;
        assert!(quiet.is_err(), "{quiet:?} came");
        drop((more, settler));
        node.consume("/queue/beside", 1).await.is_quiet().await;
    }
    node.close().await;
}

pub(super) async fn what_is_refused_comes_again_and_counts(engine: &Engine) {
    let node = engine.node().await;
    let mut hand = node.consume("/queue/refused", 1).await;
    node.send("/queue/refused", "again").await.unwrap();
    for nacks in 0..3 {
        let taken = hand.take().await;
        assert_eq!(text(&taken), "again");
        assert_eq!(&*taken.message.id, "id-again");
        assert_eq!(taken.message.nacks, nacks);
        assert_eq!(taken.redelivered, nacks > 0);
        hand.settle(&[&taken], Verdict::Requeue).await;
    }
    hand.is_quiet().await;
    let dead = node.consume("/queue/DLQ.refused", 1).await.done().await;
    is_dead(&dead, "/queue/refused", "nacked");
    assert_eq!(text(&dead), "again");
    node.close().await;
}

pub(super) async fn what_is_refused_while_the_queue_is_full_does_not_go_round_for_ever(
    engine: &Engine,
) {
    let node = engine.node().await;
    let one = QueueArguments {
        length_max: Some(1),
        ..PLAIN
    };
    let queue = "/queue/refused.full";
    node.send_to(queue, &one, message("again")).await.unwrap();
    let mut hand = node.consume(queue, 1).await;
    for count in 0..3 {
        let taken = hand.take().await;
        assert_eq!(text(&taken), "again", "after {count} refusals");
        if count == 0 {
            // What is unsettled has made room.
            node.send(queue, "next").await.unwrap();
        }
        hand.settle(&[&taken], Verdict::Requeue).await;
    }
    assert_eq!(text(&hand.done().await), "next");
    let dead = node
        .consume("/queue/DLQ.refused.full", 1)
        .await
        .done()
        .await;
    is_dead(&dead, queue, "nacked");
    assert_eq!(text(&dead), "again");
    node.close().await;
}

fn is_dead(taken: &Taken, from: &str, reason: &str) {
    let headers = &taken.message.headers;
    let expected: [(Box<str>, Box<str>); 3] = [
        ("content-type".into(), "text/plain".into()),
        ("x-sb-dead-from".into(), from.into()),
        ("x-sb-dead-reason".into(), reason.into()),
    ];
    assert_eq!(headers[..], expected);
    assert_eq!((taken.message.nacks, taken.message.ttl), (0, None));
}

pub(super) async fn dead_letters_say_where_from_and_die_only_once(engine: &Engine) {
    let node = engine.node().await;
    let mut hand = node.consume("/queue/a/b", 10).await;
    node.send_all("/queue/a/b", &["1", "2", "3"]).await;
    let taken = hand.take_many(3).await;
    hand.settle(&[&taken[0], &taken[2]], Verdict::Reject).await;
    hand.settle(&[&taken[1]], Verdict::Ack).await;
    hand.is_quiet().await;
    let mut grave = node.consume("/queue/DLQ.a/b", 1).await;
    let first = grave.take().await;
    is_dead(&first, "/queue/a/b", "rejected");
    assert_eq!(text(&first), "1");
    grave.settle(&[&first], Verdict::Reject).await;
    // A dead letter may be refused any number of times.
    for _ in 0..5 {
        let taken = grave.take().await;
        assert_eq!(text(&taken), "3");
        grave.settle(&[&taken], Verdict::Requeue).await;
    }
    assert_eq!(text(&grave.done().await), "3");
    grave.is_quiet().await;
    node.consume("/queue/DLQ.DLQ.a/b", 1).await.is_quiet().await;
    node.close().await;
}

pub(super) async fn what_a_consumer_leaves_goes_to_another(engine: &Engine) {
    let world = engine.world(QueueSettings::default());
    let (a, b) = (world.join("a").await, world.join("b").await);
    a.send_all("/queue/left", &["1", "2", "3", "4"]).await;
    let mut leaving = a.consume("/queue/left", 3).await;
    let taken = leaving.take_many(2).await;
    leaving.settle(&[&taken[0]], Verdict::Ack).await;
    drop(leaving);
    let mut hand = b.consume("/queue/left", 10).await;
    // Back at their places, before what nobody has had.
    let rest = hand.take_many(3).await;
    assert_eq!(texts(&rest), ["2", "3", "4"]);
    assert!(rest[0].redelivered);
    assert_eq!(rest[0].message.nacks, 0, "to leave is not to refuse");
    // A consumer whose receiver alone is dropped gets nothing more, and can settle what it has.
    let Hand(half) = hand;
    drop(half.taken);
    let tags: Vec<_> = rest.iter().map(|taken| taken.tag).collect();
    half.settler.settle(&tags, Verdict::Ack).await;
    drop(half.settler);
    b.consume("/queue/left", 1).await.is_quiet().await;
    a.close().await;
    b.close().await;
}

pub(super) async fn a_closed_node_gives_everything_back(engine: &Engine) {
    let world = engine.world(QueueSettings::default());
    let (a, b) = (world.join("a").await, world.join("b").await);
    a.send_all("/queue/closed", &["1", "2"]).await;
    let mut hand = a.consume("/queue/closed", 1).await;
    let taken = hand.take().await;
    a.0.close().await;
    let mut after = Vec::new();
    while let Some(taken) = hand.0.taken.recv().await {
        after.push(taken);
    }
    assert_eq!(after, []);
    hand.settle(&[&taken], Verdict::Ack).await;
    let refused = a.send("/queue/closed", "3").await;
    assert!(
        matches!(refused, Err(QueueError::Unavailable(_))),
        "{refused:?}"
    );
    let refused = a.try_consume("/queue/closed", &PLAIN, 1).await;
    assert!(
        matches!(refused, Err(QueueError::Unavailable(_))),
        "{refused:?}"
    );
    let mut hand = b.consume("/queue/closed", 5).await;
    let taken = hand.take_many(2).await;
    assert_eq!(texts(&taken), ["1", "2"]);
    assert!(taken[0].redelivered);
    hand.settle(&[&taken[0], &taken[1]], Verdict::Ack).await;
    b.close().await;
}
