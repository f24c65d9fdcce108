//! Stored messages per second: SQLite and a real PostgreSQL, all into one conversation and spread
//! over a thousand.
//!
//! Not a test and not criterion's: one figure per case out of a bounded run, with as many messages
//! on their way as a busy node has. `cargo bench --bench stored [-- MESSAGES [IN_FLIGHT]]` prints a
//! table and one line of JSON. Every message is committed and synced to disk before it counts.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark prints its figures and stops at the first thing that is wrong"
)]

#[path = "../tests/it/support/postgres.rs"]
#[expect(
    dead_code,
    reason = "a benchmark needs less of the server than the tests"
)]
mod postgres;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stompbox::model::{MessageId, RoomId, UnixMillis, UserId};
use stompbox::store::{
    Append, PostgresSettings, PostgresStore, SqliteSettings, SqliteStore, Store, StoreError,
};
use tokio_util::task::TaskTracker;

/// The longest that one case may take; it ends earlier when its messages are stored.
const CASE_MAX: Duration = Duration::from_secs(20);
/// A typical chat message.
const TEXT_BYTES: usize = 100;

struct Figure {
    store: &'static str,
    conversations: usize,
    messages: usize,
    seconds: f64,
    latency_p50_ms: f64,
    latency_p99_ms: f64,
    /// Of this process; PostgreSQL's own work is not in it.
    cpu_us_per_message: f64,
}

impl Figure {
    fn rate(&self) -> f64 {
        self.messages as f64 / self.seconds
    }
}

fn main() {
    let numbers: Vec<usize> = std::env::args()
        .filter_map(|argument| argument.parse().ok())
        .collect();
    let messages = numbers.first().copied().unwrap_or(100_000);
    let in_flight = numbers.get(1).copied().unwrap_or(2_000);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let figures = runtime.block_on(measure(messages, in_flight));
    println!(
        "{:<12}{:>14}{:>10}{:>12}{:>10}{:>10}{:>12}",
        "store", "conversations", "messages", "stored/s", "p50 ms", "p99 ms", "CPU us/msg"
    );
    for figure in &figures {
        println!(
            "{:<12}{:>14}{:>10}{:>12.0}{:>10.1}{:>10.1}{:>12.1}",
            figure.store,
            figure.conversations,
            figure.messages,
            figure.rate(),
            figure.latency_p50_ms,
            figure.latency_p99_ms,
            figure.cpu_us_per_message,
        );
    }
    let json: Vec<_> = figures
        .iter()
        .map(|figure| {
            serde_json::json!({
                "store": figure.store,
                "conversations": figure.conversations,
                "messages": figure.messages,
                "in_flight": in_flight,
                "stored_per_second": figure.rate().round(),
                "latency_p50_ms": figure.latency_p50_ms,
                "latency_p99_ms": figure.latency_p99_ms,
                "cpu_us_per_message": figure.cpu_us_per_message,
            })
        })
        .collect();
    println!("{}", serde_json::Value::from(json));
}

async fn measure(messages: usize, in_flight: usize) -> Vec<Figure> {
    let mut figures = Vec::new();
    let directory = tempfile::tempdir().unwrap();
    let server = postgres::Postgres::start();
    server.ready().await;
    let tracker = TaskTracker::new();
    for conversations in [1, 1_000] {
        let path = directory.path().join(format!("{conversations}.db"));
        let store = SqliteStore::open(&path, &SqliteSettings::default()).unwrap();
        figures.push(run("sqlite", store, conversations, (messages, in_flight)).await);

        let url = server.fresh_database().await;
        let settings = PostgresSettings::default();
        let store = PostgresStore::connect(&url, &settings, &tracker)
            .await
            .unwrap();
        figures.push(run("postgresql", store, conversations, (messages, in_flight)).await);
    }
    figures
}

/// Keeps so many messages on their way, in the order of the calls, until all are committed.
async fn run(
    name: &'static str,
    store: Arc<dyn Store>,
    conversations: usize,
    (messages, in_flight): (usize, usize),
) -> Figure {
    let pairs: Vec<(UserId, UserId)> = (0..conversations)
        .map(|n| {
            (
                format!("a{n}").parse().unwrap(),
                format!("b{n}").parse().unwrap(),
            )
        })
        .collect();
    // What happens once per conversation is not what is measured.
    for (n, pair) in pairs.iter().enumerate() {
        store.append(message(pair, n)).await.unwrap();
    }
    let (begin, cpu_before) = (Instant::now(), cpu_seconds());
    let mut waiting = VecDeque::with_capacity(in_flight);
    let mut latencies = Vec::with_capacity(messages);
    let mut sent = 0;
    while latencies.len() < messages && begin.elapsed() < CASE_MAX {
        while sent < messages && waiting.len() < in_flight {
            let pair = &pairs[sent % pairs.len()];
            waiting.push_back((
                Instant::now(),
                store.append(message(pair, pairs.len() + sent)),
            ));
            sent += 1;
        }
        let (sent_at, commit) = waiting.pop_front().expect("something is on its way");
        match commit.await {
            Ok(appended) => assert!(!appended.duplicate),
            Err(StoreError::Overloaded) => panic!("more is on its way than the queue may hold"),
            Err(err) => panic!("{err}"),
        }
        latencies.push(sent_at.elapsed());
    }
    let stored = latencies.len();
    let (seconds, cpu) = (begin.elapsed().as_secs_f64(), cpu_seconds() - cpu_before);
    for (_, commit) in waiting {
        commit.await.unwrap();
    }
    store.close().await;
    latencies.sort_unstable();
    let latency = |share: f64| latencies[(stored as f64 * share) as usize].as_secs_f64() * 1e3;
    Figure {
        store: name,
        conversations,
        messages: stored,
        seconds,
        latency_p50_ms: latency(0.5),
        latency_p99_ms: latency(0.99),
        cpu_us_per_message: cpu / stored as f64 * 1e6,
    }
}

/// What this process has used of the processors, in seconds (Linux counts in hundredths).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let fields = fields.split_whitespace().skip(11).take(2);
    fields
        .map(|ticks| ticks.parse::<f64>().unwrap())
        .sum::<f64>()
        / 100.0
}

fn message((from, to): &(UserId, UserId), number: usize) -> Append {
    Append {
        room: RoomId::direct(from, to),
        id: MessageId::from_parts(1_790_000_000_000, number as u128),
        from: from.clone(),
        from_name: "손님 7k2m".to_owned(),
        to: to.clone(),
        client_id: Some(format!("c{number}").parse().unwrap()),
        text: "x".repeat(TEXT_BYTES),
        timestamp: UnixMillis(1_790_000_000_000),
        // Visitors' messages expire, which costs one index more.
        expires_at: Some(UnixMillis(1_790_086_400_000)),
        from_holder: None,
        to_holder: None,
        visitors: Vec::new(),
    }
}
