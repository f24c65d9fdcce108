//! A server in a process of its own, and what the system says of it.
//!
//! Not here: what it is asked to do. Invariant: it ends with its value; Linux only, because the
//! figures come from /proc.

use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::{Outcome, bare};

/// The settings of the broker under load: everything comes from one address, so what is limited
/// per network or person is set high; nothing is switched off.
const SETTINGS: [(&str, &str); 12] = [
    ("SERVER_PORT", "0"),
    ("LOG_LEVEL", "warn"),
    ("ANON_RECOGNITION", "token"),
    ("CONNECTION_RATE", "1000000"),
    ("CONNECTION_BURST", "1000000"),
    ("CONNECTIONS_PER_NET", "1000000"),
    ("MINT_PER_NET", "1000000"),
    ("MINT_PER_NODE", "1000000"),
    ("RATE_ANON_PER_MIN", "1000000"),
    ("RATE_BURST", "1000000"),
    ("RATE_NET_PER_MIN", "10000000"),
    ("RATE_NET_BURST", "10000000"),
];

/// The clock of /proc/PID/stat: USER_HZ, 100 on every Linux that Rust runs on.
const TICK: Duration = Duration::from_millis(10);

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    /// What the tables call it.
    pub(crate) name: &'static str,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    child: Child,
    _data: Option<TempDir>,
}

impl Server {
    /// The broker alone, with an empty data directory.
    pub(crate) fn stompbox() -> Outcome<Self> {
        let data = tempfile::tempdir()?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_stompbox"));
        command
            .env_clear()
            .envs(SETTINGS)
            .args(["--config", "/dev/null", "--data-dir"])
            .arg(data.path());
        Self::start("stompbox", command, Some(data))
    }

    /// The bare server: this program once more.
    pub(crate) fn bare() -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(bare::ARGUMENT);
        Self::start("bare", command, None)
    }

    fn start(name: &'static str, mut command: Command, data: Option<TempDir>) -> Outcome<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("there is no stdout")?);
        let mut said = String::new();
        let address = loop {
            let from = said.len();
            if lines.read_line(&mut said)? == 0 {
                return Err(format!("{name} does not start; it said:\n{said}").into());
            }
            if let Some(address) = said[from..].strip_prefix("listening") {
                break address.trim().parse()?;
            }
        };
        // It must never wait for a full pipe.
        std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
        Ok(Self {
            name,
            address,
            child,
            _data: data,
        })
    }

    /// The id of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The processor time that it has used: its own and the system's on its behalf.
    pub(crate) fn cpu(&self) -> Outcome<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
        // The name in parentheses may hold spaces; utime and stime are fields 14 and 15 of all.
        let (_, fields) = stat.rsplit_once(')').ok_or("/proc/PID/stat is strange")?;
        let ticks = fields.split_whitespace().skip(11).take(2);
        let mut sum = 0;
        for field in ticks {
            sum += field.parse::<u32>()?;
        }
        Ok(TICK * sum)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, which is no error here.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}
