//! The numbering of what goes from node to node, and the gaps in it.
//!
//! A flow leads from one life of a sender to a target. Every parcel takes the next number of each
//! of its flows, whether or not the bus takes it; once a second the sender tells all nodes the
//! heads of its flows. Not here: what is done about a gap (`broker` repairs from the store).
//! Invariant: a parcel that does not arrive is noticed by the next one or by the next heads.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::model::{Incarnation, NodeId};

/// A sender that is silent for so long counts as gone; it says something every second.
pub const SILENCE_MAX: Duration = Duration::from_secs(4);

/// A flow that is silent for so long is forgotten. Until then its numbers are remembered: a node
/// that stood still finds in its queue what it has had before.
pub const MEMORY: Duration = Duration::from_secs(60);

/// What a parcel says by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// Something before it is missing.
    pub gap: bool,
    /// It came before: nothing in it is new. A repetition that comes later than [`WINDOW`] parcels
    /// after its first is not recognised any more.
    pub repetition: bool,
}

/// How many numbers back a repetition is told from a parcel that is late.
pub const WINDOW: u64 = 128;

/// The numbers that this node has used. They are kept for as long as this life lasts: a target that
/// was only cut off for a while would take numbers that begin anew for repetitions.
#[derive(Debug, Default)]
pub struct FlowsOut {
    heads: BTreeMap<NodeId, u64>,
}

impl FlowsOut {
    /// Takes the next number of the flow to each target.
    pub fn take<'a>(
        &mut self,
        targets: impl IntoIterator<Item = &'a NodeId>,
    ) -> Vec<(NodeId, u64)> {
        let mut next = |target: &NodeId| {
            let head = self.heads.entry(target.clone()).or_insert(0);
            *head += 1;
            (target.clone(), *head)
        };
        targets.into_iter().map(&mut next).collect()
    }

    /// The last number of every flow.
    #[must_use]
    pub fn heads(&self) -> Vec<(NodeId, u64)> {
        self.heads
            .iter()
            .map(|(node, head)| (node.clone(), *head))
            .collect()
    }
}

/// What was heard from other nodes.
#[derive(Debug, Default)]
pub struct FlowsIn {
    flows: BTreeMap<(NodeId, Incarnation), Flow>,
}

#[derive(Debug)]
struct Flow {
    /// The number that the next parcel should have.
    expected: u64,
    /// Which of the [`WINDOW`] numbers before that one came; the lowest bit is the last of them.
    came: u128,
    heard_at: Instant,
    /// It was silent for so long that its sender counts as gone.
    is_silent: bool,
}

impl FlowsIn {
    /// A parcel with this number came.
    pub fn parcel(
        &mut self,
        now: Instant,
        sender: (&NodeId, Incarnation),
        number: u64,
    ) -> Numbered {
        let (flow, is_back) = self.flow(now, sender);
        let gap = number > flow.expected || is_back;
        flow.expect(number + 1);
        let bit = match flow.expected - 1 - number {
            back @ 0..WINDOW => 1 << back,
            _ => 0,
        };
        let repetition = flow.came & bit != 0;
        flow.came |= bit;
        Numbered { gap, repetition }
    }

    /// The sender says that its last parcel to this node had this number (0: there was none).
    /// Returns whether something is missing.
    pub fn head(&mut self, now: Instant, sender: (&NodeId, Incarnation), head: u64) -> bool {
        let (flow, is_back) = self.flow(now, sender);
        let gap = head >= flow.expected || is_back;
        flow.expect(head + 1);
        gap
    }

    /// Notices the senders that have been silent for too long. Returns whether there are new ones:
    /// their last envelopes may be missing. When one of them is heard again, that counts as a gap.
    pub fn notice_silent(&mut self, now: Instant) -> bool {
        let mut any = false;
        self.flows.retain(|_, flow| {
            let silence = now.duration_since(flow.heard_at);
            any |= silence >= SILENCE_MAX && !flow.is_silent;
            flow.is_silent = silence >= SILENCE_MAX;
            silence < MEMORY
        });
        any
    }

    /// The nodes that were heard of lately.
    pub fn senders(&self) -> impl Iterator<Item = &NodeId> {
        let heard = self.flows.iter().filter(|(_, flow)| !flow.is_silent);
        heard.map(|((node, _), _)| node)
    }

    /// The flow, which was heard now, and whether it was silent before.
    fn flow(
        &mut self,
        now: Instant,
        (node, incarnation): (&NodeId, Incarnation),
    ) -> (&mut Flow, bool) {
        let unknown = Flow {
            expected: 1,
            came: 0,
            heard_at: now,
            is_silent: false,
        };
        let flow = self
            .flows
            .entry((node.clone(), incarnation))
            .or_insert(unknown);
        flow.heard_at = now;
        let was_silent = std::mem::take(&mut flow.is_silent);
        (flow, was_silent)
    }
}

impl Flow {
    /// Moves on, never back.
    fn expect(&mut self, number: u64) {
        let by = number.saturating_sub(self.expected);
        let by = u32::try_from(by).unwrap_or(u32::MAX);
        self.came = self.came.checked_shl(by).unwrap_or(0);
        self.expected = self.expected.max(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeId {
        name.parse().unwrap()
    }

    #[test]
    fn every_flow_is_numbered_by_itself() {
        let (a, b) = (node("a"), node("b"));
        let mut flows = FlowsOut::default();
        assert_eq!(flows.take([&a, &b]), vec![(a.clone(), 1), (b.clone(), 1)]);
        assert_eq!(flows.take([&b]), vec![(b.clone(), 2)]);
        assert_eq!(flows.heads(), vec![(a.clone(), 1), (b.clone(), 2)]);
    }

    #[test]
    fn a_gap_is_seen_by_the_next_parcel_or_by_the_heads() {
        let now = Instant::now();
        let a = node("a");
        let life = Incarnation(1);
        let mut flows = FlowsIn::default();
        assert!(
            !flows.parcel(now, (&a, life), 1).gap,
            "an unknown flow expects 1"
        );
        let again = flows.parcel(now, (&a, life), 1);
        assert!(again.repetition && !again.gap, "a repetition is no gap");
        assert!(flows.parcel(now, (&a, life), 3).gap);
        assert!(flows.parcel(now, (&a, life), 3).repetition);
        let late = flows.parcel(now, (&a, life), 2);
        assert!(!late.gap, "already known to be missing");
        assert!(!late.repetition, "late is not twice");
        assert!(!flows.head(now, (&a, life), 3));
        assert!(flows.head(now, (&a, life), 4), "the last parcel was lost");
        assert!(!flows.head(now, (&a, life), 4), "told once");
        assert!(
            !flows.head(now, (&a, Incarnation(2)), 0),
            "a new life begins anew"
        );
        assert!(flows.parcel(now, (&a, Incarnation(2)), 2).gap);
        assert!(flows.parcel(now, (&a, Incarnation(2)), 1_000).gap);
        for number in [2, 1_000 - WINDOW] {
            let forgotten = flows.parcel(now, (&a, Incarnation(2)), number);
            assert!(!forgotten.repetition, "too long ago to be known");
        }
        assert!(flows.parcel(now, (&a, Incarnation(2)), 1_000).repetition);
    }

    #[test]
    fn a_silent_sender_is_noticed_and_its_numbers_are_remembered_for_a_while() {
        let start = Instant::now();
        let a = node("a");
        let sender = (&a, Incarnation(1));
        let mut flows = FlowsIn::default();
        flows.parcel(start, sender, 1);
        assert!(!flows.notice_silent(start + Duration::from_secs(3)));
        assert_eq!(flows.senders().collect::<Vec<_>>(), vec![&a]);
        let late = start + SILENCE_MAX;
        assert!(flows.notice_silent(late));
        assert!(!flows.notice_silent(late), "noticed once");
        assert_eq!(flows.senders().count(), 0);
        let back = flows.parcel(late, sender, 1);
        assert!(back.gap, "whoever is back may have lost something");
        assert!(back.repetition, "and what it had sent is still known");
        assert!(!flows.head(late, sender, 1));
        assert!(flows.notice_silent(late + MEMORY));
        assert!(flows.flows.is_empty(), "at last it is forgotten");
    }
}
