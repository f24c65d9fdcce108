//! What a node of a cluster takes: for a message, a delivery, a connection that comes and one that
//! is idle; and what PostgreSQL takes for a message.
//!
//! Not here: Redis and RabbitMQ (`engines`). Invariant: the clients are in another process than what
//! is measured.

use std::process::Command;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::cpu;
use crate::measure::{Costs, MICROS, paced};
use crate::support::client::Client;
use crate::support::process::{Process, SETTINGS};

/// How many write at the same time, each so many messages in all.
const WRITERS: u32 = 40;
const MESSAGES: u32 = 500;
/// Of each of them: so 4,000 a second together, about what keeps a node half busy.
const EVERY: Duration = Duration::from_millis(10);

const SUBSCRIBERS: u32 = 200;
const FANNED_OUT: u32 = 200;
const FANNED_OUT_PER_SECOND: u32 = 20;

const ARRIVALS: u32 = 1_000;
/// How many come at the same time.
const AT_ONCE: usize = 16;
const IDLERS: u32 = 3_000;
const IDLE_SECONDS: u64 = 20;

const NODE: &str = "stompbox";
const POSTGRES: &str = "postgres";
const TOPIC: &str = "/topic/crowd";

/// Where the engines of the cluster are.
pub(crate) struct Urls {
    pub(crate) database: String,
    pub(crate) redis: String,
    pub(crate) rabbitmq: String,
}

pub(crate) async fn measure(urls: &Urls, costs: &mut Costs) {
    let data = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_stompbox"));
    command
        .env_clear()
        .envs(SETTINGS)
        .env("DATABASE_URL", &urls.database)
        .env("REDIS_URL", &urls.redis)
        .env("RABBITMQ_URL", &urls.rabbitmq)
        .env("JWT_SECRET", "only for this measurement: 32 octets")
        .args(["--config", "/dev/null", "--data-dir"])
        .arg(data.path());
    let node = Process::start(command).unwrap_or_else(|error| panic!("{error}"));
    messages(&node, costs).await;
    deliveries(&node, costs).await;
    connections(&node, costs).await;
}

/// Runs something, and returns how many seconds the node and PostgreSQL took for it.
async fn taken(work: impl Future<Output = ()>) -> (f64, f64) {
    let (node, postgres) = (cpu::seconds_of(NODE), cpu::seconds_of(POSTGRES));
    work.await;
    // What is committed in groups is done a moment later.
    sleep(Duration::from_millis(300)).await;
    (
        cpu::seconds_of(NODE) - node,
        cpu::seconds_of(POSTGRES) - postgres,
    )
}

/// Messages to people without a subscription and to a topic without one: no delivery is in it.
async fn messages(node: &Process, costs: &mut Costs) {
    let count = f64::from(WRITERS * MESSAGES);
    let (stored, postgres) = taken(write(node, true)).await;
    costs.note("stored", stored * MICROS / count);
    costs.note("postgres_stored", postgres * MICROS / count);
    let (published, _) = taken(write(node, false)).await;
    costs.note("published", published * MICROS / count);
}

async fn write(node: &Process, stored: bool) {
    let mut writers = JoinSet::new();
    let begins = Instant::now() + Duration::from_millis(500);
    for number in 0..WRITERS {
        let mut client = Client::stomp(node.address, "0,0", None).await.unwrap();
        let silent = Client::stomp(node.address, "0,0", None).await.unwrap();
        let body = json!({ "to": silent.user_name, "message": "x".repeat(128) }).to_string();
        let head = match stored {
            true => "SEND\ndestination:/app/chat.send\n",
            false => "SEND\ndestination:/topic/nobody\n",
        };
        writers.spawn(async move {
            for message in 0..MESSAGES {
                let due = begins + EVERY * message + EVERY * number / WRITERS;
                sleep_until(due).await;
                let send = format!("{head}receipt:{message}\n\n{body}\0");
                client.send(send.as_bytes()).await.unwrap();
                client.expect("RECEIPT\n").await.unwrap();
            }
            drop(silent);
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
}

/// One message to many at a time; what the message itself takes is known by now.
async fn deliveries(node: &Process, costs: &mut Costs) {
    let mut subscribers = Vec::new();
    for _ in 0..SUBSCRIBERS {
        subscribers.push(
            Client::stomp(node.address, "0,0", Some(TOPIC))
                .await
                .unwrap(),
        );
    }
    let mut publisher = Client::stomp(node.address, "0,0", None).await.unwrap();
    let send = format!("SEND\ndestination:{TOPIC}\n\n{}\0", "x".repeat(128));
    let (seconds, _) = taken(async {
        let mut pace = paced(FANNED_OUT_PER_SECOND);
        for _ in 0..FANNED_OUT {
            pace.tick().await;
            publisher.send(send.as_bytes()).await.unwrap();
            for subscriber in &mut subscribers {
                subscriber.expect("MESSAGE\n").await.unwrap();
            }
        }
    })
    .await;
    let of_messages = costs.of("published") * f64::from(FANNED_OUT);
    let deliveries = f64::from(SUBSCRIBERS * FANNED_OUT);
    costs.note("delivery", (seconds * MICROS - of_messages) / deliveries);
}

async fn connections(node: &Process, costs: &mut Costs) {
    let mut clients: Vec<Client> = Vec::new();
    let inbox = Some("/user/queue/messages");
    let (seconds, _) = taken(async {
        let arrive = |_| Client::stomp(node.address, "0,10000", inbox);
        let arriving = stream::iter(0..ARRIVALS).map(arrive);
        clients = arriving.buffered(AT_ONCE).try_collect().await.unwrap();
    })
    .await;
    costs.note("arrival", seconds * MICROS / f64::from(ARRIVALS));
    let before = cpu::resident_kib(node.pid());
    for _ in 0..IDLERS {
        clients.push(Client::stomp(node.address, "0,10000", inbox).await.unwrap());
    }
    sleep(Duration::from_secs(2)).await;
    let kept = cpu::resident_kib(node.pid()) - before;
    costs.note("idle_kib", kept / f64::from(IDLERS));
    let (seconds, _) = taken(sleep(Duration::from_secs(IDLE_SECONDS))).await;
    let connection_seconds = f64::from(ARRIVALS + IDLERS) * IDLE_SECONDS as f64;
    costs.note("idle", seconds * MICROS / connection_seconds);
}
