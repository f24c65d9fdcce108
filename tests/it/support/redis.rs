//! A private Redis for one test: nothing on disk, loopback only, killed with the test.

use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::ports;

/// How long a server may take until it answers.
const START_MAX: Duration = Duration::from_secs(20);

/// A running `redis-server`, or one that was stopped and keeps its port.
#[derive(Debug)]
pub(crate) struct Redis {
    port: u16,
    directory: TempDir,
    child: Mutex<Option<Child>>,
}

impl Redis {
    /// Starts an empty server. Blocks for some milliseconds. Call it from the test's own thread: the
    /// server is killed when the thread that started it ends.
    pub(crate) fn start() -> Self {
        for _ in 0..5 {
            let redis = Self {
                port: ports::free(),
                directory: TempDir::new().expect("a temporary directory"),
                child: Mutex::new(None),
            };
            if redis.launch() {
                return redis;
            }
        }
        panic!("redis-server ended at once, five times (Debian package: redis-server)");
    }

    /// `redis://127.0.0.1:<port>`.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Kills the server; its port refuses connections then.
    pub(crate) fn stop(&self) {
        let child = self.child().take();
        if let Some(mut child) = child {
            child.kill().expect("redis-server can be killed");
            child.wait().expect("redis-server ends");
        }
    }

    /// Kills the server and starts an empty one on the same port.
    pub(crate) fn restart(&self) {
        self.stop();
        assert!(self.launch(), "redis-server does not start again");
    }

    /// Freezes the server: connections stay open, nothing is answered.
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    /// Ends [`Redis::pause`].
    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    /// Deletes everything.
    pub(crate) fn flush(&self) {
        self.ask::<()>(&["FLUSHALL"]);
    }

    /// Asks the server something on a connection of its own, beside the engine under test.
    pub(crate) fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let client = redis::Client::open(self.url()).expect("a valid URL");
        let mut connection = client.get_connection().expect("redis-server answers");
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(word);
        }
        command.query(&mut connection).expect("a valid command")
    }

    /// How often a command was carried out since the start, calls from scripts included.
    pub(crate) fn calls(&self, command: &str) -> u64 {
        let stats: String = self.ask(&["INFO", "commandstats"]);
        let prefix = format!("cmdstat_{command}:calls=");
        stats
            .lines()
            .find_map(|line| line.strip_prefix(&prefix)?.split(',').next()?.parse().ok())
            .unwrap_or(0)
    }

    /// Whether the server started; it does not when another took its port.
    fn launch(&self) -> bool {
        // setpriv becomes redis-server, so that the pid is the server's, and has the kernel kill it
        // with us even when we are killed ourselves.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "redis-server"])
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("setpriv starts (Debian package: util-linux)");
        *self.child() = Some(child);
        let start = Instant::now();
        while start.elapsed() < START_MAX {
            let ended = self
                .child()
                .as_mut()
                .and_then(|child| child.try_wait().ok()?);
            if ended.is_some() {
                return false;
            }
            if self.is_answering() {
                return true;
            }
            pause_briefly();
        }
        panic!("redis-server does not answer");
    }

    /// Whether our own server answers, and not one that took the port before it.
    fn is_answering(&self) -> bool {
        let answer = || -> redis::RedisResult<String> {
            let mut connection = redis::Client::open(self.url())?.get_connection()?;
            redis::cmd("INFO").arg("server").query(&mut connection)
        };
        let pid = self.child().as_ref().map_or(0, Child::id);
        answer().is_ok_and(|info| info.contains(&format!("process_id:{pid}\r")))
    }

    fn signal(&self, name: &str) {
        let pid = self.child().as_ref().expect("redis-server runs").id();
        let status = Command::new("sh")
            .args(["-c", &format!("kill -{name} {pid}")])
            .status()
            .expect("a shell");
        assert!(status.success(), "kill -{name} {pid}");
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let child = self.child().take();
        if let Some(mut child) = child {
            // Nothing is left to do when it is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a server is started before the test's own clock matters, outside of any task"
)]
fn pause_briefly() {
    std::thread::sleep(Duration::from_millis(5));
}
