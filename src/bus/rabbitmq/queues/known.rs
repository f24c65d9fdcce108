//! The queues that this node uses, and how many consumers it has.
//!
//! Not here: declaring. Invariants: at most as many consumers as the settings say; a queue has a place in
//! the pool of queues for as long as this node knows it; a queue that nobody here uses for as long as it
//! is kept is not known any more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::declare::Declared;
use super::outstanding::Outstanding;
use crate::budget::{Charge, Claimant, Pool, Portion, Tallies};
use crate::bus::queue::{MESSAGE_COST_BYTES, QueueError, QueueSettings, Scarce, Wish};
use crate::model::QueueArguments;

/// How often a queue is looked at whose arguments this node does not know.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A queue into which something was sent is counted no sooner than so long after the last time.
const COUNT_AFTER: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Known {
    settings: QueueSettings,
    queues: Arc<Pool>,
    /// What was sent from here and is not known to be consumed.
    bytes: Tallies,
    /// A std mutex: held for a few map operations, never across an await.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    queues: BTreeMap<Box<str>, Entry>,
    consumers: usize,
}

#[derive(Debug)]
struct Entry {
    _place: Charge,
    /// The arguments, unless it was found with others than nobody asked for.
    declared: Option<Declared>,
    /// When it was last made sure of.
    at: Option<Instant>,
    used_at: Instant,
    /// When a member or a bot last used it.
    used_by_account_at: Option<Instant>,
    /// When it was last kept alive for a member or a bot.
    kept_at: Instant,
    /// When it was last tried to remove it.
    tried_at: Instant,
    consumers: usize,
    outstanding: Outstanding,
    sent_at: Instant,
    counted_at: Instant,
}

/// What is to be done about a queue beside what clients ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Nobody uses it: remove it if it is empty.
    Remove,
    /// A visitor made it, so RabbitMQ keeps it for minutes, but a member or a bot has used it since: give
    /// it their life, or use it, so that it is kept.
    Keep(Declared),
    /// Find out how much of what was sent is still in it.
    Count(Declared),
}

/// A consumer that is counted until this is dropped.
#[derive(Debug)]
pub(super) struct Counted {
    known: Arc<Known>,
    queue: Option<Box<str>>,
}

impl Known {
    pub(super) fn new(settings: QueueSettings) -> Self {
        Self {
            settings,
            queues: settings.queues_pool(),
            bytes: Tallies::new(settings.bytes_pool()),
            state: Mutex::default(),
        }
    }

    /// Notes that a queue is used. Says whether it must be made sure of first; of a queue that is not
    /// known that takes a place. `beyond` takes it also when there is none: for what follows from
    /// something that was allowed.
    pub(super) fn use_it(
        &self,
        queue: &str,
        wish: &Wish,
        beyond: bool,
    ) -> Result<bool, QueueError> {
        let now = Instant::now();
        let mut state = self.lock();
        if let Some(entry) = state.queues.get_mut(queue) {
            entry.used_at = now;
            if wish.by.kind.has_account() {
                entry.used_by_account_at = Some(now);
            }
            return Ok(!entry.is_good(&wish.named, now));
        }
        let mut place = self.queues.charge(&wish.by);
        if beyond {
            place.restore(1);
        } else if place.grow(1).is_err() {
            state.sweep(now, &self.settings);
            place.grow(1).map_err(|why| QueueError::Share {
                of: Scarce::Queues,
                why,
            })?;
        }
        let entry = Entry {
            _place: place,
            declared: None,
            at: None,
            used_at: now,
            used_by_account_at: wish.by.kind.has_account().then_some(now),
            kept_at: now,
            tried_at: now,
            consumers: 0,
            outstanding: Outstanding::default(),
            sent_at: now,
            counted_at: now,
        };
        state.queues.insert(queue.into(), entry);
        Ok(true)
    }

    /// Whether [`Known::use_it`] would find the queue or a place for it.
    pub(super) fn may_use(&self, queue: &str, wish: &Wish) -> Result<(), QueueError> {
        let mut state = self.lock();
        if state.queues.contains_key(queue) {
            return Ok(());
        }
        state.sweep(Instant::now(), &self.settings);
        // Places of queues are not taken from others here.
        let mut place = self.queues.charge(&wish.by);
        place.grow_of_free(1).map_err(|why| QueueError::Share {
            of: Scarce::Queues,
            why,
        })
    }

    /// Takes the share of a message that is sent.
    pub(super) fn take_bytes(&self, by: &Claimant, bytes: u64) -> Result<Portion, QueueError> {
        let cost = bytes.saturating_add(MESSAGE_COST_BYTES);
        self.bytes.take(by, cost).map_err(|why| QueueError::Share {
            of: Scarce::Bytes,
            why,
        })
    }

    /// The queue has the message.
    pub(super) fn has(&self, queue: &str, portion: Portion) {
        if let Some(entry) = self.lock().queues.get_mut(queue) {
            entry.outstanding.add(portion);
            entry.sent_at = Instant::now();
        }
    }

    /// Notes that a queue is there, with these arguments as far as they are known.
    pub(super) fn note(&self, queue: &str, declared: Option<Declared>) {
        if let Some(entry) = self.lock().queues.get_mut(queue) {
            entry.declared = declared;
            entry.at = Some(Instant::now());
        }
    }

    /// Notes that it is not known whether a queue is there.
    pub(super) fn doubt(&self, queue: &str) {
        if let Some(entry) = self.lock().queues.get_mut(queue) {
            entry.at = None;
        }
    }

    /// Gives the place of a queue back that did not come about.
    pub(super) fn forget(&self, queue: &str) {
        let never_was = |entry: &Entry| entry.at.is_none() && entry.declared.is_none();
        self.forget_if(queue, never_was);
    }

    /// Gives the place of a queue back that was removed, unless it is used again.
    pub(super) fn removed(&self, queue: &str, since: Instant) {
        self.forget_if(queue, |entry| entry.used_at <= since);
    }

    fn forget_if(&self, queue: &str, which: impl Fn(&Entry) -> bool) {
        let mut state = self.lock();
        let found = state.queues.get_mut(queue);
        match found {
            Some(entry) if which(entry) && entry.consumers == 0 => {
                state.queues.remove(queue);
            }
            // Whoever used it meanwhile finds it gone.
            Some(entry) => entry.at = None,
            None => {}
        }
    }

    /// So many messages wait in the queue.
    pub(super) fn counted(&self, queue: &str, waiting: u32) {
        if let Some(entry) = self.lock().queues.get_mut(queue) {
            entry.outstanding.counted(waiting);
        }
    }

    /// What is to be done now, at most so much.
    pub(super) fn tasks(&self, most: usize) -> Vec<(Box<str>, Task)> {
        let now = Instant::now();
        let mut state = self.lock();
        state.sweep(now, &self.settings);
        let mut tasks = Vec::new();
        for (queue, entry) in &mut state.queues {
            if tasks.len() >= most {
                break;
            }
            if let Some(task) = entry.task(&self.settings, now) {
                tasks.push((queue.clone(), task));
            }
        }
        tasks
    }

    /// The arguments of a queue, if they are known.
    pub(super) fn declared(&self, queue: &str) -> Option<Declared> {
        self.lock().queues.get(queue)?.declared
    }

    /// Whether the queue was found with arguments that nobody here has asked for.
    pub(super) fn is_foreign(&self, queue: &str) -> bool {
        let is_foreign = |entry: &Entry| entry.declared.is_none() && entry.at.is_some();
        self.lock().queues.get(queue).is_some_and(is_foreign)
    }

    /// Counts a consumer of a queue.
    pub(super) fn count(self: &Arc<Self>) -> Result<Counted, QueueError> {
        let mut state = self.lock();
        if state.consumers >= self.settings.consumers_max {
            return Err(QueueError::Limit("consumers"));
        }
        state.consumers += 1;
        Ok(Counted {
            known: Arc::clone(self),
            queue: None,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Forgets the queues that nobody here has used for as long as they are kept.
    fn sweep(&mut self, now: Instant, settings: &QueueSettings) {
        self.queues.retain(|_, entry| {
            entry.consumers > 0
                || now < entry.last_used() + entry.kept(settings)
                || (!entry.outstanding.is_empty() && now < entry.used_at + entry.lives(settings))
        });
    }
}

impl Entry {
    /// How long RabbitMQ keeps the queue without use, as far as is known.
    fn lives(&self, settings: &QueueSettings) -> Duration {
        self.declared
            .map_or(settings.expires, |declared| declared.made.expires)
    }

    /// How long this node counts the queue without use: only for minutes if it is for visitors.
    fn kept(&self, settings: &QueueSettings) -> Duration {
        let lives = self.lives(settings);
        match self.used_by_account_at {
            Some(_) => lives,
            None => lives.min(settings.visitor_expires),
        }
    }

    fn last_used(&self) -> Instant {
        self.used_at.max(self.kept_at)
    }

    /// Whether there is no need to ask the broker. To be published to is no use of a queue there, so
    /// it is asked before the queue could have expired.
    fn is_good(&self, named: &QueueArguments, now: Instant) -> bool {
        let fits = match &self.declared {
            Some(declared) => declared.made.fits(named).is_ok(),
            None => *named == QueueArguments::default(),
        };
        let good_for = self
            .declared
            .map_or(LOOK_EVERY, |declared| declared.made.expires / 3);
        fits && self.at.is_some_and(|at| now < at + good_for)
    }

    fn task(&mut self, settings: &QueueSettings, now: Instant) -> Option<Task> {
        let declared = self.declared?;
        let minutes = settings.visitor_expires;
        let is_visitors = declared.is_of_visitors(settings);
        let was_needed = self
            .used_by_account_at
            .is_some_and(|at| now < at + settings.expires);
        if is_visitors && was_needed && now >= self.kept_at + minutes / 3 {
            self.kept_at = now;
            return Some(Task::Keep(declared));
        }
        let is_idle = self.consumers == 0 && now >= self.used_at.max(self.tried_at) + minutes;
        if is_idle && !is_visitors && declared.is_plain(settings) {
            self.tried_at = now;
            return Some(Task::Remove);
        }
        // Less and less often, and no more after half of its life: to be counted is use.
        let unsent_for = now - self.sent_at;
        let wait = COUNT_AFTER.max(unsent_for / 2);
        let is_countable = unsent_for <= self.lives(settings) / 2;
        if !self.outstanding.is_empty() && is_countable && now >= self.counted_at + wait {
            self.counted_at = now;
            return Some(Task::Count(declared));
        }
        None
    }
}

impl Counted {
    /// Counts it at its queue.
    pub(super) fn at(&mut self, queue: &str) {
        if let Some(entry) = self.known.lock().queues.get_mut(queue) {
            entry.consumers += 1;
            self.queue = Some(queue.into());
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut state = self.known.lock();
        state.consumers = state.consumers.saturating_sub(1);
        let queue = self.queue.take();
        if let Some(entry) = queue.and_then(|queue| state.queues.get_mut(&queue)) {
            entry.consumers = entry.consumers.saturating_sub(1);
            entry.used_at = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests;
