//! What hostile clients cost everybody else: the latency of neighbours, and the server's memory.
//!
//! `cargo bench --bench hostile` starts the release binary with its default limits, lets neighbours
//! write to each other at a steady rate, and sets one attack after the other on it: each from another
//! address of loopback, in a process of its own at the lowest priority, so that what is measured is
//! the server and not the attacker's use of the same two processors. Before each attack the neighbours
//! are measured without one. Not here: whether each attacker is answered as documented (the tests do
//! that). Invariant: every neighbour gets every message in order, or the benchmark fails.

mod attacks;
#[path = "../support/percentile.rs"]
mod percentile;
#[path = "../support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use percentile::percentile;
use serde_json::{Value, json};
use support::client::Client;
use support::process::{Process, SETTINGS};
use support::report::{Table, keep, say};
use support::{CHILD, Outcome, Purpose};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

/// Limits that the neighbours, who share one address, must not meet. All others are the defaults.
/// To a node they look like one visitor, with one rate.
const LIMITS: [(&str, &str); 4] = [
    ("RATE_ANON_PER_MIN", "60000"),
    ("RATE_BURST", "10000"),
    ("RATE_NET_PER_MIN", "60000"),
    ("RATE_NET_BURST", "10000"),
];
/// How many pairs of neighbours there are.
const PAIRS: usize = 10;
/// How often each of them writes.
const EVERY: Duration = Duration::from_millis(50);
/// How long the neighbours are measured without and with the attack.
const PHASE: Duration = Duration::from_secs(6);
/// How long an attack goes on before it is measured.
const RISE: Duration = Duration::from_secs(1);
/// Beyond this something is lost.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> Outcome<()> {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
    };
    match support::purpose() {
        Purpose::Child => {
            // The name of the attack and the address stand at the end.
            let mut arguments: Vec<String> = std::env::args().collect();
            let (address, name) = (arguments.pop(), arguments.pop());
            let (Some(address), Some(name)) = (address, name) else {
                return Err("an attack has a name and an address".into());
            };
            runtime()?.block_on(attacks::run(&name, address.parse()?))
        }
        Purpose::Nothing => say("To measure: cargo bench --bench hostile"),
        Purpose::Measure => runtime()?.block_on(measure()),
    }
}

async fn measure() -> Outcome<()> {
    let mut table = Table::new(&[
        "attack",
        "p50 ms before",
        "p99 ms before",
        "p50 ms",
        "p99 ms",
        "p99 ratio",
        "MiB before",
        "MiB at most",
    ]);
    let mut figures = Vec::new();
    for name in attacks::NAMES {
        let figure = Figure::of(name).await?;
        table.row(&figure.cells());
        figures.push(figure.json());
    }
    table.print()?;
    keep("hostile", &Value::from(figures))
}

#[derive(Debug)]
struct Figure {
    name: &'static str,
    before: [f64; 2],
    during: [f64; 2],
    memory_before: f64,
    memory_most: f64,
}

impl Figure {
    async fn of(name: &'static str) -> Outcome<Self> {
        say(name)?;
        let data = tempfile::tempdir()?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_stompbox"));
        command
            .env_clear()
            .envs(SETTINGS.into_iter().take(2))
            .envs(LIMITS)
            .args(["--config", "/dev/null", "--data-dir"])
            .arg(data.path());
        let server = Process::start(command)?;
        let mut neighbours = Neighbours::gather(server.address).await?;
        // Everything that is made at the first message is made before it counts.
        neighbours.talk(RISE).await?;
        let before = neighbours.talk(PHASE).await?;
        let memory_before = resident(server.pid())?;
        let attacker = Attacker::start(name, server.address)?;
        neighbours.talk(RISE).await?;
        let mut memory_most = memory_before;
        let watch = async {
            loop {
                sleep(Duration::from_millis(20)).await;
                match resident(server.pid()) {
                    Ok(mib) => memory_most = memory_most.max(mib),
                    Err(error) => return error,
                }
            }
        };
        let during = tokio::select! {
            during = neighbours.talk(PHASE) => during?,
            error = watch => return Err(error),
        };
        drop(attacker);
        Ok(Self {
            name,
            before,
            during,
            memory_before,
            memory_most,
        })
    }

    fn cells(&self) -> Vec<String> {
        let [p50_before, p99_before] = self.before;
        let [p50, p99] = self.during;
        let mut cells = vec![self.name.to_owned()];
        cells.extend(
            [p50_before, p99_before, p50, p99, p99 / p99_before].map(|n| format!("{n:.2}")),
        );
        cells.extend([self.memory_before, self.memory_most].map(|n| format!("{n:.1}")));
        cells
    }

    fn json(&self) -> Value {
        json!({
            "attack": self.name,
            "p50_ms_before": self.before[0],
            "p99_ms_before": self.before[1],
            "p50_ms": self.during[0],
            "p99_ms": self.during[1],
            "memory_mib_before": self.memory_before,
            "memory_mib_most": self.memory_most,
        })
    }
}

/// A process that attacks for as long as the value lives.
#[derive(Debug)]
struct Attacker(Child);

impl Attacker {
    fn start(name: &str, address: SocketAddr) -> Outcome<Self> {
        let child = Command::new("nice")
            .args(["-n", "19"])
            .arg(std::env::current_exe()?)
            .args([CHILD, name, &address.to_string()])
            .stdin(Stdio::null())
            .spawn()?;
        Ok(Self(child))
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        // `nice` becomes the attacker, so this ends it.
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

/// Pairs who write to each other through topics of their own.
#[derive(Debug)]
struct Neighbours {
    pairs: Vec<Pair>,
}

impl Neighbours {
    async fn gather(address: SocketAddr) -> Outcome<Self> {
        let mut pairs = Vec::new();
        for number in 0..PAIRS {
            let topic = format!("/topic/pair.{number}");
            let reader = Client::stomp(address, "0,0", Some(&topic)).await?;
            let writer = Client::stomp(address, "0,0", None).await?;
            pairs.push(Pair {
                number,
                writer,
                reader,
                next: 0,
            });
        }
        Ok(Self { pairs })
    }

    /// Talks for a while; the latency in milliseconds that half and 99 of 100 messages had.
    async fn talk(&mut self, phase: Duration) -> Outcome<[f64; 2]> {
        let mut talking = JoinSet::new();
        for pair in std::mem::take(&mut self.pairs) {
            talking.spawn(talk(pair, phase));
        }
        let mut latencies = Vec::new();
        while let Some(ended) = talking.join_next().await {
            let (pair, more) = ended??;
            self.pairs.push(pair);
            latencies.extend(more);
        }
        let ms = |us: u32| f64::from(us) / 1e3;
        Ok([50, 99].map(|per_cent| ms(percentile(&mut latencies, per_cent))))
    }
}

/// Two who have a topic to themselves.
#[derive(Debug)]
struct Pair {
    /// Names the topic.
    number: usize,
    writer: Client,
    reader: Client,
    /// Numbers the messages.
    next: u64,
}

async fn talk(mut pair: Pair, phase: Duration) -> Outcome<(Pair, Vec<u32>)> {
    let end = Instant::now() + phase;
    let mut latencies = Vec::new();
    let mut turns = interval(EVERY);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while Instant::now() < end {
        turns.tick().await;
        let sent_at = Instant::now();
        let Pair { number, next, .. } = pair;
        let send = format!("SEND\ndestination:/topic/pair.{number}\n\n{next:08}\0");
        pair.writer.send(send.as_bytes()).await?;
        let message = timeout(PATIENCE, pair.reader.next()).await??;
        let expected = format!("\n\n{next:08}\0");
        if !message.ends_with(expected.as_bytes()) {
            let found = String::from_utf8_lossy(message).into_owned();
            return Err(format!("{next} was due, and this came: {found}").into());
        }
        latencies.push(u32::try_from(sent_at.elapsed().as_micros())?);
        pair.next += 1;
    }
    Ok((pair, latencies))
}

/// The resident memory of a process in MiB.
fn resident(pid: u32) -> Outcome<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix("kB"));
    let kib: f64 = kib.ok_or("/proc/PID/status is strange")?.trim().parse()?;
    Ok(kib / 1_024.0)
}
