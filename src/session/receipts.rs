//! What was asked and is not settled, and the RECEIPTs that are owed, in the order of the requests.
//!
//! Not here: frames of other kinds. Invariant: a RECEIPT goes out after those of earlier requests,
//! once, and only for what succeeded.

use std::collections::VecDeque;

use super::contract::Ticket;
use crate::stomp::{Command, Frame};

/// The most requests that may be unsettled or unanswered. Long before it the driver stops reading.
pub(super) const PENDING_MAX: usize = 16_384;

/// A request that is not settled.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// What was asked.
    pub(super) asked: Asked,
    /// Where to, as the client wrote it; ACK, NACK and COMMIT have none.
    pub(super) destination: Option<Box<str>>,
    /// `receipt`, if one was asked for.
    pub(super) receipt: Option<Box<str>>,
}

/// What was asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// SEND.
    Send {
        /// `correlation-id`.
        correlation_id: Option<Box<str>>,
    },
    /// SUBSCRIBE.
    Subscribe {
        /// The subscription.
        id: Box<str>,
    },
    /// UNSUBSCRIBE.
    Unsubscribe,
    /// ACK or NACK.
    Acknowledge,
    /// COMMIT.
    Commit,
}

/// Headers that go into a RECEIPT beside `receipt-id`.
pub(super) type Extra = Vec<(&'static str, String)>;

/// The requests of a session.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    /// What is unsettled, in the order of tickets. Mostly the first is settled first.
    pending: VecDeque<(Ticket, Request)>,
    /// Receipts in the order of their requests; settled ones wait behind unsettled ones.
    owed: VecDeque<Owed>,
    /// About how many bytes all of them take.
    bytes: usize,
}

/// About how much a request or a receipt takes besides its texts.
const ENTRY_BYTES: usize = 64;

#[derive(Debug)]
struct Owed {
    ticket: Ticket,
    receipt: Box<str>,
    settled: Option<Extra>,
}

impl Request {
    fn bytes(&self) -> usize {
        let length = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        let asked = match &self.asked {
            Asked::Send { correlation_id } => length(correlation_id),
            Asked::Subscribe { id } => id.len(),
            Asked::Unsubscribe | Asked::Acknowledge | Asked::Commit => 0,
        };
        ENTRY_BYTES + asked + length(&self.destination) + length(&self.receipt)
    }
}

impl Owed {
    fn bytes(&self) -> usize {
        ENTRY_BYTES + self.receipt.len()
    }
}

impl Receipts {
    /// About how many bytes they take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether what is counted is the sum of what is there.
    #[cfg(test)]
    pub(super) fn check_bytes(&self) {
        let pending: usize = self
            .pending
            .iter()
            .map(|(_, request)| request.bytes())
            .sum();
        let owed: usize = self.owed.iter().map(Owed::bytes).sum();
        assert_eq!(self.bytes, pending + owed);
    }

    /// Notes a request. Tickets ascend.
    pub(super) fn open(&mut self, ticket: Ticket, request: Request) {
        if let Some(receipt) = &request.receipt {
            debug_assert!(self.owed.back().is_none_or(|last| last.ticket < ticket));
            self.owe(Owed {
                ticket,
                receipt: receipt.clone(),
                settled: None,
            });
        }
        debug_assert!(self.pending.back().is_none_or(|last| last.0 < ticket));
        self.bytes += request.bytes();
        self.pending.push_back((ticket, request));
    }

    /// The request with this ticket, if it is unsettled; it is settled now. Say next whether its
    /// receipt is due ([`Receipts::fulfil`]) or not ([`Receipts::drop_receipt`]).
    pub(super) fn settle(&mut self, ticket: Ticket) -> Option<Request> {
        let found = self.pending.binary_search_by_key(&ticket, |one| one.0);
        let (_, request) = self.pending.remove(found.ok()?)?;
        self.bytes = self.bytes.saturating_sub(request.bytes());
        if self.pending.is_empty() {
            // An idle session need not keep room for requests.
            self.pending = VecDeque::new();
        }
        Some(request)
    }

    /// The request with this ticket succeeded. Gives the RECEIPT frames that may go out now.
    pub(super) fn fulfil(&mut self, ticket: Ticket, extra: Extra) -> Vec<Frame> {
        if let Some(at) = self.position(ticket) {
            self.owed[at].settled = Some(extra);
        }
        self.ready()
    }

    /// The request with this ticket failed. Gives the RECEIPT frames that waited behind it.
    pub(super) fn drop_receipt(&mut self, ticket: Ticket) -> Vec<Frame> {
        if let Some(at) = self.position(ticket)
            && let Some(owed) = self.owed.remove(at)
        {
            self.bytes = self.bytes.saturating_sub(owed.bytes());
        }
        self.ready()
    }

    /// A request was settled as soon as it came. Gives the RECEIPT frames that may go out now.
    pub(super) fn answer(&mut self, ticket: Ticket, receipt: Box<str>) -> Vec<Frame> {
        debug_assert!(self.owed.back().is_none_or(|last| last.ticket < ticket));
        self.owe(Owed {
            ticket,
            receipt,
            settled: Some(Extra::new()),
        });
        self.ready()
    }

    fn owe(&mut self, owed: Owed) {
        self.bytes += owed.bytes();
        self.owed.push_back(owed);
    }

    /// Whether nothing is unsettled and nothing owed.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.owed.is_empty()
    }

    /// Whether there is no room for another request.
    pub(super) fn is_full(&self) -> bool {
        self.len() >= PENDING_MAX
    }

    fn len(&self) -> usize {
        self.pending.len().max(self.owed.len())
    }

    fn position(&self, ticket: Ticket) -> Option<usize> {
        self.owed
            .binary_search_by_key(&ticket, |owed| owed.ticket)
            .ok()
    }

    fn ready(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(owed) = self.owed.pop_front_if(|owed| owed.settled.is_some()) {
            self.bytes = self.bytes.saturating_sub(owed.bytes());
            frames.push(receipt(&owed.receipt, &owed.settled.unwrap_or_default()));
        }
        if self.owed.is_empty() {
            self.owed = VecDeque::new();
        }
        frames
    }
}

/// A RECEIPT.
pub(super) fn receipt(id: &str, extra: &[(&'static str, String)]) -> Frame {
    let frame = Frame::new(Command::Receipt).header("receipt-id", id);
    extra
        .iter()
        .fold(frame, |frame, (name, value)| frame.header(name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(receipt: Option<&str>) -> Request {
        Request {
            asked: Asked::Unsubscribe,
            destination: None,
            receipt: receipt.map(Into::into),
        }
    }

    fn ids(frames: &[Frame]) -> Vec<&str> {
        let id = |frame: &'_ Frame| frame.headers.len() == 1;
        assert!(frames.iter().all(id));
        frames
            .iter()
            .filter_map(|frame| frame.headers.get("receipt-id"))
            .collect()
    }

    #[test]
    fn receipts_go_out_in_the_order_of_the_requests() {
        let mut receipts = Receipts::default();
        for (ticket, id) in [(1, Some("a")), (2, None), (3, Some("b")), (4, Some("c"))] {
            receipts.open(Ticket(ticket), request(id));
        }
        assert!(receipts.settle(Ticket(4)).is_some());
        assert_eq!(receipts.fulfil(Ticket(4), Vec::new()), []);
        assert!(receipts.settle(Ticket(1)).is_some());
        let frames = receipts.fulfil(Ticket(1), Vec::new());
        assert_eq!(ids(&frames), ["a"], "what asked for no receipt delays none");
        assert!(receipts.settle(Ticket(3)).is_some());
        let frames = receipts.drop_receipt(Ticket(3));
        assert_eq!(ids(&frames), ["c"], "a refused request has none");
        assert!(!receipts.is_empty());
        assert!(receipts.settle(Ticket(2)).is_some());
        assert_eq!(receipts.fulfil(Ticket(2), Vec::new()), []);
        assert!(receipts.is_empty());
    }

    #[test]
    fn what_is_settled_at_once_waits_behind_what_is_not() {
        let mut receipts = Receipts::default();
        assert_eq!(ids(&receipts.answer(Ticket(1), "a".into())), ["a"]);
        receipts.open(Ticket(2), request(Some("b")));
        assert_eq!(receipts.answer(Ticket(3), "c".into()), []);
        assert!(receipts.settle(Ticket(2)).is_some());
        let frames = receipts.fulfil(Ticket(2), Vec::new());
        assert_eq!(ids(&frames), ["b", "c"]);
        assert!(receipts.is_empty());
    }

    #[test]
    fn a_ticket_is_settled_once() {
        let mut receipts = Receipts::default();
        receipts.open(Ticket(7), request(Some("a")));
        assert_eq!(receipts.settle(Ticket(8)), None);
        assert_eq!(receipts.settle(Ticket(7)), Some(request(Some("a"))));
        assert_eq!(receipts.settle(Ticket(7)), None);
    }

    #[test]
    fn a_receipt_may_say_more() {
        let frame = receipt("r", &[("x-rate-remaining", "9".to_owned())]);
        assert_eq!(frame.headers.get("receipt-id"), Some("r"));
        assert_eq!(frame.headers.get("x-rate-remaining"), Some("9"));
    }

    #[test]
    fn there_is_a_limit() {
        let mut receipts = Receipts::default();
        for ticket in 0..PENDING_MAX {
            assert!(!receipts.is_full());
            receipts.open(Ticket(ticket as u64), request(None));
        }
        assert!(receipts.is_full());
    }
}
