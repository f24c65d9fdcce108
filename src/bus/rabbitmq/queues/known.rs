//! The queues that this node uses, and how many consumers it has.
//!
//! Not here: declaring. Invariants: at most as many queues and consumers as the settings say; a queue
//! that nobody here uses for as long as it is kept is not counted any more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::declare::Declared;
use crate::bus::queue::{QueueError, QueueSettings};
use crate::model::QueueArguments;

/// How often a queue is looked at whose arguments this node does not know.
const LOOK_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Known {
    settings: QueueSettings,
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
    /// The arguments, unless it was found with others than nobody asked for.
    declared: Option<Declared>,
    /// When it was last made sure of.
    at: Option<Instant>,
    used_at: Instant,
    consumers: usize,
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
            state: Mutex::default(),
        }
    }

    /// Notes that a queue is used. Says whether it must be made sure of first; of a queue that is not
    /// known that takes a place.
    pub(super) fn use_it(
        &self,
        queue: &str,
        named: &QueueArguments,
        counts: bool,
    ) -> Result<bool, QueueError> {
        let now = Instant::now();
        let mut state = self.lock();
        if let Some(entry) = state.queues.get_mut(queue) {
            entry.used_at = now;
            return Ok(!entry.is_good(named, now));
        }
        if counts && state.queues.len() >= self.settings.queues_max {
            let kept = |entry: &Entry| entry.kept(self.settings.expires);
            state
                .queues
                .retain(|_, entry| entry.consumers > 0 || entry.used_at + kept(entry) > now);
            if state.queues.len() >= self.settings.queues_max {
                return Err(QueueError::Limit("queues"));
            }
        }
        let entry = Entry {
            declared: None,
            at: None,
            used_at: now,
            consumers: 0,
        };
        state.queues.insert(queue.into(), entry);
        Ok(true)
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
        let mut state = self.lock();
        let never_was = |entry: &Entry| entry.at.is_none() && entry.declared.is_none();
        if state
            .queues
            .get(queue)
            .is_some_and(|entry| never_was(entry) && entry.consumers == 0)
        {
            state.queues.remove(queue);
        }
    }

    /// The arguments of a queue, if they are known.
    pub(super) fn declared(&self, queue: &str) -> Option<Declared> {
        self.lock().queues.get(queue)?.declared
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

impl Entry {
    /// How long the queue is kept without use.
    fn kept(&self, expires_max: Duration) -> Duration {
        self.declared
            .map_or(expires_max, |declared| declared.made.expires)
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
