//! `stompbox bench`: its flags, and where its results go.
//!
//! Not here: measuring (`bench`). Invariant: exit code 0 says that everything arrived once and in
//! order, 1 that it did not or that nothing could be measured, 2 that the command line cannot be
//! understood; Ctrl-C ends it with what was measured so far, and a second one at once.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::ValueEnum;

use crate::bench::{BenchError, Dialect, Order, Report, Scenario, Verdict, run as measure};

const EXAMPLES: &str = "\
Examples:
  stompbox bench fanout --pid 4711                    1 sends, 100 hear, as fast as possible
  stompbox bench fanout --clients 1000 --rate 5       the same at 5 messages a second
  stompbox bench rooms --rooms 100 --members 10       everybody sends to his room
  stompbox bench direct --clients 1000 --rate 1000    500 pairs write to each other
  stompbox bench stored --devices 2 --url ws://a:8080/ws-chat --url ws://b:8080/ws-chat
  stompbox bench idle --steps 5000,17500 --pid 4711   what a connection keeps
  stompbox bench reconnect --clients 5000 --subscriptions 20 --at-once 5000
                                                      all are cut off and come back at once
  stompbox bench fanout --url ws://127.0.0.1:15674/ws --login guest --passcode guest --vhost /

Destinations may hold {room}, {self} and {peer} (numbers) and {user} (what CONNECTED called the peer).
docs/bench.md explains every figure, and which limits of a server to raise before it is loaded.

Exit codes: 0 all arrived once and in order, 1 not, or nothing was measured, 2 the command line cannot
be understood.";

/// What is done.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// One sends, all hear it
    Fanout,
    /// Many topics with few members each, everybody sends
    Rooms,
    /// Pairs that write to each other; nothing is stored
    Direct,
    /// Pairs that write to each other; stored, receipted, echoed
    Stored,
    /// Connections that do nothing
    Idle,
    /// Clients that connect, subscribe and leave
    Churn,
    /// All are cut off at once and come back
    Reconnect,
}

/// What the server speaks.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Speech {
    /// STOMP over WebSocket
    #[value(name = "stomp")]
    Stomp,
    /// Socket.IO over its WebSocket transport, events `sub` and `pub`
    #[value(name = "socket.io")]
    SocketIo,
}

/// The flags.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// What is done
    #[arg(value_enum)]
    scenario: Kind,
    /// Where the server is; may be repeated, and clients are spread [default: this machine, port 8080]
    #[arg(long, value_name = "URL")]
    url: Vec<String>,
    /// What it speaks
    #[arg(long, value_enum, default_value = "stomp")]
    dialect: Speech,
    /// The header login of CONNECT
    #[arg(long, value_name = "NAME")]
    login: Option<String>,
    /// The header passcode of CONNECT
    #[arg(long, value_name = "WORD")]
    passcode: Option<String>,
    /// The header host of CONNECT
    #[arg(long, value_name = "HOST", default_value = "localhost")]
    vhost: String,
    /// What clients subscribe to [default: what suits the scenario on Stompbox]
    #[arg(long, value_name = "DESTINATION")]
    subscribe: Option<String>,
    /// Where clients send to [default: what suits the scenario on Stompbox]
    #[arg(long, value_name = "DESTINATION")]
    send: Option<String>,
    /// Connections [default: fanout 100, churn 32, idle 5000, else 1000]
    #[arg(long, value_name = "N")]
    clients: Option<u32>,
    /// Subscriptions of each client, for reconnect
    #[arg(long, value_name = "N", default_value_t = 1)]
    subscriptions: u32,
    /// Topics, for rooms
    #[arg(long, value_name = "N", default_value_t = 100)]
    rooms: u32,
    /// Members of each, for rooms
    #[arg(long, value_name = "N", default_value_t = 10)]
    members: u32,
    /// Connections of each user, each at the next --url, for direct and stored
    #[arg(long, value_name = "N", default_value_t = 1)]
    devices: u32,
    /// Messages (arrivals, for churn) a second in all, on a schedule; without it as fast as possible
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Messages of each sender on their way, when there is no --rate [default: fanout 64, stored 4, else 1]
    #[arg(long, value_name = "N")]
    window: Option<u32>,
    /// How long is measured, such as 10s, 500ms or 2m
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// How long the same is done before, unmeasured
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    warm_up: Duration,
    /// The most messages (arrivals, for churn) that are measured
    #[arg(long, value_name = "N")]
    messages: Option<u64>,
    /// Octets of a body
    #[arg(long, value_name = "N", default_value_t = 128)]
    body_bytes: usize,
    /// Milliseconds between beats: the client's, and those that it asks for
    #[arg(long, value_name = "N,N", default_value = "10000,10000", value_parser = beats)]
    heart_beat: (u32, u32),
    /// Further subscribers that never read, for fanout and rooms
    #[arg(long, value_name = "N", default_value_t = 0)]
    slow_consumers: u32,
    /// Connections that are opened at the same time
    #[arg(long, value_name = "N", default_value_t = 64)]
    at_once: u32,
    /// How long nothing may happen while something is awaited
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = duration)]
    patience: Duration,
    /// Numbers of connections at which idle measures [default: --clients]
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    steps: Vec<u32>,
    /// For idle: each connection sends one message of so many octets, and memory is read again
    #[arg(long, value_name = "N")]
    after_bytes: Option<usize>,
    /// For servers that answer no SUBSCRIBE with a RECEIPT
    #[arg(long)]
    without_receipts: bool,
    /// A process of the server, whose CPU and memory are read with all that it started; may be repeated
    #[arg(long, value_name = "PID")]
    pid: Vec<u32>,
    /// For wss: believe every certificate
    #[arg(long)]
    insecure: bool,
    /// For wss: the authority that is believed, in PEM [default: those of the system]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Write everything to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the latencies, or the memory of idle, into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// No progress and no table
    #[arg(long)]
    quiet: bool,
}

impl Args {
    fn order(self) -> Order {
        let scenario = match self.scenario {
            Kind::Fanout => Scenario::Fanout,
            Kind::Rooms => Scenario::Rooms,
            Kind::Direct => Scenario::Direct,
            Kind::Stored => Scenario::Stored,
            Kind::Idle => Scenario::Idle,
            Kind::Churn => Scenario::Churn,
            Kind::Reconnect => Scenario::Reconnect,
        };
        Order {
            scenario,
            dialect: match self.dialect {
                Speech::Stomp => Dialect::Stomp,
                Speech::SocketIo => Dialect::SocketIo,
            },
            urls: self.url,
            login: self.login,
            passcode: self.passcode,
            vhost: self.vhost,
            subscribe: self.subscribe,
            send: self.send,
            clients: self.clients,
            subscriptions: self.subscriptions,
            rooms: self.rooms,
            members: self.members,
            devices: self.devices,
            rate: self.rate,
            window: self.window,
            duration: self.duration,
            warm_up: self.warm_up,
            messages: self.messages,
            body_bytes: self.body_bytes,
            heart_beat: self.heart_beat,
            slow_consumers: self.slow_consumers,
            at_once: self.at_once,
            patience: self.patience,
            steps: self.steps,
            after_bytes: self.after_bytes,
            has_receipts: !self.without_receipts,
            pids: self.pid,
            is_insecure: self.insecure,
            ca: self.ca,
            shows_progress: !self.quiet,
        }
    }
}

/// Measures and tells.
pub(super) fn run(arguments: Args) -> ExitCode {
    let (json, svg, quiet) = (
        arguments.json.clone(),
        arguments.svg.clone(),
        arguments.quiet,
    );
    let stop = Arc::new(AtomicBool::new(false));
    if let Err(error) = watch(Arc::clone(&stop)) {
        say(&format!("Ctrl-C will end it at once: {error}"));
    }
    let report = match measure(&arguments.order(), &stop) {
        Ok(report) => report,
        Err(error) => {
            say(&error.to_string());
            return ExitCode::from(if matches!(error, BenchError::Order(_)) {
                2
            } else {
                1
            });
        }
    };
    tell(&report, json.as_deref(), svg.as_deref(), quiet)
}

fn tell(report: &Report, json: Option<&Path>, svg: Option<&Path>, quiet: bool) -> ExitCode {
    let mut code = match quiet {
        true => ExitCode::SUCCESS,
        false => super::show(report.table()),
    };
    let drawn = svg.map(|path| (path, report.svg().unwrap_or_default()));
    let files = json
        .map(|path| (path, report.json()))
        .into_iter()
        .chain(drawn);
    for (path, text) in files {
        if let Err(error) = std::fs::write(path, text) {
            say(&format!("{}: {error}", path.display()));
            code = ExitCode::FAILURE;
        }
    }
    if let Verdict::Faulty(words) = report.verdict() {
        say(words);
        code = ExitCode::FAILURE;
    }
    code
}

/// Sets `stop` at Ctrl-C or SIGTERM, and ends the process at the second one.
fn watch(stop: Arc<AtomicBool>) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                let (Ok(mut interrupt), Ok(mut terminate)) = (
                    signal(SignalKind::interrupt()),
                    signal(SignalKind::terminate()),
                ) else {
                    return;
                };
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    if stop.swap(true, Ordering::Relaxed) {
                        std::process::exit(1);
                    }
                    say("ending; once more ends it at once");
                }
            });
        })?;
    Ok(())
}

fn say(words: &str) {
    let _unread = writeln!(io::stderr().lock(), "stompbox bench: {words}");
}

fn duration(text: &str) -> Result<Duration, String> {
    let allowed = || "allowed: a number with ms, s or m, such as 500ms or 10s".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits.parse().map_err(|_| allowed())?;
    let unit = match &text[digits.len()..] {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" => 60.0,
        _ => return Err(allowed()),
    };
    Duration::try_from_secs_f64(number * unit).map_err(|_| allowed())
}

fn beats(text: &str) -> Result<(u32, u32), String> {
    let numbers = text
        .split_once(',')
        .and_then(|(own, wanted)| Some((own.trim().parse().ok()?, wanted.trim().parse().ok()?)));
    numbers.ok_or_else(|| "allowed: two numbers of milliseconds such as 10000,10000".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_beats_are_read() {
        let check = |text, ms| assert_eq!(duration(text), Ok(Duration::from_millis(ms)));
        check("500ms", 500);
        check("1.5s", 1_500);
        check("2m", 120_000);
        check("3", 3_000);
        for wrong in ["", "s", "3h", "-1s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(beats("0, 5000"), Ok((0, 5_000)));
        assert!(beats("5000").is_err());
    }
}
