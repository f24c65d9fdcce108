//! What is to be measured, as it was ordered, with its defaults and its bounds.
//!
//! Not here: doing it. Invariant: an [`Order`] that passed [`Order::checked`] has a bound on its time,
//! its count and its connections, and no field contradicts another.

use std::path::PathBuf;
use std::time::Duration;

use super::body::MARK_BYTES;
use super::{BenchError, Outcome};

/// The longest that a scenario may be told to last.
const DURATION_MAX: Duration = Duration::from_secs(3_600);
/// The most connections: beyond it one process has neither ports nor files.
const CLIENTS_MAX: u32 = 200_000;
/// The most subscriptions of one client: more than a server allows by default.
const SUBSCRIPTIONS_MAX: u32 = 1_000;
/// The largest body.
const BODY_BYTES_MAX: usize = 1 << 20;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// One sends, all hear it.
    Fanout,
    /// Many topics with few members, everybody sends.
    Rooms,
    /// Pairs that write to each other, not stored.
    Direct,
    /// Pairs that write to each other, stored, receipted and echoed.
    Stored,
    /// Connections that do nothing.
    Idle,
    /// Clients that come and go.
    Churn,
    /// All clients are cut off at once and come back.
    Reconnect,
}

impl Scenario {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 7] = [
        Self::Fanout,
        Self::Rooms,
        Self::Direct,
        Self::Stored,
        Self::Idle,
        Self::Churn,
        Self::Reconnect,
    ];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fanout => "fanout",
            Self::Rooms => "rooms",
            Self::Direct => "direct",
            Self::Stored => "stored",
            Self::Idle => "idle",
            Self::Churn => "churn",
            Self::Reconnect => "reconnect",
        }
    }

    fn clients(self) -> u32 {
        match self {
            Self::Fanout => 100,
            Self::Rooms => 1_000,
            Self::Direct | Self::Stored => 1_000,
            Self::Idle => 5_000,
            Self::Churn => 32,
            Self::Reconnect => 1_000,
        }
    }

    fn window(self) -> u32 {
        match self {
            Self::Fanout => 64,
            Self::Stored => 4,
            Self::Rooms | Self::Direct | Self::Idle | Self::Churn | Self::Reconnect => 1,
        }
    }
}

/// What the server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// STOMP 1.2 over WebSocket.
    Stomp,
    /// Socket.IO over its WebSocket transport, with the events `sub` and `pub`.
    SocketIo,
}

impl Dialect {
    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stomp => "stomp",
            Self::SocketIo => "socket.io",
        }
    }

    fn url(self) -> &'static str {
        match self {
            Self::Stomp => "ws://127.0.0.1:8080/ws-chat",
            Self::SocketIo => "ws://127.0.0.1:3000/socket.io/",
        }
    }
}

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Order {
    /// What is done.
    pub scenario: Scenario,
    /// What the server speaks.
    pub dialect: Dialect,
    /// Where the servers are; clients are spread over them.
    pub urls: Vec<String>,
    /// The header `login` of CONNECT.
    pub login: Option<String>,
    /// The header `passcode` of CONNECT.
    pub passcode: Option<String>,
    /// The header `host` of CONNECT.
    pub vhost: String,
    /// What a client subscribes to; none for the scenario's own.
    pub subscribe: Option<String>,
    /// Where a client sends to; none for the scenario's own.
    pub send: Option<String>,
    /// How many connections; none for the scenario's own number.
    pub clients: Option<u32>,
    /// Subscriptions of each client, for reconnect.
    pub subscriptions: u32,
    /// How many topics, for rooms.
    pub rooms: u32,
    /// How many members each, for rooms.
    pub members: u32,
    /// Connections of each user, each on another server.
    pub devices: u32,
    /// Messages a second over all senders; none for as fast as possible.
    pub rate: Option<f64>,
    /// Messages of each sender that may be on their way when there is no rate.
    pub window: Option<u32>,
    /// How long is measured.
    pub duration: Duration,
    /// How long the same is done before that.
    pub warm_up: Duration,
    /// The most messages (arrivals, for churn) that are measured.
    pub messages: Option<u64>,
    /// Octets of a body.
    pub body_bytes: usize,
    /// The header `heart-beat` of CONNECT, in milliseconds.
    pub heart_beat: (u32, u32),
    /// Subscribers that never read.
    pub slow_consumers: u32,
    /// Connections that are opened at the same time.
    pub at_once: u32,
    /// How long nothing may happen while something is awaited.
    pub patience: Duration,
    /// Numbers of connections at which idle measures.
    pub steps: Vec<u32>,
    /// The octets of a message that each idle connection sends, before memory is read once more.
    pub after_bytes: Option<usize>,
    /// Whether a SUBSCRIBE is answered with a RECEIPT.
    pub has_receipts: bool,
    /// Processes of the server; what they started counts too.
    pub pids: Vec<u32>,
    /// Whether a certificate is believed unseen.
    pub is_insecure: bool,
    /// A PEM file with the certificates that are believed.
    pub ca: Option<PathBuf>,
    /// Whether progress is shown.
    pub shows_progress: bool,
}

impl Order {
    /// The order for a scenario, with every default.
    #[must_use]
    pub fn of(scenario: Scenario) -> Self {
        Self {
            scenario,
            dialect: Dialect::Stomp,
            urls: Vec::new(),
            login: None,
            passcode: None,
            vhost: "localhost".to_owned(),
            subscribe: None,
            send: None,
            clients: None,
            subscriptions: 1,
            rooms: 100,
            members: 10,
            devices: 1,
            rate: None,
            window: None,
            duration: Duration::from_secs(10),
            warm_up: Duration::from_secs(1),
            messages: None,
            body_bytes: 128,
            heart_beat: (10_000, 10_000),
            slow_consumers: 0,
            at_once: 64,
            patience: Duration::from_secs(15),
            steps: Vec::new(),
            after_bytes: None,
            has_receipts: true,
            pids: Vec::new(),
            is_insecure: false,
            ca: None,
            shows_progress: false,
        }
    }

    /// The order with what follows from it filled in.
    pub(super) fn checked(mut self) -> Outcome<Self> {
        if self.urls.is_empty() {
            self.urls.push(self.dialect.url().to_owned());
        }
        let clients = match self.scenario {
            Scenario::Rooms => self.rooms.saturating_mul(self.members),
            Scenario::Idle => {
                if self.steps.is_empty() {
                    self.steps
                        .push(self.clients.unwrap_or(Scenario::Idle.clients()));
                }
                self.steps.iter().copied().max().unwrap_or(0)
            }
            Scenario::Fanout
            | Scenario::Direct
            | Scenario::Stored
            | Scenario::Churn
            | Scenario::Reconnect => self.clients.unwrap_or(self.scenario.clients()),
        };
        self.clients = Some(clients);
        self.window = Some(self.window.unwrap_or(self.scenario.window()));
        match self.mistake() {
            Some(words) => Err(BenchError::Order(words)),
            None => Ok(self),
        }
    }

    /// The number of connections that take part, without the slow ones.
    pub(super) fn crowd(&self) -> u32 {
        self.clients.unwrap_or(self.scenario.clients())
    }

    /// Messages of one sender on their way.
    pub(super) fn window_messages(&self) -> u32 {
        self.window.unwrap_or(self.scenario.window())
    }

    fn mistake(&self) -> Option<String> {
        let is_pairs = matches!(self.scenario, Scenario::Direct | Scenario::Stored);
        let group = self.devices.saturating_mul(2);
        let clients = self.crowd();
        let wrong = [
            (clients == 0, "there must be at least one client".to_owned()),
            (
                clients > CLIENTS_MAX,
                format!("at most {CLIENTS_MAX} clients fit into one process"),
            ),
            (
                self.devices == 0,
                "a user has at least one device".to_owned(),
            ),
            (
                is_pairs && !clients.is_multiple_of(group.max(1)),
                format!(
                    "pairs with {} devices each need a multiple of {group} clients",
                    self.devices
                ),
            ),
            (
                !is_pairs && self.devices > 1,
                "--devices is for direct and stored".to_owned(),
            ),
            (
                self.window == Some(0),
                "a window has room for at least one message".to_owned(),
            ),
            (
                self.rate
                    .is_some_and(|rate| !(rate.is_finite() && rate > 0.0 && rate <= 1e6)),
                "a rate is above 0 and at most 1000000 messages a second".to_owned(),
            ),
            (
                self.body_bytes < MARK_BYTES || self.body_bytes > BODY_BYTES_MAX,
                format!(
                    "a body has {MARK_BYTES} to {BODY_BYTES_MAX} octets: sender, number and time are in it"
                ),
            ),
            (
                self.after_bytes
                    .is_some_and(|bytes| !(1..=BODY_BYTES_MAX).contains(&bytes)),
                format!("--after-bytes is 1 to {BODY_BYTES_MAX}"),
            ),
            (
                self.duration > DURATION_MAX
                    || self.warm_up > DURATION_MAX
                    || self.patience > DURATION_MAX,
                "nothing here lasts more than an hour".to_owned(),
            ),
            (
                self.patience < Duration::from_millis(100),
                "the patience is at least 100 ms".to_owned(),
            ),
            (
                !self.steps.is_sorted() || self.steps.contains(&0),
                "--steps rise, such as 5000,17500".to_owned(),
            ),
            (self.at_once == 0, "--at-once is at least 1".to_owned()),
            (
                self.slow_consumers > 0
                    && self.scenario != Scenario::Fanout
                    && self.scenario != Scenario::Rooms,
                "--slow-consumers is for fanout and rooms".to_owned(),
            ),
        ];
        wrong
            .into_iter()
            .find_map(|(is_wrong, words)| is_wrong.then_some(words))
            .or_else(|| self.wrong_subscriptions())
    }

    fn wrong_subscriptions(&self) -> Option<String> {
        if !(1..=SUBSCRIPTIONS_MAX).contains(&self.subscriptions) {
            return Some(format!("--subscriptions is 1 to {SUBSCRIPTIONS_MAX}"));
        }
        let is_ignored = self.subscriptions > 1 && self.scenario != Scenario::Reconnect;
        is_ignored.then(|| "--subscriptions is for reconnect".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_without_anything_is_complete() {
        for scenario in Scenario::ALL {
            let order = Order::of(scenario).checked().unwrap();
            assert!(!order.urls.is_empty());
            assert!(order.crowd() > 0 && order.window_messages() > 0);
        }
    }

    #[test]
    fn a_contradiction_is_named() {
        let check = |change: fn(&mut Order), expected: &str| {
            let mut order = Order::of(Scenario::Stored);
            change(&mut order);
            let said = order.checked().unwrap_err().to_string();
            assert!(said.contains(expected), "{said}");
        };
        check(|order| order.clients = Some(3), "multiple of 2");
        check(|order| order.devices = 0, "at least one device");
        check(|order| order.rate = Some(0.0), "a rate");
        check(|order| order.body_bytes = 3, "a body has");
        check(|order| order.steps = vec![2, 1], "--steps");
        check(|order| order.slow_consumers = 1, "--slow-consumers");
        check(|order| order.clients = Some(10_000_000), "at most");
    }
}
