//! The real `@stomp/stompjs` in Node, driven by JSON lines.
//!
//! One process holds all clients of a test ([`StompJs`]); a [`Device`] is one of them. Every wait
//! ends by itself and says what was missing. Invariant: Node ends with its [`StompJs`], because its
//! stdin ends then.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

pub(crate) use super::stompjs_messages::{Message, assert_continues, assert_whole};

/// How long anything may take. Generous: the machine may be busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Where direct messages come.
pub(crate) const MESSAGES: &str = "/user/queue/messages";
/// Where problems come.
pub(crate) const ERRORS: &str = "/user/queue/errors";

type Waiting = Arc<Mutex<BTreeMap<u64, oneshot::Sender<Result<Value, String>>>>>;

/// A Node process with STOMP.js clients in it.
#[derive(Debug)]
pub(crate) struct StompJs {
    stdin: tokio::sync::Mutex<ChildStdin>,
    waiting: Waiting,
    numbers: AtomicU64,
    _child: Child,
}

impl StompJs {
    /// Starts Node.
    pub(crate) fn start() -> Arc<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/js");
        assert!(
            folder.join("node_modules/@stomp/stompjs").exists(),
            "STOMP.js is missing; fetch it with: (cd tests/js && npm ci)"
        );
        let mut child = Command::new("node")
            .arg("driver.mjs")
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("Node is missing: apt install nodejs npm");
        let waiting = Waiting::default();
        let stdout = child.stdout.take().unwrap();
        TaskTracker::new().spawn(read_answers(stdout, Arc::clone(&waiting)));
        Arc::new(Self {
            stdin: tokio::sync::Mutex::new(child.stdin.take().unwrap()),
            waiting,
            numbers: AtomicU64::new(0),
            _child: child,
        })
    }

    /// Connects a fresh visitor, whom a fingerprint never opens: he comes from a page of the node.
    pub(crate) async fn visitor(self: &Arc<Self>, name: &str, url: &str) -> Device {
        let options = json!({"headers": {"visitor-token": "new"}, "from_page": true});
        self.connect(name, url, options).await.unwrap()
    }

    /// Connects another device of the same visitor, by his secret.
    pub(crate) async fn device_of(
        self: &Arc<Self>,
        name: &str,
        other: &Device,
        url: &str,
    ) -> Device {
        let options = json!({"headers": {"visitor-token": other.secret()}, "from_page": true});
        let device = self.connect(name, url, options).await.unwrap();
        assert_eq!(device.user(), other.user(), "{name} is somebody else");
        device
    }

    /// The same, and STOMP.js connects again whenever it is cut off.
    pub(crate) async fn steady_device_of(
        self: &Arc<Self>,
        name: &str,
        other: &Device,
        url: &str,
    ) -> Device {
        let headers = json!({"visitor-token": other.secret()});
        let options = json!({"headers": headers, "from_page": true, "reconnect_ms": 200});
        self.connect(name, url, options).await.unwrap()
    }

    /// Connects with these options of the driver: `headers`, `from_page`, `reconnect_ms`.
    pub(crate) async fn connect(
        self: &Arc<Self>,
        name: &str,
        url: &str,
        options: Value,
    ) -> Result<Device, String> {
        let mut request = options;
        request["do"] = json!("connect");
        request["client"] = json!(name);
        request["url"] = json!(url);
        let connected = self.ask(request).await?;
        Ok(Device {
            js: Arc::clone(self),
            name: name.to_owned(),
            connected,
        })
    }

    async fn ask(&self, mut request: Value) -> Result<Value, String> {
        let id = self.numbers.fetch_add(1, Ordering::Relaxed);
        request["id"] = json!(id);
        let (tell, told) = oneshot::channel();
        self.waiting.lock().unwrap().insert(id, tell);
        let line = format!("{request}\n");
        self.stdin
            .lock()
            .await
            .write_all(line.as_bytes())
            .await
            .unwrap();
        // What the driver itself waits for ends earlier.
        match timeout(PATIENCE * 2, told).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => panic!("Node ended before it answered {request}"),
            Err(_) => panic!("no answer to {request}"),
        }
    }
}

async fn read_answers(stdout: ChildStdout, waiting: Waiting) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut answer: Value = serde_json::from_str(&line).expect("the driver writes JSON");
        let id = answer["id"].as_u64().expect("an answer has an id");
        let waits = waiting.lock().unwrap().remove(&id);
        let outcome = match answer["error"].as_str() {
            Some(words) => Err(words.to_owned()),
            None => Ok(answer["ok"].take()),
        };
        if let Some(waits) = waits {
            // The test may have given it up.
            let _ = waits.send(outcome);
        }
    }
    waiting.lock().unwrap().clear();
}

/// One connected client.
#[derive(Debug)]
pub(crate) struct Device {
    js: Arc<StompJs>,
    name: String,
    /// The headers of CONNECTED.
    connected: Value,
}

impl Device {
    /// What the test calls it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A header of CONNECTED.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.connected[name].as_str().unwrap_or_default()
    }

    /// `user-name`.
    pub(crate) fn user(&self) -> &str {
        self.header("user-name")
    }

    /// `visitor-token`.
    pub(crate) fn secret(&self) -> &str {
        let secret = self.header("visitor-token");
        assert!(!secret.is_empty(), "{} was told no secret", self.name);
        secret
    }

    /// Subscribes and waits for the RECEIPT.
    pub(crate) async fn subscribe(&self, destination: &str) {
        let asked = json!({"do": "subscribe", "destination": destination});
        self.ask_within(asked, "the RECEIPT of SUBSCRIBE").await;
    }

    /// Unsubscribes and waits for the RECEIPT.
    pub(crate) async fn unsubscribe(&self, destination: &str) {
        let asked = json!({"do": "unsubscribe", "destination": destination});
        self.ask_within(asked, "the RECEIPT of UNSUBSCRIBE").await;
    }

    /// Subscribes to messages and errors.
    pub(crate) async fn listen(&self) {
        self.subscribe(ERRORS).await;
        self.subscribe(MESSAGES).await;
    }

    /// Writes to somebody; the headers of the RECEIPT.
    pub(crate) async fn say(&self, to: &str, words: &str) -> Value {
        self.send(
            "/app/chat.send",
            &json!({"to": to, "message": words}).to_string(),
        )
        .await
    }

    /// Sends a body and waits for the RECEIPT; its headers.
    pub(crate) async fn send(&self, destination: &str, body: &str) -> Value {
        let asked = json!({"do": "send", "destination": destination, "body": body});
        self.ask_within(asked, "the RECEIPT of SEND").await
    }

    /// The same for a SEND that may be refused: the problem instead of the RECEIPT.
    pub(crate) async fn try_send(&self, destination: &str, body: &str) -> Result<Value, Value> {
        let asked = json!({
            "do": "send", "destination": destination, "body": body, "client": self.name,
        });
        let answered = timeout(PATIENCE, self.js.ask(asked)).await;
        let answer = answered.unwrap_or_else(|_| panic!("{}: neither yes nor no", self.name));
        answer.map_err(|words| serde_json::from_str(&words).expect("a problem is JSON"))
    }

    /// Sends a body with these headers and waits for no RECEIPT.
    pub(crate) async fn throw_away(&self, destination: &str, body: &str, headers: Value) {
        let asked = json!({
            "do": "throw_away", "destination": destination, "body": body, "headers": headers,
        });
        self.ask_within(asked, "the SEND").await;
    }

    /// Writes `count` messages `<prefix> <n>` to somebody, `window` at a time, and waits for every
    /// RECEIPT; the `seq` of each, in the order of `n`.
    pub(crate) async fn burst(&self, to: &str, prefix: &str, count: u64, window: u64) -> Vec<u64> {
        self.burst_slowly(to, prefix, count, window, Duration::ZERO)
            .await
    }

    /// The same with a pause after each.
    pub(crate) async fn burst_slowly(
        &self,
        to: &str,
        prefix: &str,
        count: u64,
        window: u64,
        pause: Duration,
    ) -> Vec<u64> {
        let asked = json!({
            "do": "burst", "to": to, "prefix": prefix, "count": count, "window": window,
            "pause_ms": pause.as_millis() as u64, "within_ms": PATIENCE.as_millis() as u64,
        });
        let receipts = self.ask(asked).await;
        let seq = |headers: &Value| headers["seq"].as_str()?.parse().ok();
        let receipts = receipts.as_array().unwrap().iter();
        receipts
            .map(|headers| seq(headers).expect("a RECEIPT has a seq"))
            .collect()
    }

    /// The messages of a queue, once there are at least so many.
    pub(crate) async fn received(&self, destination: &str, count: usize) -> Vec<Message> {
        self.received_within(destination, count, PATIENCE).await
    }

    /// The same with a time of its own.
    pub(crate) async fn received_within(
        &self,
        destination: &str,
        count: usize,
        within: Duration,
    ) -> Vec<Message> {
        let messages = self.look(destination, count, within).await;
        assert!(
            messages.len() >= count,
            "{}: {} of {count} messages on {destination} after {within:?}; the last: {:?}",
            self.name,
            messages.len(),
            messages.last().map(|message| &message.text)
        );
        messages
    }

    /// What is there when so many are there, or this time is over.
    pub(crate) async fn look(
        &self,
        destination: &str,
        count: usize,
        within: Duration,
    ) -> Vec<Message> {
        let asked = json!({
            "do": "messages", "destination": destination, "count": count,
            "within_ms": within.as_millis() as u64,
        });
        let found = self.ask(asked).await;
        let message = |value: &Value| {
            let text = value["body"].as_str().unwrap_or_default().to_owned();
            Message {
                headers: value["headers"].clone(),
                body: serde_json::from_str(&text).unwrap_or(Value::Null),
                text,
            }
        };
        found.as_array().unwrap().iter().map(message).collect()
    }

    /// The direct messages, once there are so many.
    pub(crate) async fn messages(&self, count: usize) -> Vec<Message> {
        self.received(MESSAGES, count).await
    }

    /// How it ended: the last ERROR frame and the close.
    pub(crate) async fn ended(&self) -> (Value, u64) {
        let within_ms = PATIENCE.as_millis() as u64;
        let ended = self
            .ask(json!({"do": "ended", "within_ms": within_ms}))
            .await;
        let code = ended["closes"][0]["code"].as_u64();
        let code = code.unwrap_or_else(|| panic!("{} was not closed: {ended}", self.name));
        (ended["errors"][0].clone(), code)
    }

    /// Says where its next connect goes.
    pub(crate) async fn move_to(&self, url: &str) {
        self.ask(json!({"do": "move", "url": url})).await;
    }

    /// Waits until it has connected so many times by itself, and subscribed again.
    pub(crate) async fn connected_times(&self, times: u64) {
        let within_ms = PATIENCE.as_millis() as u64;
        let asked = json!({"do": "connected", "times": times, "within_ms": within_ms});
        let found = self.ask(asked).await;
        let found = found["times"].as_u64().unwrap_or_default();
        assert!(found >= times, "{}: {found} of {times} connects", self.name);
    }

    /// DISCONNECT in order.
    pub(crate) async fn disconnect(&self) {
        self.ask_within(json!({"do": "disconnect"}), "the RECEIPT of DISCONNECT")
            .await;
    }

    async fn ask(&self, mut request: Value) -> Value {
        request["client"] = json!(self.name);
        let answer = self.js.ask(request).await;
        answer.unwrap_or_else(|words| panic!("{}: {words}", self.name))
    }

    pub(super) async fn ask_within(&self, request: Value, what: &str) -> Value {
        let answered = timeout(PATIENCE, self.ask(request)).await;
        match answered {
            Ok(answer) => answer,
            Err(_) => panic!("{}: {what} did not come within {PATIENCE:?}", self.name),
        }
    }
}
