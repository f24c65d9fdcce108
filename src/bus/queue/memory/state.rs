//! All queues of a process, behind one lock: which there are, how long they live, what they hold
//! together.
//!
//! Not here: one queue (`line`). Invariants: a queue has one entry among those that are due; a queue
//! that cannot be told from one that never was is not kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::line::{Dead, Line, Place, Stored};
use crate::budget::{Claimant, Pool, Portion};
use crate::bus::queue::{
    QueueError, QueueMessage, QueueSettings, Tag, Taken, Wish, dead_letters_of,
};
use crate::model::Verdict;

/// Names a consumer among all of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConsumerId {
    /// Of which node it is.
    pub(super) node: u64,
    pub(super) number: u64,
}

#[derive(Debug)]
pub(super) struct State {
    settings: QueueSettings,
    /// The pool of queues.
    places: Arc<Pool>,
    queues: BTreeMap<Arc<str>, Line>,
    /// When each queue is to be looked at, one entry each.
    due: BTreeSet<(Instant, Arc<str>)>,
    /// How many consumers each node has.
    consumers: BTreeMap<u64, usize>,
    /// Octets in all queues, those at consumers included.
    octets: u64,
    numbers: u64,
}

impl State {
    pub(super) fn new(settings: QueueSettings, places: Arc<Pool>) -> Self {
        Self {
            settings,
            places,
            queues: BTreeMap::new(),
            due: BTreeSet::new(),
            consumers: BTreeMap::new(),
            octets: 0,
            numbers: 0,
        }
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Whether a queue may go for a newcomer, if it is there.
    #[cfg(test)]
    pub(super) fn evictable(&self, name: &str) -> Option<bool> {
        self.queues.get(name).map(Line::is_evictable)
    }

    /// How many queues there are, how many entries of when to look at them, how many octets.
    #[cfg(test)]
    pub(super) fn held(&self) -> (usize, usize, u64) {
        (self.queues.len(), self.due.len(), self.octets)
    }

    pub(super) fn consumers_of(&self, node: u64) -> usize {
        self.consumers.get(&node).copied().unwrap_or_default()
    }

    /// Removes the queues that nobody has used for as long as they are kept.
    pub(super) fn sweep(&mut self, now: Instant) {
        while self.due.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, name)) = self.due.pop_first() else {
                return;
            };
            let Some(line) = self.queues.get_mut(&name) else {
                continue;
            };
            if line.is_consumed() {
                line.used_at = now;
            }
            line.due = line.used_at + line.made.expires;
            if line.due > now {
                self.due.insert((line.due, name));
            } else if let Some(line) = self.queues.remove(&name) {
                self.octets = self.octets.saturating_sub(line.octets);
            }
        }
    }

    /// Whether the queue is there, which is then used.
    pub(super) fn find(
        &mut self,
        name: &str,
        wish: &Wish,
        now: Instant,
    ) -> Result<bool, QueueError> {
        let Some(line) = self.queues.get_mut(name) else {
            return Ok(false);
        };
        let due = line.due;
        line.is_used_by(wish, now)?;
        if line.due != due
            && let Some((name, _)) = self.queues.get_key_value(name)
        {
            self.due.remove(&(due, Arc::clone(name)));
            let due = self.queues.get(name).map_or(due, |line| line.due);
            self.due.insert((due, Arc::clone(name)));
        }
        Ok(true)
    }

    /// Makes a queue that is not there.
    pub(super) fn make(&mut self, name: &str, wish: &Wish, place: Place, now: Instant) {
        let name: Arc<str> = name.into();
        let is_dead = dead_letters_of(&name).is_none();
        let line = Line::new(wish, is_dead, place, now);
        self.due.insert((line.due, Arc::clone(&name)));
        self.queues.insert(name, line);
    }

    /// Ends a queue whose place was taken away, unless somebody uses it again.
    pub(super) fn evict(&mut self, name: &str) {
        if let Some(line) = self.queues.get(name).filter(|line| line.is_evictable()) {
            let waiting = line.waiting() as u64;
            metrics::counter!("queue_evicted_messages_total").increment(waiting);
            self.remove(name);
        }
    }

    /// Forgets a queue that was made for something that it then refused.
    pub(super) fn forget_if_unused(&mut self, name: &str) {
        let is_unused = |line: &Line| line.is_plain && line.is_empty();
        if self.queues.get(name).is_some_and(is_unused) {
            self.remove(name);
        }
    }

    fn remove(&mut self, name: &str) {
        if let Some((name, line)) = self.queues.remove_entry(name) {
            self.octets = self.octets.saturating_sub(line.octets);
            self.due.remove(&(line.due, name));
        }
    }

    /// Puts a message at the end of a queue that is there.
    pub(super) fn put(
        &mut self,
        name: &str,
        message: QueueMessage,
        portion: Portion,
        now: Instant,
    ) -> Result<(), QueueError> {
        let octets_max = self.settings.bytes_max;
        let put = self.on(name, now, |line| {
            let stored = Stored::new(message, portion, line.made.message_ttl, now);
            line.put(stored, octets_max, now)
        });
        put.unwrap_or(Ok(()))
    }

    /// Adds a consumer to a queue that is there.
    pub(super) fn add(
        &mut self,
        name: &str,
        node: u64,
        sender: mpsc::Sender<Taken>,
        prefetch: usize,
        now: Instant,
    ) -> ConsumerId {
        let number = self.next_number();
        let id = ConsumerId { node, number };
        *self.consumers.entry(node).or_default() += 1;
        self.on(name, now, |line| line.add(id, sender, prefetch));
        id
    }

    pub(super) fn settle(
        &mut self,
        name: &str,
        id: ConsumerId,
        tags: &[Tag],
        verdict: Verdict,
        now: Instant,
    ) {
        let dead_letters = dead_letters_of(name);
        let may_die = dead_letters.is_some();
        let dead = self.on(name, now, |line| line.settle(id, tags, verdict, may_die));
        let by = self.queues.get(name).map(|line| line.place.by());
        if let Some((dead_letters, by)) = dead_letters.zip(by) {
            for dead in dead.unwrap_or_default() {
                self.bury(name, &dead_letters, dead, &by, now);
            }
        }
    }

    /// Ends a consumer; nothing happens when it has ended.
    pub(super) fn end(&mut self, name: &str, id: ConsumerId, now: Instant) {
        let ended = self.on(name, now, |line| line.remove(|consumer| consumer == id));
        if ended.unwrap_or_default() > 0
            && let Some(count) = self.consumers.get_mut(&id.node)
        {
            *count = count.saturating_sub(1);
        }
    }

    /// Ends every consumer of a node.
    pub(super) fn leave(&mut self, node: u64, now: Instant) {
        let names: Vec<_> = self.queues.keys().cloned().collect();
        for name in names {
            self.on(&name, now, |line| {
                line.remove(|consumer| consumer.node == node)
            });
        }
        self.consumers.remove(&node);
    }

    /// Does something with a queue; then hands on what can be, counts what it holds now, and forgets
    /// it if nothing tells it from one that never was.
    fn on<T>(&mut self, name: &str, now: Instant, act: impl FnOnce(&mut Line) -> T) -> Option<T> {
        let line = self.queues.get_mut(name)?;
        let before = line.octets;
        let outcome = act(line);
        line.hand_on(now);
        line.guard_place();
        self.octets = self.octets.saturating_sub(before) + line.octets;
        self.forget_if_unused(name);
        Some(outcome)
    }

    /// A dead letter never holds up what made it one. The queue of dead letters that it needs counts to
    /// the share of the client whose queue it comes from: of a member also beyond their share, of a
    /// visitor only within it.
    fn bury(
        &mut self,
        from: &str,
        dead_letters: &str,
        (message, portion, reason): Dead,
        by: &Claimant,
        now: Instant,
    ) {
        if !self.queues.contains_key(dead_letters) {
            let mut charge = self.places.charge(by);
            if by.kind.has_account() {
                charge.restore(1);
            } else if charge.grow_of_free(1).is_err() {
                return dropped();
            }
            let Ok(wish) = Wish::plain(by, &self.settings) else {
                return;
            };
            self.make(dead_letters, &wish, Place::protected(charge), now);
        }
        metrics::counter!("queue_dead_letters_total", "reason" => reason.as_str()).increment(1);
        let dead = message.into_dead(from, reason);
        if self.put(dead_letters, dead, portion, now).is_err() {
            dropped();
        }
    }
}

fn dropped() {
    tracing::warn!("there is no room for a dead letter; it is dropped");
}
