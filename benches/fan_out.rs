//! Fan-out to real WebSocket clients: what a delivery costs, beside a bare server without broker
//! logic.
//!
//! `cargo bench --bench fan_out` starts the release binary and the bare server, connects as many
//! clients to each, and lets them take turns: rounds as fast as they can, and rounds at five
//! messages a second. Server CPU per delivery is what counts; what else runs on the machine slows
//! both. Invariant: every client sees every message, once and in order, or the benchmark fails.

#[path = "support/bare.rs"]
mod bare;
#[path = "support/percentile.rs"]
mod percentile;
#[path = "support/server.rs"]
mod server;
mod support;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use percentile::percentile;
use serde_json::{Value, json};
use server::Server;
use support::client::{Client, put_text};
use support::report::{Table, keep, say};
use support::{Outcome, Purpose};
use tokio::sync::Notify;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

/// How many clients hear each message, and how messages come. Five a second to a hundred would be
/// too little work for the clock of the processor time.
const CROWDS: [(usize, &[Load]); 2] = [
    (100, &[Load::Flood]),
    (1_000, &[Load::Flood, Load::Trickle]),
];
/// Octets of a body.
const BODY_BYTES: usize = 128;
/// How many messages may be on their way: enough that nobody waits for work, and far less than a
/// client may have waiting.
const WINDOW: u64 = 64;
/// How often the servers take turns.
const ROUNDS: usize = 5;
/// How long a round at full speed lasts.
const FLOOD: Duration = Duration::from_secs(3);
/// The messages of a round at five a second.
const TRICKLE_MESSAGES: u64 = 40;
const TRICKLE_EVERY: Duration = Duration::from_millis(200);
/// Beyond this something is lost.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> Outcome<()> {
    match support::purpose() {
        Purpose::Child => bare::serve(),
        Purpose::Nothing => say("To measure: cargo bench --bench fan_out"),
        Purpose::Measure => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(LocalSet::new().run_until(measure()))
        }
    }
}

async fn measure() -> Outcome<()> {
    let mut table = Table::new(&[
        "clients",
        "load",
        "server",
        "CPU us/delivery",
        "ratio",
        "deliveries/s",
        "p50 ms",
        "p99 ms",
    ]);
    let mut figures = Vec::new();
    for (clients, loads) in CROWDS {
        let mut broker = Crowd::gather(
            Server::broker(env!("CARGO_BIN_EXE_stompbox").as_ref())?,
            clients,
            None,
        )
        .await?;
        let frame_bytes = broker.probe().await?;
        let mut bare = Crowd::gather(Server::bare()?, clients, Some(frame_bytes)).await?;
        bare.probe().await?;
        for &load in loads {
            say(&format!("{clients} clients, {}", load.name()))?;
            let mut broker_rounds = Vec::new();
            let mut bare_rounds = Vec::new();
            for round in 0..ROUNDS {
                // Who goes first changes, so that neither always follows the other.
                if round % 2 == 0 {
                    broker_rounds.push(broker.round(load).await?);
                    bare_rounds.push(bare.round(load).await?);
                } else {
                    bare_rounds.push(bare.round(load).await?);
                    broker_rounds.push(broker.round(load).await?);
                }
            }
            let case = Case {
                clients,
                load,
                frame_bytes,
                broker: Figure::of(&broker_rounds),
                bare: Figure::of(&bare_rounds),
                ratios: ratios(&broker_rounds, &bare_rounds),
            };
            case.tell(&mut table, &mut figures);
        }
    }
    table.print()?;
    keep("fan_out", &Value::from(figures))
}

/// How messages come.
#[derive(Clone, Copy, Debug)]
enum Load {
    /// As fast as all clients take them.
    Flood,
    /// Five a second.
    Trickle,
}

impl Load {
    fn name(self) -> &'static str {
        match self {
            Self::Flood => "full speed",
            Self::Trickle => "5 messages/s",
        }
    }
}

/// What a round gave.
#[derive(Debug)]
struct Round {
    deliveries: u64,
    cpu: Duration,
    took: Duration,
    /// Of each delivery, in microseconds.
    latencies: Vec<u32>,
}

impl Round {
    fn cpu_us_per_delivery(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.deliveries as f64
    }
}

/// The rounds of one server together.
#[derive(Debug)]
struct Figure {
    cpu_us: f64,
    deliveries_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

impl Figure {
    fn of(rounds: &[Round]) -> Self {
        let deliveries = rounds.iter().map(|round| round.deliveries).sum::<u64>() as f64;
        let cpu: Duration = rounds.iter().map(|round| round.cpu).sum();
        let took: Duration = rounds.iter().map(|round| round.took).sum();
        let latencies = rounds.iter().flat_map(|round| round.latencies.iter());
        let mut latencies: Vec<u32> = latencies.copied().collect();
        let ms = |us: u32| f64::from(us) / 1e3;
        Self {
            cpu_us: cpu.as_secs_f64() * 1e6 / deliveries,
            deliveries_per_second: deliveries / took.as_secs_f64(),
            p50_ms: ms(percentile(&mut latencies, 50)),
            p99_ms: ms(percentile(&mut latencies, 99)),
        }
    }

    fn json(&self) -> Value {
        json!({
            "cpu_us_per_delivery": self.cpu_us,
            "deliveries_per_second": self.deliveries_per_second.round(),
            "latency_p50_ms": self.p50_ms,
            "latency_p99_ms": self.p99_ms,
        })
    }
}

/// The ratio of the CPU per delivery, round by round, sorted.
fn ratios(broker: &[Round], bare: &[Round]) -> Vec<f64> {
    let pairs = broker.iter().zip(bare);
    let mut ratios: Vec<f64> = pairs
        .map(|(broker, bare)| broker.cpu_us_per_delivery() / bare.cpu_us_per_delivery())
        .collect();
    ratios.sort_unstable_by(f64::total_cmp);
    ratios
}

#[derive(Debug)]
struct Case {
    clients: usize,
    load: Load,
    frame_bytes: usize,
    broker: Figure,
    bare: Figure,
    ratios: Vec<f64>,
}

impl Case {
    fn tell(&self, table: &mut Table, figures: &mut Vec<Value>) {
        let ratio = self.broker.cpu_us / self.bare.cpu_us;
        let low = self.ratios.first().copied().unwrap_or_default();
        let high = self.ratios.last().copied().unwrap_or_default();
        let ratio_cell = format!("{ratio:.2} ({low:.2}-{high:.2})");
        let rows = [
            ("bare", &self.bare, "1".to_owned()),
            ("stompbox", &self.broker, ratio_cell),
        ];
        for (name, figure, ratio) in rows {
            table.row(&[
                self.clients.to_string(),
                self.load.name().to_owned(),
                name.to_owned(),
                format!("{:.2}", figure.cpu_us),
                ratio,
                format!("{:.0}", figure.deliveries_per_second),
                format!("{:.2}", figure.p50_ms),
                format!("{:.2}", figure.p99_ms),
            ]);
        }
        figures.push(json!({
            "clients": self.clients,
            "load": self.load.name(),
            "frame_bytes": self.frame_bytes,
            "cpu_ratio": ratio,
            "cpu_ratio_by_round": self.ratios,
            "stompbox": self.broker.json(),
            "bare": self.bare.json(),
        }));
    }
}

/// A server with its clients and the one who writes to all of them.
#[derive(Debug)]
struct Crowd {
    server: Server,
    publisher: Client,
    clients: u32,
    seen: Rc<Seen>,
    /// The clients. A failure of one shows here.
    readers: JoinSet<Outcome<()>>,
    /// What stands before the body in what the publisher sends.
    before: Vec<u8>,
    /// Numbers the messages.
    next: u64,
    began: Instant,
}

impl Crowd {
    /// Connects the clients. For the bare server: how long a message shall be.
    async fn gather(server: Server, clients: usize, padded: Option<usize>) -> Outcome<Self> {
        const TOPIC: &str = "/topic/crowd";
        const AT_ONCE: usize = 16;
        let (name, address) = (server.name, server.address);
        let is_bare = padded.is_some();
        let connect = |_| async move {
            if is_bare {
                bare::client(address, true).await
            } else {
                Client::stomp(address, "0,0", Some(TOPIC)).await
            }
        };
        let connecting = stream::iter(0..clients).map(connect);
        let subscribers: Vec<Client> = connecting.buffered(AT_ONCE).try_collect().await?;
        let (publisher, before) = match padded {
            Some(bytes) => {
                let padding = vec![b'-'; bytes.saturating_sub(BODY_BYTES + 1)];
                (bare::client(address, false).await?, padding)
            }
            None => {
                let head = format!("SEND\ndestination:{TOPIC}\ncontent-length:{BODY_BYTES}\n\n");
                (
                    Client::stomp(address, "0,0", None).await?,
                    head.into_bytes(),
                )
            }
        };
        say(&format!("{name}: {clients} clients are connected"))?;
        let clients = u32::try_from(clients)?;
        let seen = Rc::new(Seen::new(clients));
        let began = Instant::now();
        let mut readers = JoinSet::new();
        for client in subscribers {
            readers.spawn_local(read_all(client, Rc::clone(&seen), began));
        }
        Ok(Self {
            server,
            publisher,
            clients,
            seen,
            readers,
            before,
            next: 0,
            began,
        })
    }

    /// Sends one message. Returns how long it is at the clients.
    async fn probe(&mut self) -> Outcome<usize> {
        self.publish(1).await?;
        self.all_arrived().await?;
        Ok(self.seen.state.borrow().message_bytes)
    }

    async fn round(&mut self, load: Load) -> Outcome<Round> {
        self.seen.state.borrow_mut().latencies.clear();
        let (first, cpu, begin) = (self.next, self.server.cpu()?, Instant::now());
        match load {
            Load::Flood => {
                while begin.elapsed() < FLOOD {
                    let free = WINDOW - (self.next - self.seen.through());
                    if free < WINDOW / 2 {
                        self.some_arrived().await?;
                    } else {
                        self.publish(free).await?;
                    }
                }
            }
            Load::Trickle => {
                let mut turns = tokio::time::interval(TRICKLE_EVERY);
                for _ in 0..TRICKLE_MESSAGES {
                    turns.tick().await;
                    self.publish(1).await?;
                }
            }
        }
        self.all_arrived().await?;
        let took = begin.elapsed();
        let cpu = self.server.cpu()? - cpu;
        let latencies = std::mem::take(&mut self.seen.state.borrow_mut().latencies);
        let deliveries = (self.next - first) * u64::from(self.clients);
        if latencies.len() as u64 != deliveries {
            return Err(format!("{} of {deliveries} deliveries came", latencies.len()).into());
        }
        Ok(Round {
            deliveries,
            cpu,
            took,
            latencies,
        })
    }

    /// Sends so many messages in one write.
    async fn publish(&mut self, count: u64) -> Outcome<()> {
        use tokio::io::AsyncWriteExt as _;
        let mut octets = Vec::new();
        let mut payload = Vec::new();
        for _ in 0..count {
            let stamp = self.began.elapsed().as_micros();
            payload.clear();
            payload.extend_from_slice(&self.before);
            payload.resize(payload.len() + BODY_BYTES - 2 * NUMBER_BYTES, b'x');
            payload.extend_from_slice(format!("{:016x}{stamp:016x}\0", self.next).as_bytes());
            put_text(&mut octets, &payload);
            self.next += 1;
        }
        Ok(self.publisher.writer.write_all(&octets).await?)
    }

    async fn all_arrived(&mut self) -> Outcome<()> {
        while self.seen.through() < self.next {
            self.some_arrived().await?;
        }
        Ok(())
    }

    /// Waits until one more message has arrived everywhere.
    async fn some_arrived(&mut self) -> Outcome<()> {
        let name = self.server.name;
        tokio::select! {
            waited = timeout(PATIENCE, self.seen.arrived.notified()) => {
                waited.map_err(|_| format!("{name}: nothing came for {PATIENCE:?}").into())
            }
            Some(ended) = self.readers.join_next() => {
                ended??;
                Err(format!("{name}: a client ended").into())
            }
            said = self.publisher.next() => {
                let said = String::from_utf8_lossy(said?).into_owned();
                Err(format!("{name} answered the publisher: {said}").into())
            }
        }
    }
}

/// What has arrived.
#[derive(Debug)]
struct Seen {
    clients: u32,
    state: RefCell<SeenState>,
    /// One more message has arrived everywhere.
    arrived: Notify,
}

#[derive(Debug, Default)]
struct SeenState {
    /// All before this one have arrived everywhere.
    through: u64,
    /// How often each message from there on has arrived.
    counts: VecDeque<u32>,
    latencies: Vec<u32>,
    message_bytes: usize,
}

impl Seen {
    fn new(clients: u32) -> Self {
        Self {
            clients,
            state: RefCell::default(),
            arrived: Notify::new(),
        }
    }

    fn through(&self) -> u64 {
        self.state.borrow().through
    }

    fn note(&self, number: u64, latency_us: u32, message_bytes: usize) -> Outcome<()> {
        let mut state = self.state.borrow_mut();
        state.latencies.push(latency_us);
        state.message_bytes = message_bytes;
        let index = usize::try_from(number - state.through)?;
        if state.counts.len() <= index {
            state.counts.resize(index + 1, 0);
        }
        state.counts[index] += 1;
        while state.counts.front() == Some(&self.clients) {
            state.counts.pop_front();
            state.through += 1;
            self.arrived.notify_one();
        }
        Ok(())
    }
}

/// Octets of a number at the end of a body.
const NUMBER_BYTES: usize = 16;

/// One client: every message must be the next one.
async fn read_all(mut client: Client, seen: Rc<Seen>, began: Instant) -> Outcome<()> {
    let mut expected = 0;
    loop {
        let message = client.next().await?;
        let [.., numbers] = message
            .strip_suffix(b"\0")
            .and_then(|text| text.last_chunk::<{ 2 * NUMBER_BYTES }>())
            .map(|chunk| [chunk])
            .ok_or("a message without numbers came")?;
        let (number, stamp) = std::str::from_utf8(numbers)?.split_at(NUMBER_BYTES);
        let number = u64::from_str_radix(number, 16)?;
        let stamp = u64::from_str_radix(stamp, 16)?;
        if number != expected {
            return Err(format!("message {number} came where {expected} was due").into());
        }
        expected += 1;
        let now = u64::try_from(began.elapsed().as_micros())?;
        seen.note(number, u32::try_from(now - stamp)?, message.len())?;
    }
}
