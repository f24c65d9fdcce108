//! All clients of a node come back at once, while others talk: how long it takes, and what the others notice.
//!
//! ```sh
//! cargo bench --bench herd                                            5,000 and 17,000 clients, 20 subscriptions each
//! cargo bench --bench herd -- --clients 5000 --binary ./stompbox-old  another build
//! ```
//!
//! Beside the node the same generator runs against a sink, a server in this process that answers with fixed frames:
//! what the others notice then is what the generator costs them. Not here: the generator (`stompbox bench
//! reconnect`), and the test of the same with fewer clients (`tests/it/herd.rs`). Invariant: everything runs on
//! loopback and ends with this process.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints its table, and stops at the first thing that fails"
)]

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// How long the generator rests between its last client and the cut; the others connect meanwhile.
const REST: Duration = Duration::from_secs(5);
/// How long the others talk before they are measured, so that this begins with the cut.
const WARM_UP: &str = "4s";
/// How many talk, and how many messages a second in all.
const OTHERS: &str = "200";
const RATE: &str = "400";

/// How long the ports of a run are kept by the kernel (TIME_WAIT): the next one would find none.
const PORTS_FREE: Duration = Duration::from_secs(61);

/// Settings of the node: the defaults, but for what a generator on one address is.
const SETTINGS: [(&str, &str); 2] = [
    // VISITORS_PER_NETWORK by the name that older builds know too.
    ("MINT_PER_NET", "1000000"),
    (
        "DESTINATION_RULES",
        "all /topic/** anyone; send /user/*/queue/bench anyone; send /user/** member",
    ),
];

fn main() {
    let mut words = std::env::args().skip(1);
    let own = PathBuf::from(env!("CARGO_BIN_EXE_stompbox"));
    let mut programs = Programs {
        node: own.clone(),
        generator: own,
    };
    let mut clients = Vec::new();
    while let Some(word) = words.next() {
        match &*word {
            "--clients" => clients.push(words.next().unwrap().parse().unwrap()),
            "--binary" => programs.node = words.next().unwrap().into(),
            "--generator" => programs.generator = words.next().unwrap().into(),
            _ => {}
        }
    }
    if clients.is_empty() {
        clients.extend([5_000, 17_000]);
    }
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    println!(
        "clients  against  all back s  p50 ms  p99 ms  refused  others: p50 ms  p99 ms  max ms"
    );
    for (number, count) in clients.into_iter().enumerate() {
        // Long enough for the herd, short enough to be mostly herd.
        let window = Duration::from_millis(2_000 + u64::from(count) / 3);
        for is_sink in [true, false] {
            if number > 0 || !is_sink {
                std::thread::sleep(PORTS_FREE);
            }
            runtime.block_on(measure(&programs, count, window, is_sink));
        }
    }
}

/// What runs: the node that is measured, and the generator, which is this build's unless told otherwise.
struct Programs {
    node: PathBuf,
    generator: PathBuf,
}

/// A process that ends with its value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

async fn measure(programs: &Programs, count: u32, window: Duration, is_sink: bool) {
    let folder = tempfile::tempdir().unwrap();
    let (_node, node) = start(&programs.node, folder.path());
    let (sink, come) = sink();
    let herd_at = if is_sink { sink } else { node };
    let (herd_json, others_json) = (folder.path().join("herd"), folder.path().join("others"));
    let number = count.to_string();
    let rest = format!("{}ms", REST.as_millis());
    let mut herd = bench(programs, herd_at, "reconnect", &herd_json)
        .args([
            "--clients",
            &number,
            "--at-once",
            &number,
            "--subscriptions",
            "20",
        ])
        .args(["--warm-up", &rest, "--patience", "120s"])
        .spawn()
        .unwrap();
    let began = Instant::now();
    while connected(is_sink, node, &come).await < count as usize {
        assert!(
            began.elapsed() < Duration::from_secs(300),
            "they do not connect"
        );
        assert!(
            herd.try_wait().unwrap().is_none(),
            "the generator has ended"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let window = format!("{}ms", window.as_millis());
    let mut others = bench(programs, node, "direct", &others_json)
        .args(["--clients", OTHERS, "--rate", RATE])
        .args([
            "--warm-up",
            WARM_UP,
            "--duration",
            &window,
            "--patience",
            "60s",
        ])
        .spawn()
        .unwrap();
    for child in [&mut herd, &mut others] {
        while child.try_wait().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let figures = |path: &Path| -> Value {
        let text = std::fs::read_to_string(path).unwrap_or_else(|_| "{}".to_owned());
        serde_json::from_str::<Value>(&text).unwrap()["figures"].clone()
    };
    let (herd, others) = (figures(&herd_json), figures(&others_json));
    println!(
        "{count:7}  {:7}  {}  {}  {}  {}  {}  {}  {}",
        if is_sink { "sink" } else { "node" },
        herd["seconds"],
        herd["arrival"]["p50_ms"],
        herd["arrival"]["p99_ms"],
        herd["attempts_refused"],
        others["latency"]["p50_ms"],
        others["latency"]["p99_ms"],
        others["latency"]["max_ms"],
    );
}

/// Starts a node on a free port.
fn start(binary: &Path, folder: &Path) -> (Running, SocketAddr) {
    let mut child = Command::new(binary)
        .args(["--config", "/dev/null", "--port", "0", "--data-dir"])
        .arg(folder.join("data"))
        .env_clear()
        .envs(SETTINGS)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = loop {
        let line = lines.next().unwrap().unwrap();
        if let Some(address) = line.strip_prefix("listening") {
            break address.trim().parse().unwrap();
        }
    };
    std::thread::spawn(move || lines.for_each(drop));
    (Running(child), address)
}

fn bench(programs: &Programs, at: SocketAddr, scenario: &str, json: &Path) -> Command {
    let mut command = Command::new(&programs.generator);
    command
        .args(["bench", scenario, "--quiet", "--url"])
        .arg(format!("ws://{at}/ws-chat"))
        .arg("--json")
        .arg(json)
        .env_clear()
        .stdin(Stdio::null());
    command
}

/// How many clients are connected to the node, or to the sink.
async fn connected(is_sink: bool, node: SocketAddr, come: &AtomicUsize) -> usize {
    if is_sink {
        return come.load(Ordering::Relaxed);
    }
    let mut stream = TcpStream::connect(node).await.unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {node}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let values = text
        .lines()
        .filter(|line| line.starts_with("chat_connections_active{") && !line.contains("connecting"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    values.sum::<f64>() as usize
}

/// A server of fixed answers, and how many clients have subscribed.
fn sink() -> (SocketAddr, Arc<AtomicUsize>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(4_096).unwrap();
    let address = listener.local_addr().unwrap();
    let come = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&come);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let tasks = tokio_util::task::TaskTracker::new();
        runtime.block_on(async {
            while let Ok((stream, _)) = listener.accept().await {
                tasks.spawn(answer(stream, Arc::clone(&count)));
            }
        });
    });
    (address, come)
}

async fn answer(mut stream: TcpStream, come: Arc<AtomicUsize>) -> Option<()> {
    let mut buffer = vec![0; 8 << 10];
    let count = stream.read(&mut buffer).await.ok()?;
    let head = String::from_utf8_lossy(&buffer[..count]).into_owned();
    let key = |line: &str| {
        let (name, value) = line.split_once(':')?;
        let is_key = name.eq_ignore_ascii_case("sec-websocket-key");
        is_key.then(|| derive_accept_key(value.trim().as_bytes()))
    };
    let accept = head.lines().find_map(key)?;
    let switching = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: v12.stomp\r\n\r\n"
    );
    stream.write_all(switching.as_bytes()).await.ok()?;
    for text in [
        "CONNECTED\nversion:1.2\nheart-beat:0,0\nuser-name:user_sink\n\n\0",
        "RECEIPT\nreceipt-id:sub\n\n\0",
    ] {
        if stream.read(&mut buffer).await.ok()? == 0 {
            return None;
        }
        // A text frame of at most 125 bytes.
        let mut frame = vec![0x81, u8::try_from(text.len()).ok()?];
        frame.extend_from_slice(text.as_bytes());
        stream.write_all(&frame).await.ok()?;
    }
    come.fetch_add(1, Ordering::Relaxed);
    drop(buffer);
    let mut rest = [0; 256];
    while stream.read(&mut rest).await.ok()? > 0 {}
    None
}
