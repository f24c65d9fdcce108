//! What each frame of the client asks for.
//!
//! Not here: when it may come (`table`), what it must say (`headers`, and the file of each command),
//! how it is answered (`settling`). Invariant: a request that becomes an event has a ticket that no
//! other had, and is either answered when that ticket is settled, or the session ends.

use std::time::Instant;

use super::contract::{Accepted, Acknowledge, Event, Output, Send, Step, Subscribe, Unsubscribe};
use super::fatal::{Fatal, Violation};
use super::heart_beat::HeartBeat;
use super::problems::About;
use super::receipts::{Asked, Request, receipt};
use super::table::{Action, Phase, action};
use super::{
    DISCONNECT_TIMEOUT, SOFT_MAX, Session, acks, connect, headers, send, subscribe, transactions,
};
use crate::model::{CloseReason, Problem};
use crate::stomp::{Command, Decoder, Frame, Headers};

/// The longest `receipt` and `correlation-id`, in octets: they are kept until they are answered.
const RECEIPT_BYTES_MAX: usize = 255;

/// A header by its name, among those that travel on.
fn travelling<'a>(headers: &'a [(Box<str>, Box<str>)], name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|(other, _)| **other == *name);
    found.map(|(_, value)| &**value)
}

impl Session {
    /// Does what a frame asks for, or ends the session.
    pub(super) fn take_frame(&mut self, now: Instant, frame: Frame) {
        let Some(action) = action(self.phase, self.version, frame.command) else {
            let fatal = unexpected(self.phase, frame.command);
            return self.fail(now, &fatal.caused_by(&frame.headers));
        };
        // Only what a failed frame leaves behind is needed of its headers, and only then.
        let cause = frame.headers.get("receipt").map(Box::from);
        let may_be_soft = matches!(action, Action::Subscribe | Action::Unsubscribe);
        let is_soft = self.soft > 0 && may_be_soft;
        let destination = frame.headers.get("destination").filter(|_| is_soft);
        let destination: Option<Box<str>> = destination.map(Box::from);
        let Err(fatal) = self.act(now, action, frame) else {
            return;
        };
        let about = About {
            destination: destination.as_deref(),
            receipt: cause.as_deref(),
        };
        let is_told = is_soft
            && fatal
                .as_refusal()
                .is_some_and(|problem| self.tell_error(now, &problem, about));
        if is_told {
            // Nobody else counts what is refused here.
            self.soft -= 1;
        } else {
            self.fail(now, &fatal.of_receipt(cause));
        }
    }

    fn act(&mut self, now: Instant, action: Action, mut frame: Frame) -> Result<(), Fatal> {
        headers::check(frame.command, self.version, &frame.headers)?;
        match action {
            Action::Connect => self.connect(&frame.headers),
            Action::Send => self.send(now, frame),
            Action::Subscribe => self.subscribe(&frame.headers),
            Action::Unsubscribe => self.unsubscribe(&mut frame.headers),
            Action::Acknowledge => self.acknowledge(now, frame.command, &frame.headers),
            Action::Begin => self.begin(now, &frame.headers),
            Action::Commit => self.commit(&frame.headers),
            Action::Abort => self.abort(now, &frame.headers),
            Action::Disconnect => self.disconnect(now, &frame.headers),
        }
    }

    fn connect(&mut self, headers: &Headers) -> Result<(), Fatal> {
        let asked = connect::read(headers, &self.config)?;
        self.version = asked.connect.version;
        self.agreed = Some(Box::new(asked.agreed));
        self.soft = if asked.soft { SOFT_MAX } else { 0 };
        self.phase = Phase::AwaitingVerdict;
        self.phase_ends = None;
        let event = Event::Connect(asked.connect);
        self.outputs.push_back(Output::Event(event));
        Ok(())
    }

    /// The verdict is yes.
    pub(super) fn accept(&mut self, now: Instant, accepted: &Accepted) {
        if self.phase != Phase::AwaitingVerdict {
            return;
        }
        self.phase = Phase::Connected;
        let ponged = self.heart_beat.last_pong();
        let agreed = self.agreed.take().map(|agreed| *agreed);
        self.heart_beat = HeartBeat::new(now, agreed.unwrap_or_default());
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

    fn send(&mut self, now: Instant, mut frame: Frame) -> Result<(), Fatal> {
        let headers = &mut frame.headers;
        let written = headers.take("destination").unwrap_or_default();
        let destination = send::destination(&written, &self.config.prefixes)?;
        let correlation_id = short(headers, "correlation-id")?;
        let receipt = short(headers, "receipt")?;
        send::temp_queue(headers.get("reply-to"))?;
        let transaction = transactions::id(headers)?.map(Box::<str>::from);
        let mut send = Send {
            ticket: transactions::NOT_COMMITTED,
            destination,
            headers: frame.headers.into_firsts(send::may_travel),
            body: frame.body,
        };
        if let Some(id) = transaction {
            return self.take_step(now, &id, Some(Step::Send(send)), receipt);
        }
        self.listen_to_replies(&send.headers)?;
        send.ticket = self.ticket()?;
        let request = Request {
            asked: Asked::Send { correlation_id },
            destination: Some(written),
            receipt,
        };
        self.receipts.open(send.ticket, request);
        self.outputs.push_back(Output::Event(Event::Send(send)));
        Ok(())
    }

    /// A SEND with `reply-to:/temp-queue/<name>` subscribes to what is sent there.
    pub(super) fn listen_to_replies(
        &mut self,
        headers: &[(Box<str>, Box<str>)],
    ) -> Result<(), Fatal> {
        match send::temp_queue(travelling(headers, "reply-to"))? {
            Some(reply_to) if !self.subscriptions.contains(reply_to) => {
                let asked = subscribe::of_reply_to(reply_to, &self.config);
                self.add(asked, None)
            }
            _ => Ok(()),
        }
    }

    fn subscribe(&mut self, headers: &Headers) -> Result<(), Fatal> {
        let asked = subscribe::read(headers, self.version, &self.config)?;
        self.add(asked, short(headers, "receipt")?)
    }

    fn add(&mut self, asked: subscribe::Asked, receipt: Option<Box<str>>) -> Result<(), Fatal> {
        let ticket = self.ticket()?;
        self.subscriptions.add(&asked, ticket)?;
        let request = Request {
            asked: Asked::Subscribe {
                id: asked.id.clone(),
            },
            destination: Some(asked.written.clone()),
            receipt,
        };
        self.receipts.open(ticket, request);
        let event = Event::Subscribe(Subscribe {
            ticket,
            id: asked.id,
            named: asked.named,
            destination: asked.destination,
            version: self.version,
            written: asked.written,
            ack: asked.ack,
            prefetch: asked.prefetch,
            arguments: asked.arguments,
            of_session: self.subscriptions.count(),
        });
        self.outputs.push_back(Output::Event(event));
        Ok(())
    }

    fn unsubscribe(&mut self, headers: &mut Headers) -> Result<(), Fatal> {
        let prefixes = &self.config.prefixes;
        let removed = self.subscriptions.remove(headers, self.version, prefixes)?;
        let receipt = short(headers, "receipt")?;
        let ticket = self.ticket()?;
        let request = Request {
            asked: Asked::Unsubscribe,
            destination: headers.take("destination"),
            receipt,
        };
        self.receipts.open(ticket, request);
        let event = Event::Unsubscribe(Unsubscribe {
            ticket,
            id: removed.id,
            destination: removed.destination,
        });
        self.outputs.push_back(Output::Event(event));
        Ok(())
    }

    fn acknowledge(
        &mut self,
        now: Instant,
        command: Command,
        headers: &Headers,
    ) -> Result<(), Fatal> {
        let (verdict, of) = acks::read(command, headers, self.version)?;
        let receipt = short(headers, "receipt")?;
        let mut acknowledge = Acknowledge {
            ticket: transactions::NOT_COMMITTED,
            verdict,
            of,
        };
        let is_own = acks::is_own(&acknowledge.of, self.told.into());
        match transactions::id(headers)? {
            Some(id) => {
                let step = (!is_own).then_some(Step::Acknowledge(acknowledge));
                return self.take_step(now, id, step, receipt);
            }
            None if is_own => return self.answer_at_once(now, receipt),
            None => {}
        }
        acknowledge.ticket = self.ticket()?;
        let request = Request {
            asked: Asked::Acknowledge,
            destination: None,
            receipt,
        };
        self.receipts.open(acknowledge.ticket, request);
        let event = Event::Acknowledge(acknowledge);
        self.outputs.push_back(Output::Event(event));
        Ok(())
    }

    fn disconnect(&mut self, now: Instant, headers: &Headers) -> Result<(), Fatal> {
        self.last_receipt = short(headers, "receipt")?.map(Box::new);
        self.phase = Phase::Disconnecting;
        self.phase_ends = Some(now + DISCONNECT_TIMEOUT);
        // What was not committed never will be, what follows is ignored, beats as well.
        self.transactions = None;
        self.decoder = Decoder::new(self.config.limits);
        self.heart_beat.expect_nothing();
        self.finish_disconnect(now);
        Ok(())
    }

    /// The end of an orderly session, once everything that was asked is settled.
    pub(super) fn finish_disconnect(&mut self, now: Instant) {
        if self.phase != Phase::Disconnecting || !self.receipts.is_empty() {
            return;
        }
        if let Some(id) = self.last_receipt.take() {
            self.transmit_frame(now, &receipt(&id, &[]));
        }
        self.close(CloseReason::NORMAL);
    }
}

/// A header whose value is kept for a while, and so is bounded.
pub(super) fn short(headers: &Headers, name: &'static str) -> Result<Option<Box<str>>, Fatal> {
    match headers.get(name) {
        Some(value) if value.len() > RECEIPT_BYTES_MAX => {
            let words = format!("{name} has at most {RECEIPT_BYTES_MAX}");
            Err(Fatal::about(Violation::HeaderTooLong, words))
        }
        value => Ok(value.map(Box::from)),
    }
}

/// A frame that is not in the table.
fn unexpected(phase: Phase, command: Command) -> Fatal {
    if matches!(command, Command::Connect | Command::Stomp) {
        return Fatal::of(Violation::AlreadyConnected);
    }
    if phase == Phase::AwaitingConnect {
        return Fatal::about(Violation::NotConnected, command);
    }
    Fatal::about(Violation::BadCommand, command)
}
