//! The node that is attacked, and the sink; what the system and `/metrics` say of them.
//!
//! Not here: the process that attacks. Invariant: every process ends with the value that started it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::origin::PROXY;
use super::support::process::Process;
use super::support::{CHILD, Outcome};
use super::wire::{Target, certify};

/// The clock of /proc/PID/stat: USER_HZ, 100 on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// The longest body of `xhr_send` that older builds took, and that newer ones take, nearly.
const REQUEST_BYTES: [usize; 2] = [661_000, 350_000];

/// How long the node has to answer GET `/metrics`, and how often it is asked.
const METRICS_PATIENCE: Duration = Duration::from_secs(2);
const METRICS_ATTEMPTS: usize = 3;

/// What a node says of its byte account.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Account {
    Bytes(f64),
    /// The build has none.
    Missing,
    /// The node answered none of several requests in time.
    Unanswered,
}

impl Account {
    pub(crate) fn bytes(self) -> Option<f64> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Missing | Self::Unanswered => None,
        }
    }
}

/// A running node with its default limits.
pub(crate) struct Node {
    process: Process,
    pub(crate) target: Target,
    _data: TempDir,
}

impl Node {
    /// Starts a build of the node. `more` are settings beyond the defaults.
    pub(crate) fn start(binary: &Path, tls: bool, more: &[(&str, &str)]) -> Outcome<Self> {
        let data = tempfile::tempdir()?;
        let mut command = Command::new(binary);
        command
            .env_clear()
            .env("SERVER_PORT", "0")
            .env("LOG_LEVEL", "error")
            .env("PROXY_PROTOCOL", "accept")
            .env("TRUSTED_PROXIES", PROXY.to_string())
            .envs(more.iter().copied())
            .args(["--config", "/dev/null", "--data-dir"])
            .arg(data.path())
            .stderr(Stdio::null());
        let connector = match tls {
            true => {
                let connector = certify(data.path())?;
                command.env("TLS_CERT", data.path().join("cert.pem"));
                command.env("TLS_KEY", data.path().join("key.pem"));
                Some(connector)
            }
            false => None,
        };
        let process = Process::start(command)?;
        let target = Target {
            address: process.address,
            tls: connector,
        };
        Ok(Self {
            process,
            target,
            _data: data,
        })
    }

    /// The resident memory in MiB.
    pub(crate) fn resident_mib(&self) -> Outcome<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.trim().strip_suffix("kB"));
        let kib: f64 = kib.ok_or("the node has ended")?.trim().parse()?;
        Ok(kib / 1_024.0)
    }

    /// The processor time that it has used, in seconds.
    pub(crate) fn cpu_seconds(&self) -> Outcome<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.pid()))?;
        // The name in parentheses may hold spaces.
        let (_, rest) = stat.rsplit_once(')').ok_or("/proc/PID/stat is strange")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok());
        let used = ticks(11)
            .zip(ticks(12))
            .ok_or("/proc/PID/stat is strange")?;
        Ok((used.0 + used.1) / TICKS_PER_SECOND)
    }

    /// What the byte account of the node counts. A node that does not answer in time is asked again.
    pub(crate) async fn account(&self) -> Account {
        for _ in 0..METRICS_ATTEMPTS {
            let Ok(Ok(metrics)) = timeout(METRICS_PATIENCE, self.metrics()).await else {
                continue;
            };
            let bytes = metrics.lines().find_map(|line| {
                let value = line.strip_prefix("budget_used{pool=\"memory\"}")?;
                value.trim().parse().ok()
            });
            return bytes.map_or(Account::Missing, Account::Bytes);
        }
        Account::Unanswered
    }

    /// How long a body of SockJS may be for this build, nearly: 661 kB, or 350 kB when it refuses those.
    pub(crate) async fn request_bytes(&self) -> Outcome<usize> {
        let [longer, shorter] = REQUEST_BYTES;
        let mut stream = self.target.open([127, 0, 4, 1].into()).await?;
        let mut answer = vec![0; 4 << 10];
        // The session opens with the first request; the second one only announces its body.
        for (request, length) in [("xhr", 0), ("xhr_send", longer)] {
            let head = format!(
                "POST /ws-chat/000/length/{request} HTTP/1.1\r\nHost: localhost\r\n\
                 Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await?;
            match timeout(Duration::from_secs(1), stream.read(&mut answer)).await {
                Ok(read) => answer.truncate(read?),
                // A build that takes the body waits for it.
                Err(_) => return Ok(longer),
            }
            if answer.starts_with(b"HTTP/1.1 413 ") {
                return Ok(shorter);
            }
            answer.resize(4 << 10, 0);
        }
        Err("the node refuses a SockJS session".into())
    }

    async fn metrics(&self) -> Outcome<String> {
        let mut stream = self.target.open([127, 0, 4, 1].into()).await?;
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

/// Starts this program as another process.
pub(crate) fn this_program(arguments: &[&str]) -> Outcome<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(CHILD).args(arguments);
    Ok(command)
}

/// A running sink.
pub(crate) fn start_sink() -> Outcome<Process> {
    Process::start(this_program(&["sink"])?)
}
