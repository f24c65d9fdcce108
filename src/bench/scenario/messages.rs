//! Fan-out, rooms, direct and stored: messages between connected clients.
//!
//! Not here: who hears whom (`crew`), what has arrived (`traffic`). Invariant: warm-up and
//! measurement each begin with nothing on its way and end when everything has arrived, or when
//! nothing has for as long as the order is patient.

use std::time::{Duration, Instant};

use super::Stage;
use crate::bench::body::Mark;
use crate::bench::crew::Crew;
use crate::bench::gather::{TURN, gather};
use crate::bench::letter::Letter;
use crate::bench::link::Deaf;
use crate::bench::meter::Look;
use crate::bench::order::Scenario;
use crate::bench::pace::{Alarm, Schedule};
use crate::bench::report::{Draft, Report, spread};
use crate::bench::traffic::Traffic;
use crate::bench::websocket::{TEXT, put_frame};
use crate::bench::{BenchError, Outcome};

/// What a server may be behind in open loop before the rest is not even sent.
const BACKLOG_MAX: u64 = 500_000;
/// How long the rest is awaited after Ctrl-C.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Sends and counts.
struct Run<'a> {
    stage: Stage<'a>,
    traffic: Traffic,
    /// By the number of the connection, of those who send.
    letters: Vec<Option<Letter>>,
    alarm: Option<Alarm>,
    octets: Vec<u8>,
    payload: Vec<u8>,
    /// Whether the server fell so far behind that sending ended.
    is_behind: bool,
}

/// What a measurement gave.
struct Span {
    sent: u64,
    delivered: u64,
    took: Duration,
    before: Vec<Look>,
    after: Vec<Look>,
}

pub(super) fn run(mut stage: Stage<'_>, crew: Crew) -> Outcome<Report> {
    for wave in &crew.waves {
        gather(&mut stage.fleet, wave, stage.order, &mut stage.progress)?;
    }
    let order = stage.order;
    let mut letters: Vec<Option<Letter>> = Vec::new();
    letters.resize_with(stage.fleet.len(), || None);
    for &sender in &crew.senders {
        letters[sender] = Some(crew.letter(sender, order, &stage.fleet)?);
    }
    let window = order.rate.is_none().then(|| order.window_messages());
    let is_receipted = order.scenario == Scenario::Stored;
    let links = stage.fleet.len();
    let alarm = match order.rate {
        Some(_) => Some(Alarm::new(stage.fleet.waker()?, stage.fleet.began())),
        None => None,
    };
    let mut run = Run {
        traffic: Traffic::new(crew, links, is_receipted, window),
        stage,
        letters,
        alarm,
        octets: Vec::new(),
        payload: Vec::new(),
        is_behind: false,
    };
    if !order.has_receipts {
        run.listen_for(Duration::from_secs(1))?;
    }
    if !order.warm_up.is_zero() {
        run.span(order.warm_up, None)?;
    }
    let is_fine = run.traffic.faults().is_clean() && !run.stage.fleet.is_stopped();
    let span = match is_fine {
        true => {
            run.traffic.is_measured = true;
            Some(run.span(order.duration, order.messages)?)
        }
        false => None,
    };
    run.report(span.as_ref())
}

impl Run<'_> {
    /// Sends for so long, and waits until all of it has arrived.
    fn span(&mut self, length: Duration, messages: Option<u64>) -> Outcome<Span> {
        let (sent, delivered) = (self.traffic.sent, self.traffic.delivered);
        let before = self.stage.meter.look();
        let began = Instant::now();
        let begin_ns = self.stage.fleet.now_ns();
        let end_ns = begin_ns + u64::try_from(length.as_nanos()).unwrap_or(u64::MAX / 2);
        let most = messages.unwrap_or(u64::MAX);
        let mut schedule = self
            .stage
            .order
            .rate
            .map(|rate| Schedule::new(rate, begin_ns));
        while !self.stage.fleet.is_stopped() && self.traffic.sent - sent < most {
            let now_ns = self.stage.fleet.now_ns();
            let left = most - (self.traffic.sent - sent);
            match &mut schedule {
                Some(schedule) if schedule.due_ns() >= end_ns => break,
                Some(schedule) => self.send_due(schedule, now_ns.min(end_ns - 1), left),
                None if now_ns >= end_ns => break,
                None => self.send_window(left),
            }
            self.turn()?;
            if self.is_silent() || self.traffic.on_the_way > BACKLOG_MAX {
                self.is_behind = self.traffic.on_the_way > BACKLOG_MAX;
                break;
            }
        }
        let give_up = Instant::now() + LAST_WAIT;
        while self.traffic.on_the_way > 0 && !self.is_silent() {
            if self.stage.fleet.is_stopped() && Instant::now() > give_up {
                break;
            }
            self.turn()?;
        }
        Ok(Span {
            sent: self.traffic.sent - sent,
            delivered: self.traffic.delivered - delivered,
            took: began.elapsed(),
            before,
            after: self.stage.meter.look(),
        })
    }

    /// Open loop: sends what is due by now, whatever has arrived.
    fn send_due(&mut self, schedule: &mut Schedule, now_ns: u64, left: u64) {
        let senders = self.traffic.crew.senders.len();
        for _ in 0..left {
            let due_ns = schedule.due_ns();
            if due_ns > now_ns {
                if let Some(alarm) = &self.alarm {
                    alarm.set(due_ns);
                }
                return;
            }
            let turn = usize::try_from(self.traffic.sent).unwrap_or(0) % senders;
            let sender = self.traffic.crew.senders[turn];
            self.octets.clear();
            self.write(sender, due_ns);
            schedule.take();
            self.flush(sender);
        }
    }

    /// Closed loop: whoever has room sends as much as he has room for, in one write.
    fn send_window(&mut self, mut left: u64) {
        while let Some(sender) = self.traffic.idle.pop_front() {
            let room = self.traffic.room(sender) as u64;
            self.octets.clear();
            for _ in 0..room.min(left) {
                let now_ns = self.stage.fleet.now_ns();
                self.write(sender, now_ns);
            }
            left -= room.min(left);
            self.flush(sender);
        }
    }

    fn write(&mut self, sender: usize, due_ns: u64) {
        let Some(letter) = &self.letters[sender] else {
            return;
        };
        let mark = Mark {
            sender: u32::try_from(sender).unwrap_or(u32::MAX),
            number: self.traffic.depart(sender, due_ns),
            due_ns,
        };
        self.payload.clear();
        letter.put(&mark, &mut self.payload);
        put_frame(&mut self.octets, TEXT, &self.payload);
    }

    fn flush(&mut self, sender: usize) {
        self.stage
            .fleet
            .send(sender, &self.octets, &mut self.traffic);
    }

    fn turn(&mut self) -> Outcome<()> {
        self.stage.fleet.turn(TURN, &mut self.traffic)?;
        if let Some((link, why)) = &self.traffic.ended {
            return Err(self.stage.fleet.explain(*link, why));
        }
        self.traffic.note_time(Instant::now());
        let traffic = &self.traffic;
        self.stage.progress.show(|| {
            format!(
                "{}: {} sent, {} delivered, {} on the way",
                if traffic.is_measured {
                    "measuring"
                } else {
                    "warming up"
                },
                traffic.sent,
                traffic.delivered,
                traffic.on_the_way
            )
        });
        Ok(())
    }

    /// Whether something is awaited and nothing has come for as long as the order is patient.
    fn is_silent(&self) -> bool {
        self.traffic.on_the_way > 0 && self.traffic.silence() > self.stage.order.patience
    }

    fn listen_for(&mut self, length: Duration) -> Outcome<()> {
        let until = Instant::now() + length;
        while Instant::now() < until && !self.stage.fleet.is_stopped() {
            self.turn()?;
        }
        Ok(())
    }

    fn report(mut self, span: Option<&Span>) -> Outcome<Report> {
        let order = self.stage.order;
        let patience = order.patience;
        if self.traffic.delivered == 0 && !self.stage.fleet.is_stopped() {
            return Err(BenchError::Silent(format!(
                "nothing that was sent came back within {patience:?}: {}; does the server deliver \
                 from the one to the other, and may this client send there?",
                self.traffic.crew.ways()
            )));
        }
        let mut draft = Draft::new();
        match span {
            Some(span) => self.figures(&mut draft, span),
            None if self.stage.fleet.is_stopped() => return Err(BenchError::Stopped),
            None => draft.note("What went wrong did so while warming up; nothing was measured."),
        }
        draft.faults(&self.traffic.faults());
        if self.is_silent() {
            draft.note(format!(
                "Nothing came for {patience:?}; what is missing is given up."
            ));
        }
        if self.is_behind {
            draft.note(
                "The server fell behind, and sending ended early: it does not take this rate.",
            );
        }
        draft.keep("is_behind", self.is_behind);
        for link in 0..self.stage.fleet.len() {
            self.stage.fleet.leave(link, true, &mut Deaf);
        }
        self.traffic.ended = None;
        Ok(draft.done(order))
    }

    fn figures(&self, draft: &mut Draft, span: &Span) {
        let order = self.stage.order;
        let seconds = span.took.as_secs_f64();
        let (sent, delivered) = (span.sent as f64, span.delivered as f64);
        draft.figure("messages", span.sent.to_string(), "messages", span.sent);
        draft.figure(
            "deliveries",
            span.delivered.to_string(),
            "deliveries",
            span.delivered,
        );
        draft.number("seconds", "seconds", seconds, 2);
        draft.number("messages/s", "messages_per_second", sent / seconds, 0);
        draft.number(
            "deliveries/s",
            "deliveries_per_second",
            delivered / seconds,
            0,
        );
        let meter = &self.stage.meter;
        let cpu = draft.processes(meter, &span.before, &span.after, span.took);
        if !meter.is_blind() && span.sent > 0 && span.delivered > 0 {
            let us = cpu.as_secs_f64() * 1e6;
            draft.number("server CPU us/message", "cpu_us_per_message", us / sent, 3);
            draft.number(
                "server CPU us/delivery",
                "cpu_us_per_delivery",
                us / delivered,
                3,
            );
        }
        draft.times("latency", "latency", &self.traffic.latency);
        draft.times("receipt", "receipt", &self.traffic.receipt_latency);
        let title = format!("{} with {} clients", order.scenario.name(), order.crowd());
        draft.draw(spread(&title, &self.traffic.latency));
    }
}
