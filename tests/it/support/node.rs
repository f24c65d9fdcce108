//! A node as people start it: the real binary in a process of its own.
//!
//! It gets a free port, a data directory of its own and only the environment that the test gives.
//! What it says is kept, and shown when the test fails. Invariant: it ends with its [`Node`].

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::process::{Process, START_TIMEOUT, within};

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_stompbox"))
}

/// A running node.
#[derive(Debug)]
pub(crate) struct Node {
    /// What the test calls it, in what is shown when it fails.
    name: String,
    address: SocketAddr,
    process: Process,
    data_dir: PathBuf,
    /// Removes the data directory at the end; none when the test brought its own.
    _folder: Option<TempDir>,
}

/// A node that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// How.
    pub(crate) status: ExitStatus,
    /// What it had said, on stdout and stderr.
    pub(crate) output: String,
    /// How long it took from the signal (or the start).
    pub(crate) took: Duration,
}

impl Node {
    /// Starts a node with this environment and waits until it listens.
    pub(crate) async fn start(name: &str, environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("data");
        let mut node = Self::start_in(name, &data_dir, environment).await;
        node._folder = Some(folder);
        node
    }

    /// The same with a data directory of the test, as for a second life of a node.
    pub(crate) async fn start_in(
        name: &str,
        data_dir: &Path,
        environment: &[(&str, &str)],
    ) -> Self {
        match Self::try_start_in(name, data_dir, environment).await {
            Ok(node) => node,
            Err(ended) => panic!(
                "{name} ended at its start ({}):\n{}",
                ended.status, ended.output
            ),
        }
    }

    /// Starts a node whose log goes there.
    pub(crate) async fn start_with_log(
        name: &str,
        data_dir: &Path,
        log: Stdio,
        environment: &[(&str, &str)],
    ) -> Self {
        let started = Self::try_start_with(name, data_dir, (program(), log), environment);
        started.await.expect("it starts")
    }

    /// Starts a node that may open so many files.
    pub(crate) async fn start_with_files(
        name: &str,
        data_dir: &Path,
        files: u32,
        environment: &[(&str, &str)],
    ) -> Self {
        let mut command = Command::new("/bin/sh");
        let limited = format!("ulimit -n {files} && exec \"$0\" \"$@\"");
        command.args(["-c", &limited, env!("CARGO_BIN_EXE_stompbox")]);
        let log = Stdio::piped();
        let started = Self::try_start_with(name, data_dir, (command, log), environment);
        started.await.expect("it starts")
    }

    /// Starts a node that may refuse to start.
    pub(crate) async fn try_start_in(
        name: &str,
        data_dir: &Path,
        environment: &[(&str, &str)],
    ) -> Result<Self, Ended> {
        Self::try_start_with(name, data_dir, (program(), Stdio::piped()), environment).await
    }

    async fn try_start_with(
        name: &str,
        data_dir: &Path,
        (mut command, log): (Command, Stdio),
        environment: &[(&str, &str)],
    ) -> Result<Self, Ended> {
        command
            .env_clear()
            .envs(environment.iter().copied())
            .arg("--config")
            .arg("/dev/null")
            .arg("--data-dir")
            .arg(data_dir);
        let chosen = |names: [&str; 2]| environment.iter().any(|(name, _)| names.contains(name));
        if !chosen(["SERVER_PORT", "PORT"]) {
            command.args(["--port", "0"]);
        }
        let began = Instant::now();
        let mut process = Process::start(command, log);
        match process.listening().await {
            Some(address) => Ok(Self {
                name: name.to_owned(),
                address,
                process,
                data_dir: data_dir.to_owned(),
                _folder: None,
            }),
            None => Err(process.ended(began).await),
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://address` and a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The address for STOMP clients.
    pub(crate) fn websocket(&self) -> String {
        format!("ws://{}/ws-chat", self.address)
    }

    /// Where it keeps its files.
    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The id of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// What it has said until now.
    pub(crate) fn output(&self) -> String {
        self.process.output()
    }

    /// What it has said once this is in it; lines come a moment after what they tell of.
    pub(crate) async fn output_with(&self, expected: &str) -> String {
        let mut lines = self.process.lines.clone();
        let said = async {
            loop {
                lines.mark_unchanged();
                let output = self.output();
                if output.contains(expected) || lines.changed().await.is_err() {
                    return output;
                }
            }
        };
        match within(START_TIMEOUT, said).await {
            Some(output) if output.contains(expected) => output,
            _ => panic!("it did not say {expected:?}; it said:\n{}", self.output()),
        }
    }

    /// Sends a signal by its name without `SIG`.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Freezes the process: sockets stay open and nobody answers.
    pub(crate) fn pause(&self) {
        self.signal("STOP");
        // The signal is on its way when `kill` returns; a thread may still answer.
        let began = Instant::now();
        while !is_stopped(self.pid()) {
            assert!(
                began.elapsed() < START_TIMEOUT,
                "{} does not stop",
                self.name
            );
            std::thread::yield_now();
        }
    }

    /// Lets a frozen process go on.
    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    /// Ends it as a power cut would.
    pub(crate) async fn kill(mut self) -> Ended {
        let began = Instant::now();
        self.signal("KILL");
        self.process.ended(began).await
    }

    /// Asks it to end in order, and waits.
    pub(crate) async fn stop(mut self) -> Ended {
        let began = Instant::now();
        self.signal("TERM");
        self.process.ended(began).await
    }

    /// Asks it to end, unless it has ended meanwhile, and waits.
    pub(crate) async fn stop_if_running(mut self) -> Ended {
        let began = Instant::now();
        if self.process.child.try_wait().unwrap().is_none() {
            self.signal("TERM");
        }
        self.process.ended(began).await
    }

    /// Waits for it to end by itself.
    pub(crate) async fn wait(mut self) -> Ended {
        let began = Instant::now();
        self.process.ended(began).await
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("=== what {} said ===\n{}", self.name, self.output());
        }
    }
}

/// Whether every thread of a process is stopped by a signal.
fn is_stopped(pid: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.flatten().all(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        // The name of the program, in brackets, may hold anything; the state follows it.
        let (_, after) = stat.rsplit_once(')').unwrap_or_default();
        matches!(after.trim_start().chars().next(), Some('T' | 't'))
    })
}

/// Sends a signal with the shell's own `kill`, which needs no package.
pub(crate) fn signal(pid: u32, name: &str) {
    let line = format!("kill -{name} {pid}");
    let sent = Command::new("sh").args(["-c", &line]).status().unwrap();
    assert!(sent.success(), "{line}");
}
