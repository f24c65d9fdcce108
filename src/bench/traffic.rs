//! What is on its way and what has arrived: the books of a run with messages.
//!
//! Not here: sending. Invariant: a message is on its way until everybody who shall hear it has, and
//! its receipt has come if it asked for one; a latency counts from when the message was due.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::body::{self, Finder};
use super::crew::Crew;
use super::hearing::{Arrival, Faults, Hearing};
use super::link::{Ear, Heard, Why};
use super::report::{Latency, latency};

/// A message on its way.
#[derive(Clone, Copy, Debug)]
struct Flight {
    /// Deliveries that have not come.
    missing: u32,
    /// Whether its receipt has not come.
    lacks_receipt: bool,
    due_ns: u64,
}

/// One who sends.
#[derive(Debug, Default)]
struct Sending {
    /// The number of the first one on its way.
    through: u64,
    flights: VecDeque<Flight>,
    /// Whether it stands in the queue of those who may send.
    is_queued: bool,
}

/// The books.
#[derive(Debug)]
pub(super) struct Traffic {
    pub(super) crew: Crew,
    sendings: Vec<Sending>,
    hearing: Hearing,
    finder: Finder,
    window: usize,
    is_receipted: bool,
    checks_seq: bool,
    /// Those who may send more, in closed loop.
    pub(super) idle: VecDeque<usize>,
    /// How many messages are on their way.
    pub(super) on_the_way: u64,
    /// Whether latencies are kept.
    pub(super) is_measured: bool,
    pub(super) sent: u64,
    pub(super) delivered: u64,
    pub(super) receipted: u64,
    pub(super) latency: Latency,
    pub(super) receipt_latency: Latency,
    /// What had settled when it was last looked at, and when that changed.
    moved: (u64, Instant),
    /// The first connection that ended, and why.
    pub(super) ended: Option<(usize, Why)>,
}

impl Traffic {
    /// Nothing has been sent. With a window, all senders may send.
    pub(super) fn new(crew: Crew, links: usize, is_receipted: bool, window: Option<u32>) -> Self {
        let mut sendings: Vec<Sending> = Vec::new();
        sendings.resize_with(links, Sending::default);
        let mut traffic = Self {
            hearing: Hearing::new(links, crew.slots),
            sendings,
            finder: Finder::new(),
            window: window.unwrap_or(0) as usize,
            is_receipted,
            checks_seq: is_receipted,
            idle: VecDeque::new(),
            on_the_way: 0,
            is_measured: false,
            sent: 0,
            delivered: 0,
            receipted: 0,
            latency: latency(),
            receipt_latency: latency(),
            moved: (0, Instant::now()),
            ended: None,
            crew,
        };
        if window.is_some() {
            for at in 0..traffic.crew.senders.len() {
                traffic.offer(traffic.crew.senders[at]);
            }
        }
        traffic
    }

    /// How many more a sender may send in closed loop.
    pub(super) fn room(&mut self, sender: usize) -> usize {
        let sending = &mut self.sendings[sender];
        sending.is_queued = false;
        self.window.saturating_sub(sending.flights.len())
    }

    /// The next message of a sender goes out; returns its number.
    pub(super) fn depart(&mut self, sender: usize, due_ns: u64) -> u64 {
        let sending = &mut self.sendings[sender];
        let number = sending.through + sending.flights.len() as u64;
        sending.flights.push_back(Flight {
            missing: self.crew.audience,
            lacks_receipt: self.is_receipted,
            due_ns,
        });
        self.on_the_way += 1;
        self.sent += 1;
        number
    }

    /// What was wrong, with what has not come by now.
    pub(super) fn faults(&self) -> Faults {
        let mut faults = self.hearing.faults;
        for link in 0..self.sendings.len() {
            for &sender in &self.crew.senders {
                let number = u32::try_from(sender).unwrap_or(u32::MAX);
                // Those who never read are told of everything, but nobody waits for them.
                let Some(slot) = self
                    .crew
                    .slot(link, number)
                    .filter(|_| !self.crew.is_slow(link))
                else {
                    continue;
                };
                let sending = &self.sendings[sender];
                let sent = sending.through + sending.flights.len() as u64;
                faults.lost += self.hearing.lost(link, slot, sent);
            }
        }
        let flights = self.sendings.iter().flat_map(|sending| &sending.flights);
        faults.unreceipted = flights.filter(|flight| flight.lacks_receipt).count() as u64;
        faults
    }

    /// Remembers when something came last. While nothing is on its way, nothing is awaited.
    pub(super) fn note_time(&mut self, now: Instant) {
        let settled = self.delivered + self.receipted;
        if settled != self.moved.0 || self.on_the_way == 0 {
            self.moved = (settled, now);
        }
    }

    /// For how long nothing that is awaited has come.
    pub(super) fn silence(&self) -> Duration {
        self.moved.1.elapsed()
    }

    fn offer(&mut self, sender: usize) {
        let sending = &mut self.sendings[sender];
        // Half a window at a time, so that what can be written together is.
        let is_due = self.window > 0 && sending.flights.len() * 2 <= self.window;
        if is_due && !sending.is_queued {
            sending.is_queued = true;
            self.idle.push_back(sender);
        }
    }

    fn message(&mut self, link: usize, text: &[u8], at_ns: u64) {
        let Some((mark, end)) = self.finder.find(text) else {
            self.hearing.faults.astray += 1;
            return;
        };
        let Some(slot) = self.crew.slot(link, mark.sender) else {
            self.hearing.faults.astray += 1;
            return;
        };
        if self.hearing.note(link, slot, mark.number) == Arrival::Again {
            return;
        }
        if self.checks_seq
            && let Some(seq) = body::seq(&text[end..])
        {
            self.hearing.note_seq(link, seq);
        }
        self.delivered += 1;
        if self.is_measured {
            let us = at_ns.saturating_sub(mark.due_ns) / 1_000;
            self.latency.saturating_record(us);
        }
        self.settle(mark.sender as usize, mark.number, |flight| {
            flight.missing = flight.missing.saturating_sub(1);
        });
    }

    fn receipt(&mut self, link: usize, number: u64, at_ns: u64) {
        let mut due_ns = None;
        self.settle(link, number, |flight| {
            if flight.lacks_receipt {
                flight.lacks_receipt = false;
                due_ns = Some(flight.due_ns);
            }
        });
        match due_ns {
            Some(due_ns) => {
                self.receipted += 1;
                if self.is_measured {
                    let us = at_ns.saturating_sub(due_ns) / 1_000;
                    self.receipt_latency.saturating_record(us);
                }
            }
            None => self.hearing.faults.duplicated += 1,
        }
    }

    fn settle(&mut self, sender: usize, number: u64, change: impl FnOnce(&mut Flight)) {
        let sending = &mut self.sendings[sender];
        let at = number.checked_sub(sending.through);
        let at = at.and_then(|at| usize::try_from(at).ok());
        let Some(flight) = at.and_then(|at| sending.flights.get_mut(at)) else {
            return;
        };
        change(flight);
        let is_done = |flight: &Flight| flight.missing == 0 && !flight.lacks_receipt;
        while sending.flights.front().is_some_and(is_done) {
            sending.flights.pop_front();
            sending.through += 1;
            self.on_the_way -= 1;
        }
        self.offer(sender);
    }
}

impl Ear for Traffic {
    fn hear(&mut self, link: usize, heard: &Heard<'_>) {
        match heard {
            Heard::Message { text, at_ns } => self.message(link, text, *at_ns),
            Heard::Receipt { number, at_ns } => self.receipt(link, *number, *at_ns),
            Heard::Ended(why) => {
                self.ended.get_or_insert_with(|| (link, (*why).clone()));
            }
            Heard::Ready { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::body::Mark;
    use super::super::order::{Order, Scenario};
    use super::*;

    fn traffic(clients: u32, is_receipted: bool, window: u32) -> Traffic {
        let mut order = Order::of(Scenario::Fanout);
        order.clients = Some(clients);
        let (crew, plans) = Crew::of(&order.checked().unwrap());
        Traffic::new(crew, plans.len(), is_receipted, Some(window))
    }

    fn marked(sender: u32, number: u64, due_ns: u64) -> Vec<u8> {
        let mut text = b"MESSAGE\n\n".to_vec();
        let mark = Mark {
            sender,
            number,
            due_ns,
        };
        mark.put(&mut text);
        text
    }

    #[test]
    fn a_message_is_on_its_way_until_all_have_it() {
        let mut traffic = traffic(2, false, 2);
        assert_eq!(traffic.idle.pop_front(), Some(2));
        assert_eq!(traffic.room(2), 2);
        assert_eq!((traffic.depart(2, 0), traffic.depart(2, 0)), (0, 1));
        traffic.is_measured = true;
        for link in 0..2 {
            assert_eq!(traffic.on_the_way, 2);
            traffic.message(link, &marked(2, 0, 0), 5_000_000);
        }
        assert_eq!((traffic.on_the_way, traffic.delivered), (1, 2));
        assert_eq!(traffic.latency.max() / 1_000, 5);
        assert_eq!(traffic.idle.pop_front(), Some(2));
        assert_eq!(traffic.faults().lost, 2);
        traffic.message(0, &marked(2, 0, 0), 0);
        traffic.message(0, b"MESSAGE\n\nsomething else", 0);
        traffic.message(0, &marked(1, 0, 0), 0);
        let faults = traffic.faults();
        assert_eq!((faults.duplicated, faults.astray), (1, 2));
    }

    #[test]
    fn a_receipt_is_awaited_and_taken_once() {
        let mut traffic = traffic(1, true, 1);
        traffic.depart(1, 0);
        traffic.message(0, &marked(1, 0, 0), 0);
        assert_eq!((traffic.on_the_way, traffic.faults().unreceipted), (1, 1));
        traffic.receipt(1, 0, 0);
        assert_eq!((traffic.on_the_way, traffic.receipted), (0, 1));
        assert!(traffic.faults().is_clean());
        traffic.receipt(1, 0, 0);
        assert_eq!(traffic.faults().duplicated, 1);
    }
}
