//! A private RabbitMQ: own directory, own ports, own epmd, on loopback.
//!
//! It boots in 4 to 8 s, and `rabbitmqctl` costs 1 to 6 s a call: one server and few calls per
//! test. Invariant: it ends with the test process, even when that is killed. Its processes are one
//! group under a shell that reads a pipe; the pipe closes when the test is gone, however it went.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::options::{
    BasicConsumeOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ports;

/// Not the one in `sbin`, which changes the user.
const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const CTL: &str = "/usr/lib/rabbitmq/bin/rabbitmqctl";

/// The shell over the server. `kill 0` reaches the whole group, this shell included.
const GUARD: &str = "
    epmd -port $ERL_EPMD_PORT -address 127.0.0.1 >epmd.log 2>&1 &
    { $SERVER >console.log 2>&1; : >ended; } &
    read _
    kill -KILL 0
";

/// How long a boot may take on a machine that builds at the same time.
const BOOT_WITHIN: Duration = Duration::from_secs(90);

/// What a server is started with, besides what keeps it private.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// `rabbitmq.conf`.
    pub(crate) conf: String,
    /// The Erlang list of enabled plugins; empty for none.
    pub(crate) plugins: String,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct RabbitMq {
    home: tempfile::TempDir,
    amqp_port: u16,
    dist_port: u16,
    epmd_port: u16,
    guard: Option<Child>,
}

impl RabbitMq {
    /// Starts a server with nothing but the defaults: `guest` may do everything on `/`.
    pub(crate) async fn start() -> Self {
        Self::start_with(&Options::default()).await
    }

    /// Starts a server with this configuration.
    pub(crate) async fn start_with(options: &Options) -> Self {
        let is_there = Path::new(SERVER).exists() && Path::new("/usr/bin/epmd").exists();
        assert!(is_there, "RabbitMQ is missing: apt install rabbitmq-server");
        for _ in 0..3 {
            let mut server = Self {
                home: tempfile::tempdir().unwrap(),
                amqp_port: ports::free(),
                dist_port: ports::free(),
                epmd_port: ports::free(),
                guard: None,
            };
            let plugins = match options.plugins.as_str() {
                "" => "[].",
                plugins => plugins,
            };
            std::fs::write(server.path("rabbitmq.conf"), &options.conf).unwrap();
            std::fs::write(server.path("enabled_plugins"), plugins).unwrap();
            if server.boot().await {
                return server;
            }
            // Somebody may have been faster at one of the ports.
            eprintln!("RabbitMQ did not start: {}", server.console());
        }
        panic!("RabbitMQ did not start in three attempts; its words are above");
    }

    /// The address for a client, as `guest` on `/`.
    pub(crate) fn url(&self) -> String {
        self.url_at(self.amqp_port)
    }

    /// The same through a proxy on another port.
    pub(crate) fn url_at(&self, port: u16) -> String {
        format!("amqp://guest:guest@127.0.0.1:{port}/%2f")
    }

    /// The port on which it speaks AMQP.
    pub(crate) fn port(&self) -> u16 {
        self.amqp_port
    }

    /// Ends it as a power cut does. The data stays.
    pub(crate) fn kill(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            drop(guard.stdin.take());
            guard.wait().unwrap();
        }
    }

    /// Starts it again after [`RabbitMq::kill`], on the same ports and data.
    pub(crate) async fn start_again(&mut self) {
        assert!(self.boot().await, "no new start: {}", self.console());
    }

    /// Stops the broker inside the running Erlang machine: connections are closed in order.
    pub(crate) async fn stop_app(&self) {
        self.ctl(&["stop_app"]).await;
    }

    /// Starts the broker after [`RabbitMq::stop_app`].
    pub(crate) async fn start_app(&self) {
        self.ctl(&["start_app"]).await;
    }

    /// Closes every client connection, as an operator may.
    pub(crate) async fn close_all_connections(&self) {
        self.ctl(&["close_all_connections", "a test"]).await;
    }

    /// The queues and how many messages wait in each.
    pub(crate) async fn queues(&self) -> BTreeMap<String, u64> {
        let listed = self.ctl(&["list_queues", "name", "messages"]).await;
        let lines = listed.lines().filter_map(|line| line.split_once('\t'));
        lines
            .filter_map(|(name, count)| Some((name.to_owned(), count.trim().parse().ok()?)))
            .collect()
    }

    /// Runs `rabbitmqctl` and returns what it says.
    pub(crate) async fn ctl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(CTL);
        command.arg("--quiet").args(arguments);
        self.surround(&mut command);
        let mut command = tokio::process::Command::from(command);
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = timeout(BOOT_WITHIN, command.output()).await;
        let output = output.expect("rabbitmqctl does not end").unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "rabbitmqctl {arguments:?}: {said}{complaint}"
        );
        said
    }

    /// A client of the test's own, as `guest`.
    pub(crate) async fn client(&self) -> (Connection, Channel) {
        let properties = ConnectionProperties::default();
        let connection = Connection::connect(&self.url(), properties).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        (connection, channel)
    }

    /// Counts from now on what is published to `chat.exchange`.
    ///
    /// Its queue takes everything, so while it is there no publication comes back as unroutable.
    pub(crate) async fn spy(&self) -> Spy {
        Spy::on(self).await
    }

    /// Starts the processes and waits until it answers. False when it ends instead.
    async fn boot(&mut self) -> bool {
        let _ = std::fs::remove_file(self.path("ended"));
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", GUARD])
            .env("SERVER", SERVER)
            .current_dir(self.home.path())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.surround(&mut command);
        self.guard = Some(command.spawn().unwrap());
        let give_up_at = Instant::now() + BOOT_WITHIN;
        while Instant::now() < give_up_at && !self.path("ended").exists() {
            if answers(self.amqp_port).await {
                return true;
            }
            sleep(Duration::from_millis(100)).await;
        }
        self.kill();
        false
    }

    /// The environment that keeps it apart from any other RabbitMQ of the machine.
    fn surround(&self, command: &mut Command) {
        let paths = [
            ("HOME", "."),
            ("RABBITMQ_MNESIA_BASE", "mnesia"),
            ("RABBITMQ_LOG_BASE", "log"),
            ("RABBITMQ_SCHEMA_DIR", "schema"),
            ("RABBITMQ_GENERATED_CONFIG_DIR", "generated"),
            ("RABBITMQ_PLUGINS_EXPAND_DIR", "expanded"),
            ("RABBITMQ_PID_FILE", "pid"),
            ("RABBITMQ_CONFIG_FILE", "rabbitmq.conf"),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", "enabled_plugins"),
        ];
        for (name, path) in paths {
            command.env(name, self.path(path));
        }
        command
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("RABBITMQ_NODENAME", "test@localhost")
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.amqp_port.to_string())
            .env("RABBITMQ_DIST_PORT", self.dist_port.to_string())
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            // Without this its schedulers spin while they wait, on cores that others need.
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none",
            );
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn console(&self) -> String {
        std::fs::read_to_string(self.path("console.log")).unwrap_or_default()
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether somebody speaks AMQP on this port. A listener alone may be the kernel's only.
async fn answers(port: u16) -> bool {
    let greet = async {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        let mut stream = stream.into_std().ok()?;
        stream.set_nonblocking(false).ok()?;
        stream.write_all(b"AMQP\0\0\x09\x01").ok()?;
        stream.set_nonblocking(true).ok()?;
        let stream = TcpStream::from_std(stream).ok()?;
        stream.readable().await.ok()?;
        stream.try_read(&mut [0; 8]).ok().filter(|&count| count > 0)
    };
    let answer = timeout(Duration::from_secs(2), greet).await;
    answer.ok().flatten().is_some()
}

/// A queue of the test on everything that goes through `chat.exchange`.
#[derive(Debug)]
pub(crate) struct Spy {
    seen: Arc<Mutex<BTreeMap<String, u64>>>,
    counting: TaskTracker,
    stop: CancellationToken,
}

impl Spy {
    async fn on(server: &RabbitMq) -> Self {
        let (connection, channel) = server.client().await;
        let durable = ExchangeDeclareOptions {
            durable: true,
            ..ExchangeDeclareOptions::default()
        };
        let none = FieldTable::default;
        channel
            .exchange_declare("chat.exchange".into(), ExchangeKind::Topic, durable, none())
            .await
            .unwrap();
        let exclusive = QueueDeclareOptions {
            exclusive: true,
            auto_delete: true,
            ..QueueDeclareOptions::default()
        };
        let queue = channel.queue_declare("".into(), exclusive, none()).await;
        let queue = queue.unwrap().name().clone();
        let bind = QueueBindOptions::default();
        let exchange = "chat.exchange".into();
        channel
            .queue_bind(queue.clone(), exchange, "#".into(), bind, none())
            .await
            .unwrap();
        let no_ack = BasicConsumeOptions {
            no_ack: true,
            ..BasicConsumeOptions::default()
        };
        let deliveries = channel.basic_consume(queue, "".into(), no_ack, none());
        let mut deliveries = deliveries.await.unwrap();
        let seen = Arc::new(Mutex::new(BTreeMap::new()));
        let counts = Arc::clone(&seen);
        let (counting, stop) = (TaskTracker::new(), CancellationToken::new());
        let stopped = stop.clone();
        counting.spawn(async move {
            let count = async {
                while let Some(Ok(delivery)) = deliveries.next().await {
                    let key = delivery.routing_key.to_string();
                    *counts.lock().unwrap().entry(key).or_insert(0) += 1;
                }
            };
            tokio::select! {
                () = count => {}
                () = stopped.cancelled() => {}
            }
            // The queue goes with the connection, which a consumer alone would keep open.
            let _ = connection.close(200, "seen".into()).await;
        });
        counting.close();
        Self {
            seen,
            counting,
            stop,
        }
    }

    /// Stops counting: its queue is gone when this returns.
    pub(crate) async fn leave(self) {
        self.stop.cancel();
        self.counting.wait().await;
    }

    /// AMQP messages published so far, by routing key (the first one, when one message goes to
    /// several nodes). What was confirmed a moment ago may still be on its way to here.
    pub(crate) fn count_by_key(&self) -> BTreeMap<String, u64> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Spy {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
