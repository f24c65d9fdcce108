//! All clients of a node come back at once, while others talk: how long it takes, and what the others notice.
//!
//! ```sh
//! cargo bench --bench herd                                            5,000 and 17,000 clients, 20 subscriptions each
//! cargo bench --bench herd -- --clients 5000 --binary ./stompbox-old  another build
//! cargo bench --bench herd -- --json herd.json                        the figures as JSON, too
//! ```
//!
//! Beside the node the same generator runs against a sink, a server in this process that answers with fixed frames:
//! what the others notice then is what the generator costs them. Not here: the generator (`stompbox bench
//! reconnect`), and the test of the same with fewer clients (`tests/it/herd.rs`). Invariant: everything runs on
//! loopback and ends with this process; a missed bound is printed, and the exit code is 1.

#[path = "herd/sink.rs"]
mod sink;
#[expect(dead_code, reason = "the clients are those of the generator")]
mod support;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::sleep;

use support::process::Process;
use support::report::{Table, load, machine, say};
use support::{Outcome, Purpose};

/// How long the generator rests between its last client and the cut; the others connect meanwhile.
const REST: Duration = Duration::from_secs(5);
/// How long the others talk before they are measured, so that this begins with the cut.
const WARM_UP: &str = "4s";
/// How many talk, and how many messages a second in all.
const OTHERS: &str = "200";
const RATE: &str = "400";

/// How long the ports of a run are kept by the kernel (TIME_WAIT): the next one would find none.
const PORTS_FREE: Duration = Duration::from_secs(61);

/// All are back within so many seconds of their first attempt.
const BACK_WITHIN: f64 = 10.0;
/// With at most so many clients the p99 of the others is below this ratio to that beside a sink.
const RATIO_CLIENTS: u32 = 5_000;
const RATIO_MAX: f64 = 2.0;

/// Settings of the node: the defaults, but for what a generator on one address is.
const SETTINGS: [(&str, &str); 3] = [
    // VISITORS_PER_NETWORK by the name that older builds know too.
    ("MINT_PER_NET", "1000000"),
    // The whole herd comes from one address.
    ("NETWORK_LIMITS", "127.0.0.0/8=100"),
    (
        "DESTINATION_RULES",
        "all /topic/** anyone; send /user/*/queue/bench anyone; send /user/** member",
    ),
];

/// A herd that comes back, and what others notice.
#[derive(Debug, Parser)]
#[command(name = "herd")]
struct Options {
    /// How many come back at once; may be repeated.
    #[arg(long, value_name = "N", default_values_t = [5_000, 17_000])]
    clients: Vec<u32>,
    /// Another build of the node.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Another build of the generator.
    #[arg(long, value_name = "PATH")]
    generator: Option<PathBuf>,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Outcome<ExitCode> {
    if support::purpose() != Purpose::Measure {
        say("To measure: cargo bench --bench herd")?;
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(Options::parse()))
}

async fn run(options: Options) -> Outcome<ExitCode> {
    let own = PathBuf::from(env!("CARGO_BIN_EXE_stompbox"));
    let programs = Programs {
        node: options.binary.unwrap_or_else(|| own.clone()),
        generator: options.generator.unwrap_or(own),
    };
    let mut rows = Vec::new();
    for (number, &clients) in options.clients.iter().enumerate() {
        if number > 0 {
            sleep(PORTS_FREE).await;
        }
        let sink = programs.measure(clients, true).await?;
        sleep(PORTS_FREE).await;
        let node = programs.measure(clients, false).await?;
        rows.push(Row {
            clients,
            sink,
            node,
        });
    }
    show(&rows)?;
    let misses: Vec<String> = rows.iter().flat_map(Row::misses).collect();
    for miss in &misses {
        say(&format!("missed: {miss}"))?;
    }
    if let Some(path) = options.json {
        let figures: Vec<Value> = rows.iter().map(Row::json).collect();
        let figures = json!({ "machine": machine(), "load": load(), "rows": figures });
        std::fs::write(path, format!("{figures:#}\n"))?;
    }
    Ok(ExitCode::from(u8::from(!misses.is_empty())))
}

/// What runs: the node that is measured, and the generator, which is this build's unless told otherwise.
struct Programs {
    node: PathBuf,
    generator: PathBuf,
}

/// What the generators found, of the herd and of the others.
struct Found {
    herd: Value,
    others: Value,
}

/// The same herd against a sink and against the node.
struct Row {
    clients: u32,
    sink: Found,
    node: Found,
}

/// A generator that ends with its value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself, which is no error here.
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

impl Running {
    async fn wait(&mut self) -> Outcome<()> {
        while self.0.try_wait()?.is_none() {
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

impl Found {
    /// A figure; no number when the generator did not find it.
    fn number(&self, path: &str) -> f64 {
        let figures = match path.starts_with("/latency") {
            true => &self.others,
            false => &self.herd,
        };
        figures
            .pointer(path)
            .and_then(Value::as_f64)
            .unwrap_or(f64::NAN)
    }
}

impl Row {
    /// The p99 of the others beside the node over that beside the sink.
    fn ratio(&self) -> f64 {
        self.node.number("/latency/p99_ms") / self.sink.number("/latency/p99_ms")
    }

    fn misses(&self) -> Vec<String> {
        let (clients, ratio) = (self.clients, self.ratio());
        let seconds = self.node.number("/seconds");
        let mut misses = Vec::new();
        // No number is a miss too.
        if seconds.is_nan() || seconds > BACK_WITHIN {
            misses.push(format!(
                "{clients} clients were back after {seconds:.1} s, not {BACK_WITHIN} s"
            ));
        }
        if clients <= RATIO_CLIENTS && (ratio.is_nan() || ratio >= RATIO_MAX) {
            misses.push(format!(
                "beside {clients} clients the others' p99 is {ratio:.1} times that beside the sink"
            ));
        }
        misses
    }

    fn json(&self) -> Value {
        let side = |found: &Found| {
            json!({
                "seconds": found.number("/seconds"),
                "refused": found.number("/attempts_refused"),
                "arrival_p50_ms": found.number("/arrival/p50_ms"),
                "arrival_p99_ms": found.number("/arrival/p99_ms"),
                "others_p50_ms": found.number("/latency/p50_ms"),
                "others_p99_ms": found.number("/latency/p99_ms"),
                "others_max_ms": found.number("/latency/max_ms"),
            })
        };
        json!({
            "clients": self.clients, "sink": side(&self.sink), "node": side(&self.node), "ratio": self.ratio(),
        })
    }
}

/// Prints the table: each figure of the sink, then of the node.
fn show(rows: &[Row]) -> Outcome<()> {
    let mut table = Table::new(&[
        "clients",
        "back s: sink",
        "node",
        "back p99 ms: sink",
        "node",
        "refused: sink",
        "node",
        "others p50 ms: sink",
        "node",
        "others p99 ms: sink",
        "node",
        "ratio",
    ]);
    for row in rows {
        let mut cells = vec![row.clients.to_string()];
        for path in [
            "/seconds",
            "/arrival/p99_ms",
            "/attempts_refused",
            "/latency/p50_ms",
            "/latency/p99_ms",
        ] {
            let both = [&row.sink, &row.node];
            cells.extend(both.map(|found| format!("{:.1}", found.number(path))));
        }
        cells.push(format!("{:.2}", row.ratio()));
        table.row(&cells);
    }
    table.print()?;
    say(&format!("{}, load {}", machine(), load()))
}

impl Programs {
    /// So many clients connect, are cut off, and come back, to a node or to a sink; others talk through the node.
    async fn measure(&self, clients: u32, is_sink: bool) -> Outcome<Found> {
        let folder = tempfile::tempdir()?;
        let node = self.start(folder.path())?;
        let (sink, come) = sink::start()?;
        let target = if is_sink { sink } else { node.address };
        let (herd_json, others_json) = (folder.path().join("herd"), folder.path().join("others"));
        let count = clients.to_string();
        let mut herd = self.bench(target, "reconnect", &herd_json);
        herd.args(["--clients", &count, "--at-once", &count]);
        herd.args(["--subscriptions", "20", "--patience", "120s"]);
        herd.args(["--warm-up", &format!("{}ms", REST.as_millis())]);
        let mut herd = Running(herd.spawn()?);
        let began = Instant::now();
        let counted = is_sink.then_some(&*come);
        while connected(node.address, counted).await? < u64::from(clients) {
            if began.elapsed() > Duration::from_secs(300) || herd.0.try_wait()?.is_some() {
                return Err("the herd does not connect".into());
            }
            sleep(Duration::from_millis(50)).await;
        }
        // Long enough for the herd, short enough to be mostly herd.
        let window = format!("{}ms", 2_000 + clients / 3);
        let mut others = self.bench(node.address, "direct", &others_json);
        others.args(["--clients", OTHERS, "--rate", RATE]);
        others.args(["--warm-up", WARM_UP, "--duration", &window]);
        others.args(["--patience", "60s"]);
        let mut others = Running(others.spawn()?);
        herd.wait().await?;
        others.wait().await?;
        Ok(Found {
            herd: figures(&herd_json)?,
            others: figures(&others_json)?,
        })
    }

    /// Starts a node on a free port.
    fn start(&self, folder: &Path) -> Outcome<Process> {
        let mut command = Command::new(&self.node);
        command
            .args(["--config", "/dev/null", "--port", "0", "--data-dir"])
            .arg(folder.join("data"))
            .env_clear()
            .envs(SETTINGS)
            .stderr(Stdio::null());
        Process::start(command)
    }

    fn bench(&self, at: SocketAddr, scenario: &str, json: &Path) -> Command {
        let mut command = Command::new(&self.generator);
        command
            .args(["bench", scenario, "--quiet", "--url"])
            .arg(format!("ws://{at}/ws-chat"))
            .arg("--json")
            .arg(json)
            .env_clear()
            .stdin(Stdio::null());
        command
    }
}

/// The figures of a generator; nothing when it wrote none.
fn figures(path: &Path) -> Outcome<Value> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(serde_json::from_str::<Value>(&text)?["figures"].take()),
        Err(_none) => Ok(Value::Null),
    }
}

/// How many clients are connected to the node, or have been counted by the sink.
async fn connected(node: SocketAddr, counted: Option<&AtomicUsize>) -> Outcome<u64> {
    if let Some(counted) = counted {
        return Ok(counted.load(Ordering::Relaxed) as u64);
    }
    let mut stream = TcpStream::connect(node).await?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {node}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let values = text
        .lines()
        .filter(|line| line.starts_with("chat_connections_active{") && !line.contains("connecting"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    Ok(values.sum::<f64>() as u64)
}
