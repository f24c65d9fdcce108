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

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::bus::queue::Made;

    const PLAIN: QueueArguments = QueueArguments {
        message_ttl: None,
        expires: None,
        length_max: None,
    };

    fn settings() -> QueueSettings {
        QueueSettings {
            queues_max: 2,
            consumers_max: 2,
            expires: Duration::from_secs(60),
            ..QueueSettings::default()
        }
    }

    fn declared() -> Declared {
        Declared {
            made: Made::of(&PLAIN, &settings()).unwrap(),
            octets_max: 1,
            drops_oldest: false,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_is_made_sure_of_before_it_could_have_expired() {
        let known = Known::new(settings());
        assert_eq!(known.use_it("/queue/a", &PLAIN, true), Ok(true));
        known.note("/queue/a", Some(declared()));
        assert_eq!(known.use_it("/queue/a", &PLAIN, true), Ok(false));
        let other = QueueArguments {
            length_max: Some(7),
            ..PLAIN
        };
        assert_eq!(known.use_it("/queue/a", &other, true), Ok(true));
        advance(Duration::from_secs(19)).await;
        assert_eq!(known.use_it("/queue/a", &PLAIN, true), Ok(false));
        advance(Duration::from_secs(2)).await;
        assert_eq!(known.use_it("/queue/a", &PLAIN, true), Ok(true));
        // One with arguments that are not known may expire sooner.
        known.note("/queue/a", None);
        assert!(known.is_foreign("/queue/a"));
        assert_eq!(known.use_it("/queue/a", &PLAIN, true), Ok(false));
        advance(Duration::from_secs(11)).await;
        assert_eq!(known.use_it("/queue/a", &PLAIN, true), Ok(true));
        known.note("/queue/a", None);
        known.doubt("/queue/a");
        assert_eq!(known.use_it("/queue/a", &PLAIN, true), Ok(true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_has_its_place_for_as_long_as_it_is_used_or_kept() {
        let known = Arc::new(Known::new(settings()));
        let limit = Err(QueueError::Limit("queues"));
        for name in ["/queue/a", "/queue/b"] {
            assert_eq!(known.use_it(name, &PLAIN, true), Ok(true));
            known.note(name, Some(declared()));
        }
        let mut counted = known.count().unwrap();
        counted.at("/queue/a");
        assert_eq!(known.use_it("/queue/c", &PLAIN, true), limit);
        assert_eq!(known.use_it("/queue/DLQ.a", &PLAIN, false), Ok(true));
        known.forget("/queue/DLQ.a");
        // What was there keeps its place, what never came about does not.
        known.forget("/queue/b");
        assert_eq!(known.use_it("/queue/c", &PLAIN, true), limit);
        advance(Duration::from_secs(61)).await;
        assert_eq!(known.use_it("/queue/c", &PLAIN, true), Ok(true));
        drop(counted);
        assert_eq!(
            known.use_it("/queue/d", &PLAIN, true),
            limit,
            "a was used until now"
        );
        let both = [known.count(), known.count()];
        assert_eq!(known.count().err(), Some(QueueError::Limit("consumers")));
        drop(both);
        assert!(known.count().is_ok());
    }
}
