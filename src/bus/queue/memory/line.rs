//! One queue: what waits, who consumes, what is unsettled.
//!
//! Not here: other queues (`state`), clocks: the time is an argument. Invariants: a message is in
//! `waiting` or with one consumer; while something waits, no consumer may have more; a message that
//! comes back has its old place.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::state::ConsumerId;
use crate::budget::{Charge, Claimant, Evict, Portion};
use crate::bus::queue::{DeadReason, Made, NACKS_MAX, QueueError, QueueMessage, Tag, Taken, Wish};
use crate::model::{QueueArguments, Verdict};

/// A message as its queue keeps it.
#[derive(Debug)]
pub(super) struct Stored {
    message: QueueMessage,
    octets: u64,
    /// Its part of the bytes in queues of the client who sent it.
    portion: Portion,
    /// After it, nobody is given the message any more.
    expires_at: Option<Instant>,
    /// Whether somebody has had it.
    redelivered: bool,
}

#[derive(Debug)]
struct Consuming {
    id: ConsumerId,
    sender: mpsc::Sender<Taken>,
    prefetch: usize,
    tags: u64,
    /// By tag: its place in the queue, and what it is.
    unsettled: BTreeMap<u64, (u64, Stored)>,
}

/// What became a dead letter.
pub(super) type Dead = (QueueMessage, Portion, DeadReason);

/// The place of a queue among those of the node.
pub(super) struct Place {
    charge: Charge,
    /// Told when the place is taken away. It is not for queues of dead letters.
    whose: Option<Arc<dyn Evict>>,
    is_evictable: bool,
}

impl Place {
    pub(super) fn new(charge: Charge, whose: Arc<dyn Evict>) -> Self {
        Self {
            charge,
            whose: Some(whose),
            is_evictable: false,
        }
    }

    /// One that is never taken away.
    pub(super) fn protected(charge: Charge) -> Self {
        Self {
            charge,
            whose: None,
            is_evictable: false,
        }
    }

    /// Whose it is.
    pub(super) fn by(&self) -> Claimant {
        self.charge.claimant()
    }

    fn set_evictable(&mut self, is_evictable: bool) {
        if is_evictable == self.is_evictable {
            return;
        }
        match &self.whose {
            Some(whose) if is_evictable => self.charge.set_evictable(Arc::downgrade(whose)),
            // Its place may have been taken away a moment ago, while it came into use again.
            Some(_) | None => self.charge.protect(1),
        }
        self.is_evictable = is_evictable;
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("charge", &self.charge)
            .field("is_evictable", &self.is_evictable)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(super) struct Line {
    pub(super) made: Made,
    pub(super) place: Place,
    /// Whether only visitors have used it: it is kept for minutes, and gone first when places are scarce.
    is_visitors: bool,
    /// Whether nobody has named arguments when it was made.
    pub(super) is_plain: bool,
    /// Whether it holds dead letters: the oldest makes room.
    is_dead: bool,
    pub(super) used_at: Instant,
    /// When it is looked at next, whether it still is used.
    pub(super) due: Instant,
    /// Of everything in it, what is unsettled included.
    pub(super) octets: u64,
    /// By place.
    waiting: BTreeMap<u64, Stored>,
    places: u64,
    /// When those of them expire that do, with their places.
    expiring: BTreeSet<(Instant, u64)>,
    /// In the order in which they get their turn.
    consumers: VecDeque<Consuming>,
}

impl Stored {
    pub(super) fn new(
        message: QueueMessage,
        portion: Portion,
        queue_ttl: Option<Duration>,
        now: Instant,
    ) -> Self {
        let ttl = [message.ttl, queue_ttl].into_iter().flatten().min();
        Self {
            octets: message.octets(),
            portion,
            // So far away that it cannot be said is never.
            expires_at: ttl.and_then(|ttl| now.checked_add(ttl)),
            redelivered: false,
            message,
        }
    }
}

impl Line {
    pub(super) fn new(wish: &Wish, is_dead: bool, place: Place, now: Instant) -> Self {
        let made = wish.made;
        Self {
            made,
            place,
            is_visitors: !wish.by.kind.has_account(),
            is_plain: wish.named == QueueArguments::default(),
            is_dead,
            used_at: now,
            due: now + made.expires,
            octets: 0,
            waiting: BTreeMap::new(),
            places: 0,
            expiring: BTreeSet::new(),
            consumers: VecDeque::new(),
        }
    }

    /// Notes that a client uses the queue. With the first member or bot it stops being the visitors', and
    /// is kept for as long as a queue of theirs.
    pub(super) fn is_used_by(&mut self, wish: &Wish, now: Instant) -> Result<(), QueueError> {
        let mut made = self.made;
        let is_adopted = self.is_visitors && wish.by.kind.has_account();
        if is_adopted {
            made.expires = wish.made.expires;
        }
        made.fits(&wish.named)?;
        self.used_at = now;
        if is_adopted {
            self.made = made;
            self.is_visitors = false;
            self.due = now + made.expires;
            self.guard_place();
            self.place.charge.identify(&wish.by);
        }
        Ok(())
    }

    /// Whether its place may be taken away: only visitors have used it, and nobody consumes. What visitors sent to it goes with
    /// it, or a message in each would keep queues from everybody.
    pub(super) fn is_evictable(&self) -> bool {
        self.is_visitors && self.consumers.is_empty()
    }

    /// How many messages wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Protects the place exactly while the queue may not go.
    pub(super) fn guard_place(&mut self) {
        let is_evictable = self.is_evictable();
        self.place.set_evictable(is_evictable);
    }

    pub(super) fn is_consumed(&self) -> bool {
        !self.consumers.is_empty()
    }

    /// Whether there is nothing in it and nobody at it.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.consumers.is_empty()
    }

    /// Takes a message in at the end, unless there is no room for it.
    pub(super) fn put(
        &mut self,
        stored: Stored,
        octets_max: u64,
        now: Instant,
    ) -> Result<(), QueueError> {
        let has_room = |line: &Self| {
            let length_max = usize::try_from(line.made.length_max).unwrap_or(usize::MAX);
            line.waiting.len() < length_max
                && line.octets.saturating_add(stored.octets) <= octets_max
        };
        if !has_room(self) {
            self.drop_expired(now);
        }
        while !has_room(self) {
            if !self.is_dead {
                return Err(QueueError::Full);
            }
            let Some((_, oldest)) = self.next() else {
                return Err(QueueError::Full);
            };
            self.octets = self.octets.saturating_sub(oldest.octets);
        }
        self.octets += stored.octets;
        self.places += 1;
        self.wait(self.places, stored);
        Ok(())
    }

    fn wait(&mut self, place: u64, stored: Stored) {
        self.expiring
            .extend(stored.expires_at.map(|at| (at, place)));
        self.waiting.insert(place, stored);
    }

    /// Takes out the oldest of what waits.
    fn next(&mut self) -> Option<(u64, Stored)> {
        let (place, stored) = self.waiting.pop_first()?;
        if let Some(at) = stored.expires_at {
            self.expiring.remove(&(at, place));
        }
        Some((place, stored))
    }

    fn drop_expired(&mut self, now: Instant) {
        // What may wait no time at all is still good for a consumer that is there.
        while self.expiring.first().is_some_and(|(at, _)| *at < now) {
            let expired = self.expiring.pop_first();
            if let Some(stored) = expired.and_then(|(_, place)| self.waiting.remove(&place)) {
                self.octets = self.octets.saturating_sub(stored.octets);
            }
        }
    }

    /// Gives what waits to the consumers that may have more, in turn.
    pub(super) fn hand_on(&mut self, now: Instant) {
        self.drop_expired(now);
        let mut without_room = 0;
        while !self.waiting.is_empty() && without_room < self.consumers.len() {
            let Some(mut consumer) = self.consumers.pop_front() else {
                return;
            };
            let handed = match consumer.may_have_more() {
                true => self.next(),
                false => None,
            };
            match handed {
                Some((place, stored)) => match consumer.hand(place, stored) {
                    None => without_room = 0,
                    Some(back) => {
                        self.wait(place, back);
                        without_room += 1;
                    }
                },
                None => without_room += 1,
            }
            self.consumers.push_back(consumer);
        }
    }

    pub(super) fn add(&mut self, id: ConsumerId, sender: mpsc::Sender<Taken>, prefetch: usize) {
        // It has its turn before those that have had theirs.
        self.consumers.push_front(Consuming {
            id,
            sender,
            prefetch,
            tags: 0,
            unsettled: BTreeMap::new(),
        });
    }

    /// Settles what is outstanding of these; returns the dead letters.
    pub(super) fn settle(
        &mut self,
        id: ConsumerId,
        tags: &[Tag],
        verdict: Verdict,
        may_die: bool,
    ) -> Vec<Dead> {
        let Some(consumer) = self.consumers.iter_mut().find(|consumer| consumer.id == id) else {
            return Vec::new();
        };
        let settled = tags
            .iter()
            .filter_map(|tag| consumer.unsettled.remove(&tag.0));
        let settled: Vec<_> = settled.collect();
        let mut dead = Vec::new();
        for (place, mut stored) in settled {
            let reason = match verdict {
                Verdict::Ack => None,
                Verdict::Reject => Some(DeadReason::Rejected),
                Verdict::Requeue => {
                    stored.message.nacks = stored.message.nacks.saturating_add(1);
                    if !may_die || stored.message.nacks < NACKS_MAX {
                        self.come_back(place, stored);
                        continue;
                    }
                    Some(DeadReason::Nacked)
                }
            };
            self.octets = self.octets.saturating_sub(stored.octets);
            dead.extend(reason.map(|reason| (stored.message, stored.portion, reason)));
        }
        dead
    }

    fn come_back(&mut self, place: u64, mut stored: Stored) {
        stored.redelivered = true;
        self.wait(place, stored);
    }

    /// Ends the consumers of which this holds; what they had not settled waits again. Returns how
    /// many they were.
    pub(super) fn remove(&mut self, is_meant: impl Fn(ConsumerId) -> bool) -> usize {
        let consumers = std::mem::take(&mut self.consumers);
        let (ended, left): (VecDeque<_>, VecDeque<_>) = consumers
            .into_iter()
            .partition(|consumer| is_meant(consumer.id));
        self.consumers = left;
        let count = ended.len();
        for consumer in ended {
            for (place, stored) in consumer.unsettled.into_values() {
                self.come_back(place, stored);
            }
        }
        count
    }
}

impl Consuming {
    fn may_have_more(&self) -> bool {
        self.unsettled.len() < self.prefetch && !self.sender.is_closed()
    }

    /// Hands a message over, or gives it back.
    fn hand(&mut self, place: u64, stored: Stored) -> Option<Stored> {
        self.tags += 1;
        let taken = Taken {
            tag: Tag(self.tags),
            message: stored.message.clone(),
            redelivered: stored.redelivered,
        };
        match self.sender.try_send(taken) {
            Ok(()) => {
                self.unsettled.insert(self.tags, (place, stored));
                None
            }
            Err(_) => Some(stored),
        }
    }
}
