//! What each connection has heard of each sender: whether all of it, once, and in order.
//!
//! Not here: when it came. Invariant: a message is counted as delivered once, whatever comes again;
//! what is missing at the end is lost.

use std::collections::{BTreeMap, BTreeSet};

/// The most missing numbers that are remembered; what is missing beyond that counts as lost even if it
/// comes later.
const MISSING_MAX: usize = 1 << 20;

/// How a message arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// In its turn, or after a gap.
    InOrder,
    /// After a later one.
    Late,
    /// Once more.
    Again,
}

/// What was wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Faults {
    /// Deliveries that never came.
    pub(super) lost: u64,
    /// Deliveries that came again.
    pub(super) duplicated: u64,
    /// Deliveries that came after a later one, by the sender's number or by the conversation's.
    pub(super) reordered: u64,
    /// Messages that were for somebody else, or for nobody.
    pub(super) astray: u64,
    /// Receipts that never came.
    pub(super) unreceipted: u64,
}

impl Faults {
    /// Whether there are none.
    pub(super) fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}

/// The next number of each sender at each connection.
#[derive(Debug)]
pub(super) struct Hearing {
    slots: usize,
    next: Vec<u64>,
    missing: BTreeMap<usize, BTreeSet<u64>>,
    missing_count: usize,
    /// The last `seq` of the conversation at each connection, 0 for none.
    last_seq: Vec<u64>,
    /// What was wrong so far.
    pub(super) faults: Faults,
}

impl Hearing {
    /// So many connections that hear so many senders at most.
    pub(super) fn new(links: usize, slots: usize) -> Self {
        Self {
            slots,
            next: vec![0; links * slots],
            missing: BTreeMap::new(),
            missing_count: 0,
            last_seq: vec![0; links],
            faults: Faults::default(),
        }
    }

    /// A message of a sender has come.
    pub(super) fn note(&mut self, link: usize, slot: usize, number: u64) -> Arrival {
        let place = link * self.slots + slot;
        let next = &mut self.next[place];
        if number == *next {
            *next += 1;
            return Arrival::InOrder;
        }
        if number > *next {
            let gap = *next..number;
            *next = number + 1;
            let room = MISSING_MAX - self.missing_count;
            let missing = self.missing.entry(place).or_default();
            let before = missing.len();
            missing.extend(gap.take(room));
            self.missing_count += missing.len() - before;
            return Arrival::InOrder;
        }
        let missing = self.missing.get_mut(&place);
        if missing.is_some_and(|missing| missing.remove(&number)) {
            self.missing_count -= 1;
            self.faults.reordered += 1;
            return Arrival::Late;
        }
        self.faults.duplicated += 1;
        Arrival::Again
    }

    /// A message has this number in its conversation.
    pub(super) fn note_seq(&mut self, link: usize, seq: u64) {
        let last = &mut self.last_seq[link];
        if seq <= *last {
            self.faults.reordered += 1;
        }
        *last = seq.max(*last);
    }

    /// How many of the messages of a sender, of which so many were sent, did not come.
    pub(super) fn lost(&self, link: usize, slot: usize, sent: u64) -> u64 {
        let place = link * self.slots + slot;
        let missing = self.missing.get(&place).map_or(0, BTreeSet::len) as u64;
        sent.saturating_sub(self.next[place]) + missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_doubled_or_out_of_order_is_counted() {
        let mut hearing = Hearing::new(2, 2);
        let mut check = |number, expected| assert_eq!(hearing.note(1, 1, number), expected);
        check(0, Arrival::InOrder);
        check(3, Arrival::InOrder);
        check(1, Arrival::Late);
        check(1, Arrival::Again);
        check(3, Arrival::Again);
        check(4, Arrival::InOrder);
        assert_eq!(
            (hearing.faults.reordered, hearing.faults.duplicated),
            (1, 2)
        );
        assert_eq!(hearing.lost(1, 1, 5), 1);
        assert_eq!(hearing.lost(1, 1, 7), 3);
        assert_eq!(hearing.lost(0, 0, 2), 2);
    }

    #[test]
    fn the_numbers_of_a_conversation_rise() {
        let mut hearing = Hearing::new(1, 1);
        for seq in [3, 4, 9] {
            hearing.note_seq(0, seq);
        }
        assert!(hearing.faults.is_clean());
        hearing.note_seq(0, 9);
        assert_eq!(hearing.faults.reordered, 1);
    }
}
