//! Instructions per delivery, per request and per idle second, of one or two binaries.
//!
//! `cargo bench --bench instructions -- OLD NEW` runs each of the two under callgrind, in turns, and
//! prints what each case costs with both and with a bare server; without names it
//! measures the binary of this build. What is counted begins after the handshakes.
//! Instructions are repeatable where microseconds are not; what the kernel does is not in them.
//! Needs valgrind (Debian package `valgrind`).

#[path = "support/bare.rs"]
mod bare;
#[path = "support/counted.rs"]
mod counted;
mod support;

use std::time::Duration;

use counted::{Counted, Program};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use support::client::{Client, put_text};
use support::report::{Table, keep, say};
use support::{Outcome, Purpose};
use tokio::io::AsyncWriteExt as _;

/// How many clients hear each message.
const SUBSCRIBERS: usize = 50;
/// How many connections are idle.
const IDLERS: usize = 100;
/// How many messages are on their way at full speed.
const BATCH: u32 = 64;
/// How many clients connect at the same time.
const AT_ONCE: usize = 8;
/// How often each case is measured with each binary.
const ROUNDS: usize = 2;

const TOPIC: &str = "/topic/crowd";
/// 128 octets.
const BODY: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\
                    xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

fn main() -> Outcome<()> {
    match support::purpose() {
        Purpose::Child => bare::serve(),
        Purpose::Nothing => say("To measure: cargo bench --bench instructions -- OLD NEW"),
        Purpose::Measure => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(measure(&programs()))
        }
    }
}

/// The bare server, and the binaries named on the command line or the one of this build.
fn programs() -> Vec<Program> {
    let named = std::env::args().skip(1).filter(|arg| !arg.starts_with('-'));
    let mut programs = vec![Program::Bare];
    programs.extend(named.map(|path| Program::Broker(path.into())));
    if programs.len() == 1 {
        programs.push(Program::Broker(env!("CARGO_BIN_EXE_stompbox").into()));
    }
    programs
}

/// What is measured.
#[derive(Clone, Copy, Debug)]
enum Case {
    /// A message to many, after the one before has arrived everywhere.
    OneByOne,
    /// Messages to many, a batch in one write.
    FullSpeed,
    /// A stored direct message, to oneself, with its receipt.
    Stored,
    /// Connections that do nothing but beat.
    Idle,
}

impl Case {
    const ALL: [Self; 4] = [Self::OneByOne, Self::FullSpeed, Self::Stored, Self::Idle];

    fn name(self) -> &'static str {
        match self {
            Self::OneByOne => "a delivery, one message at a time",
            Self::FullSpeed => "a delivery at full speed",
            Self::Stored => "a stored message with its receipt",
            Self::Idle => "an idle connection, a second",
        }
    }

    /// How long it is counted: messages, or seconds.
    fn length(self) -> u32 {
        match self {
            Self::OneByOne | Self::Stored => 150,
            Self::FullSpeed => 24 * BATCH,
            Self::Idle => 15,
        }
    }

    /// How many of what is counted one step brings.
    fn per_step(self) -> usize {
        match self {
            Self::OneByOne | Self::FullSpeed => SUBSCRIBERS,
            Self::Stored => 1,
            Self::Idle => IDLERS,
        }
    }

    /// Whether the bare server can do it.
    fn is_bare_too(self) -> bool {
        matches!(self, Self::OneByOne | Self::FullSpeed)
    }

    async fn run(self, program: &Program) -> Outcome<f64> {
        let counted = Counted::start(program)?;
        let (server, steps) = (&counted, self.length());
        let is_bare = matches!(program, Program::Bare);
        match self {
            Self::OneByOne => fan_out(server, is_bare, steps, 1).await?,
            Self::FullSpeed => fan_out(server, is_bare, steps, BATCH).await?,
            Self::Stored => stored(server, steps).await?,
            Self::Idle => idle(server, steps).await?,
        }
        counted.instructions()
    }
}

async fn measure(programs: &[Program]) -> Outcome<()> {
    let mut table = Table::new(&["instructions of", "server", "count", "ratio"]);
    let mut figures = Vec::new();
    for case in Case::ALL {
        let counted = f64::from(case.length()) * case.per_step() as f64;
        let able = |program: &&Program| case.is_bare_too() || !matches!(program, Program::Bare);
        let programs: Vec<&Program> = programs.iter().filter(able).collect();
        let mut sums = vec![0.0; programs.len()];
        for round in 0..ROUNDS {
            for (program, sum) in programs.iter().zip(&mut sums) {
                say(&format!(
                    "{}, round {round}: {}",
                    case.name(),
                    program.name()
                ))?;
                *sum += case.run(program).await? / counted / ROUNDS as f64;
            }
        }
        let first = sums.first().copied().unwrap_or_default();
        for (program, sum) in programs.iter().zip(&sums) {
            table.row(&[
                case.name().to_owned(),
                program.name(),
                format!("{sum:.0}"),
                format!("{:.3}", sum / first),
            ]);
            figures.push(json!({
                "case": case.name(), "server": program.name(), "instructions": sum.round(),
            }));
        }
    }
    table.print()?;
    keep("instructions", &Value::from(figures))
}

async fn fan_out(counted: &Counted, is_bare: bool, messages: u32, at_once: u32) -> Outcome<()> {
    let address = counted.server.address;
    let connect = |_| async move {
        match is_bare {
            true => bare::client(address, true).await,
            false => Client::stomp(address, "0,0", Some(TOPIC)).await,
        }
    };
    let connecting = stream::iter(0..SUBSCRIBERS).map(connect);
    let mut subscribers: Vec<Client> = connecting.buffered(AT_ONCE).try_collect().await?;
    let mut publisher = match is_bare {
        true => bare::client(address, false).await?,
        false => Client::stomp(address, "0,0", None).await?,
    };
    let send = format!("SEND\ndestination:{TOPIC}\ncontent-length:128\n\n{BODY}\0");
    let mut octets = Vec::new();
    for _ in 0..at_once {
        put_text(&mut octets, send.as_bytes());
    }
    counted.begin()?;
    for _ in 0..messages / at_once {
        publisher.writer.write_all(&octets).await?;
        for subscriber in &mut subscribers {
            for _ in 0..at_once {
                expect(subscriber, if is_bare { "SEND\n" } else { "MESSAGE\n" }).await?;
            }
        }
    }
    Ok(())
}

async fn stored(counted: &Counted, messages: u32) -> Outcome<()> {
    let mut client = Client::stomp(counted.server.address, "0,0", None).await?;
    let to = client.user_name.clone();
    counted.begin()?;
    for number in 0..messages {
        let body = json!({ "to": to, "message": BODY }).to_string();
        let send = format!("SEND\ndestination:/app/chat.send\nreceipt:{number}\n\n{body}\0");
        client.send(send.as_bytes()).await?;
        expect(&mut client, "RECEIPT\n").await?;
    }
    Ok(())
}

async fn idle(counted: &Counted, seconds: u32) -> Outcome<()> {
    let address = counted.server.address;
    let connect = |_| async move { Client::stomp(address, "0,5000", Some(TOPIC)).await };
    let connecting = stream::iter(0..IDLERS).map(connect);
    let clients: Vec<Client> = connecting.buffered(AT_ONCE).try_collect().await?;
    counted.begin()?;
    tokio::time::sleep(Duration::from_secs(u64::from(seconds))).await;
    drop(clients);
    Ok(())
}

async fn expect(client: &mut Client, beginning: &str) -> Outcome<()> {
    let message = client.next().await?;
    if message.starts_with(beginning.as_bytes()) {
        return Ok(());
    }
    let found = String::from_utf8_lossy(message);
    Err(format!("{beginning:?} was expected, and this came: {found}").into())
}
