//! What holds for every sequence of inputs: the session never panics, says nothing after its
//! close, gives every ticket once, and keeps no more than its limits.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::model::{Code, Kind, Proof};
use crate::stomp::Limits;

/// What the driver does next.
#[derive(Clone, Debug)]
enum Step {
    Received(Vec<u8>),
    Verdict(bool),
    /// The outcome of the pending ticket at this place.
    Settled(prop::sample::Index, bool),
    Slept(u64),
    Ponged,
    Transmitted,
    Unfinished,
    End(bool),
}

const LINES: &[&str] = &[
    "id:1\n",
    "id:2\n",
    "destination:/topic/x\n",
    "destination:/user/queue/errors\n",
    "destination:/user/queue/replies\n",
    "destination:/app/x\n",
    "receipt:r\n",
    "correlation-id:c\n",
    "content-length:3\n",
    "heart-beat:1000,1000\n",
    "accept-version:1.1\n",
    "accept-version:1.0,1.2\n",
    "ack:auto\n",
    "ack:client\n",
    "x:\\c\n",
    "transaction:t\n",
    "transaction:t\n",
    "transaction:u\n",
    "message-id:own-1\n",
    "subscription:1\n",
    "requeue:false\n",
    "reply-to:/temp-queue/a\n",
    "destination:/queue/x\n",
    "destination:/temp-queue/a\n",
    "prefetch-count:3\n",
    "x-max-length:3\n",
];

const COMMANDS: &[&str] = &[
    "CONNECT",
    "STOMP",
    "SEND",
    "SEND",
    "SEND",
    "SUBSCRIBE",
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "ACK",
    "NACK",
    "BEGIN",
    "BEGIN",
    "COMMIT",
    "ABORT",
    "DISCONNECT",
    "MESSAGE",
    "X",
];

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let lines = prop::collection::vec(prop::sample::select(LINES), 0..6);
    let command = prop::sample::select(COMMANDS);
    let body = prop::sample::select(&["", "", "abc", "a\0b"][..]);
    let end = prop::sample::select(&["\0", "\0", "\0\n", ""][..]);
    (command, lines, body, end).prop_map(|(command, lines, body, end)| {
        format!("{command}\n{}\n{body}{end}", lines.concat()).into_bytes()
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    let octets = prop::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        12 => any_frame().prop_map(Step::Received),
        1 => octets.prop_map(Step::Received),
        1 => (0..70_000_usize).prop_map(|count| Step::Received(vec![b'\n'; count])),
        1 => (0..70_000_usize).prop_map(|count| {
            Step::Received([b"SEND\ndestination:/topic/x\n\n".as_slice(), &vec![b'x'; count]].concat())
        }),
        4 => prop::bool::weighted(0.9).prop_map(Step::Verdict),
        6 => (any::<prop::sample::Index>(), prop::bool::weighted(0.8))
            .prop_map(|(index, well)| Step::Settled(index, well)),
        2 => (0..40_000_u64).prop_map(Step::Slept),
        1 => Just(Step::Ponged),
        1 => Just(Step::Transmitted),
        1 => Just(Step::Unfinished),
        1 => prop::bool::weighted(0.5).prop_map(Step::End),
    ]
}

fn accepted() -> Accepted {
    Accepted {
        session: crate::model::SessionId(1),
        user_id: "user_a".parse().unwrap(),
        kind: Kind::Anonymous,
        proof: Proof::New,
        node: "n1".parse().unwrap(),
        limits: "{}".to_owned(),
        headers: Vec::new(),
    }
}

/// The driver: it keeps the contract, and checks that the session does.
struct Driver {
    session: Session,
    now: Instant,
    deadline: Option<Instant>,
    pending: Vec<Ticket>,
    seen: BTreeSet<Ticket>,
    awaits_verdict: bool,
    closed: bool,
}

impl Driver {
    fn new(config: SessionConfig) -> Self {
        let now = Instant::now();
        let mut driver = Self {
            session: Session::new(now, config),
            now,
            deadline: None,
            pending: Vec::new(),
            seen: BTreeSet::new(),
            awaits_verdict: false,
            closed: false,
        };
        driver.poll();
        driver
    }

    fn step(&mut self, step: &Step) {
        let problem = || Problem::new(Code::Forbidden, "No.");
        match step {
            Step::Received(octets) => self.input(Input::Received(octets)),
            Step::Verdict(well) if self.awaits_verdict => {
                self.awaits_verdict = false;
                self.input(if *well {
                    Input::Accepted(accepted())
                } else {
                    Input::Refused(problem())
                });
            }
            Step::Settled(index, well) if !self.pending.is_empty() => {
                let ticket = self.pending.remove(index.index(self.pending.len()));
                let outcome = if *well {
                    Ok(Reply::default())
                } else {
                    Err(problem())
                };
                self.input(Input::Settled { ticket, outcome });
            }
            Step::Slept(millis) => {
                self.now += Duration::from_millis(*millis);
                while self.deadline.is_some_and(|at| at <= self.now) && !self.closed {
                    self.deadline = None;
                    self.input(Input::Timeout);
                }
            }
            Step::Ponged => self.input(Input::Ponged),
            Step::Transmitted => self.input(Input::Transmitted),
            Step::Unfinished => self.input(Input::Unfinished),
            Step::End(told) => self.input(Input::End {
                problem: told.then(problem),
                reason: CloseReason::RESTART,
            }),
            Step::Verdict(_) | Step::Settled(..) => {}
        }
    }

    fn input(&mut self, input: Input<'_>) {
        self.session.handle_input(self.now, input);
        self.poll();
        let limits = Limits::default();
        let most = limits.body_bytes_max() + limits.head_bytes_max() + 2;
        assert!(
            self.session.buffered() <= most,
            "{}",
            self.session.buffered()
        );
        assert_eq!(self.session.is_closed(), self.closed);
        let kept = self.session.transactions.as_ref();
        assert!(kept.is_none_or(|kept| kept.is_within(self.session.config.transactions)));
        self.session.receipts.check_bytes();
        self.session.subscriptions.check_bytes();
        let waits = matches!(
            self.session.phase,
            Phase::AwaitingConnect | Phase::Disconnecting
        );
        assert!(!waits || self.deadline.is_some(), "it would wait for ever");
    }

    fn poll(&mut self) {
        while let Some(output) = self.session.poll_output() {
            assert!(!self.closed, "{output:?} after the close");
            let ticket = match output {
                Output::Transmit(octets) => {
                    assert!(octets == "\n" || octets.ends_with(b"\0"));
                    continue;
                }
                Output::Timeout(at) => {
                    self.deadline = Some(at);
                    continue;
                }
                Output::Close(_) => {
                    self.closed = true;
                    continue;
                }
                Output::Event(Event::Connect(_)) => {
                    assert!(!self.awaits_verdict);
                    self.awaits_verdict = true;
                    continue;
                }
                Output::Event(Event::Send(send)) => send.ticket,
                Output::Event(Event::Subscribe(subscribe)) => subscribe.ticket,
                Output::Event(Event::Unsubscribe(unsubscribe)) => unsubscribe.ticket,
                Output::Event(Event::Acknowledge(acknowledge)) => acknowledge.ticket,
                Output::Event(Event::Commit(commit)) => commit.ticket,
            };
            assert!(self.seen.insert(ticket), "{ticket:?} is not new");
            self.pending.push(ticket);
        }
    }
}

proptest! {
    #[test]
    fn every_sequence_of_inputs_is_survived(
        steps in prop::collection::vec(any_step(), 0..40),
        connects in prop::bool::weighted(0.8),
        version in prop::sample::select(&["1.0", "1.1", "1.2"][..]),
        soft in any::<bool>(),
    ) {
        let mut driver = Driver::new(SessionConfig {
            transactions: TransactionLimits { open_max: 1, frames_max: 2, bytes_max: 9, ..TransactionLimits::default() },
            ..SessionConfig::default()
        });
        if connects {
            let connect = format!("CONNECT\naccept-version:{version}\nx-soft-errors:{soft}\n\n\0");
            driver.step(&Step::Received(connect.into_bytes()));
            driver.step(&Step::Verdict(true));
        }
        for step in &steps {
            driver.step(step);
        }
    }
}
