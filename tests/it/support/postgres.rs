//! A private PostgreSQL for the tests of one process: its own directory, its own port on loopback.
//!
//! Not a mock, and never skipped: when the server is missing the test fails and names the package.
//! Invariant: the server ends with the process that started it, however that process ends, and
//! takes its directory along. It syncs to disk as in production.

use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls};

/// How long a server may take to answer on a loaded machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The watchdog: it makes the server, starts it, and ends it when its own input ends, which the kernel sees to when
/// the test's process is gone. Arguments: the programs, the server's directory, its port. A shell starts what is in
/// the background deaf to QUIT, so a server that has just begun needs TERM; one that runs would wait at TERM for
/// its clients, so it needs QUIT. Only the making is not synced; the server itself syncs as in production.
const WATCHDOG: &str = r#"
"$1/initdb" -D "$2/data" -A trust -U stompbox -E UTF8 --locale=C --no-sync \
    </dev/null >"$2/log" 2>&1
"$1/postgres" -D "$2/data" -p "$3" -k "$2" -c listen_addresses=127.0.0.1 \
    -c max_connections=120 -c shared_buffers=64MB -c max_wal_size=512MB \
    </dev/null >>"$2/log" 2>&1 &
server=$!
cat >/dev/null
kill -TERM "$server"
kill -QUIT "$server"
wait "$server"
rm -rf "$2"
"#;

/// A running server.
#[derive(Debug)]
pub(crate) struct Postgres {
    port: u16,
    directory: PathBuf,
    databases: AtomicU32,
    watchdog: Child,
    /// Its end ends the server.
    lifeline: Option<ChildStdin>,
}

impl Postgres {
    /// The server of this test process.
    pub(crate) async fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        let server = SHARED.get_or_init(Self::start);
        server.ready().await;
        server
    }

    /// Starts a server; [`Postgres::ready`] waits until it answers.
    pub(crate) fn start() -> Self {
        let programs = programs();
        let directory = tempfile::Builder::new()
            .prefix("stompbox-postgres-")
            .tempdir_in("/tmp")
            .unwrap()
            .keep();
        let owner = unprivileged();
        if let Some((user, group)) = owner {
            chown(&directory, Some(user), Some(group)).unwrap();
        }
        let port = free_port();
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", WATCHDOG, "watchdog"])
            .arg(programs)
            .arg(&directory)
            .arg(port.to_string())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Out of the test's process group, or a signal to the group would end the watchdog
            // before the server.
            .process_group(0);
        if let Some((user, group)) = owner {
            command.uid(user).gid(group);
        }
        let mut watchdog = command.spawn().expect("/bin/sh runs");
        let lifeline = watchdog.stdin.take();
        Self {
            port,
            directory,
            databases: AtomicU32::new(0),
            watchdog,
            lifeline,
        }
    }

    /// The address of a database of this server.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://stompbox@127.0.0.1:{}/{database}", self.port)
    }

    /// The address of a new, empty database.
    pub(crate) async fn fresh_database(&self) -> String {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{number}");
        let client = connect(&self.url("postgres")).await;
        client
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .await
            .unwrap();
        self.url(&name)
    }

    /// Waits until the server answers.
    pub(crate) async fn ready(&self) {
        let begin = Instant::now();
        let url = self.url("postgres");
        while let Err(err) = tokio_postgres::connect(&url, NoTls).await {
            let log = std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            let waited = begin.elapsed();
            assert!(
                waited < START_TIMEOUT
                    && !log.contains("could not")
                    && !log.contains("initdb: error"),
                "PostgreSQL does not start: {err}\n{log}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        let _ = self.watchdog.wait();
    }
}

/// A connection for a test's own questions.
pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    // The task ends with the client, and the runtime of the test with both.
    tokio::runtime::Handle::current().spawn(connection);
    client
}

/// Where the newest installed PostgreSQL has its programs.
fn programs() -> PathBuf {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(_, programs)| programs.join("initdb").exists())
        .collect();
    found.sort();
    let (_, newest) = found
        .pop()
        .expect("PostgreSQL is missing: install the Debian package 'postgresql'");
    newest
}

/// Whom to run as when the test runs as root, which PostgreSQL refuses: user and group.
fn unprivileged() -> Option<(u32, u32)> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let effective = ids.and_then(|ids| ids.split_whitespace().nth(1));
    if effective != Some("0") {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let ids = |name: &str| {
        let line = users
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    let found = ids("postgres").or_else(|| ids("nobody"));
    Some(found.expect("a user 'postgres' or 'nobody' to run PostgreSQL as"))
}

/// A port on loopback that is free now, below those that the kernel gives to clients.
fn free_port() -> u16 {
    let first = 20_000 + std::process::id() % 8_000;
    (0..4_000)
        .map(|step| u16::try_from(20_000 + (first + step * 7) % 12_000).unwrap())
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port between 20,000 and 32,000")
}
