//! What holds for every sequence of inputs of a session.
//!
//! An input is what the client sends, as text that people can read and write, interrupted by what
//! the driver does: octet 0xff (which no STOMP head may hold) and one octet that says what.
//! Shared by the fuzz target and by the test that replays the corpus.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use stompbox::model::{CloseReason, Code, Kind, Problem, Proof, SessionId};
use stompbox::session::{
    Accepted, Event, Input, Need, Output, Reply, Session, SessionConfig, Ticket, TransactionLimits,
    errors, headers,
};
use stompbox::stomp::{Command, Decoder, Limits, Version};

/// Begins what the driver does.
const DRIVER: u8 = 0xff;

/// Checks one input; panics when something does not hold.
pub(crate) fn check(input: &[u8]) {
    let mut driver = Driver::new();
    let mut parts = input.split(|octet| *octet == DRIVER);
    if let Some(first) = parts.next() {
        driver.input(Input::Received(first));
    }
    for part in parts {
        let Some((what, sent)) = part.split_first() else {
            continue;
        };
        driver.act(*what);
        driver.input(Input::Received(sent));
    }
}

struct Driver {
    session: Session,
    now: Instant,
    deadline: Option<Instant>,
    pending: Vec<Ticket>,
    seen: BTreeSet<Ticket>,
    awaits_verdict: bool,
    closed: bool,
    /// In which the session writes.
    version: Version,
}

impl Driver {
    fn new() -> Self {
        let now = Instant::now();
        let mut driver = Self {
            session: Session::new(now, config()),
            now,
            deadline: None,
            pending: Vec::new(),
            seen: BTreeSet::new(),
            awaits_verdict: false,
            closed: false,
            version: Version::V1_2,
        };
        driver.poll();
        driver
    }

    /// `A` accepts, `R` refuses, `S` settles the oldest ticket, `s` the newest, `F` and `f` with a
    /// problem, `T` sleeps to the deadline, `P` pong, `D` delivery, `U` unfinished, `E` end; others
    /// wait a while.
    fn act(&mut self, what: u8) {
        match what {
            b'A' | b'R' if self.awaits_verdict => {
                self.awaits_verdict = false;
                self.input(if what == b'A' {
                    Input::Accepted(accepted())
                } else {
                    Input::Refused(problem())
                });
            }
            b'S' | b'F' if !self.pending.is_empty() => {
                let ticket = self.pending.remove(0);
                self.settle(ticket, what == b'S');
            }
            b's' | b'f' => {
                if let Some(ticket) = self.pending.pop() {
                    self.settle(ticket, what == b's');
                }
            }
            b'T' => {
                if let Some(at) = self.deadline.take() {
                    self.now = self.now.max(at);
                    self.input(Input::Timeout);
                }
            }
            b'P' => self.input(Input::Ponged),
            b'D' => self.input(Input::Transmitted),
            b'U' => self.input(Input::Unfinished),
            b'E' => self.input(Input::End {
                problem: Some(problem()),
                reason: CloseReason::RESTART,
            }),
            other => {
                self.now += Duration::from_millis(u64::from(other));
            }
        }
    }

    fn settle(&mut self, ticket: Ticket, well: bool) {
        let outcome = if well {
            Ok(Reply::default())
        } else {
            Err(problem())
        };
        self.input(Input::Settled { ticket, outcome });
    }

    fn input(&mut self, input: Input<'_>) {
        self.session.handle_input(self.now, input);
        self.poll();
        let limits = config().limits;
        let most = limits.body_bytes_max() + limits.head_bytes_max() + 2;
        assert!(
            self.session.buffered() <= most,
            "no more is kept than the limits allow"
        );
        assert_eq!(self.session.is_closed(), self.closed);
    }

    fn poll(&mut self) {
        while let Some(output) = self.session.poll_output() {
            assert!(!self.closed, "{output:?} after the close");
            match output {
                Output::Transmit(octets) => {
                    assert!(
                        octets == "\n" || octets.ends_with(b"\0"),
                        "a frame or a beat"
                    );
                    if octets != "\n" {
                        check_frame(&octets, self.version);
                    }
                }
                Output::Timeout(at) => self.deadline = Some(at),
                Output::Close(_) => self.closed = true,
                Output::Event(Event::Connect(connect)) => {
                    self.awaits_verdict = true;
                    self.version = connect.version;
                }
                Output::Event(Event::Send(send)) => self.request(send.ticket),
                Output::Event(Event::Subscribe(subscribe)) => self.request(subscribe.ticket),
                Output::Event(Event::Unsubscribe(unsubscribe)) => self.request(unsubscribe.ticket),
                Output::Event(Event::Acknowledge(it)) => self.request(it.ticket),
                Output::Event(Event::Commit(commit)) => {
                    assert!(commit.steps.len() <= config().transactions.frames_max);
                    self.request(commit.ticket);
                }
            }
        }
    }

    fn request(&mut self, ticket: Ticket) {
        assert!(self.seen.insert(ticket), "{ticket:?} is not new");
        self.pending.push(ticket);
    }
}

/// Small limits of transactions, so that inputs of a reasonable size reach them.
fn config() -> SessionConfig {
    SessionConfig {
        transactions: TransactionLimits {
            open_max: 2,
            frames_max: 4,
            bytes_max: 256,
            ..TransactionLimits::default()
        },
        ..SessionConfig::default()
    }
}

/// What is written is one whole frame, made of what the tables list.
fn check_frame(octets: &[u8], version: Version) {
    let roomy = Limits::new(1 << 24, 64, 1 << 20, 1 << 20, 1 << 20).expect("valid limits");
    let mut decoder = Decoder::new(roomy);
    decoder.push(octets);
    let frame = decoder
        .next(version)
        .expect("a frame")
        .expect("a whole one");
    assert_eq!((decoder.next(version), decoder.buffered()), (Ok(None), 0));
    let rows =
        || headers().filter(|row| row.command == frame.command && row.versions.contains(&version));
    for (name, _) in frame.headers.iter() {
        assert!(rows().any(|row| row.header == name), "{name} is listed");
    }
    for row in rows().filter(|row| row.need == Need::Required) {
        assert!(
            frame.headers.get(row.header).is_some(),
            "{} is there",
            row.header
        );
    }
    if frame.command == Command::Error {
        let message = frame.headers.get("message");
        let is_listed = errors().iter().any(|row| Some(&*row.message) == message);
        assert!(is_listed, "{message:?} is listed");
    }
}

fn problem() -> Problem {
    Problem::new(Code::Forbidden, "No.")
}

fn accepted() -> Accepted {
    Accepted {
        session: SessionId(1),
        user_id: "user_a".parse().expect("a user id"),
        kind: Kind::Anonymous,
        proof: Proof::New,
        node: "n1".parse().expect("a node id"),
        limits: "{}".to_owned(),
        headers: Vec::new(),
    }
}
