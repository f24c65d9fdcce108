//! Acknowledged queue work on three real nodes, by real connections, while consumers are killed.
//!
//! One consumer per node on one queue, 10,000 messages sent with receipts from every node. Consumers
//! drop their sockets without a word and come back at a random node, and one node is killed in the
//! midst of it. Every message with a RECEIPT is acknowledged, none is lost, and of all deliveries of
//! a message that a client has read one at most is not marked as redelivered. The seed is printed;
//! `QUEUE_CLUSTER_SEED` gives it again. Not here: cut links to RabbitMQ (`faults_queues`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::support::client::{Client, Frame, Received};
use crate::support::cluster::Cluster;
use crate::support::node::Node;

const NAMES: [&str; 3] = ["a", "b", "c"];
const QUEUE: &str = "/queue/work";
const GRAVE: &str = "/queue/DLQ.work";
/// What each of the three publishers has to get receipts for; together 10,000.
const SHARES: [usize; 3] = [3_334, 3_333, 3_333];
/// How many SENDs of a publisher wait for their RECEIPT.
const UNDER_WAY: usize = 25;
const PREFETCH: usize = 50;
/// How many messages a consumer keeps before it acknowledges one of them.
const HELD: usize = 20;
/// How long the work may take. The servers have started by then.
const WITHIN: Duration = Duration::from_secs(80);
/// No message for so long: none is under way.
const QUIET: Duration = Duration::from_millis(300);

/// A limit that would otherwise end the work: clients acknowledge far faster than people talk.
const SETTINGS: [(&str, &str); 2] = [
    ("CLIENT_FRAMES_PER_10S", "1000000"),
    ("QUEUE_LENGTH", "100000"),
];

/// What became of the messages, by their bodies.
#[derive(Default)]
struct Ledger {
    /// Those whose SEND has its RECEIPT.
    receipted: BTreeSet<String>,
    /// All deliveries, and how many of them were not marked as redelivered.
    deliveries: BTreeMap<String, (u32, u32)>,
    /// Those whose ACK was sent.
    acked: BTreeSet<String>,
    /// Those whose ACK has its RECEIPT.
    settled: BTreeSet<String>,
    /// Deliveries after the RECEIPT of the ACK. At least once allows it where a node was killed.
    again_after_settled: u32,
    /// Consumers that dropped their sockets.
    dropped: u32,
}

impl Ledger {
    fn delivered(&mut self, frame: &Frame) {
        assert_eq!(frame.header("destination"), QUEUE, "{frame:?}");
        let is_marked = frame.header("redelivered") == "true";
        let (all, fresh) = self.deliveries.entry(frame.body.clone()).or_default();
        *all += 1;
        *fresh += u32::from(!is_marked);
        assert!(*fresh <= 1, "{} came again unmarked", frame.body);
        self.again_after_settled += u32::from(self.settled.contains(&frame.body));
    }

    fn is_done(&self) -> bool {
        self.receipted.len() == SHARES.iter().sum::<usize>()
            && self.receipted.is_subset(&self.acked)
    }
}

/// The nodes, those who work on them, and the book.
struct Rig {
    cluster: Cluster,
    /// `None` while it is dead.
    nodes: Mutex<[Option<Node>; 3]>,
    ledger: Mutex<Ledger>,
    done: CancellationToken,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_lose_no_acknowledged_work_when_consumers_and_a_node_are_killed() {
    let given = std::env::var("QUEUE_CLUSTER_SEED").ok();
    let seed: u64 = given.map_or_else(rand::random, |seed| seed.parse().unwrap());
    eprintln!("QUEUE_CLUSTER_SEED={seed}");
    let cluster = Cluster::start().await;
    let nodes = join_all(NAMES.map(|name| cluster.node_with(name, &SETTINGS))).await;
    let rig = Rig {
        cluster,
        nodes: Mutex::new(<[Node; 3]>::try_from(nodes).unwrap().map(Some)),
        ledger: Mutex::default(),
        done: CancellationToken::new(),
    };
    let began = Instant::now();
    let rng = |salt: usize| StdRng::seed_from_u64(seed.wrapping_add(salt as u64));
    let working = async {
        let publishing = join_all((0..3).map(|n| rig.publish(n, rng(n))));
        let consuming = join_all((0..3).map(|n| rig.consume(n, rng(10 + n))));
        let watching = async {
            tokio::join!(publishing, rig.kill_a_node(rng(20)));
            rig.until(Ledger::is_done).await;
            rig.done.cancel();
        };
        tokio::join!(consuming, watching);
    };
    if timeout(WITHIN, working).await.is_err() {
        let ledger = rig.ledger.lock().unwrap();
        let missing: Vec<_> = ledger.receipted.difference(&ledger.acked).take(5).collect();
        panic!(
            "after {WITHIN:?} {} receipts, {} acknowledged, missing {missing:?}",
            ledger.receipted.len(),
            ledger.acked.len()
        );
    }
    eprintln!("the work took {:?}", began.elapsed());
    rig.take_what_is_left().await;
    rig.report();
    rig.nothing_is_left().await;
}

impl Rig {
    /// Where the node of this number listens, or, if that is dead, another.
    fn address(&self, number: usize) -> SocketAddr {
        let nodes = self.nodes.lock().unwrap();
        let from_there = nodes.iter().cycle().skip(number).take(nodes.len());
        let alive = from_there.flatten().next();
        alive.expect("two nodes live").address()
    }

    async fn until(&self, is_so: impl Fn(&Ledger) -> bool) {
        while !is_so(&self.ledger.lock().unwrap()) {
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends until its share has receipts. What has none when the line is cut is not sent again: it
    /// may have arrived, and a second one would look like a delivery without its mark.
    async fn publish(&self, number: usize, mut rng: StdRng) {
        let (mut at, mut sent, mut receipted) = (number, 0, 0);
        while receipted < SHARES[number] {
            let Some(mut client) = Client::reach(self.address(at)).await else {
                sleep(Duration::from_millis(20)).await;
                continue;
            };
            let mut under_way = BTreeSet::new();
            while receipted < SHARES[number] {
                while under_way.len() < UNDER_WAY && receipted + under_way.len() < SHARES[number] {
                    let body = format!("{number}-{sent}");
                    sent += 1;
                    let frame = format!("SEND\ndestination:{QUEUE}\nreceipt:{body}\n\n{body}\0");
                    client.send(&frame).await;
                    under_way.insert(body);
                }
                let Received::Frame(frame) = client.next().await else {
                    break;
                };
                assert!(under_way.remove(frame.receipt()), "{frame:?}");
                receipted += 1;
                let body = frame.receipt().to_owned();
                self.ledger.lock().unwrap().receipted.insert(body);
            }
            at = rng.random_range(0..NAMES.len());
        }
    }

    /// Consumes until all is done: first at the node of its number, then at random ones.
    async fn consume(&self, number: usize, mut rng: StdRng) {
        let mut at = number;
        while !self.done.is_cancelled() {
            if let Some(client) = Client::reach(self.address(at)).await {
                self.consume_for_a_while(client, &mut rng).await;
            } else {
                sleep(Duration::from_millis(20)).await;
            }
            at = rng.random_range(0..NAMES.len());
        }
    }

    /// Takes some hundreds of messages and drops the socket: without DISCONNECT, with messages that
    /// were never acknowledged and others that were never read.
    async fn consume_for_a_while(&self, mut client: Client, rng: &mut StdRng) {
        subscribe(&mut client, QUEUE).await;
        let mut held = Vec::new();
        let mut left = rng.random_range(50..400);
        while left > 0 && !self.done.is_cancelled() {
            let Ok(received) = timeout(QUIET, client.next()).await else {
                for message in held.drain(..) {
                    self.acknowledge(&mut client, message).await;
                }
                continue;
            };
            let Received::Frame(frame) = received else {
                return;
            };
            if frame.command == "MESSAGE" {
                left -= 1;
                self.ledger.lock().unwrap().delivered(&frame);
                held.push(frame);
                if held.len() > HELD {
                    let chosen = rng.random_range(0..held.len());
                    let message = held.swap_remove(chosen);
                    self.acknowledge(&mut client, message).await;
                }
            } else {
                self.settled(&frame);
            }
        }
        self.ledger.lock().unwrap().dropped += 1;
    }

    async fn acknowledge(&self, client: &mut Client, message: Frame) {
        let id = message.header("ack");
        let frame = format!("ACK\nid:{id}\nreceipt:{}\n\n\0", message.body);
        self.ledger.lock().unwrap().acked.insert(message.body);
        client.send(&frame).await;
    }

    fn settled(&self, receipt: &Frame) {
        let receipt = receipt.receipt();
        if receipt != "subscribed" {
            let mut ledger = self.ledger.lock().unwrap();
            ledger.settled.insert(receipt.to_owned());
        }
    }

    /// Kills one of the nodes when half of the work is under way, and starts it again.
    async fn kill_a_node(&self, mut rng: StdRng) {
        let after = rng.random_range(2_000..6_000);
        self.until(|ledger| ledger.receipted.len() >= after).await;
        let victim = rng.random_range(0..NAMES.len());
        let node = self.nodes.lock().unwrap()[victim].take();
        node.unwrap().kill().await;
        sleep(Duration::from_millis(rng.random_range(100..1_000))).await;
        let again = self.cluster.node_with(NAMES[victim], &SETTINGS).await;
        self.nodes.lock().unwrap()[victim] = Some(again);
        eprintln!("{} was killed after {after} receipts", NAMES[victim]);
    }

    /// What no ACK reached: taken and acknowledged in order. Nothing became a dead letter.
    async fn take_what_is_left(&self) {
        let mut client = Client::connect(self.address(0)).await;
        subscribe(&mut client, GRAVE).await;
        subscribe(&mut client, QUEUE).await;
        let mut owed = 0;
        // A connection that was cut may give back what it had a little later.
        while let Ok(received) = timeout(Duration::from_secs(2), client.next()).await {
            let Received::Frame(frame) = received else {
                panic!("the last consumer was cut off: {received:?}");
            };
            if frame.command == "MESSAGE" {
                self.ledger.lock().unwrap().delivered(&frame);
                self.acknowledge(&mut client, frame).await;
                owed += 1;
            } else if frame.receipt() != "subscribed" {
                self.settled(&frame);
                owed -= 1;
            }
        }
        assert_eq!(owed, 0, "every ACK has its RECEIPT");
        client.disconnect().await;
    }

    fn report(&self) {
        let ledger = self.ledger.lock().unwrap();
        let deliveries: u32 = ledger.deliveries.values().map(|(all, _)| all).sum();
        let twice = ledger.deliveries.values().filter(|(all, _)| *all > 1);
        let twice = twice.count();
        eprintln!(
            "{deliveries} deliveries of {} messages, {twice} of them more than once, {} after the \
             RECEIPT of their ACK, {} consumers killed",
            ledger.deliveries.len(),
            ledger.again_after_settled,
            ledger.dropped
        );
        let lost: Vec<_> = ledger.receipted.difference(&ledger.acked).collect();
        assert_eq!(lost, [] as [&String; 0]);
        assert!(ledger.dropped > 10, "few consumers were killed");
        assert!(twice > 0, "nothing was disturbed");
    }

    /// RabbitMQ has nothing any more, and the nodes end in order.
    async fn nothing_is_left(self) {
        let left = self.cluster.rabbitmq.queues().await;
        let queues = left.keys().filter(|name| name.starts_with("stomp.queue."));
        assert_eq!(
            queues.count(),
            2,
            "the queue and its dead letters: {left:?}"
        );
        assert_eq!(left.values().sum::<u64>(), 0, "{left:?}");
        let nodes = self.nodes.into_inner().unwrap();
        for ended in join_all(nodes.into_iter().flatten().map(Node::stop)).await {
            assert!(ended.status.success(), "{}", ended.output);
            // A channel that is closed for a wrong word takes more than itself along.
            let lost = ended.output.contains("lost a connection");
            assert!(!lost, "{}", ended.output);
        }
    }
}

/// Subscribes with acknowledgement. The RECEIPT may come after the first messages.
async fn subscribe(client: &mut Client, destination: &str) {
    let frame = format!(
        "SUBSCRIBE\nid:{destination}\ndestination:{destination}\nack:client-individual\n\
         prefetch-count:{PREFETCH}\nreceipt:subscribed\n\n\0"
    );
    client.send(&frame).await;
}
