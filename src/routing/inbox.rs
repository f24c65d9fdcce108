//! Order and holes of the conversations of one subscription to `/user/queue/messages`.
//!
//! Not here: where messages come from. Live envelopes, echoes and rows of the store all go through
//! [`Inbox::offer`] and [`Inbox::fetched`], and that is what makes them one sequence.
//! Invariant: for each conversation what comes out is strictly increasing in `seq` and steps over
//! nothing that is still kept: whoever has seen `seq` n may fetch all below n, they are committed.
//!
//! Life: an inbox begins *replaying*, registered but without a baseline; what arrives only raises
//! `want`. [`Inbox::settle`] gives it the heads that were read after the location was acknowledged,
//! and it is *live*. A conversation that is absent from that read is younger than the subscription
//! and starts at 0.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::RoomId;

/// How many messages behind a hole are kept in memory; beyond that only `want` is kept and the rows
/// are fetched again. A hole from plain reordering between nodes is a few messages wide.
const HELD_MAX: usize = 64;

/// How many echoes a session may have suppressed at a time; beyond that it simply gets them.
const EXEMPT_MAX: usize = 256;

/// What is missing in a conversation: `after < seq <= through`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The last `seq` that was delivered.
    pub after: u64,
    /// The highest `seq` that is known to exist.
    pub through: u64,
}

/// What becomes of a message that was offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer<T> {
    /// Deliver these, in this order: the message and what waited behind it.
    Deliver(Vec<T>),
    /// It was delivered before, or the inbox is replaying: nothing to do.
    Nothing,
    /// Something before it is missing: fetch the conversation soon.
    Hole,
}

/// The state of one subscription. `T` is whatever is delivered.
#[derive(Debug)]
pub struct Inbox<T> {
    replaying: bool,
    conversations: BTreeMap<RoomId, Progress<T>>,
    /// Echoes that the sending session asked not to get (`echo:none`).
    exempt: BTreeSet<(RoomId, u64)>,
}

#[derive(Debug)]
struct Progress<T> {
    delivered: u64,
    want: u64,
    /// Messages above a hole.
    #[expect(
        clippy::box_collection,
        reason = "nearly every conversation has none, and there are many: 8 octets instead of 24"
    )]
    held: Option<Box<BTreeMap<u64, T>>>,
}

impl<T> Default for Progress<T> {
    fn default() -> Self {
        Self {
            delivered: 0,
            want: 0,
            held: None,
        }
    }
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Inbox<T> {
    /// A replaying inbox.
    #[must_use]
    pub fn new() -> Self {
        Self {
            replaying: true,
            conversations: BTreeMap::new(),
            exempt: BTreeSet::new(),
        }
    }

    /// How many conversations it keeps.
    #[must_use]
    pub fn conversations(&self) -> usize {
        self.conversations.len()
    }

    /// Gives the baseline: the heads read after the location was acknowledged. Returns the
    /// conversations in which something arrived that is above it.
    pub fn settle(&mut self, heads: impl IntoIterator<Item = (RoomId, u64)>) -> Vec<RoomId> {
        self.replaying = false;
        for (room, head) in heads {
            let progress = self.conversations.entry(room).or_default();
            progress.delivered = progress.delivered.max(head);
        }
        let behind = |(room, progress): (&RoomId, &Progress<T>)| {
            (progress.want > progress.delivered).then_some(*room)
        };
        self.conversations.iter().filter_map(behind).collect()
    }

    /// Offers a message that arrived, from wherever.
    pub fn offer(&mut self, room: RoomId, seq: u64, item: T) -> Offer<T> {
        let progress = self.conversations.entry(room).or_default();
        if seq <= progress.delivered && !self.replaying {
            return Offer::Nothing;
        }
        progress.want = progress.want.max(seq);
        if self.replaying {
            return Offer::Nothing;
        }
        if seq != progress.delivered + 1 {
            let held = progress.held.get_or_insert_default();
            if held.len() < HELD_MAX {
                held.insert(seq, item);
            }
            return Offer::Hole;
        }
        let mut due = Vec::with_capacity(1);
        progress.delivered = seq;
        due.extend((!self.exempt.remove(&(room, seq))).then_some(item));
        Self::release(room, progress, &mut self.exempt, &mut due);
        debug_assert!(
            progress.delivered <= progress.want,
            "delivered what nobody knows of"
        );
        Offer::Deliver(due)
    }

    /// Takes rows of the store: all that is kept of `after < seq <= through`. Rows that were
    /// delivered meanwhile are dropped; an answer that begins above what was delivered is ignored.
    pub fn fetched(
        &mut self,
        room: RoomId,
        hole: Hole,
        rows: impl IntoIterator<Item = (u64, T)>,
    ) -> Vec<T> {
        let mut due = Vec::new();
        let Some(progress) = self.conversations.get_mut(&room) else {
            return due;
        };
        if self.replaying || progress.delivered < hole.after {
            return due;
        }
        for (seq, item) in rows {
            if seq > progress.delivered && seq <= hole.through {
                progress.delivered = seq;
                due.extend((!self.exempt.remove(&(room, seq))).then_some(item));
            }
        }
        progress.delivered = progress.delivered.max(hole.through);
        progress.want = progress.want.max(progress.delivered);
        Self::release(room, progress, &mut self.exempt, &mut due);
        due
    }

    /// Says that the conversation reaches up to `seq`. Returns whether something is missing now.
    pub fn raise(&mut self, room: RoomId, seq: u64) -> bool {
        let progress = self.conversations.entry(room).or_default();
        progress.want = progress.want.max(seq);
        !self.replaying && progress.want > progress.delivered
    }

    /// What is missing in a conversation.
    #[must_use]
    pub fn hole(&self, room: RoomId) -> Option<Hole> {
        let progress = self.conversations.get(&room).filter(|_| !self.replaying)?;
        let hole = Hole {
            after: progress.delivered,
            through: progress.want,
        };
        (hole.through > hole.after).then_some(hole)
    }

    /// Suppresses one echo: the session wrote this message itself and asked for no copy of it.
    pub fn exempt(&mut self, room: RoomId, seq: u64) {
        let delivered = self
            .conversations
            .get(&room)
            .map_or(0, |progress| progress.delivered);
        if self.exempt.len() < EXEMPT_MAX && seq > delivered {
            self.exempt.insert((room, seq));
        }
    }

    /// Moves on over held messages that are next, and forgets those that are past.
    fn release(
        room: RoomId,
        progress: &mut Progress<T>,
        exempt: &mut BTreeSet<(RoomId, u64)>,
        due: &mut Vec<T>,
    ) {
        let Some(held) = &mut progress.held else {
            return;
        };
        while let Some(entry) = held.first_entry() {
            let seq = *entry.key();
            if seq > progress.delivered + 1 {
                return;
            }
            let item = entry.remove();
            if seq == progress.delivered + 1 {
                progress.delivered = seq;
                due.extend((!exempt.remove(&(room, seq))).then_some(item));
            }
        }
        progress.held = None;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROOM: RoomId = RoomId(1);

    fn live(head: u64) -> Inbox<u64> {
        let mut inbox = Inbox::new();
        inbox.settle([(ROOM, head)]);
        inbox
    }

    #[test]
    fn the_next_message_is_delivered_and_an_old_one_is_not() {
        let mut inbox = live(4);
        assert_eq!(inbox.offer(ROOM, 4, 4), Offer::Nothing);
        assert_eq!(inbox.offer(ROOM, 5, 5), Offer::Deliver(vec![5]));
        assert_eq!(inbox.offer(ROOM, 5, 5), Offer::Nothing);
    }

    #[test]
    fn a_hole_is_never_stepped_over() {
        let mut inbox = live(4);
        assert_eq!(inbox.offer(ROOM, 7, 7), Offer::Hole);
        assert_eq!(inbox.offer(ROOM, 6, 6), Offer::Hole);
        assert_eq!(
            inbox.hole(ROOM),
            Some(Hole {
                after: 4,
                through: 7
            })
        );
        assert_eq!(inbox.offer(ROOM, 5, 5), Offer::Deliver(vec![5, 6, 7]));
        assert_eq!(inbox.hole(ROOM), None);
    }

    #[test]
    fn rows_of_the_store_fill_a_hole_and_release_what_waited() {
        let mut inbox = live(4);
        assert_eq!(inbox.offer(ROOM, 8, 8), Offer::Hole);
        let hole = Hole {
            after: 4,
            through: 7,
        };
        assert_eq!(
            inbox.fetched(ROOM, hole, [(5, 5), (6, 6), (7, 7)]),
            vec![5, 6, 7, 8]
        );
        let stale = Hole {
            after: 4,
            through: 8,
        };
        assert_eq!(
            inbox.fetched(ROOM, stale, [(5, 5), (8, 8)]),
            Vec::<u64>::new()
        );
    }

    #[test]
    fn what_retention_has_removed_is_passed() {
        let mut inbox = live(4);
        assert!(inbox.raise(ROOM, 9));
        let hole = Hole {
            after: 4,
            through: 9,
        };
        assert_eq!(inbox.fetched(ROOM, hole, [(8, 8)]), vec![8]);
        assert_eq!(inbox.hole(ROOM), None);
        assert_eq!(inbox.offer(ROOM, 10, 10), Offer::Deliver(vec![10]));
    }

    #[test]
    fn an_answer_for_another_subscriber_that_begins_later_is_ignored() {
        let mut inbox = live(4);
        assert!(inbox.raise(ROOM, 9));
        let later = Hole {
            after: 6,
            through: 9,
        };
        assert_eq!(
            inbox.fetched(ROOM, later, [(7, 7), (8, 8), (9, 9)]),
            Vec::<u64>::new()
        );
        assert_eq!(
            inbox.hole(ROOM),
            Some(Hole {
                after: 4,
                through: 9
            })
        );
    }

    #[test]
    fn a_subscription_is_a_hole_between_its_baseline_and_what_came_meanwhile() {
        let mut inbox = Inbox::new();
        assert_eq!(inbox.offer(ROOM, 9, 9), Offer::Nothing);
        assert_eq!(inbox.offer(RoomId(2), 2, 2), Offer::Nothing);
        assert!(!inbox.raise(RoomId(3), 3));
        // Room 1 had 8 messages at the baseline, room 3 had 3, and room 2 did not exist.
        assert_eq!(
            inbox.settle([(ROOM, 8), (RoomId(3), 3)]),
            vec![ROOM, RoomId(2)]
        );
        assert_eq!(
            inbox.hole(ROOM),
            Some(Hole {
                after: 8,
                through: 9
            })
        );
        assert_eq!(
            inbox.hole(RoomId(2)),
            Some(Hole {
                after: 0,
                through: 2
            })
        );
        assert_eq!(inbox.hole(RoomId(3)), None);
    }

    #[test]
    fn an_exempted_echo_is_passed_in_silence() {
        let mut inbox = live(4);
        inbox.exempt(ROOM, 6);
        assert_eq!(inbox.offer(ROOM, 6, 6), Offer::Hole);
        assert_eq!(inbox.offer(ROOM, 5, 5), Offer::Deliver(vec![5]));
        assert_eq!(inbox.offer(ROOM, 7, 7), Offer::Deliver(vec![7]));
    }

    #[test]
    fn behind_a_wide_hole_only_the_height_is_kept() {
        let mut inbox = live(0);
        for seq in 2..1_000 {
            assert_eq!(inbox.offer(ROOM, seq, seq), Offer::Hole);
        }
        let held = inbox.conversations[&ROOM].held.as_ref().unwrap();
        assert_eq!(held.len(), HELD_MAX);
        assert_eq!(
            inbox.hole(ROOM),
            Some(Hole {
                after: 0,
                through: 999
            })
        );
    }

    proptest! {
        /// Envelopes arrive in any order, several times or never; the store answers now and then.
        /// Whatever happens, what comes out is 1, 2, 3 ... and a last question completes it.
        #[test]
        fn what_comes_out_is_always_the_sequence(
            events in proptest::collection::vec((1_u64..40, any::<bool>()), 0..200),
        ) {
            let mut inbox = live(0);
            let mut out = Vec::new();
            for (seq, fetch) in events {
                if let Offer::Deliver(items) = inbox.offer(ROOM, seq, seq) {
                    out.extend(items);
                }
                if let Some(hole) = inbox.hole(ROOM).filter(|_| fetch) {
                    let rows = (hole.after + 1..=hole.through).map(|seq| (seq, seq));
                    out.extend(inbox.fetched(ROOM, hole, rows));
                }
            }
            let hole = Hole { after: out.len() as u64, through: 40 };
            out.extend(inbox.fetched(ROOM, hole, (1..=40).map(|seq| (seq, seq))));
            prop_assert_eq!(out, (1..=40).collect::<Vec<u64>>());
        }
    }
}
