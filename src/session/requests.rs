//! What each frame of the client asks for, and how it is answered.
//!
//! Not here: when it may come (`table`), what it must say (`connect`, `send`, `subscriptions`).
//! Invariant: a request that becomes an event has a ticket that no other had, and is either
//! answered when that ticket is settled, or the session ends.

use std::time::Instant;

use super::contract::{Accepted, Event, Output, Reply, Send, Subscribe, Ticket, Unsubscribe};
use super::heart_beat::HeartBeat;
use super::problems::{self, Fatal};
use super::receipts::{PENDING_MAX, Request, receipt};
use super::table::{Action, Phase, action};
use super::{DISCONNECT_TIMEOUT, Session, connect, send};
use crate::model::{AckMode, CloseReason, Destination, Problem, QueueArguments, UserQueue};
use crate::stomp::{Command, Decoder, Frame, Headers, Message, encode};

/// The longest `receipt` and `correlation-id`, in octets: they are kept until they are answered.
const RECEIPT_BYTES_MAX: usize = 255;

impl Session {
    /// Does what a frame asks for, or ends the session.
    pub(super) fn take_frame(&mut self, now: Instant, frame: Frame) {
        let Some(action) = action(self.phase, frame.command) else {
            let fatal = unexpected(self.phase, frame.command);
            return self.fail(now, &fatal.caused_by(&frame.headers));
        };
        // Only what a failed frame leaves behind is needed of its headers, and only then.
        let cause = frame.headers.get("receipt").map(Box::from);
        if let Err(fatal) = self.act(now, action, frame) {
            self.fail(now, &fatal.of_receipt(cause));
        }
    }

    fn act(&mut self, now: Instant, action: Action, frame: Frame) -> Result<(), Fatal> {
        match action {
            Action::Connect => self.connect(&frame.headers),
            Action::Send => self.send(frame),
            Action::Subscribe => self.subscribe(&frame.headers),
            Action::Unsubscribe => self.unsubscribe(&frame.headers),
            Action::Disconnect => self.disconnect(now, &frame.headers),
            Action::Refuse => Err(unsupported(frame.command)),
        }
    }

    fn connect(&mut self, headers: &Headers) -> Result<(), Fatal> {
        let (connect, agreed) = connect::read(headers, &self.config)?;
        self.version = connect.version;
        self.agreed = agreed;
        self.phase = Phase::AwaitingVerdict;
        self.phase_ends = None;
        self.outputs
            .push_back(Output::Event(Event::Connect(connect)));
        Ok(())
    }

    /// The verdict is yes.
    pub(super) fn accept(&mut self, now: Instant, accepted: &Accepted) {
        if self.phase != Phase::AwaitingVerdict {
            return;
        }
        self.phase = Phase::Connected;
        let ponged = self.heart_beat.last_pong();
        self.heart_beat = HeartBeat::new(now, self.agreed);
        if let Some(at) = ponged {
            self.heart_beat.ponged(at);
        }
        self.decoder.set_authenticated();
        let frame = connect::connected(accepted, self.version, &self.config);
        self.transmit_frame(now, &frame);
        // What came meanwhile.
        self.decode(now);
    }

    /// The verdict is no.
    pub(super) fn refuse(&mut self, now: Instant, problem: Problem) {
        if self.phase == Phase::AwaitingVerdict {
            self.fail(now, &problem.into());
        }
    }

    fn send(&mut self, frame: Frame) -> Result<(), Fatal> {
        let destination = send::destination(&frame.headers)?;
        if frame.headers.get("transaction").is_some() {
            let body = "Transactions are not supported.\n";
            return Err(Fatal::protocol("Not supported", body));
        }
        let correlation_id = short(&frame.headers, "correlation-id")?;
        let ticket = self.open(Command::Send, &frame.headers, &destination, correlation_id)?;
        self.outputs.push_back(Output::Event(Event::Send(Send {
            ticket,
            destination,
            headers: frame.headers.into_firsts(send::may_travel),
            body: frame.body,
        })));
        Ok(())
    }

    fn subscribe(&mut self, headers: &Headers) -> Result<(), Fatal> {
        let added = self.subscriptions.add(headers, self.version)?;
        let ticket = self.open(Command::Subscribe, headers, &added.destination, None)?;
        self.outputs
            .push_back(Output::Event(Event::Subscribe(Subscribe {
                ticket,
                id: added.id,
                named: added.named,
                written: added.destination.to_string().into(),
                destination: added.destination,
                version: self.version,
                ack: AckMode::Auto,
                prefetch: self.config.prefetch_default,
                arguments: QueueArguments::default(),
            })));
        Ok(())
    }

    fn unsubscribe(&mut self, headers: &Headers) -> Result<(), Fatal> {
        let removed = self.subscriptions.remove(headers, self.version)?;
        let ticket = self.open(Command::Unsubscribe, headers, &removed.destination, None)?;
        self.outputs
            .push_back(Output::Event(Event::Unsubscribe(Unsubscribe {
                ticket,
                id: removed.id,
                destination: removed.destination,
            })));
        Ok(())
    }

    fn disconnect(&mut self, now: Instant, headers: &Headers) -> Result<(), Fatal> {
        self.last_receipt = short(headers, "receipt")?;
        self.phase = Phase::Disconnecting;
        self.phase_ends = Some(now + DISCONNECT_TIMEOUT);
        // What follows is ignored.
        self.decoder = Decoder::new(self.config.limits);
        self.finish_disconnect(now);
        Ok(())
    }

    /// The end of an orderly session, once everything that was asked is settled.
    fn finish_disconnect(&mut self, now: Instant) {
        if self.phase != Phase::Disconnecting || !self.receipts.is_empty() {
            return;
        }
        if let Some(id) = self.last_receipt.take() {
            self.transmit_frame(now, &receipt(&id, &[]));
        }
        self.close(CloseReason::NORMAL);
    }

    /// Notes a request under a new ticket.
    fn open(
        &mut self,
        command: Command,
        headers: &Headers,
        destination: &Destination,
        correlation_id: Option<Box<str>>,
    ) -> Result<Ticket, Fatal> {
        let receipt = short(headers, "receipt")?;
        if self.receipts.is_full() {
            let detail = format!("At most {PENDING_MAX} requests may be unanswered.");
            return Err(Fatal::limit(detail));
        }
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let request = Request {
            command,
            destination: destination.clone(),
            receipt,
            correlation_id,
        };
        self.receipts.open(ticket, request);
        Ok(ticket)
    }

    /// A request has its outcome.
    pub(super) fn settle(&mut self, now: Instant, ticket: Ticket, outcome: Result<Reply, Problem>) {
        let Some(request) = self.receipts.settle(ticket) else {
            return;
        };
        let receipts = match outcome {
            Ok(reply) => {
                if let Some(id) = &request.correlation_id {
                    let body = problems::reply_body(reply.result, id);
                    self.tell(now, UserQueue::Replies, &body);
                }
                self.receipts.fulfil(ticket, reply.headers)
            }
            Err(problem) => {
                if !self.tell_problem(now, &request, &problem) {
                    let fatal = Fatal::from(problem).of_receipt(request.receipt);
                    return self.fail(now, &fatal);
                }
                self.receipts.drop_receipt(ticket)
            }
        };
        for frame in receipts {
            self.transmit_frame(now, &frame);
        }
        self.finish_disconnect(now);
    }

    /// Tells a problem that the session survives. Returns whether anybody listens.
    fn tell_problem(&mut self, now: Instant, request: &Request, problem: &Problem) -> bool {
        if request.command == Command::Subscribe {
            return false;
        }
        let (to, receipt) = (&request.destination, request.receipt.as_deref());
        if let Some(id) = &request.correlation_id {
            let body = problems::refusal_body(problem, to, receipt, id);
            if self.tell(now, UserQueue::Replies, &body) {
                return true;
            }
        }
        let body = problems::error_body(problem, to, receipt);
        self.tell(now, UserQueue::Errors, &body)
    }

    /// Writes to a queue of this session only. Returns whether it is subscribed to.
    fn tell(&mut self, now: Instant, queue: UserQueue, body: &[u8]) -> bool {
        self.told += 1;
        let message_id = format!("own-{}", self.told);
        let frames: Vec<_> = self
            .subscriptions
            .to_queue(queue)
            .map(|subscription| {
                encode::message(&Message {
                    version: self.version,
                    subscription: subscription.named.then_some(&*subscription.id),
                    destination: queue.as_str(),
                    message_id: &message_id,
                    content_type: Some(problems::JSON),
                    headers: &[],
                    body,
                })
            })
            .collect();
        let is_heard = !frames.is_empty();
        for octets in frames {
            self.transmit(now, octets);
        }
        is_heard
    }
}

/// A header whose value is kept for a while, and so is bounded.
fn short(headers: &Headers, name: &'static str) -> Result<Option<Box<str>>, Fatal> {
    match headers.get(name) {
        Some(value) if value.len() > RECEIPT_BYTES_MAX => {
            let body = format!("{name} has at most {RECEIPT_BYTES_MAX} octets.\n");
            Err(Fatal::protocol("Header too long", body))
        }
        value => Ok(value.map(Box::from)),
    }
}

/// A frame whose place is kept.
fn unsupported(command: Command) -> Fatal {
    let why = if matches!(command, Command::Ack | Command::Nack) {
        "every subscription is ack:auto"
    } else {
        "there are no transactions"
    };
    Fatal::protocol(
        "Not supported",
        format!("{command} is not supported: {why}.\n"),
    )
}

/// A frame that is not in the table.
fn unexpected(phase: Phase, command: Command) -> Fatal {
    if matches!(command, Command::Connect | Command::Stomp) {
        return Fatal::protocol("Already connected", "CONNECT comes once.\n");
    }
    if phase == Phase::AwaitingConnect {
        let body = format!("CONNECT comes before {command}.\n");
        return Fatal::protocol("Not connected", body);
    }
    let body = format!("Could not interpret command \"{command}\"\n");
    Fatal::protocol("Bad command", body)
}
