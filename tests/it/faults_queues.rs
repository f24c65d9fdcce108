//! Acknowledged queue work while consumers and links fail: on a real RabbitMQ, each node behind a
//! proxy of its own.
//!
//! Three consumers on three nodes, 10,000 messages; consumers leave at random, refuse at random,
//! forget to acknowledge at random, and links are cut. Every message is acknowledged at least once,
//! none is lost, and of all deliveries of a message one at most is not marked as redelivered. The
//! seed is printed; `QUEUES_SEED` gives it again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use stompbox::bus::queue::{QueueSettings, Taken};
use stompbox::model::Verdict;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::conformance_queues::rig::{Hand, Node, PLAIN, join_rabbit, message, service, text};
use crate::support::proxy::{Network, Proxy};
use crate::support::rabbitmq::RabbitMq;

const MESSAGES: usize = 10_000;
const QUEUE: &str = "/queue/work";
const GRAVE: &str = "/queue/DLQ.work";
const WITHIN: Duration = Duration::from_secs(60);

/// What became of the messages.
#[derive(Default)]
struct Ledger(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    /// Deliveries by text, and how many of them were not marked as redelivered.
    deliveries: BTreeMap<String, (u32, u32)>,
    acked: BTreeSet<String>,
}

impl Ledger {
    fn delivered(&self, taken: &Taken) {
        let mut entries = self.0.lock().unwrap();
        let (all, fresh) = entries
            .deliveries
            .entry(text(taken).to_owned())
            .or_default();
        *all += 1;
        *fresh += u32::from(!taken.redelivered);
        assert!(*fresh <= 1, "{} came again unmarked", text(taken));
    }

    fn acked(&self, taken: &[Taken]) {
        let mut entries = self.0.lock().unwrap();
        let texts = taken.iter().map(|taken| text(taken).to_owned());
        entries.acked.extend(texts);
    }

    fn acked_count(&self) -> usize {
        self.0.lock().unwrap().acked.len()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_work_on_rabbitmq_survives_lost_consumers_and_cut_links() {
    let given = std::env::var("QUEUES_SEED").ok();
    let seed: u64 = given.map_or_else(rand::random, |seed| seed.parse().unwrap());
    eprintln!("seed {seed}");
    let server = RabbitMq::start().await;
    let sender = join_rabbit(&server.url(), "sender", QueueSettings::default()).await;
    let (mut proxies, mut nodes) = (Vec::new(), Vec::new());
    for name in ["a", "b", "c"] {
        let proxy = Proxy::to(server.port()).await;
        let url = server.url_at(proxy.port());
        nodes.push(join_rabbit(&url, name, QueueSettings::default()).await);
        proxies.push(proxy);
    }
    let ledger = Ledger::default();
    let since = Instant::now();
    let done = CancellationToken::new();
    let seeds = (1_u64..).map(|number| StdRng::seed_from_u64(seed.wrapping_add(number)));
    let working = nodes
        .iter()
        .zip(seeds)
        .map(|(node, rng)| done.run_until_cancelled(work(node, &ledger, rng)));
    let failing = done.run_until_cancelled(fail(&proxies, StdRng::seed_from_u64(seed)));
    let watching = async {
        send(&sender).await;
        while ledger.acked_count() < MESSAGES {
            bury(&sender, &ledger).await;
        }
        done.cancel();
    };
    let everything = async { tokio::join!(join_all(working), failing, watching) };
    let ended = timeout(WITHIN, everything).await;
    let acked = ledger.acked_count();
    assert!(ended.is_ok(), "{acked} of {MESSAGES} within {WITHIN:?}");
    for proxy in &proxies {
        proxy.set(Network::Pass);
    }
    drain(&sender, &ledger).await;
    report(&ledger, since.elapsed());
    for node in nodes.into_iter().chain([sender]) {
        node.close().await;
    }
    drop(proxies);
    let left = server.queues().await;
    assert_eq!(left.values().sum::<u64>(), 0, "{left:?}");
}

/// Everything is sent once, over a link that holds, at a pace that lets the work be disturbed.
async fn send(sender: &Node) {
    for batch in 0..MESSAGES / 500 {
        let mut sents = Vec::new();
        for number in 0..500 {
            let message = message(&format!("{}", batch * 500 + number));
            let sent = sender.0.send(QUEUE, &PLAIN, message, &service()).await;
            sents.push(sent.unwrap());
        }
        for sent in join_all(sents).await {
            sent.unwrap();
        }
        sleep(Duration::from_millis(300)).await;
    }
}

/// Consumes for ever: each consumer for a while.
async fn work(node: &Node, ledger: &Ledger, mut rng: StdRng) {
    loop {
        let prefetch = rng.random_range(1..100);
        let Ok(mut hand) = node.try_consume(QUEUE, &PLAIN, prefetch).await else {
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        for _ in 0..rng.random_range(20..300) {
            // An engine that has lost its connection gives nothing for a while.
            let taken = timeout(Duration::from_secs(3), hand.0.taken.recv()).await;
            let Ok(taken) = taken else {
                break;
            };
            settle_some(&mut hand, taken.unwrap(), ledger, &mut rng).await;
        }
    }
}

/// Settles what came, and perhaps what came with it, in one way or another.
async fn settle_some(hand: &mut Hand, first: Taken, ledger: &Ledger, rng: &mut StdRng) {
    let mut taken = vec![first];
    while taken.len() < 10 && rng.random_bool(0.5) {
        taken.extend(hand.0.taken.try_recv().ok());
    }
    for taken in &taken {
        ledger.delivered(taken);
    }
    let tags: Vec<_> = taken.iter().map(|taken| taken.tag).collect();
    match rng.random_range(0..100) {
        // It is forgotten, and comes again when this consumer leaves.
        0 => {}
        1..5 => hand.settle_tags(&tags, Verdict::Requeue).await,
        _ => {
            hand.settle_tags(&tags, Verdict::Ack).await;
            ledger.acked(&taken);
        }
    }
}

/// Cuts one link after the other.
async fn fail(proxies: &[Proxy], mut rng: StdRng) {
    loop {
        sleep(Duration::from_millis(rng.random_range(200..900))).await;
        let proxy = &proxies[rng.random_range(0..proxies.len())];
        if rng.random_bool(0.5) {
            proxy.close_all();
            continue;
        }
        proxy.set(Network::Refuse);
        sleep(Duration::from_millis(rng.random_range(50..500))).await;
        proxy.set(Network::Pass);
    }
}

/// Acknowledges the dead letters that there are.
async fn bury(node: &Node, ledger: &Ledger) {
    let mut hand = node.consume(GRAVE, 100).await;
    while let Ok(Some(taken)) = timeout(Duration::from_millis(100), hand.0.taken.recv()).await {
        hand.settle(&[&taken], Verdict::Ack).await;
        ledger.acked(&[taken]);
    }
}

/// Takes what is left of the copies.
async fn drain(node: &Node, ledger: &Ledger) {
    let mut hand = node.consume(QUEUE, 100).await;
    // A channel of a cut connection may give back what it has a little later.
    while let Ok(Some(taken)) = timeout(Duration::from_secs(2), hand.0.taken.recv()).await {
        ledger.delivered(&taken);
        hand.settle(&[&taken], Verdict::Ack).await;
    }
    bury(node, ledger).await;
}

fn report(ledger: &Ledger, took: Duration) {
    let entries = ledger.0.lock().unwrap();
    let deliveries: u32 = entries.deliveries.values().map(|(all, _)| all).sum();
    let twice = entries.deliveries.values().filter(|(all, _)| *all > 1);
    let twice = twice.count();
    eprintln!("{deliveries} deliveries, {twice} messages more than once, {took:?}");
    assert_eq!(entries.acked.len(), MESSAGES);
    assert_eq!(entries.deliveries.len(), MESSAGES);
    assert!(twice > 0, "nothing was disturbed");
}
