//! What a session may use of what all share: patterns, and consumers of queues.
//!
//! A cluster keeps so many patterns, a node has room for so many consumers; one session has a part of
//! them. Not here: those totals (`location`, `bus::queue`), and subscriptions of any kind, which the
//! session counts. Invariant: a subscription counts from its SUBSCRIBE until it is refused or ended,
//! once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{App, Live, Pending};
use crate::model::{Code, Destination, Problem, SessionId, is_pattern};
use crate::session::{Subscribe, Ticket};

/// What is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Share {
    Pattern,
    Consumer,
}

/// The subscriptions of one session that count, by id; the ticket distinguishes one from an earlier
/// one with the same id.
type Counted = BTreeMap<Box<str>, (Share, Ticket, Destination)>;

/// What the sessions of this node use. One map for all, because few sessions have any.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// At most as many of a session as its limits allow. A std mutex: it is held for a look-up.
    sessions: Mutex<BTreeMap<SessionId, Counted>>,
}

impl Share {
    fn of(destination: &Destination) -> Option<Self> {
        match destination {
            Destination::Topic(text) if is_pattern(text) => Some(Self::Pattern),
            Destination::Queue(_) => Some(Self::Consumer),
            Destination::Topic(_)
            | Destination::App(_)
            | Destination::User(_)
            | Destination::UserQueue(_)
            | Destination::TempQueue(_)
            | Destination::ReplyQueue(_) => None,
        }
    }
}

impl Shares {
    /// Counts a subscription.
    fn take(&self, session: SessionId, asked: &Subscribe, share: Share, max: usize) -> bool {
        let mut sessions = self.lock();
        let used = sessions.get(&session).map_or(0, |counted| {
            let others = counted.iter().filter(|(id, _)| **id != asked.id);
            others.filter(|(_, (other, ..))| *other == share).count()
        });
        if used >= max {
            return false;
        }
        let counted = sessions.entry(session).or_default();
        let one = (share, asked.ticket, asked.destination.clone());
        counted.insert(asked.id.clone(), one);
        true
    }

    /// Counts no subscription of this id any more for which this holds.
    fn give_back(&self, session: SessionId, id: &str, which: impl Fn(Ticket) -> bool) {
        let mut sessions = self.lock();
        let Some(counted) = sessions.get_mut(&session) else {
            return;
        };
        if counted.get(id).is_some_and(|(_, ticket, _)| which(*ticket)) {
            counted.remove(id);
        }
        if counted.is_empty() {
            sessions.remove(&session);
        }
    }

    /// The subscription has ended.
    pub(super) fn ended(&self, session: SessionId, id: &str) {
        self.give_back(session, id, |_| true);
    }

    /// The subscriptions to queues of a session.
    pub(super) fn queues_of(&self, session: SessionId) -> Vec<(Destination, Box<str>)> {
        let sessions = self.lock();
        let counted = sessions.get(&session).into_iter().flatten();
        let queues = counted.filter(|(_, (share, ..))| *share == Share::Consumer);
        queues
            .map(|(id, (_, _, destination))| (destination.clone(), id.clone()))
            .collect()
    }

    /// The session is gone.
    pub(super) fn forget(&self, session: SessionId) {
        self.lock().remove(&session);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SessionId, Counted>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl App {
    /// Counts a subscription to what is shared.
    pub(super) fn take_share(&self, live: &Live, subscribe: &Subscribe) -> Result<(), Problem> {
        let Some(share) = Share::of(&subscribe.destination) else {
            return Ok(());
        };
        let (max, what) = match share {
            Share::Pattern => (self.settings.session_patterns_max, "with wildcards"),
            Share::Consumer => (self.settings.session_consumers_max, "to queues"),
        };
        if self.shares.take(live.session, subscribe, share, max) {
            return Ok(());
        }
        let words = format!(
            "A session has at most {max} subscriptions {what}. UNSUBSCRIBE from another one first."
        );
        Err(Problem::new(Code::LimitExceeded, words))
    }

    /// The outcome of a SUBSCRIBE, after which it counts only if it was not refused.
    pub(super) fn sharing(
        self: &Arc<Self>,
        live: &Live,
        subscribe: &Subscribe,
        pending: Pending,
    ) -> Pending {
        if Share::of(&subscribe.destination).is_none() {
            return pending;
        }
        let (app, session) = (Arc::clone(self), live.session);
        let (id, asked) = (subscribe.id.clone(), subscribe.ticket);
        Box::pin(async move {
            let outcome = pending.await;
            if outcome.is_err() {
                app.shares.give_back(session, &id, |ticket| ticket == asked);
            }
            outcome
        })
    }
}
