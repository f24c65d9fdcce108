//! One case of the conformance table, and how the cases of a section are run and reported.
//!
//! Not here: the cases. Invariant: a case names its own destinations, so that cases on one node do
//! not disturb each other; a case that fails says where, what it is about, and what was said.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::{self, StreamExt as _};
use tokio::time::timeout;

use crate::support::cluster::HIGH_LIMITS;
use crate::support::node::Node;
use crate::support::ports;
use crate::support::wire::{End, Frame, Place, Transcript, Transport, Wire};

/// How many cases run at once: enough to hide waiting, few enough for a busy machine.
const AT_ONCE: usize = 12;
/// How long one case may take.
const CASE_TIMEOUT: Duration = Duration::from_secs(60);

/// A version of STOMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    V10,
    V11,
    V12,
}
use Version::{V10, V11, V12};

impl Version {
    /// As it is written.
    pub(crate) fn text(self) -> &'static str {
        match self {
            V10 => "1.0",
            V11 => "1.1",
            V12 => "1.2",
        }
    }
}

/// For what a sentence holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct On {
    pub(crate) versions: &'static [Version],
    pub(crate) transports: &'static [Transport],
}

impl On {
    /// The same, over these transports only.
    pub(crate) const fn over(self, transports: &'static [Transport]) -> Self {
        Self { transports, ..self }
    }
}

/// Every transport.
const EVERYWHERE: &[Transport] = &[
    Transport::WebSocket,
    Transport::SockJs,
    Transport::Xhr,
    Transport::Tcp,
];
/// Transports that carry octets which are no text.
pub(crate) const BINARY: &[Transport] = &[Transport::WebSocket, Transport::Tcp];
/// Transports whose clients give signs of life when they are asked.
pub(crate) const WITH_PINGS: &[Transport] =
    &[Transport::WebSocket, Transport::SockJs, Transport::Xhr];
/// Transports on which nothing excuses a missing beat. Over requests, asking is a sign of life.
pub(crate) const PUNCTUAL: &[Transport] =
    &[Transport::WebSocket, Transport::SockJs, Transport::Tcp];
/// The plain WebSocket.
pub(crate) const WEBSOCKET: &[Transport] = &[Transport::WebSocket];
/// SockJS.
pub(crate) const SOCKJS: &[Transport] = &[Transport::SockJs];
/// TCP.
pub(crate) const TCP: &[Transport] = &[Transport::Tcp];

const fn on(versions: &'static [Version]) -> On {
    On {
        versions,
        transports: EVERYWHERE,
    }
}
/// Every version.
pub(crate) const ALL: On = on(&[V10, V11, V12]);
/// 1.0.
pub(crate) const ONLY_10: On = on(&[V10]);
/// 1.1.
pub(crate) const ONLY_11: On = on(&[V11]);
/// 1.2.
pub(crate) const ONLY_12: On = on(&[V12]);
/// 1.0 and 1.1.
pub(crate) const UP_TO_11: On = on(&[V10, V11]);
/// 1.1 and 1.2.
pub(crate) const FROM_11: On = on(&[V11, V12]);

/// A row of the table.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) id: &'static str,
    pub(crate) on: On,
    pub(crate) sentence: &'static str,
    pub(crate) run: fn(Case) -> BoxFuture<'static, ()>,
}

/// Writes a table of cases: `"id" ON, "Sentence." => |case| { ... }`.
macro_rules! cases {
    ($($id:literal $on:expr, $sentence:literal => |$case:ident| $body:block)*) => {
        /// The cases of this section.
        pub(crate) const CASES: &[$crate::conformance_stomp::case::Row] = &[$(
            $crate::conformance_stomp::case::Row {
                id: $id,
                on: $on,
                sentence: $sentence,
                run: |$case| Box::pin(async move $body),
            },
        )*];
    };
}

/// Makes the tests of a section, one per transport, on nodes with this environment.
macro_rules! over_every_transport {
    ($environment:expr) => {
        use $crate::conformance_stomp::case::conform;
        use $crate::support::wire::Transport;

        #[tokio::test]
        async fn holds_over_websocket() {
            conform(CASES, $environment, Transport::WebSocket).await;
        }

        #[tokio::test]
        async fn holds_over_sockjs() {
            conform(CASES, $environment, Transport::SockJs).await;
        }

        #[tokio::test]
        async fn holds_over_xhr() {
            conform(CASES, $environment, Transport::Xhr).await;
        }

        #[tokio::test]
        async fn holds_over_tcp() {
            conform(CASES, $environment, Transport::Tcp).await;
        }
    };
}
pub(crate) use {cases, over_every_transport};

/// What a case has to work with.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// The version that it is about.
    pub(crate) version: Version,
    /// What it runs over.
    pub(crate) transport: Transport,
    /// Where the node is.
    pub(crate) place: Place,
    /// What is unlike in every case: part of its destinations.
    pub(crate) mark: u64,
    /// What was said.
    pub(crate) transcript: Transcript,
}

static MARKS: AtomicU64 = AtomicU64::new(1);

impl Case {
    /// A topic of this case.
    pub(crate) fn topic(&self) -> String {
        format!("/topic/case-{}", self.mark)
    }

    /// A queue of this case.
    pub(crate) fn queue(&self) -> String {
        format!("/queue/case-{}", self.mark)
    }

    /// The name in these.
    pub(crate) fn name(&self) -> String {
        format!("case-{}", self.mark)
    }

    /// A connection on which nothing was said.
    pub(crate) async fn open(&self) -> Wire {
        Wire::open(self.place, self.transport, &self.transcript).await
    }

    /// A session of the version of the case.
    pub(crate) async fn connect(&self) -> Wire {
        self.connect_as(self.version).await
    }

    /// A session of this version.
    pub(crate) async fn connect_as(&self, version: Version) -> Wire {
        self.connect_with(version, "").await.0
    }

    /// A session with more lines in its CONNECT, and its CONNECTED.
    pub(crate) async fn connect_with(&self, version: Version, more: &str) -> (Wire, Frame) {
        let mut wire = self.open().await;
        wire.send(greeting(version, more)).await;
        let connected = wire.expect("CONNECTED").await;
        (wire, connected)
    }

    /// A session that is subscribed to the topic with the id `s`.
    pub(crate) async fn subscribed(&self, version: Version) -> Wire {
        let mut wire = self.connect_as(version).await;
        wire.settled(subscribe("s", &self.topic(), "")).await;
        wire
    }

    /// A session sends these octets; an ERROR with this `message` comes, then the end with this
    /// code, and nothing else.
    pub(crate) async fn refused(
        &self,
        octets: impl AsRef<[u8]>,
        message: &str,
        code: u16,
    ) -> Frame {
        let wire = self.connect().await;
        self.refuses(wire, octets, message, code).await
    }

    /// The same in a session that there is.
    pub(crate) async fn refuses(
        &self,
        mut wire: Wire,
        octets: impl AsRef<[u8]>,
        message: &str,
        code: u16,
    ) -> Frame {
        wire.send(octets).await;
        self.fails(wire, message, code).await
    }

    /// An ERROR with this `message` comes (`a|b` allows either, nothing allows any), then the end
    /// with this code, and nothing else. ERROR has a type and a body of as many octets as it says.
    pub(crate) async fn fails(&self, mut wire: Wire, message: &str, code: u16) -> Frame {
        let error = wire.expect("ERROR").await;
        let said = error.header("message");
        let is_expected = message.is_empty() || message.split('|').any(|one| one == said);
        assert!(is_expected, "message is {said:?}, not {message:?}");
        assert!(error.header("content-type").contains('/'), "{error:?}");
        assert!(!error.body.is_empty(), "no body explains: {error:?}");
        self.ends(wire, code).await;
        error
    }

    /// The end comes, and nothing else: with this code, over TCP with FIN.
    pub(crate) async fn ends(&self, mut wire: Wire, code: u16) -> End {
        let end = wire.expect_end().await;
        assert!(end.orderly, "the line was cut: {end:?}");
        let expected = (self.transport != Transport::Tcp).then_some(code);
        assert_eq!(end.code, expected, "{end:?}");
        end
    }
}

/// A CONNECT of this version with more lines, of a new visitor who sends no beats.
pub(crate) fn greeting(version: Version, more: &str) -> String {
    let said = match version {
        V10 => String::new(),
        V11 | V12 => format!("accept-version:{}\nhost:stompbox\n", version.text()),
    };
    format!("CONNECT\n{said}visitor-token:new\n{more}\n\0")
}

/// A SUBSCRIBE with more lines.
pub(crate) fn subscribe(id: &str, destination: &str, more: &str) -> String {
    format!("SUBSCRIBE\nid:{id}\ndestination:{destination}\n{more}\n\0")
}

/// A SEND with more lines.
pub(crate) fn send(destination: &str, more: &str, body: &str) -> String {
    format!("SEND\ndestination:{destination}\n{more}\n{body}\0")
}

/// An ACK or NACK of this MESSAGE, as the version wants it, with more lines.
pub(crate) fn verdict(command: &str, version: Version, message: &Frame, more: &str) -> String {
    let id = message.header("message-id");
    let named = match version {
        V10 => format!("message-id:{id}\n"),
        V11 => format!(
            "message-id:{id}\nsubscription:{}\n",
            message.header("subscription")
        ),
        V12 => format!("id:{}\n", message.header("ack")),
    };
    format!("{command}\n{named}{more}\n\0")
}

/// An ACK of this MESSAGE.
pub(crate) fn ack(version: Version, message: &Frame) -> String {
    verdict("ACK", version, message, "")
}

/// A NACK of this MESSAGE.
pub(crate) fn nack(version: Version, message: &Frame) -> String {
    verdict("NACK", version, message, "")
}

/// Settings with which cases of one address do not meet limits that they are not about.
const ROOMY: [(&str, &str); 5] = [
    ("ANON_RECOGNITION", "token"),
    ("CONNECT_PER_NET", "0"),
    ("CLIENT_FRAMES_PER_10S", "100000"),
    ("LOG_LEVEL", "warn"),
    ("DESTINATION_RULES", ""),
];

/// Starts a node for these cases.
async fn start(environment: &[(&str, &str)]) -> (Node, Place) {
    let port = ports::free();
    let tcp = port.to_string();
    let mut all: Vec<(&str, &str)> = vec![("STOMP_TCP_PORT", &tcp)];
    for (name, value) in HIGH_LIMITS.iter().chain(&ROOMY).chain(environment) {
        all.retain(|(known, _)| known != name);
        all.push((name, value));
    }
    all.retain(|(_, value)| !value.is_empty());
    let node = Node::start("node", &all).await;
    let place = Place {
        http: node.address(),
        tcp: ([127, 0, 0, 1], port).into(),
    };
    (node, place)
}

/// Runs the cases that are about this transport, each on every version that it names.
pub(crate) async fn conform(rows: &[Row], environment: &[(&str, &str)], transport: Transport) {
    let (_node, place) = start(environment).await;
    let only = std::env::var("CONFORMANCE_ONLY").unwrap_or_default();
    let rows = rows.iter().filter(|row| row.id.contains(&only));
    let mut runs = Vec::new();
    for row in rows.filter(|row| row.on.transports.contains(&transport)) {
        for version in row.on.versions {
            let case = Case {
                version: *version,
                transport,
                place,
                mark: MARKS.fetch_add(1, Ordering::Relaxed),
                transcript: Transcript::default(),
            };
            runs.push(run(row, case));
        }
    }
    let count = runs.len();
    let outcomes: Vec<_> = stream::iter(runs).buffer_unordered(AT_ONCE).collect().await;
    let failures: Vec<String> = outcomes.into_iter().flatten().collect();
    let failed = failures.len();
    assert!(
        failures.is_empty(),
        "{failed} of {count} runs failed:\n{}",
        failures.join("\n")
    );
}

/// Runs one case; what is to be reported when it fails.
async fn run(row: &Row, case: Case) -> Option<String> {
    let (version, transport) = (case.version.text(), case.transport);
    let transcript = case.transcript.clone();
    let running = AssertUnwindSafe((row.run)(case)).catch_unwind();
    let why = match timeout(CASE_TIMEOUT, running).await {
        Ok(Ok(())) => return None,
        Ok(Err(panic)) => words(panic.as_ref()),
        Err(_) => format!("it did not end within {CASE_TIMEOUT:?}"),
    };
    Some(format!(
        "FAILED {} @{version} over {transport:?}: {}\n    {why}\n      {}",
        row.id,
        row.sentence,
        transcript.text(),
    ))
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()))
        .unwrap_or_default()
}
