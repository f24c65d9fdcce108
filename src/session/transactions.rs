//! Transactions: BEGIN, what is taken into them, COMMIT, ABORT.
//!
//! Not here: what a COMMIT does (`app`). Invariant: a step has no effect before its COMMIT, and none
//! without; what is kept is within the limits, and not longer than the transaction may rest.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Session;
use super::acks;
use super::contract::{Commit, Event, Output, Step, Ticket, TransactionLimits};
use super::fatal::{Fatal, Violation};
use super::receipts::{Asked, Request};
use super::requests::short;
use super::subscribe::ID_BYTES_MAX;
use crate::model::headers as sent;
use crate::stomp::Headers;

/// About how much a step, or a transaction without any, takes besides its texts and its body.
const STEP_BYTES: usize = 2 * size_of::<Step>() + 64;

/// The transactions of a session that are open.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    open: BTreeMap<Box<str>, Transaction>,
    /// What they hold together. The limits hold for that, because what one client may make a node
    /// keep must not grow with the number of names that he gives it.
    frames: usize,
    bytes: usize,
    /// What the headers take besides their texts.
    headers_bytes: usize,
}

#[derive(Debug)]
struct Transaction {
    steps: Vec<Step>,
    bytes: usize,
    headers_bytes: usize,
    /// When something was done with it last.
    touched: Instant,
}

impl Transactions {
    fn begin(&mut self, id: &str, now: Instant, limits: TransactionLimits) -> Result<(), Fatal> {
        if self.open.contains_key(id) {
            return Err(Fatal::about(Violation::TransactionIsOpen, id));
        }
        if self.open.len() >= limits.open_max {
            let max = limits.open_max;
            return Err(Fatal::about(Violation::ManyTransactions, max));
        }
        let transaction = Transaction {
            steps: Vec::new(),
            bytes: 0,
            headers_bytes: 0,
            touched: now,
        };
        self.open.insert(id.into(), transaction);
        Ok(())
    }

    /// Takes a step, or only notes that the transaction is in use.
    fn add(
        &mut self,
        id: &str,
        step: Option<Step>,
        now: Instant,
        limits: TransactionLimits,
    ) -> Result<(), Fatal> {
        let transaction = self.open.get_mut(id).ok_or_else(|| unknown(id))?;
        transaction.touched = now;
        let Some(step) = step else { return Ok(()) };
        let bytes = bytes(&step);
        if self.frames >= limits.frames_max {
            return Err(Fatal::about(Violation::ManyFrames, limits.frames_max));
        }
        if self.bytes + bytes > limits.bytes_max {
            return Err(Fatal::about(Violation::ManyOctets, limits.bytes_max));
        }
        self.frames += 1;
        self.bytes += bytes;
        transaction.bytes += bytes;
        if let Step::Send(send) = &step {
            let more = sent::list_bytes(&send.headers);
            self.headers_bytes += more;
            transaction.headers_bytes += more;
        }
        transaction.steps.push(step);
        Ok(())
    }

    fn end(&mut self, id: &str) -> Result<Vec<Step>, Fatal> {
        let ended = self.open.remove(id).ok_or_else(|| unknown(id))?;
        self.frames -= ended.steps.len();
        self.bytes -= ended.bytes;
        self.headers_bytes -= ended.headers_bytes;
        Ok(ended.steps)
    }

    /// About how many bytes all of them take, with what a step takes besides its texts and its body.
    pub(super) fn kept_bytes(&self) -> usize {
        self.bytes + self.headers_bytes + (self.frames + self.open.len()) * STEP_BYTES
    }

    /// Whether what is kept is within the limits.
    #[cfg(test)]
    pub(super) fn is_within(&self, limits: TransactionLimits) -> bool {
        let steps = self.open.values().flat_map(|it| &it.steps);
        let kept: usize = steps.clone().map(bytes).sum();
        assert_eq!((steps.count(), kept), (self.frames, self.bytes));
        let is_small = self.frames <= limits.frames_max && self.bytes <= limits.bytes_max;
        is_small && self.open.len() <= limits.open_max
    }

    /// When the one that rests longest has rested for too long.
    pub(super) fn ends(&self, idle: Duration) -> Option<Instant> {
        let touched = self.open.values().map(|transaction| transaction.touched);
        touched.min().map(|at| at + idle)
    }
}

impl Session {
    pub(super) fn begin(&mut self, now: Instant, headers: &Headers) -> Result<(), Fatal> {
        let id = id(headers)?.unwrap_or_default();
        let limits = self.config.transactions;
        self.transactions
            .get_or_insert_default()
            .begin(id, now, limits)?;
        self.answer(now, headers)
    }

    pub(super) fn abort(&mut self, now: Instant, headers: &Headers) -> Result<(), Fatal> {
        let _gone = self.end_transaction(headers)?;
        self.answer(now, headers)
    }

    pub(super) fn commit(&mut self, headers: &Headers) -> Result<(), Fatal> {
        let mut steps = self.end_transaction(headers)?;
        for step in &steps {
            if let Step::Send(send) = step {
                self.listen_to_replies(&send.headers)?;
            }
        }
        let ticket = self.ticket()?;
        for step in &mut steps {
            match step {
                Step::Send(send) => send.ticket = ticket,
                Step::Acknowledge(acknowledge) => acknowledge.ticket = ticket,
            }
        }
        let request = Request {
            asked: Asked::Commit,
            destination: None,
            receipt: short(headers, "receipt")?,
        };
        self.receipts.open(ticket, request);
        let commit = Commit { ticket, steps };
        self.outputs.push_back(Output::Event(Event::Commit(commit)));
        Ok(())
    }

    /// Takes a step into the transaction with this id: its RECEIPT says that, and no more.
    pub(super) fn take_step(
        &mut self,
        now: Instant,
        id: &str,
        step: Option<Step>,
        receipt: Option<Box<str>>,
    ) -> Result<(), Fatal> {
        let limits = self.config.transactions;
        match &mut self.transactions {
            Some(transactions) => transactions.add(id, step, now, limits)?,
            None => return Err(unknown(id)),
        }
        self.answer_at_once(now, receipt)
    }

    /// Ends the transaction that a frame names, and gives what it holds.
    fn end_transaction(&mut self, headers: &Headers) -> Result<Vec<Step>, Fatal> {
        let id = id(headers)?.unwrap_or_default();
        let Some(transactions) = &mut self.transactions else {
            return Err(unknown(id));
        };
        let steps = transactions.end(id)?;
        if transactions.open.is_empty() {
            self.transactions = None;
        }
        Ok(steps)
    }
}

/// The header `transaction`, which is kept and so is bounded. An empty one names nothing.
pub(super) fn id(headers: &Headers) -> Result<Option<&str>, Fatal> {
    match headers.get("transaction") {
        Some(id) if id.len() > ID_BYTES_MAX => {
            Err(Fatal::about(Violation::BadTransactionId, ID_BYTES_MAX))
        }
        id => Ok(id),
    }
}

/// The ticket of a step until its COMMIT gives it another.
pub(super) const NOT_COMMITTED: Ticket = Ticket(0);

fn unknown(id: &str) -> Fatal {
    Fatal::about(Violation::TransactionNotFound, id)
}

/// The octets that are kept of a step.
fn bytes(step: &Step) -> usize {
    match step {
        Step::Send(send) => send.body.len() + sent::text_bytes(&send.headers),
        Step::Acknowledge(acknowledge) => acks::bytes(&acknowledge.of),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Destination;
    use crate::session::Send;

    const LIMITS: TransactionLimits = TransactionLimits {
        open_max: 2,
        frames_max: 3,
        bytes_max: 10,
        idle: Duration::from_secs(30),
    };

    fn step(body: &'static str) -> Step {
        Step::Send(Send {
            ticket: NOT_COMMITTED,
            destination: Destination::App("x".into()),
            headers: vec![("a".into(), "b".into())],
            body: body.into(),
        })
    }

    fn message(outcome: Result<(), Fatal>) -> Option<String> {
        let frame = outcome.err()?.frame();
        Some(String::from_utf8_lossy(&frame.body).into_owned())
    }

    #[test]
    fn what_is_kept_is_within_the_limits() {
        let now = Instant::now();
        let mut all = Transactions::default();
        let mut begin = |id| message(all.begin(id, now, LIMITS));
        assert_eq!(begin("a"), None);
        assert_eq!(begin("a").unwrap(), "Transaction a is open already.\n");
        assert_eq!(begin("b"), None);
        assert!(begin("c").unwrap().contains("at most 2 open transactions"));
        let mut add = |id, body| message(all.add(id, Some(step(body)), now, LIMITS));
        assert_eq!(add("c", "").unwrap(), "Invalid transaction identifier: c\n");
        assert_eq!(add("a", ""), None);
        assert_eq!(add("b", ""), None);
        assert_eq!(add("b", "1234"), None, "ten octets in all");
        assert!(add("a", "").unwrap().contains("at most 3 frames"));
        assert!(all.is_within(LIMITS));
        assert_eq!(all.end("b").ok().map(|steps| steps.len()), Some(2));
        let mut add = |id, body| message(all.add(id, Some(step(body)), now, LIMITS));
        assert_eq!(add("a", "123456"), None, "there is room again");
        assert!(add("a", "").unwrap().contains("at most 10 octets"));
    }

    #[test]
    fn headers_without_texts_are_kept_bytes_as_well() {
        let now = Instant::now();
        let mut all = Transactions::default();
        assert!(all.begin("a", now, LIMITS).is_ok());
        let begun = all.kept_bytes();
        let many = Step::Send(Send {
            ticket: NOT_COMMITTED,
            destination: Destination::App("x".into()),
            headers: vec![("".into(), "".into()); 60],
            body: "".into(),
        });
        assert!(all.add("a", Some(many), now, LIMITS).is_ok());
        assert!(all.kept_bytes() >= begun + 60 * 64, "{}", all.kept_bytes());
        assert!(all.end("a").is_ok());
        assert_eq!(all.kept_bytes(), 0);
    }

    #[test]
    fn the_one_that_rests_longest_ends_first() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut all = Transactions::default();
        assert_eq!(all.ends(LIMITS.idle), None);
        assert!(all.begin("a", now, LIMITS).is_ok());
        assert!(all.begin("b", now + second, LIMITS).is_ok());
        assert_eq!(all.ends(LIMITS.idle), Some(now + LIMITS.idle));
        assert!(all.add("a", None, now + second * 2, LIMITS).is_ok());
        assert_eq!(all.ends(LIMITS.idle), Some(now + second + LIMITS.idle));
    }
}
