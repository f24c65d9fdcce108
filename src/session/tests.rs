//! The session as its driver sees it: the table of every phase and command, and what each request
//! is answered with.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;
use crate::model::{Code, Kind, Proof};
use crate::stomp::{Command, Decoder, Limits};

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
    }

    /// Connected and with a subscription to the errors and replies of this session.
    fn listening() -> Self {
        let mut rig = Self::connected(Version::V1_2);
        for queue in ["errors", "replies"] {
            let wire = format!("SUBSCRIBE\nid:{queue}\ndestination:/user/queue/{queue}\n\n\0");
            assert_eq!(rig.receive(&wire), [""; 0]);
        }
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

/// A session in this phase.
fn in_phase(phase: Phase) -> Rig {
    let mut rig = Rig::connected(Version::V1_2);
    match phase {
        Phase::AwaitingConnect => return Rig::new(),
        Phase::AwaitingVerdict => {
            rig = Rig::new();
            rig.receive("CONNECT\naccept-version:1.2\n\n\0");
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
    let answer = |phase: Phase, command: Command| -> Vec<&str> {
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
            (
                Phase::Connected,
                Command::Ack | Command::Nack | Command::Begin | Command::Commit | Command::Abort,
            ) => vec!["ERROR Not supported r", "close 1002 bad_request"],
            (
                Phase::Connected,
                Command::Connected | Command::Message | Command::Receipt | Command::Error,
            ) => vec!["ERROR Bad command r", "close 1002 bad_request"],
        }
    };
    for phase in Phase::ALL {
        for command in Command::ALL.iter().copied() {
            let mut rig = in_phase(phase);
            let wire = format!("{command}\nid:1\ndestination:/topic/a\nreceipt:r\n\n\0");
            assert_eq!(
                rig.receive(&wire),
                answer(phase, command),
                "{phase:?} {command}"
            );
            let is_in_table = table::action(phase, command).is_some();
            assert!(phase.decodes() || !is_in_table, "{phase:?} {command}");
        }
    }
}

#[test]
fn a_connect_is_read_and_answered() {
    let mut rig = Rig::new();
    let wire = "STOMP\naccept-version:1.1,1.2\nhost:h\nlogin:l\npasscode:a\\b:c\nheart-beat:0,0\n\
                visitor-token:new\ndevice-id:d\n\n\0";
    assert_eq!(rig.receive(wire), ["event CONNECT"]);
    let Some(Event::Connect(connect)) = rig.events.pop() else {
        panic!("no CONNECT");
    };
    assert_eq!(connect.version, Version::V1_2);
    assert_eq!(connect.passcode.as_deref(), Some("a\\b:c"));
    assert_eq!(connect.visitor_token.as_deref(), Some("new"));
    assert_eq!(connect.accept_language, None);
    assert!(!format!("{connect:?}").contains("a\\b:c"));
    rig.input(Input::Accepted(accepted()));
    let headers = &rig.frames[0].headers;
    let found: Vec<_> = headers.iter().collect();
    let expected = [
        ("version", "1.2"),
        ("session", "0123456789abcdefghjkmnpqrs"),
        ("server", "stompbox"),
        ("heart-beat", "5000,25000"),
        ("user-name", "user_0123456789abc"),
        ("kind", "anonymous"),
        ("proof", "new"),
        ("node", "n1"),
        ("limits", "{\"body\":65536}"),
        ("visitor-token", "sbv1.x"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_connect_that_cannot_be_agreed_with_ends_the_session() {
    let check = |headers: &str, message: &str| {
        let mut rig = Rig::new();
        let out = rig.receive(&format!("CONNECT\n{headers}\n\0"));
        assert_eq!(
            out,
            [
                format!("ERROR {message}"),
                "close 1002 bad_request".to_owned()
            ]
        );
        rig.frames.remove(0)
    };
    let frame = check("accept-version:2.0\n", "Version mismatch");
    assert_eq!(frame.headers.get("version"), Some("1.0,1.1,1.2"));
    assert_eq!(frame.body, "Supported versions are 1.0,1.1,1.2\n");
    check("accept-version:1.2\nheart-beat:a,b\n", "Bad heart-beat");
    let mut rig = Rig::new();
    rig.receive("CONNECT\n\n\0");
    let refusal = Problem::new(Code::TryLater, "Too many.").retry_after_ms(9);
    let expected = ["ERROR try_later", "close 1013 try_later;retry_after_ms=9"];
    assert_eq!(rig.input(Input::Refused(refusal)), expected);
}

#[test]
fn a_client_of_1_0_may_write_a_space_after_the_colon() {
    let mut rig = Rig::new();
    rig.receive("CONNECT\nlogin: me\npasscode:  x\n\n\0");
    let Some(Event::Connect(connect)) = rig.events.pop() else {
        panic!("no CONNECT");
    };
    assert_eq!(connect.version, Version::V1_0);
    assert_eq!(connect.login.as_deref(), Some("me"));
    assert_eq!(connect.passcode.as_deref(), Some(" x"));
}

#[test]
fn what_comes_before_the_verdict_waits_for_it_and_is_bounded() {
    let mut rig = Rig::new();
    let send = "SEND\ndestination:/topic/x\n\n\0";
    assert_eq!(
        rig.receive(&format!("CONNECT\n\n\0{send}")),
        ["event CONNECT"]
    );
    assert_eq!(rig.receive(send), [""; 0]);
    let out = rig.input(Input::Accepted(accepted()));
    assert_eq!(
        out,
        [
            "CONNECTED",
            "event SEND 1 /topic/x",
            "event SEND 2 /topic/x"
        ]
    );

    let max = Limits::default().head_bytes_unauthenticated_max();
    let too_much = [
        "ERROR Too much before CONNECTED",
        "close 1009 payload_too_large",
    ];
    let mut rig = in_phase(Phase::AwaitingVerdict);
    assert_eq!(rig.receive(&"x".repeat(max)), [""; 0]);
    assert_eq!(rig.receive("x"), too_much);
    let mut rig = Rig::new();
    let out = rig.receive(&format!("CONNECT\n\n\0{}", "x".repeat(max + 1)));
    assert_eq!(out, ["event CONNECT", too_much[0], too_much[1]]);
}

#[test]
fn a_send_keeps_its_own_headers_and_loses_the_protocols() {
    let mut rig = Rig::connected(Version::V1_2);
    let wire = "SEND\ndestination:/app/chat.send\nreceipt:r\ncontent-type:text/plain\nx:1\nx:2\n\
                message-id:evil\nsubscription:s\nuser-name:admin\nsender:admin\nx-sb-y:z\n\
                correlation-id:c\ncontent-length:3\n\na\0b\0";
    assert_eq!(rig.receive(wire), ["event SEND 1 /app/chat.send"]);
    let Some(Event::Send(send)) = rig.events.pop() else {
        panic!("no SEND");
    };
    let found: Vec<(&str, &str)> = send.headers.iter().map(|(n, v)| (&**n, &**v)).collect();
    let expected = [
        ("content-type", "text/plain"),
        ("x", "1"),
        ("correlation-id", "c"),
    ];
    assert_eq!(found, expected);
    assert_eq!(&send.body[..], b"a\0b");
}

#[test]
fn a_wrong_request_is_an_error_with_its_receipt_and_the_end() {
    let check = |wire: &str, message: &str| {
        let mut rig = Rig::connected(Version::V1_2);
        let wire = wire.replacen('\n', "\nreceipt:r\n", 1);
        let out = rig.receive(&format!("{wire}SEND\ndestination:/topic/after\n\n\0"));
        let expected = [
            format!("ERROR {message} r"),
            "close 1002 bad_request".to_owned(),
        ];
        assert_eq!(out, expected, "{wire:?}");
        assert_eq!(rig.receive("SEND\ndestination:/topic/x\n\n\0"), [""; 0]);
    };
    check("SEND\n\n\0", "Missing destination");
    check("SEND\ndestination:nowhere\n\n\0", "Invalid destination");
    check(
        "SEND\ndestination:/topic/x\ntransaction:t\n\n\0",
        "Not supported",
    );
    let long = "x".repeat(256);
    check(
        &format!("SEND\ndestination:/topic/x\ncorrelation-id:{long}\n\n\0"),
        "Header too long",
    );
    check("SUBSCRIBE\ndestination:/topic/x\n\n\0", "Missing id");
    check(
        "SUBSCRIBE\nid:1\ndestination:/topic/x\n\nbody\0",
        "Body not allowed",
    );
    check(
        "SEND\ndestination:/topic/x\ncontent-length:1\n\nab\0",
        "Missing NUL",
    );
}

#[test]
fn octets_that_are_no_frame_end_the_session_with_the_limit_they_broke() {
    let check = |wire: &[u8], message: &str, close: &str| {
        let mut rig = Rig::connected(Version::V1_2);
        let out = rig.input(Input::Received(wire));
        assert_eq!(out, [format!("ERROR {message}"), format!("close {close}")]);
    };
    check(b"HELO\n\n\0", "Bad command", "1002 bad_request");
    check(b"SEND\nx\n\n\0", "Bad header", "1002 bad_request");
    check(b"SEND\nx:\\t\n\n\0", "Undefined escape", "1002 bad_request");
    check(b"SEND\nx:\xff\n\n\0", "Invalid UTF-8", "1002 bad_request");
    check(
        b"SEND\ncontent-length:-1\n\n",
        "Bad content-length",
        "1002 bad_request",
    );
    check(
        b"SEND\ncontent-length:65537\n\n",
        "Body too long",
        "1009 payload_too_large",
    );
    let line = format!("SEND\nx:{}", "x".repeat(9_000));
    check(line.as_bytes(), "Header too long", "1009 payload_too_large");
    let many = format!("SEND\n{}", "x:y\n".repeat(65));
    check(
        many.as_bytes(),
        "Too many headers",
        "1009 payload_too_large",
    );
    let head = format!("SEND\n{}", format!("x:{}\n", "y".repeat(8_000)).repeat(5));
    check(head.as_bytes(), "Head too long", "1009 payload_too_large");
}

#[test]
fn a_receipt_is_sent_when_its_request_is_settled_and_in_order() {
    let mut rig = Rig::connected(Version::V1_1);
    rig.receive("SUBSCRIBE\nid:1\ndestination:/topic/x\nreceipt:a\n\n\0");
    rig.receive("SEND\ndestination:/topic/x\nreceipt:b:\\c\n\n\0");
    rig.receive("UNSUBSCRIBE\nid:1\nreceipt:c\n\n\0");
    assert_eq!(rig.settle(2, ok()), [""; 0]);
    assert_eq!(rig.settle(1, ok()), ["RECEIPT a", "RECEIPT b::"]);
    assert_eq!(rig.settle(1, ok()), [""; 0], "an outcome counts once");
    let headers = vec![("x-rate-remaining", "7".to_owned())];
    let reply = Reply {
        headers,
        result: None,
    };
    assert_eq!(rig.settle(3, Ok(reply)), ["RECEIPT c"]);
    let last = &rig.frames.last().unwrap().headers;
    assert_eq!(last.get("x-rate-remaining"), Some("7"));
}

#[test]
fn a_refused_send_is_told_on_the_errors_of_this_session() {
    let mut rig = Rig::listening();
    rig.receive("SEND\ndestination:/app/chat.send\nreceipt:r1\n\n{}\0");
    rig.receive("SEND\ndestination:/app/chat.send\nreceipt:r2\n\n{}\0");
    let refusal = Problem::new(Code::RateLimited, "Slow down.").retry_after_ms(290);
    assert_eq!(rig.settle(3, Err(refusal)), ["MESSAGE errors"]);
    let body = rig.last_body();
    assert_eq!(body["code"], "rate_limited");
    assert_eq!(body["destination"], "/app/chat.send");
    assert_eq!(body["receipt_id"], "r1");
    assert_eq!(body["retry_after_ms"], 290);
    let first = rig.frames.last().unwrap().headers.clone();
    assert_eq!(first.get("destination"), Some("/user/queue/errors"));
    assert_eq!(rig.settle(4, ok()), ["RECEIPT r2"], "the session goes on");
}

#[test]
fn a_refusal_that_nobody_listens_to_ends_the_session() {
    let mut rig = Rig::connected(Version::V1_2);
    rig.receive("SEND\ndestination:/app/x\nreceipt:r1\n\n\0");
    let out = rig.settle(1, no(Code::UnknownDestination));
    assert_eq!(
        out,
        [
            "ERROR unknown_destination r1",
            "close 1008 unknown_destination"
        ]
    );
    let mut rig = Rig::listening();
    rig.receive("SUBSCRIBE\nid:x\ndestination:/user/bob/queue/messages\nreceipt:r\n\n\0");
    let out = rig.settle(3, no(Code::Forbidden));
    assert_eq!(
        out,
        ["ERROR forbidden r", "close 4403 forbidden"],
        "listening or not"
    );
}

#[test]
fn a_send_with_a_correlation_id_is_answered_on_the_replies() {
    let mut rig = Rig::listening();
    for _ in 0..2 {
        rig.receive("SEND\ndestination:/app/x\ncorrelation-id:c\nreceipt:r\n\n\0");
    }
    let reply = Reply {
        headers: Vec::new(),
        result: Some(json!({"seq": 1})),
    };
    assert_eq!(rig.settle(3, Ok(reply)), ["MESSAGE replies", "RECEIPT r"]);
    let message = &rig.frames[rig.frames.len() - 2];
    let body: Value = serde_json::from_slice(&message.body).unwrap();
    let expected =
        json!({"type": "REPLY", "correlation_id": "c", "ok": true, "result": {"seq": 1}});
    assert_eq!(body, expected);
    assert_eq!(rig.settle(4, no(Code::Conflict)), ["MESSAGE replies"]);
    let body = rig.last_body();
    assert_eq!(
        (&body["ok"], &body["error"]["code"]),
        (&json!(false), &json!("conflict"))
    );

    let mut rig = Rig::connected(Version::V1_2);
    rig.receive("SEND\ndestination:/app/x\ncorrelation-id:c\n\n\0");
    assert_eq!(rig.settle(1, ok()), [""; 0], "nobody listens to the reply");
}

#[test]
fn a_subscription_without_id_is_told_without_one() {
    let mut rig = Rig::connected(Version::V1_0);
    rig.receive("SUBSCRIBE\ndestination:/user/queue/errors\n\n\0");
    rig.receive("SUBSCRIBE\ndestination:/topic/x\n\n\0");
    let Some(Event::Subscribe(subscribe)) = rig.events.pop() else {
        panic!("no SUBSCRIBE");
    };
    assert_eq!((&*subscribe.id, subscribe.named), ("/topic/x", false));
    rig.receive("SEND\ndestination:/app/x\n\n\0");
    assert_eq!(rig.settle(3, no(Code::NotFound)), ["MESSAGE"]);
    assert_eq!(
        rig.receive("UNSUBSCRIBE\ndestination:/user/queue/errors\n\n\0"),
        [""; 0]
    );
    rig.receive("SEND\ndestination:/app/x\n\n\0");
    assert_eq!(
        rig.settle(5, no(Code::NotFound)).len(),
        2,
        "nobody listens any more"
    );
}

#[test]
fn a_disconnect_waits_for_what_was_asked_before_it() {
    let mut rig = Rig::connected(Version::V1_2);
    rig.receive("SEND\ndestination:/topic/x\nreceipt:a\n\n\0SEND\ndestination:/topic/x\n\n\0");
    assert_eq!(rig.receive("DISCONNECT\nreceipt:z\n\n\0"), [""; 0]);
    assert_eq!(rig.receive("SEND\ndestination:/topic/x\n\n\0"), [""; 0]);
    assert_eq!(rig.settle(1, ok()), ["RECEIPT a"]);
    assert_eq!(rig.settle(2, ok()), ["RECEIPT z", "close 1000 bye"]);
    assert!(rig.session.is_closed());
    let mut rig = in_phase(Phase::Disconnecting);
    assert_eq!(rig.sleep(), ["close 1000 bye"], "and not for ever");
}

#[test]
fn a_client_that_does_not_go_on_is_ended() {
    let mut rig = Rig::new();
    let start = rig.now;
    assert_eq!(
        rig.sleep(),
        ["ERROR Connect timeout", "close 1002 bad_request"]
    );
    assert_eq!(rig.now, start + Duration::from_secs(10));

    let mut rig = Rig::connected(Version::V1_2);
    let start = rig.now;
    rig.receive("SEND\ndestination:/topic/x\nreceipt:r\n\nhal");
    rig.now += Duration::from_secs(29);
    rig.receive("f");
    let out = loop {
        let out = rig.sleep();
        if !out.is_empty() {
            break out;
        }
    };
    assert_eq!(out, ["ERROR Frame timeout r", "close 1002 bad_request"]);
    assert_eq!(rig.now, start + Duration::from_secs(30));
}

#[test]
fn hearts_beat_as_agreed() {
    let mut rig = Rig::new();
    rig.connect("accept-version:1.2\nheart-beat:20000,10000\n");
    let start = rig.now;
    assert_eq!(
        rig.sleep(),
        ["beat"],
        "the deadline of the beginning is at ten seconds too"
    );
    assert_eq!(rig.now, start + Duration::from_secs(10));
    rig.now += Duration::from_secs(4);
    assert_eq!(rig.input(Input::Transmitted), [""; 0]);
    assert_eq!(rig.sleep(), [""; 0], "a delivery is a beat");
    assert_eq!(rig.sleep(), ["beat"]);
    assert_eq!(rig.now, start + Duration::from_secs(24));
    rig.receive("\n");
    let heard = rig.now;
    let mut out = rig.sleep();
    while out == ["beat"] || out.is_empty() {
        out = rig.sleep();
    }
    assert_eq!(out, ["close 4408 heart_beat_lost"]);
    assert_eq!(rig.now, heard + Duration::from_secs(51));
}

#[test]
fn an_end_is_told_if_there_is_something_to_tell() {
    let end = |problem, reason| Input::End { problem, reason };
    let mut rig = Rig::connected(Version::V1_2);
    let out = rig.input(end(None, CloseReason::RESTART));
    assert_eq!(out, ["close 1012 draining"]);
    let mut rig = Rig::connected(Version::V1_2);
    let problem = Some(Problem::new(Code::RateLimited, "Too often."));
    let out = rig.input(end(problem, CloseReason::of(4429, "rate_limited")));
    assert_eq!(out, ["ERROR rate_limited", "close 4429 rate_limited"]);
    assert_eq!(rig.input(end(None, CloseReason::RESTART)), [""; 0]);
    assert_eq!(rig.input(Input::Timeout), [""; 0]);
}

#[test]
fn too_many_unanswered_requests_end_the_session() {
    let mut rig = Rig::connected(Version::V1_2);
    let send = "SEND\ndestination:/topic/x\n\n\0";
    rig.receive(&send.repeat(1_023));
    assert!(!rig.session.is_congested());
    rig.receive(send);
    assert!(rig.session.is_congested());
    rig.receive(&send.repeat(receipts::PENDING_MAX - 1_024));
    assert!(!rig.session.is_closed());
    let expected = ["ERROR limit_exceeded", "close 1008 limit_exceeded"];
    assert_eq!(rig.receive(send), expected);
}
