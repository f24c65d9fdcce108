//! A child process of a test, and what it prints.
//!
//! Not here: what is asked of a node (`node`). Invariant: its output is read all the time, and it ends with the value, however
//! the test ends.

use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::watch;

use super::node::Ended;

/// How long a node may take until it listens. Generous: the machine may be busy with other tests.
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A child process whose output is read all the time, by two threads: a runtime that is busy, or
/// whose clock is stopped, must not make the node wait for a full pipe.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) child: Child,
    /// A shell that kills the child when its pipe closes, however the test process went.
    guard: Child,
    output: Arc<Mutex<String>>,
    /// How many lines there are; `None` at the end of both pipes is the closed channel.
    pub(super) lines: watch::Receiver<usize>,
}

impl Process {
    pub(super) fn start(mut command: Command, log: Stdio) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        let mut child = command.spawn().unwrap();
        let output = Arc::new(Mutex::new(String::new()));
        let (count, lines) = watch::channel(0);
        let count = Arc::new(count);
        read_lines(child.stdout.take().unwrap(), &output, &count);
        if let Some(log) = child.stderr.take() {
            read_lines(log, &output, &count);
        }
        let guard = Command::new("sh")
            .args([
                "-c",
                &format!("read _; kill -KILL {} 2>/dev/null", child.id()),
            ])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            guard,
            output,
            lines,
        }
    }

    pub(super) fn output(&self) -> String {
        let output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        output.clone()
    }

    /// The address that it prints once it listens; `None` when it ends before.
    pub(super) async fn listening(&mut self) -> Option<SocketAddr> {
        let waiting = async {
            loop {
                if let Some(address) = printed_address(&self.output()) {
                    return Some(address);
                }
                if self.lines.changed().await.is_err() {
                    return printed_address(&self.output());
                }
            }
        };
        match within(START_TIMEOUT, waiting).await {
            Some(address) => address,
            None => panic!("it does not listen; it said:\n{}", self.output()),
        }
    }

    pub(super) async fn ended(&mut self, began: Instant) -> Ended {
        let closed = async { while self.lines.changed().await.is_ok() {} };
        if within(START_TIMEOUT, closed).await.is_none() {
            panic!("it does not end; it said:\n{}", self.output());
        }
        Ended {
            status: self.child.wait().unwrap(),
            output: self.output(),
            took: began.elapsed(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // First the guard, so that it never kills a later process of the same id. A frozen process
        // takes SIGKILL too; one that has ended already is no error.
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits by the real clock even where the test has stopped the runtime's.
pub(super) async fn within<T>(patience: Duration, what: impl Future<Output = T>) -> Option<T> {
    let (over, timer) = tokio::sync::oneshot::channel();
    let (done, wait) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        if wait.recv_timeout(patience) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let _ = over.send(());
        }
    });
    let found = tokio::select! {
        value = what => Some(value),
        Ok(()) = timer => None,
    };
    drop(done);
    found
}

fn read_lines(
    pipe: impl Read + Send + 'static,
    output: &Arc<Mutex<String>>,
    count: &Arc<watch::Sender<usize>>,
) {
    let (output, count) = (Arc::clone(output), Arc::clone(count));
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
            output.push_str(&line);
            output.push('\n');
            drop(output);
            count.send_modify(|count| *count += 1);
        }
    });
}

/// The address of the block that a node prints when it listens, once its last line is there; of the
/// JSON object when it logs in JSON.
fn printed_address(output: &str) -> Option<SocketAddr> {
    let mut objects = output.lines().filter(|line| line.contains("\"listening\""));
    if let Some(object) = objects.find_map(|line| serde_json::from_str::<Value>(line).ok()) {
        return object["address"].as_str()?.parse().ok();
    }
    let (block, _) = output.split_once("Ctrl-C")?;
    let mut lines = block.lines();
    lines.find_map(|line| line.strip_prefix("listening")?.trim().parse().ok())
}
