//! The session as its driver sees it: here the table of every phase and command, beside it what
//! each request is answered with.

mod acknowledging;
mod asking;
mod connecting;
mod ending;
mod keeping;
mod receipting;
mod soft;
mod timing;
mod transacting;

use std::time::{Duration, Instant};

use serde_json::Value;

use super::*;
use crate::model::{Code, Kind, Proof};
use crate::stomp::{Command, Decoder, Headers, Limits};

/// A session under test, with a clock that stands still until it is moved.
struct Rig {
    session: Session,
    now: Instant,
    version: Version,
    /// The deadline that it told last.
    deadline: Option<Instant>,
    /// The events that it gave.
    events: Vec<Event>,
    /// The frames that it wrote.
    frames: Vec<Frame>,
}

impl Rig {
    fn new() -> Self {
        Self::with(SessionConfig::default())
    }

    fn with(config: SessionConfig) -> Self {
        let now = Instant::now();
        let mut rig = Self {
            session: Session::new(now, config),
            now,
            version: Version::V1_2,
            deadline: None,
            events: Vec::new(),
            frames: Vec::new(),
        };
        assert_eq!(rig.poll(), [""; 0]);
        rig
    }

    fn connected(version: Version) -> Self {
        let mut rig = Self::new();
        rig.connect(&format!("accept-version:{version}\n"));
        rig.version = version;
        rig
    }

    fn connect(&mut self, headers: &str) {
        assert_eq!(
            self.receive(&format!("CONNECT\n{headers}\n\0")),
            ["event CONNECT"]
        );
        assert_eq!(self.input(Input::Accepted(accepted())), ["CONNECTED"]);
        self.events.clear();
    }

    /// Connected and with a subscription to the errors and replies of this session.
    fn listening() -> Self {
        let mut rig = Self::connected(Version::V1_2);
        for (ticket, queue) in [(1, "errors"), (2, "replies")] {
            let wire = format!("SUBSCRIBE\nid:{queue}\ndestination:/user/queue/{queue}\n\n\0");
            let event = format!("event SUBSCRIBE {ticket} {queue}");
            assert_eq!(rig.receive(&wire), [event]);
            assert_eq!(rig.settle(ticket, ok()), [""; 0]);
        }
        rig.events.clear();
        rig
    }

    fn receive(&mut self, wire: &str) -> Vec<String> {
        self.input(Input::Received(wire.as_bytes()))
    }

    fn input(&mut self, input: Input<'_>) -> Vec<String> {
        self.session.handle_input(self.now, input);
        self.poll()
    }

    fn settle(&mut self, ticket: u64, outcome: Result<Reply, Problem>) -> Vec<String> {
        let ticket = Ticket(ticket);
        self.input(Input::Settled { ticket, outcome })
    }

    /// Sleeps until the deadline, and says so.
    fn sleep(&mut self) -> Vec<String> {
        self.now = self.deadline.take().unwrap();
        self.input(Input::Timeout)
    }

    /// Sleeps until the session ends, and says how.
    fn sleep_to_the_end(&mut self) -> Vec<String> {
        loop {
            let out = self.sleep();
            if self.session.is_closed() {
                return out;
            }
        }
    }

    /// Every output in short.
    fn poll(&mut self) -> Vec<String> {
        let mut shorts = Vec::new();
        while let Some(output) = self.session.poll_output() {
            shorts.extend(match output {
                Output::Transmit(octets) => Some(self.wrote(&octets)),
                Output::Event(event) => {
                    let short = format!("event {}", in_short(&event));
                    self.events.push(event);
                    Some(short)
                }
                Output::Close(reason) => Some(format!("close {} {}", reason.code, reason.text)),
                Output::Timeout(at) => {
                    self.deadline = Some(at);
                    None
                }
            });
        }
        shorts
    }

    fn wrote(&mut self, octets: &[u8]) -> String {
        if octets == b"\n" {
            return "beat".to_owned();
        }
        let mut decoder = Decoder::new(Limits::default());
        decoder.push(octets);
        let frame = decoder.next(self.version).unwrap().unwrap();
        assert_eq!(decoder.next(self.version), Ok(None), "one whole frame");
        assert_is_listed(&frame, self.version);
        let mut short = frame.command.to_string();
        for name in ["message", "receipt-id", "subscription"] {
            if let Some(value) = frame.headers.get(name) {
                short = format!("{short} {value}");
            }
        }
        self.frames.push(frame);
        short
    }

    fn last_body(&self) -> Value {
        serde_json::from_slice(&self.frames.last().unwrap().body).unwrap()
    }
}

/// Whatever is written is in the tables that the documentation is held against.
fn assert_is_listed(frame: &Frame, version: Version) {
    let greeted = frame.headers.get("version").and_then(Version::parse);
    let version = greeted.unwrap_or(version);
    let row = |name: &str| {
        headers().find(|row| {
            let counts = row.versions.contains(&version);
            (row.command, row.header) == (frame.command, name) && counts
        })
    };
    for (name, _) in frame.headers.iter() {
        assert!(row(name).is_some(), "{} {name} {version}", frame.command);
    }
    for row in headers().filter(|row| row.need == Need::Required) {
        let is_due = row.command == frame.command && row.versions.contains(&version);
        let is_there = frame.headers.get(row.header).is_some();
        assert!(!is_due || is_there, "{} {}", row.command, row.header);
    }
    if frame.command == Command::Error {
        let message = frame.headers.get("message").unwrap();
        let is_listed = errors().iter().any(|row| row.message == message);
        assert!(is_listed, "{message}");
    }
}

/// Headers of a SUBSCRIBE.
pub(super) fn subscribing(pairs: &[(&str, &str)]) -> Headers {
    let frame = Frame::new(Command::Subscribe);
    let with = |frame: Frame, (name, value): &(&str, &str)| frame.header(name, value);
    pairs.iter().fold(frame, with).headers
}

fn in_short(event: &Event) -> String {
    match event {
        Event::Connect(_) => "CONNECT".to_owned(),
        Event::Send(send) => format!("SEND {} {}", send.ticket.0, send.destination),
        Event::Subscribe(subscribe) => {
            format!("SUBSCRIBE {} {}", subscribe.ticket.0, subscribe.id)
        }
        Event::Unsubscribe(unsubscribe) => {
            format!("UNSUBSCRIBE {} {}", unsubscribe.ticket.0, unsubscribe.id)
        }
        Event::Acknowledge(acknowledge) => format!("ACK {}", acknowledge.ticket.0),
        Event::Commit(commit) => format!("COMMIT {}", commit.ticket.0),
    }
}

fn accepted() -> Accepted {
    Accepted {
        session: "0123456789abcdefghjkmnpqrs".parse().unwrap(),
        user_id: "user_0123456789abc".parse().unwrap(),
        kind: Kind::Anonymous,
        proof: Proof::New,
        node: "n1".parse().unwrap(),
        limits: "{\"body\":65536}".to_owned(),
        headers: vec![("visitor-token", "sbv1.x".to_owned())],
    }
}

fn ok() -> Result<Reply, Problem> {
    Ok(Reply::default())
}

fn no(code: Code) -> Result<Reply, Problem> {
    Err(Problem::new(code, "No."))
}

/// A session in this phase, of a client of 1.2.
fn in_phase(phase: Phase) -> Rig {
    in_phase_of(phase, Version::V1_2)
}

/// A session in this phase.
fn in_phase_of(phase: Phase, version: Version) -> Rig {
    let mut rig = Rig::connected(version);
    match phase {
        Phase::AwaitingConnect => return Rig::new(),
        Phase::AwaitingVerdict => {
            rig = Rig::new();
            rig.receive(&format!("CONNECT\naccept-version:{version}\n\n\0"));
        }
        Phase::Connected => {}
        Phase::Disconnecting => {
            rig.receive("SEND\ndestination:/topic/x\n\n\0DISCONNECT\n\n\0");
        }
        Phase::Closed => {
            rig.receive("DISCONNECT\n\n\0");
        }
    }
    assert_eq!(rig.session.phase, phase);
    rig
}

#[test]
fn every_command_in_every_phase_is_answered_as_the_table_says() {
    let answer = |phase: Phase, version: Version, command: Command| -> Vec<&str> {
        match (phase, command) {
            (Phase::AwaitingConnect, Command::Connect | Command::Stomp) => vec!["event CONNECT"],
            (Phase::AwaitingConnect, _) => vec!["ERROR Not connected r", "close 1002 bad_request"],
            (Phase::AwaitingVerdict | Phase::Disconnecting | Phase::Closed, _) => vec![],
            (Phase::Connected, Command::Send) => vec!["event SEND 1 /topic/a"],
            (Phase::Connected, Command::Subscribe) => vec!["event SUBSCRIBE 1 1"],
            (Phase::Connected, Command::Unsubscribe) => {
                vec!["ERROR Subscription not found r", "close 1002 bad_request"]
            }
            (Phase::Connected, Command::Disconnect) => vec!["RECEIPT r", "close 1000 bye"],
            (Phase::Connected, Command::Connect | Command::Stomp) => {
                vec!["ERROR Already connected r", "close 1002 bad_request"]
            }
            (Phase::Connected, Command::Nack) if version == Version::V1_0 => {
                vec!["ERROR Bad command r", "close 1002 bad_request"]
            }
            (Phase::Connected, Command::Ack | Command::Nack) => vec!["event ACK 1"],
            (Phase::Connected, Command::Begin | Command::Commit | Command::Abort) => {
                vec!["ERROR Missing transaction r", "close 1002 bad_request"]
            }
            (
                Phase::Connected,
                Command::Connected | Command::Message | Command::Receipt | Command::Error,
            ) => vec!["ERROR Bad command r", "close 1002 bad_request"],
        }
    };
    for (phase, version) in Phase::ALL
        .into_iter()
        .flat_map(|phase| Version::ALL.map(|version| (phase, version)))
    {
        for command in Command::ALL.iter().copied() {
            let mut rig = in_phase_of(phase, version);
            let wire = format!(
                "{command}\nid:1\ndestination:/topic/a\nmessage-id:m\nsubscription:1\n\
                 receipt:r\n\n\0"
            );
            assert_eq!(
                rig.receive(&wire),
                answer(phase, version, command),
                "{phase:?} {version} {command}"
            );
            let is_in_table = table::action(phase, version, command).is_some();
            assert!(phase.decodes() || !is_in_table, "{phase:?} {command}");
        }
    }
}

#[test]
fn an_idle_session_pays_for_nothing_that_it_does_not_use() {
    let size = size_of::<Session>();
    assert!(size <= 672, "{size} octets");
}

#[test]
fn nothing_that_passes_shows_a_secret_in_debug() {
    let connect = b"CONNECT\npasscode:secret\nvisitor-token:secret\n\n\0";
    let mut accepted = accepted();
    accepted.headers = vec![("visitor-token", "secret".to_owned())];
    let send = b"SEND\ndestination:/app/x\nx:secret\n\nsecret\0SEND\nsecret";
    let mut session = Session::new(Instant::now(), SessionConfig::default());
    let mut shown = String::new();
    for input in [
        Input::Received(connect),
        Input::Accepted(accepted),
        Input::Received(send),
    ] {
        shown += &format!("{input:?}");
        session.handle_input(Instant::now(), input);
        shown += &format!("{session:?} {:?}", session.decoder);
        while let Some(output) = session.poll_output() {
            shown += &format!("{output:?}");
        }
    }
    assert!(shown.contains("Send") && shown.contains("Accepted"));
    assert!(!shown.contains("secret"), "{shown}");
    let octets = format!("{:?}", b"secret");
    assert!(!shown.contains(octets.trim_matches(['[', ']'])), "{shown}");
}
