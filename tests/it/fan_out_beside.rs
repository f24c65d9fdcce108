//! Topic messages of another node that reach many: they wait for turns, and what else comes from that node does not
//! wait for them.
//!
//! Not here: the turns of the node that sends (`fan_out_alone`). Invariant: engines in memory, time is advanced.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use stompbox::broker::{Broker, BrokerSettings, Parts};
use stompbox::budget::{Memory, MemorySettings};
use stompbox::bus::memory::{MemoryBus, MemoryExchange};
use stompbox::bus::queue::QueueSettings;
use stompbox::bus::queue::memory::MemoryQueues;
use stompbox::hub::{Hub, Pulled, Shown, Sink, Subscriber};
use stompbox::location::{LocationSettings, MemoryCluster};
use stompbox::model::{Incarnation, Network, NodeId, TopicMessage};
use stompbox::stomp::Version;
use stompbox::store::MemoryStore;
use stompbox::turns::{PIECE, Turns};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::fan_out::Guest;
use crate::support::publisher::publish;

/// Until everything has happened that happens without turns.
const SETTLED_IN: Duration = Duration::from_millis(100);

async fn two_nodes(end: &CancellationToken) -> [Arc<Broker>; 2] {
    let exchange = MemoryExchange::new(1_000);
    let locations = MemoryCluster::new(LocationSettings::default());
    let queues = MemoryQueues::new(QueueSettings::default());
    let store = MemoryStore::new("beside");
    let starting = ["a", "b"].map(|name| {
        let here: NodeId = name.parse().unwrap();
        let (bus, incoming) = MemoryBus::attach(&exchange, here.clone());
        let parts = Parts {
            here: here.clone(),
            incarnation: Incarnation(1),
            hub: Arc::new(Hub::default()),
            location: locations.node(here, Incarnation(1)),
            bus,
            incoming,
            queues: queues.join(),
            store: Arc::new(store.clone()),
            turns: Turns::new(),
            memory: Memory::new(MemorySettings { bytes_max: 0 }),
        };
        Broker::start(
            parts,
            BrokerSettings::default(),
            TaskTracker::new(),
            end.clone(),
        )
    });
    let [a, b] = starting;
    [a.await.unwrap(), b.await.unwrap()]
}

/// Sends as a client of this network on this node; without one, as a node that does not say it yet.
async fn send(node: &Arc<Broker>, last: Option<u8>, to: &str) {
    let message = TopicMessage {
        destination: to.into(),
        headers: Vec::new(),
        body: Bytes::from_static(b"hi"),
        network: last.map(|last| Network::of([192, 0, 2, last].into())),
    };
    publish(node, message, "m".to_owned()).await;
    sleep(SETTLED_IN).await;
}

#[tokio::test(start_paused = true)]
async fn a_flood_from_another_node_delays_neither_other_networks_nor_commands() {
    let end = CancellationToken::new();
    let [a, b] = two_nodes(&end).await;
    let (many, one) = (
        Guest::new(&b, "many", 1).await,
        Guest::new(&b, "one", 2).await,
    );
    let sink = Sink::Outbox(Arc::clone(&many.session.outbox));
    for number in 0..2 * PIECE {
        let subscriber = Subscriber {
            version: Version::V1_2,
            id: Some("s".into()),
            shown: Shown::Canonical,
        };
        let id = format!("s{number}");
        b.hub.topics.add(
            "/topic/many",
            many.session.id,
            &id,
            subscriber,
            sink.clone(),
        );
    }
    b.want("/topic/many").await.unwrap();
    one.subscribe("/topic/few", Shown::Canonical).await.unwrap();
    while b.turns.may_go_on() {}

    send(&a, Some(1), "/topic/many").await;
    assert_eq!(many.take().len(), PIECE, "then it waits for a turn");
    send(&a, Some(1), "/topic/many").await;
    send(&a, Some(1), "/topic/few").await;
    assert!(
        many.take().is_empty() && one.take().is_empty(),
        "in their order"
    );
    send(&a, Some(2), "/topic/few").await;
    send(&a, None, "/topic/few").await;
    assert_eq!(
        one.take().len(),
        2,
        "other networks have backlogs of their own"
    );

    let turns = Arc::clone(&b.turns);
    tokio::select! { () = turns.give(&end) => {}, () = sleep(SETTLED_IN) => {} }
    assert_eq!((many.take().len(), one.take().len()), (3 * PIECE, 1));

    while b.turns.may_go_on() {}
    send(&a, Some(1), "/topic/many").await;
    a.replace(&b.here, one.session.id);
    sleep(SETTLED_IN).await;
    assert!(matches!(
        one.session.outbox.try_pull(),
        Some(Pulled::Cut(_))
    ));
    assert_eq!(many.take().len(), PIECE, "it waits all the while");
    end.cancel();
}
