//! Fan-out on a broker that has no others: how many patterns it takes, messages for many in turns, and what a new
//! topic costs.
//!
//! Not here: what travels between brokers (`fan_out`).

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::AtomicU16;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt as _, poll};
use stompbox::broker::{Broker, BrokerSettings, Parts, TooManyPatterns};
use stompbox::budget::{Memory, MemorySettings};
use stompbox::bus::memory::{MemoryBus, MemoryExchange};
use stompbox::bus::queue::QueueSettings;
use stompbox::bus::queue::memory::MemoryQueues;
use stompbox::hub::{Hub, Shown, Sink, Subscriber};
use stompbox::location::MemoryCluster;
use stompbox::model::{Incarnation, Network, NodeId, TopicMessage};
use stompbox::stomp::Version;
use stompbox::store::MemoryStore;
use stompbox::turns::{Deliveries, PIECE, Turns};
use tokio::task::unconstrained;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::costs::{all_hold, hold};
use crate::fan_out::Guest;
use crate::support::cpu;

/// A node that has no others, with this limit of its own.
async fn alone(patterns_max: usize, end: &CancellationToken) -> Arc<Broker> {
    let here: NodeId = "a".parse().unwrap();
    let exchange = MemoryExchange::new(16);
    let (bus, incoming) = MemoryBus::attach(&exchange, here.clone());
    let parts = Parts {
        here: here.clone(),
        incarnation: Incarnation(1),
        hub: Arc::new(Hub::default()),
        location: MemoryCluster::lone().node(here, Incarnation(1)),
        bus,
        queues: MemoryQueues::new(QueueSettings::default()),
        incoming,
        store: Arc::new(MemoryStore::new("alone")),
        turns: Turns::new(),
        memory: Memory::new(MemorySettings { bytes_max: 0 }),
    };
    let settings = BrokerSettings {
        alone: true,
        patterns_max,
        ..BrokerSettings::default()
    };
    let started = Broker::start(parts, settings, TaskTracker::new(), end.clone());
    started.await.unwrap()
}

async fn two_guests(broker: &Arc<Broker>) -> (Guest, Guest) {
    (
        Guest::new(broker, "one", 1).await,
        Guest::new(broker, "other", 2).await,
    )
}

#[tokio::test(start_paused = true)]
async fn a_node_takes_so_many_patterns_and_one_more_when_another_has_gone() {
    let end = CancellationToken::new();
    let broker = alone(2, &end).await;
    let (one, other) = two_guests(&broker).await;
    let plain = || Shown::Canonical;
    for pattern in ["/topic/a/*", "/topic/b/*"] {
        one.subscribe(pattern, plain()).await.unwrap();
        other.subscribe(pattern, plain()).await.unwrap();
    }
    for _ in 0..2 {
        let refused = other.subscribe("/topic/c/*", plain()).await;
        assert_eq!(refused, Err(TooManyPatterns));
    }
    other.subscribe("/topic/c/x", plain()).await.unwrap();
    assert_eq!(broker.hub.topics.patterns(), 2);
    one.unsubscribe("/topic/a/*");
    let refused = other.subscribe("/topic/c/*", plain()).await;
    assert_eq!(refused, Err(TooManyPatterns), "the other one still has it");
    other.unsubscribe("/topic/a/*");
    other.subscribe("/topic/c/*", plain()).await.unwrap();
    // What was refused leaves nothing behind: the next round of registrations changes nothing.
    sleep(Duration::from_secs(60)).await;
    let refused = one.subscribe("/topic/a/*", plain()).await;
    assert_eq!(refused, Err(TooManyPatterns));
    end.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_message_for_many_goes_on_in_turns_and_locks_nothing_meanwhile() {
    let end = CancellationToken::new();
    let broker = alone(2, &end).await;
    let (one, other) = two_guests(&broker).await;
    let sink = Sink::Outbox(Arc::clone(&one.session.outbox));
    for number in 0..3 * PIECE - 1 {
        let subscriber = Subscriber {
            version: Version::V1_2,
            id: Some("s".into()),
            shown: Shown::Canonical,
        };
        let topics = &broker.hub.topics;
        let id = format!("s{number}");
        topics.add("/topic/x", one.session.id, &id, subscriber, sink.clone());
    }
    let (turns, made) = (Turns::new(), AtomicU16::new(0));
    while turns.may_go_on() {}
    let topic = TopicMessage {
        destination: "/topic/x".into(),
        headers: Vec::new(),
        body: Bytes::from_static(b"hi"),
        network: None,
    };
    let network = Network::of(Ipv4Addr::LOCALHOST.into());
    let deliveries = Deliveries::new(&turns, network, &made);
    let mut publishing = Box::pin(broker.publish(topic, "m1".to_owned(), deliveries));
    assert!(poll!(&mut publishing).is_pending());
    assert_eq!(one.take().len(), PIECE);
    other.subscribe("/topic/x", Shown::Canonical).await.unwrap();
    assert!(poll!(&mut publishing).is_pending() && one.take().is_empty());
    tokio::join!(publishing, async {
        let (giving, last) = (turns.give(&end), sleep(Duration::from_secs(1)));
        tokio::select! { () = giving => {}, () = last => {} }
    });
    assert_eq!(one.take().len(), 2 * PIECE - 1);
    other.gets_nothing();
    end.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_large_message_that_is_encoded_for_each_goes_on_in_turns_too() {
    let end = CancellationToken::new();
    let broker = alone(2, &end).await;
    let one = Guest::new(&broker, "one", 1).await;
    for number in 0..20 {
        let id = format!("s{number}");
        let subscriber = Subscriber {
            version: Version::V1_2,
            id: Some(id.as_str().into()),
            shown: Shown::Canonical,
        };
        let sink = Sink::Outbox(Arc::clone(&one.session.outbox));
        let topics = &broker.hub.topics;
        topics.add("/topic/x", one.session.id, &id, subscriber, sink);
    }
    let (turns, made) = (Turns::new(), AtomicU16::new(0));
    while turns.may_go_on() {}
    let topic = TopicMessage {
        destination: "/topic/x".into(),
        headers: Vec::new(),
        body: Bytes::from(vec![b'x'; 64 << 10]),
        network: None,
    };
    let network = Network::of(Ipv4Addr::LOCALHOST.into());
    let deliveries = Deliveries::new(&turns, network, &made);
    let mut publishing = Box::pin(broker.publish(topic, "m1".to_owned(), deliveries));
    let mut pieces = Vec::new();
    let giving = turns.give(&end);
    tokio::pin!(giving);
    while poll!(&mut publishing).is_pending() {
        pieces.push(one.take().len());
        assert!(poll!(&mut giving).is_pending());
    }
    pieces.push(one.take().len());
    pieces.retain(|piece| *piece > 0);
    assert_eq!(pieces, [9, 9, 2], "half a MiB in one go");
    end.cancel();
}

#[tokio::test]
async fn a_new_topic_costs_as_much_however_many_there_are() {
    let end = CancellationToken::new();
    let broker = alone(2, &end).await;
    let mut names = 0..;
    let mut want = |count| {
        for number in names.by_ref().take(count) {
            let topic = format!("/topic/user.{number}");
            let wanted = unconstrained(broker.want(&topic)).now_or_never();
            assert_eq!(wanted, Some(Ok(())), "a node alone answers at once");
        }
    };
    want(50_000);
    let cost = cpu::of(|| want(1_000));
    end.cancel();
    all_hold([hold("1,000 new topics beside 50,000", cost, 4.0)]);
}
