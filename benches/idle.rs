//! What a connection costs that does nothing: memory, and the CPU of coming in and of being there.
//!
//! `cargo bench --bench idle` starts the binary of this build, or `cargo bench --bench idle -- OLD NEW`
//! those two in turns, and for comparison a bare WebSocket server, connects 1,000 and then 5,000 clients with one subscription each, and reads the resident
//! memory from /proc. The slope between the two counts: what a server has once is not in it. What
//! the kernel keeps for a socket is not in it either.

#[path = "support/bare.rs"]
mod bare;
#[path = "support/percentile.rs"]
mod percentile;
#[path = "support/server.rs"]
mod server;
mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use percentile::percentile;
use serde_json::{Value, json};
use server::Server;
use support::client::{Client, put_text};
use support::report::{Table, keep, say};
use support::{Outcome, Purpose};
use tokio::io::AsyncWriteExt as _;
use tokio::time::sleep;

/// The slope is taken between these numbers of connections.
const FEW: usize = 1_000;
const MANY: usize = 5_000;
/// How many connect at the same time.
const AT_ONCE: usize = 32;
/// How long the allocator has for giving back what it does not need.
const SETTLING: Duration = Duration::from_secs(3);
/// How long the idle CPU is watched.
const IDLE: Duration = Duration::from_secs(10);
/// A large message.
const LARGE_BYTES: usize = 30_000;

fn main() -> Outcome<()> {
    match support::purpose() {
        Purpose::Child => bare::serve(),
        Purpose::Nothing => say("To measure: cargo bench --bench idle"),
        Purpose::Measure => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(measure())
        }
    }
}

async fn measure() -> Outcome<()> {
    let mut cases = vec![(None, Kind::Bare)];
    for kind in [
        Kind::Stomp("/user/queue/messages"),
        Kind::Stomp("/topic/idle"),
        Kind::Beating("/topic/idle"),
    ] {
        cases.extend(programs().into_iter().map(|program| (Some(program), kind)));
    }
    let mut table = Table::new(&[
        "server",
        "subscription",
        "beats",
        "KiB/connection",
        "after 30 kB in",
        "connect us CPU",
        "connects/s",
        "p99 ms",
        "idle CPU of 5,000",
    ]);
    let mut figures = Vec::new();
    for (program, kind) in cases {
        let figure = Figure::of(program.as_deref(), kind).await?;
        table.row(&figure.cells());
        figures.push(figure.json());
    }
    table.print()?;
    keep("idle", &Value::from(figures))
}

/// The binaries named on the command line, or the one of this build.
fn programs() -> Vec<PathBuf> {
    let named = std::env::args().skip(1).filter(|arg| !arg.starts_with('-'));
    let named: Vec<PathBuf> = named.map(PathBuf::from).collect();
    match named.is_empty() {
        true => vec![env!("CARGO_BIN_EXE_stompbox").into()],
        false => named,
    }
}

/// What the connections are.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A WebSocket of the bare server.
    Bare,
    /// A STOMP session with one subscription.
    Stomp(&'static str),
    /// The same, to which the server beats every five seconds.
    Beating(&'static str),
}

impl Kind {
    fn subscription(self) -> &'static str {
        match self {
            Self::Bare => "all",
            Self::Stomp(destination) | Self::Beating(destination) => destination,
        }
    }

    /// The header `heart-beat`.
    fn beats(self) -> &'static str {
        match self {
            Self::Bare | Self::Stomp(_) => "0,0",
            Self::Beating(_) => "0,5000",
        }
    }

    /// A message that nobody else gets, so that only its own connection is touched.
    fn large(self) -> Option<Vec<u8>> {
        let body = "x".repeat(LARGE_BYTES);
        match self {
            // There everything goes to everybody; and a beat is no receipt.
            Self::Bare | Self::Beating(_) => None,
            Self::Stomp(_) => {
                let head = "SEND\ndestination:/topic/nobody\nreceipt:large";
                Some(format!("{head}\n\n{body}\0").into_bytes())
            }
        }
    }
}

#[derive(Debug)]
struct Figure {
    kind: Kind,
    name: String,
    /// Octets of resident memory per connection.
    per_connection: f64,
    per_connection_after_large: Option<f64>,
    connect_cpu_us: f64,
    connects_per_second: f64,
    connect_p99_ms: f64,
    /// Of one processor, in per cent, with all connections.
    idle_cpu_per_cent: f64,
}

impl Figure {
    async fn of(program: Option<&Path>, kind: Kind) -> Outcome<Self> {
        let server = match program {
            Some(path) => Server::broker(path)?,
            None => Server::bare()?,
        };
        let path = program.map(|path| path.display().to_string());
        let name = path.unwrap_or_else(|| server.name.to_owned());
        let mut clients = Vec::new();
        connect(&server, kind, FEW, &mut clients).await?;
        let few = settled(&server).await?;

        let (cpu, begin) = (server.cpu()?, Instant::now());
        let mut times = connect(&server, kind, MANY, &mut clients).await?;
        let took = begin.elapsed();
        let connect_cpu = server.cpu()? - cpu;
        let many = settled(&server).await?;
        let added = (MANY - FEW) as f64;

        let cpu = server.cpu()?;
        let begin = Instant::now();
        sleep(IDLE).await;
        let idle_cpu = server.cpu()? - cpu;
        let idle_cpu_per_cent = idle_cpu.as_secs_f64() / begin.elapsed().as_secs_f64() * 100.0;

        let mut after_large = None;
        if let Some(large) = kind.large() {
            send_large(&mut clients, &large).await?;
            let grown = settled(&server).await? - many;
            after_large = Some((many - few) / added + grown / MANY as f64);
        }
        say(&format!(
            "{name} with {}: {:.1} MiB at {FEW}, {:.1} MiB at {MANY} connections",
            kind.subscription(),
            few / 1_048_576.0,
            many / 1_048_576.0,
        ))?;
        Ok(Self {
            kind,
            name,
            per_connection: (many - few) / added,
            per_connection_after_large: after_large,
            connect_cpu_us: connect_cpu.as_secs_f64() * 1e6 / added,
            connects_per_second: added / took.as_secs_f64(),
            connect_p99_ms: percentile(&mut times, 99).as_secs_f64() * 1e3,
            idle_cpu_per_cent,
        })
    }

    fn cells(&self) -> Vec<String> {
        let kib = |octets: f64| format!("{:.1}", octets / 1024.0);
        let after = self.per_connection_after_large;
        vec![
            self.name.clone(),
            self.kind.subscription().to_owned(),
            self.kind.beats().to_owned(),
            kib(self.per_connection),
            after.map_or_else(|| "-".to_owned(), kib),
            format!("{:.0}", self.connect_cpu_us),
            format!("{:.0}", self.connects_per_second),
            format!("{:.1}", self.connect_p99_ms),
            format!("{:.1} %", self.idle_cpu_per_cent),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "server": self.name,
            "subscription": self.kind.subscription(),
            "beats": self.kind.beats(),
            "bytes_per_connection": self.per_connection.round(),
            "bytes_per_connection_after_30_kB": self.per_connection_after_large.map(f64::round),
            "connect_cpu_us": self.connect_cpu_us,
            "connects_per_second": self.connects_per_second.round(),
            "connect_p99_ms": self.connect_p99_ms,
            "idle_cpu_per_cent": self.idle_cpu_per_cent,
        })
    }
}

/// Connects until there are so many; how long each took.
async fn connect(
    server: &Server,
    kind: Kind,
    until: usize,
    clients: &mut Vec<Client>,
) -> Outcome<Vec<Duration>> {
    let address = server.address;
    let one = |_| async move {
        let begin = Instant::now();
        let client = match kind {
            Kind::Bare => bare::client(address, true).await?,
            Kind::Stomp(destination) | Kind::Beating(destination) => {
                Client::stomp(address, kind.beats(), Some(destination)).await?
            }
        };
        Outcome::Ok((client, begin.elapsed()))
    };
    let connecting = stream::iter(clients.len()..until)
        .map(one)
        .buffered(AT_ONCE);
    let connected: Vec<_> = connecting.try_collect().await?;
    let (more, times): (Vec<_>, Vec<_>) = connected.into_iter().unzip();
    clients.extend(more);
    Ok(times)
}

/// Every client sends one large message and waits for its receipt.
async fn send_large(clients: &mut [Client], large: &[u8]) -> Outcome<()> {
    let mut octets = Vec::new();
    put_text(&mut octets, large);
    for client in clients {
        client.writer.write_all(&octets).await?;
        let answer = client.next().await?;
        if !answer.starts_with(b"RECEIPT\n") {
            return Err(String::from_utf8_lossy(answer).into_owned().into());
        }
    }
    Ok(())
}

/// The resident memory in octets, once the allocator had time to give back what it does not need.
async fn settled(server: &Server) -> Outcome<f64> {
    sleep(SETTLING).await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix("kB"));
    let kib: u32 = kib.ok_or("/proc/PID/status is strange")?.trim().parse()?;
    Ok(f64::from(kib) * 1024.0)
}
