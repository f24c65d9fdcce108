//! A server in a process of its own, and what the system says of it.
//!
//! Not here: what it is asked to do. Invariant: it ends with its value; Linux only, because the
//! figures come from /proc.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::process::{Process, SETTINGS};
use crate::support::{CHILD, Outcome};

/// The clock of /proc/PID/stat: USER_HZ, 100 on every Linux that Rust runs on.
const TICK: Duration = Duration::from_millis(10);

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    /// What the tables call it.
    pub(crate) name: &'static str,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    process: Process,
    _data: Option<TempDir>,
}

impl Server {
    /// A broker alone, with an empty data directory.
    pub(crate) fn broker(program: &Path) -> Outcome<Self> {
        let data = tempfile::tempdir()?;
        let mut command = Command::new(program);
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
        command.arg(CHILD);
        Self::start("bare", command, None)
    }

    fn start(name: &'static str, command: Command, data: Option<TempDir>) -> Outcome<Self> {
        let process = Process::start(command)?;
        Ok(Self {
            name,
            address: process.address,
            process,
            _data: data,
        })
    }

    /// The id of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
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
