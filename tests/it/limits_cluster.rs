//! What one person, one office and one flood may take of a cluster: limits that hold over all nodes and
//! do not trouble the rest.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use crate::support::client::{Client, Frame, Opening, Received};
use crate::support::cluster::Cluster;
use crate::support::node::Node;

/// The limits that people meet, in place of those that a load may use.
const DEFAULTS: [(&str, &str); 5] = [
    ("RATE_ANON_PER_MIN", "200"),
    ("RATE_BURST", "100"),
    ("RATE_NET_PER_MIN", "2000"),
    ("RATE_NET_BURST", "1000"),
    ("VISITORS_PER_NETWORK", "30"),
];

/// A burst may be so much over, because nodes lease tokens.
const BURST_OVER: f64 = 1.3;

/// A minute may be so much over or under.
const MINUTE_OFF: f64 = 0.05;

/// How often a pair is measured alone and beside a flood.
pub(crate) const ROUNDS: usize = 7;

/// How many times longer a pair may wait beside a flood than alone, by p99: the median of the rounds.
const RATIO_MAX: f64 = 2.0;

async fn nodes(cluster: &Cluster, more: &[(&'static str, &'static str)]) -> Vec<Node> {
    let settings: Vec<_> = DEFAULTS.iter().chain(more).copied().collect();
    let names = ["a", "b", "c"];
    let starting = names.map(|name| cluster.node_with(name, &settings));
    futures_util::future::join_all(starting).await
}

/// Another socket of a visitor.
async fn again(node: &Node, secret: &str) -> Client {
    let mut client = Client::connect_with(node.address(), &Opening::default(), secret).await;
    client.subscribe("/user/queue/errors").await;
    client
}

/// Whether a SEND was taken; what the refusal says.
fn verdict(frame: &Frame) -> Result<(), Value> {
    match frame.command.as_str() {
        "RECEIPT" => Ok(()),
        "MESSAGE" => {
            let problem = frame.json();
            assert_eq!(problem["code"], "rate_limited", "{problem}");
            assert!(problem["retry_after_ms"].as_u64() > Some(0), "{problem}");
            Err(problem)
        }
        _ => panic!("neither taken nor refused: {frame:?}"),
    }
}

/// Sends one after the other until then, or until the server has had enough. Returns how many were taken.
async fn push(client: &mut Client, until: Instant, pause: Duration) -> u32 {
    let mut taken = 0;
    let mut ticks = interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while Instant::now() < until {
        ticks.tick().await;
        client.publish("/topic/limits", "x").await;
        match client.next().await {
            Received::Frame(frame) => taken += u32::from(verdict(&frame).is_ok()),
            Received::Closed(code, reason) => {
                assert_eq!(code, 4429, "{reason}");
                assert!(reason.contains("retry_after_ms="), "{reason}");
                return taken;
            }
            Received::Gone => panic!("it went without a word"),
        }
    }
    taken
}

#[tokio::test]
async fn fifty_sockets_on_three_nodes_have_the_limit_of_one_person() {
    let cluster = Cluster::start().await;
    let nodes = nodes(&cluster, &[("SESSIONS_VISITOR", "100")]).await;
    let first = Client::connect(nodes[0].address()).await;
    let secret = first.secret().to_owned();
    let mut sockets = Vec::new();
    for number in 0..50 {
        sockets.push(again(&nodes[number % 3], &secret).await);
    }
    // The burst: five hundred at once, of which a hundred are the person's.
    let began = Instant::now();
    let bursts = sockets.iter_mut().map(|socket| async {
        let mut taken = 0;
        for _ in 0..10 {
            socket.publish("/topic/limits", "x").await;
        }
        for _ in 0..10 {
            taken += u32::from(verdict(&socket.frame().await).is_ok());
        }
        taken
    });
    let burst: u32 = futures_util::future::join_all(bursts).await.iter().sum();
    let took = began.elapsed();
    let most = (100.0 + took.as_secs_f64() * 200.0 / 60.0) * BURST_OVER;
    eprintln!("a burst of 500 over 50 sockets on 3 nodes: {burst} taken in {took:?}");
    assert!(f64::from(burst) <= most, "{burst} of at most {most}");
    assert!(burst >= 90, "{burst}: less than the burst that is his");

    // A new connection is no new bucket.
    let mut anew = again(&nodes[1], &secret).await;
    let mut refused = 0;
    for _ in 0..20 {
        anew.publish("/topic/limits", "x").await;
        refused += u32::from(verdict(&anew.frame().await).is_err());
    }
    assert!(refused >= 15, "{refused} of 20 refused after a reconnect");
    drop(anew);

    // The minute, from the first SEND on: fifty sockets that do not let go.
    let until = began + Duration::from_secs(60);
    let pushing = sockets
        .iter_mut()
        .map(|socket| push(socket, until, Duration::from_millis(1_500)));
    let rest: u32 = futures_util::future::join_all(pushing).await.iter().sum();
    let total = burst + (20 - refused) + rest;
    eprintln!("a minute of them: {total} taken, of 299 that a bucket gives");
    let (least, most) = (299.0 * (1.0 - MINUTE_OFF), 300.0 * (1.0 + MINUTE_OFF));
    let found = f64::from(total);
    assert!(
        found >= least && found <= most,
        "{total} in a minute, not within 5 % of 299"
    );
}

#[tokio::test]
async fn an_office_behind_one_address_is_not_starved_by_a_flood_in_it() {
    let cluster = Cluster::start().await;
    let nodes = nodes(&cluster, &[]).await;
    let mut flood = Client::connect(nodes[0].address()).await;
    flood.subscribe("/user/queue/errors").await;
    let mut people = Vec::new();
    for number in 0..20 {
        let mut person = Client::connect(nodes[number % 3].address()).await;
        person.subscribe("/user/queue/errors").await;
        people.push(person);
    }
    let until = Instant::now() + Duration::from_secs(10);
    let flooding = push(&mut flood, until, Duration::from_millis(5));
    let talking = people.iter_mut().map(|person| async {
        for number in 0..30 {
            person.publish("/topic/office", "x").await;
            let verdict = verdict(&person.frame().await);
            assert!(verdict.is_ok(), "message {number}: {verdict:?}");
        }
    });
    let talking = futures_util::future::join_all(talking);
    let (flooded, _) = tokio::join!(flooding, talking);
    assert!(flooded <= 180, "the flood itself is held: {flooded}");
}

/// The time from SEND to MESSAGE of a pair, message by message.
pub(crate) async fn latencies(pair: &mut (Client, Client), until: Instant) -> Vec<Duration> {
    let mut all = Vec::new();
    while Instant::now() < until {
        let began = Instant::now();
        let to = pair.1.user().to_owned();
        pair.0.say(&to, "hello").await;
        let message = pair.1.frame().await;
        assert_eq!(message.command, "MESSAGE", "{message:?}");
        all.push(began.elapsed());
        assert_eq!(pair.0.frame().await.command, "RECEIPT");
        sleep_until(began + Duration::from_millis(20)).await;
    }
    all.sort_unstable();
    all
}

pub(crate) fn p99(sorted: &[Duration]) -> Duration {
    sorted[(sorted.len() * 99 / 100).min(sorted.len() - 1)]
}

#[tokio::test]
async fn a_flood_of_300_messages_a_second_does_not_slow_the_neighbours() {
    let settings = [
        ("RATE_NET_PER_MIN", "100000"),
        ("RATE_NET_BURST", "10000"),
        ("RATE_BURST", "1000"),
        ("RATE_ANON_PER_MIN", "10000"),
    ];
    let node = Node::start("neighbours", &settings).await;
    let mut pair = (
        Client::connect(node.address()).await,
        Client::connect(node.address()).await,
    );
    pair.1.subscribe("/user/queue/messages").await;
    let span = Duration::from_secs(2);
    let _warm = latencies(&mut pair, Instant::now() + Duration::from_secs(1)).await;
    // Side by side in several rounds, so that what slows the machine for a moment is in one of them.
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let alone = p99(&latencies(&mut pair, Instant::now() + span).await);
        let bot = bot_beside(node.address(), span);
        let beside = p99(&latencies(&mut pair, Instant::now() + span).await);
        assert!(bot.join().unwrap() > 250 * span.as_secs());
        eprintln!("p99 of a pair: {alone:?} alone, {beside:?} beside a bot at 300 messages/s");
        ratios.push(beside.as_secs_f64() / alone.as_secs_f64());
    }
    ratios.sort_by(f64::total_cmp);
    let ratio = ratios[ROUNDS / 2];
    assert!(
        ratio <= RATIO_MAX,
        "{ratio:.2} times; each round: {ratios:.2?}"
    );
}

/// A bot that heeds no limit sends 300 messages a second. On a thread of its own, so that the pair that measures does not
/// wait for it. Returns how many it has sent.
fn bot_beside(at: SocketAddr, span: Duration) -> std::thread::JoinHandle<u64> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let until = Instant::now() + span;
            let mut bot = Client::connect(at).await;
            bot.subscribe("/user/queue/errors").await;
            let (mut ticks, mut sent) = (interval(Duration::from_millis(10)), 0);
            while Instant::now() < until {
                ticks.tick().await;
                for _ in 0..3 {
                    bot.publish("/topic/bots", "x").await;
                    sent += 1;
                }
                // What comes back is read, so that nothing is held for it.
                let reading = async { while let Received::Frame(_) = bot.next().await {} };
                let _moment = timeout(Duration::from_millis(1), reading).await;
            }
            sent
        })
    })
}
