//! The promises of the bus, on every engine: in memory, and on a real RabbitMQ.
//!
//! What only a broker outside the process can do to a node is in `faults`.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use stompbox::bus::memory::{MemoryBus, MemoryExchange};
use stompbox::bus::rabbitmq::{LOG_DIRECTIVE, RabbitBus, RabbitConnectError, RabbitSettings};
use stompbox::bus::{Bus, BusError, Confirmed, Incoming};
use stompbox::model::{Incarnation, NodeId};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::rabbitmq::RabbitMq;

mod faults;

/// Longer than anything takes on a busy machine, when it works at all.
const LONG: Duration = Duration::from_secs(20);

/// Where nodes come from.
enum Engine {
    Memory(Arc<MemoryExchange>),
    Rabbit(String, RabbitSettings),
}

/// A node, as far as the bus is concerned.
struct Node {
    bus: Arc<dyn Bus>,
    incoming: mpsc::Receiver<Incoming>,
}

impl Engine {
    async fn join(&self, name: &str) -> Node {
        match self {
            Self::Memory(exchange) => {
                let (bus, incoming) = MemoryBus::attach(exchange, node_id(name));
                Node { bus, incoming }
            }
            Self::Rabbit(url, settings) => join_rabbit(url, name, settings).await.unwrap(),
        }
    }
}

async fn join_rabbit(
    url: &str,
    name: &str,
    settings: &RabbitSettings,
) -> Result<Node, RabbitConnectError> {
    let (bus, incoming) = RabbitBus::connect(
        url,
        node_id(name),
        Incarnation(rand::random()),
        settings.clone(),
        TaskTracker::new(),
        CancellationToken::new(),
    )
    .await?;
    Ok(Node { bus, incoming })
}

fn node_id(name: &str) -> NodeId {
    name.parse().unwrap()
}

impl Node {
    /// Publishes and waits for the confirm.
    async fn publish(&self, to: &[&str], text: &str) -> Result<Confirmed, BusError> {
        let targets: Vec<_> = to.iter().map(|name| node_id(name)).collect();
        let payload = Bytes::copy_from_slice(text.as_bytes());
        self.bus.publish(&targets, fresh_id(), payload).await?.await
    }

    /// The next thing to come, which must be a payload.
    async fn receive(&mut self) -> Bytes {
        let incoming = timeout(LONG, self.incoming.recv()).await;
        match incoming.expect("nothing comes") {
            Some(Incoming::Payload(payload)) => payload,
            other => panic!("{other:?} instead of a payload"),
        }
    }

    async fn receive_text(&mut self) -> String {
        String::from_utf8(self.receive().await.to_vec()).unwrap()
    }

    async fn receive_texts(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::new();
        for _ in 0..count {
            texts.push(self.receive_text().await);
        }
        texts
    }

    /// Nothing more comes, as far as a short wait can tell.
    async fn is_quiet(&mut self) {
        let more = timeout(Duration::from_millis(200), self.incoming.recv()).await;
        assert!(more.is_err(), "{more:?} came");
    }
}

/// An id that no other publication has.
fn fresh_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// Waits until it holds.
async fn eventually<F>(what: &str, within: Duration, mut holds: impl FnMut() -> F) -> Duration
where
    F: Future<Output = bool>,
{
    let since = Instant::now();
    while !holds().await {
        assert!(since.elapsed() < within, "not within {within:?}: {what}");
        sleep(Duration::from_millis(10)).await;
    }
    since.elapsed()
}

async fn keeps_the_contract(engine: &Engine) {
    reaches_one_several_and_all_in_order(engine).await;
    keeps_the_order_of_each_of_several_senders(engine).await;
    tells_which_of_many_has_no_route(engine).await;
    carries_payloads_of_any_size(engine).await;
    a_node_that_stops_consuming_is_gone(engine).await;
    closing_waits_for_confirms(engine).await;
}

async fn reaches_one_several_and_all_in_order(engine: &Engine) {
    let (mut a, mut b, mut c) = (
        engine.join("a").await,
        engine.join("b").await,
        engine.join("c").await,
    );
    assert!(a.bus.is_up());
    let mut expected: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut confirms = Vec::new();
    let kinds: [&[&str]; 5] = [&["b"], &["b", "c"], &["a", "b", "c"], &["c"], &["c", "c"]];
    for number in 0..300_usize {
        let text = format!("{number}");
        let payload = Bytes::from(text.clone());
        let published = if number % 7 == 0 {
            for name in ["a", "b", "c"] {
                expected.entry(name).or_default().push(text.clone());
            }
            a.bus.publish_all(fresh_id(), payload).await
        } else {
            let mut names = kinds[number % kinds.len()].to_vec();
            let targets: Vec<_> = names.iter().map(|name| node_id(name)).collect();
            names.dedup();
            for name in names {
                expected.entry(name).or_default().push(text.clone());
            }
            a.bus.publish(&targets, fresh_id(), payload).await
        };
        confirms.push(published.unwrap());
    }
    for confirm in confirms {
        assert_eq!(confirm.await.unwrap(), Confirmed::Routed);
    }
    for (name, node) in [("a", &mut a), ("b", &mut b), ("c", &mut c)] {
        let expected = &expected[name];
        assert_eq!(&node.receive_texts(expected.len()).await, expected);
        node.is_quiet().await;
    }
    assert_eq!(
        a.publish(&[], "to nobody").await.unwrap(),
        Confirmed::Routed
    );
    for node in [a, b, c] {
        node.bus.close().await;
    }
}

async fn keeps_the_order_of_each_of_several_senders(engine: &Engine) {
    let mut target = engine.join("target").await;
    let senders = join_all(["s0", "s1", "s2"].map(|name| engine.join(name))).await;
    let sending = senders
        .iter()
        .enumerate()
        .map(|(which, sender)| async move {
            let mut confirms = Vec::new();
            for number in 0..200 {
                let payload = Bytes::from(format!("{which} {number}"));
                let targets = [node_id("target")];
                let handed = sender.bus.publish(&targets, fresh_id(), payload).await;
                confirms.push(handed.unwrap());
                tokio::task::yield_now().await;
            }
            for confirmed in join_all(confirms).await {
                assert_eq!(confirmed.unwrap(), Confirmed::Routed);
            }
        });
    join_all(sending).await;
    let mut next = [0; 3];
    for text in target.receive_texts(600).await {
        let (which, number) = text.split_once(' ').unwrap();
        let which: usize = which.parse().unwrap();
        assert_eq!(number, next[which].to_string(), "from sender {which}");
        next[which] += 1;
    }
    for node in senders.into_iter().chain([target]) {
        node.bus.close().await;
    }
}

async fn tells_which_of_many_has_no_route(engine: &Engine) {
    let (a, mut b) = (engine.join("a").await, engine.join("b").await);
    assert_eq!(
        a.publish(&["ghost"], "x").await.unwrap(),
        Confirmed::NoRoute
    );
    // Of several, those that exist get it; the others are not told of.
    let several = a.publish(&["ghost", "b"], "both").await;
    assert_eq!(several.unwrap(), Confirmed::Routed);
    assert_eq!(b.receive_text().await, "both");
    let publishing = (0..300_usize).map(|number| {
        let a = &a;
        async move {
            let is_there = number % 3 != 0;
            let target = if is_there { "b" } else { "ghost" };
            let confirmed = a.publish(&[target], &number.to_string()).await;
            let expected = if is_there {
                Confirmed::Routed
            } else {
                Confirmed::NoRoute
            };
            assert_eq!(confirmed.unwrap(), expected, "{number}");
        }
    });
    join_all(publishing).await;
    // All were handed over at once, so nobody promised an order among them.
    let mut received = b.receive_texts(200).await;
    received.sort_by_key(|text| text.parse::<usize>().unwrap());
    let expected: Vec<_> = (0..300)
        .filter(|n| n % 3 != 0)
        .map(|n| n.to_string())
        .collect();
    assert_eq!(received, expected);
    b.is_quiet().await;
    a.bus.close().await;
    b.bus.close().await;
}

async fn carries_payloads_of_any_size(engine: &Engine) {
    let (a, mut b) = (engine.join("a").await, engine.join("b").await);
    for size in [0, 1, 16 * 1024, 300 * 1024] {
        let payload: Bytes = (0..size).map(|octet| (octet % 251) as u8).collect();
        let targets = [node_id("b")];
        let handed = a.bus.publish(&targets, fresh_id(), payload.clone()).await;
        assert_eq!(handed.unwrap().await.unwrap(), Confirmed::Routed);
        assert_eq!(b.receive().await, payload);
    }
    a.bus.close().await;
    b.bus.close().await;
}

async fn a_node_that_stops_consuming_is_gone(engine: &Engine) {
    let (a, mut b) = (engine.join("a").await, engine.join("b").await);
    assert_eq!(a.publish(&["b"], "1").await.unwrap(), Confirmed::Routed);
    assert_eq!(b.receive_text().await, "1");
    b.bus.stop_consuming().await;
    assert_eq!(a.publish(&["b"], "2").await.unwrap(), Confirmed::NoRoute);
    assert_eq!(b.incoming.recv().await, None);
    // It can still say something while it drains.
    assert_eq!(b.publish(&["a"], "3").await.unwrap(), Confirmed::Routed);
    b.bus.close().await;
    assert!(!b.bus.is_up());
    let closed = b.publish(&["a"], "4").await;
    assert!(
        matches!(closed, Err(BusError::Unavailable(_))),
        "{closed:?}"
    );
    a.bus.close().await;
}

async fn closing_waits_for_confirms(engine: &Engine) {
    let (a, mut b) = (engine.join("a").await, engine.join("b").await);
    let mut confirms = Vec::new();
    for number in 0..90 {
        let payload = Bytes::from(number.to_string());
        let handed = a.bus.publish(&[node_id("b")], fresh_id(), payload).await;
        confirms.push(handed.unwrap());
    }
    a.bus.close().await;
    for confirm in confirms {
        assert_eq!(confirm.await.unwrap(), Confirmed::Routed);
    }
    let expected: Vec<_> = (0..90).map(|number| number.to_string()).collect();
    assert_eq!(b.receive_texts(90).await, expected);
    b.bus.close().await;
}

#[tokio::test]
async fn the_bus_in_memory_keeps_the_contract() {
    keeps_the_contract(&Engine::Memory(MemoryExchange::new(1_024))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bus_on_rabbitmq_keeps_the_contract_and_starts_only_where_it_can_work() {
    let log = Log::default();
    let filter = EnvFilter::new(format!("debug,{LOG_DIRECTIVE}"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter);
    // Where all tests share one process, another log may have been started.
    let _ = lines.with_writer(log.clone()).try_init();
    let server = RabbitMq::start().await;
    let engine = Engine::Rabbit(server.url(), RabbitSettings::default());
    keeps_the_contract(&engine).await;
    faults::several_nodes_cost_one_message(&server).await;
    faults::garbage_is_a_payload_like_any_other(&server).await;
    faults::a_full_queue_refuses_and_disturbs_nobody_else(&server).await;
    faults::a_deleted_exchange_comes_back_with_its_bindings(&server).await;
    faults::a_start_that_cannot_succeed_says_why(&server).await;
    let left = server.queues().await;
    assert_eq!(left, BTreeMap::new(), "queues of nodes that are gone");
    let log = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    for secret in ["Server returned us", "wrong-password", "guest:guest"] {
        assert!(!log.contains(secret), "{secret} in the log: {log}");
    }
}

/// What is logged, kept.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bus_on_rabbitmq_survives_cuts_black_holes_alarms_and_restarts() {
    let mut server = RabbitMq::start().await;
    faults::a_cut_is_over_within_a_second_of_healing(&server).await;
    faults::a_black_hole_is_noticed(&server).await;
    faults::an_alarm_stops_publishing_and_not_consuming(&server).await;
    faults::a_broker_stopped_in_order_is_used_again(&server).await;
    faults::a_killed_broker_is_used_again(&mut server).await;
    faults::no_thread_is_left_of_a_connection().await;
}
