//! What clients may use of what all share: patterns, consumers of queues, and many subscriptions.
//!
//! A cluster keeps so many patterns, a node has room for so many consumers and subscriptions. One session
//! has a fixed part of the first two, and users and networks have shares of what is free (`budget`). Not
//! here: queues and what is in them, which the engine counts (`bus::queue`); stored messages (`stored`).
//! Invariants: a subscription counts from its SUBSCRIBE until it is refused or ended, once; it is counted
//! before it costs anything anywhere else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{App, Live, Pending};
use crate::broker::PatternSubscriber;
use crate::budget::{Charge, Claimant, Evict, Eviction, Pool, PoolSettings, Refused, granted};
use crate::model::{Code, Destination, Problem, SessionId, is_pattern};
use crate::session::{Subscribe, Ticket};

/// So many subscriptions every session may have, whatever others have: they are in the cost of a
/// connection.
const SUBSCRIPTIONS_FREE: u32 = 32;

/// Beyond those they are counted by so many at a time.
const SUBSCRIPTIONS_TOGETHER: u32 = 32;

/// When it is worth trying again after a share was refused.
const RETRY_AFTER_MS: u64 = 5_000;

/// How much there is on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSizes {
    /// Subscriptions to queues.
    pub consumers: u64,
    /// Patterns of the whole cluster.
    pub patterns: u64,
    /// Subscriptions beyond the first 32 of each session.
    pub subscriptions: u64,
}

impl Default for PoolSizes {
    fn default() -> Self {
        Self {
            consumers: 2_000,
            patterns: 1_000,
            subscriptions: 1_000_000,
        }
    }
}

/// What the sessions of this node share.
#[derive(Clone, Debug)]
pub struct Pools {
    /// Subscriptions to queues.
    pub consumers: Arc<Pool>,
    /// Different patterns. It is as large as the table of the cluster, and a pattern counts once for each
    /// node: every node counts alone, and together they stay within the table.
    pub patterns: Arc<Pool>,
    /// Subscriptions beyond those that every session may have.
    pub subscriptions: Arc<Pool>,
}

impl Pools {
    /// Sets the gauges of these pools.
    pub fn publish(&self) {
        for pool in [&self.consumers, &self.patterns, &self.subscriptions] {
            pool.publish();
        }
    }

    /// Pools of which nothing is used.
    #[must_use]
    pub fn new(sizes: PoolSizes) -> Self {
        let pool = |name, capacity| Pool::new(PoolSettings::new(name, capacity));
        Self {
            consumers: pool("queue_consumers", sizes.consumers),
            patterns: pool("patterns", sizes.patterns),
            subscriptions: pool("subscriptions", sizes.subscriptions),
        }
    }
}

/// What is counted for each session, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Share {
    Pattern,
    Consumer,
}

/// A subscription that counts. The ticket distinguishes it from an earlier one with the same id.
#[derive(Debug)]
struct Counted {
    share: Share,
    ticket: Ticket,
    destination: Destination,
    /// The place of a consumer. That of a pattern belongs to the interest of the node (`broker`).
    charge: Option<Charge>,
    /// Told when the place is taken away.
    whose: Option<Arc<dyn Evict>>,
}

/// What one session uses.
#[derive(Debug, Default)]
struct OfSession {
    by_id: BTreeMap<Box<str>, Counted>,
    /// For subscriptions beyond [`SUBSCRIPTIONS_FREE`]: for as many as it had at its most.
    further: Option<Charge>,
}

/// What the sessions of this node use. One map for all, because few sessions have any.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// A std mutex: it is held for a look-up. It is taken before that of a pool, never after.
    sessions: Mutex<BTreeMap<SessionId, OfSession>>,
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
    /// How many other subscriptions of this kind a session has.
    fn used(&self, session: SessionId, asked: &Subscribe, share: Share) -> usize {
        let sessions = self.lock();
        let counted = sessions.get(&session).into_iter().flat_map(|it| &it.by_id);
        let others = counted.filter(|(id, _)| **id != asked.id);
        others.filter(|(_, other)| other.share == share).count()
    }

    /// Counts a subscription.
    fn add(&self, session: SessionId, id: &str, counted: Counted) {
        let mut sessions = self.lock();
        let by_id = &mut sessions.entry(session).or_default().by_id;
        by_id.insert(id.into(), counted);
        // Only now: what is evicted must be found.
        if let Some(counted) = by_id.get_mut(id)
            && let (Some(charge), Some(whose)) = (&mut counted.charge, &counted.whose)
        {
            charge.set_evictable(Arc::downgrade(whose));
        }
    }

    /// Counts no subscription of this id any more for which this holds. Returns where it was to.
    pub(super) fn give_back(
        &self,
        session: SessionId,
        id: &str,
        which: impl Fn(Ticket) -> bool,
    ) -> Option<Destination> {
        let mut sessions = self.lock();
        let of_session = sessions.get_mut(&session)?;
        let found = of_session.by_id.get(id).filter(|it| which(it.ticket));
        let destination = found.map(|it| it.destination.clone());
        if destination.is_some() {
            of_session.by_id.remove(id);
        }
        if of_session.by_id.is_empty() && of_session.further.is_none() {
            sessions.remove(&session);
        }
        destination
    }

    /// The subscription has ended.
    pub(super) fn ended(&self, session: SessionId, id: &str) {
        self.give_back(session, id, |_| true);
    }

    /// The subscriptions to queues of a session.
    pub(super) fn queues_of(&self, session: SessionId) -> Vec<(Destination, Box<str>)> {
        let sessions = self.lock();
        let counted = sessions.get(&session).into_iter().flat_map(|it| &it.by_id);
        let queues = counted.filter(|(_, it)| it.share == Share::Consumer);
        queues
            .map(|(id, it)| (it.destination.clone(), id.clone()))
            .collect()
    }

    /// The session speaks for another user, to whose shares everything counts from now on.
    pub(super) fn identify(&self, session: SessionId, claimant: &Claimant) {
        let mut sessions = self.lock();
        let Some(of_session) = sessions.get_mut(&session) else {
            return;
        };
        let consumers = of_session.by_id.values_mut();
        let consumers = consumers.filter_map(|it| it.charge.as_mut());
        for charge in consumers.chain(&mut of_session.further) {
            charge.identify(claimant);
        }
    }

    /// The session is gone.
    pub(super) fn forget(&self, session: SessionId) {
        self.lock().remove(&session);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SessionId, OfSession>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl App {
    /// Counts a subscription. Returns what the place of a pattern needs.
    pub(super) fn take_share(
        self: &Arc<Self>,
        live: &Live,
        subscribe: &Subscribe,
    ) -> Result<Option<PatternSubscriber>, Problem> {
        self.take_subscriptions(live, subscribe)?;
        let Some(share) = Share::of(&subscribe.destination) else {
            return Ok(None);
        };
        let (max, what) = match share {
            Share::Pattern => (self.settings.session_patterns_max, "with wildcards"),
            Share::Consumer => (self.settings.session_consumers_max, "to queues"),
        };
        if self.shares.used(live.session, subscribe, share) >= max {
            let words = format!(
                "A session has at most {max} subscriptions {what}. UNSUBSCRIBE from another one first."
            );
            return Err(Problem::new(Code::LimitExceeded, words));
        }
        let whose = self.evictable(live.session, subscribe);
        let (charge, pattern) = match share {
            Share::Consumer => (Some(self.take_consumer(live, subscribe)?), None),
            Share::Pattern => (None, self.take_pattern(live, subscribe, &whose)?),
        };
        let counted = Counted {
            share,
            ticket: subscribe.ticket,
            destination: subscribe.destination.clone(),
            charge,
            whose: Some(whose),
        };
        self.shares.add(live.session, &subscribe.id, counted);
        Ok(pattern)
    }

    fn take_consumer(&self, live: &Live, subscribe: &Subscribe) -> Result<Charge, Problem> {
        let by = live.claimant();
        let mut charge = self.settings.pools.consumers.charge(&by);
        if charge.grow_with(Eviction::Never, 1).is_ok() {
            return Ok(charge);
        }
        // Another client may lose a consumer for this one, but not when the queue refuses it.
        self.may_consume(subscribe, &by)?;
        charge.grow(1).map_err(|why| {
            let remedy = "UNSUBSCRIBE from a queue that you do not need, or try again.";
            Self::share_refused("queue consumers", why, remedy)
        })?;
        Ok(charge)
    }

    /// The place of a pattern; nothing of one that is wanted on this node already.
    fn take_pattern(
        &self,
        live: &Live,
        subscribe: &Subscribe,
        whose: &Arc<dyn Evict>,
    ) -> Result<Option<PatternSubscriber>, Problem> {
        let claimant = live.claimant();
        let pool = &self.settings.pools.patterns;
        let amount = self.broker.nodes();
        let mut charge = pool.charge(&claimant);
        if !self.broker.wants(&subscribe.destination.to_string()) {
            charge.grow(amount).map_err(|why| {
                let remedy =
                    "UNSUBSCRIBE from a pattern that you do not need, or subscribe to names.";
                Self::share_refused("patterns", why, remedy)
            })?;
        }
        Ok(Some(PatternSubscriber {
            charge,
            amount,
            claimant,
            subscription: Arc::downgrade(whose),
        }))
    }

    /// Counts the subscriptions of a session beyond those that every session may have.
    fn take_subscriptions(&self, live: &Live, subscribe: &Subscribe) -> Result<(), Problem> {
        let beyond = subscribe.of_session.saturating_sub(SUBSCRIPTIONS_FREE);
        if beyond == 0 {
            return Ok(());
        }
        let wanted = beyond.div_ceil(SUBSCRIPTIONS_TOGETHER) * SUBSCRIPTIONS_TOGETHER;
        let wanted = u64::from(wanted);
        let counted = granted(|| {
            let mut sessions = self.shares.lock();
            let further = &mut sessions.entry(live.session).or_default().further;
            let charge = further.get_or_insert_with(|| {
                let pool = &self.settings.pools.subscriptions;
                pool.charge(&live.claimant())
            });
            let missing = wanted.saturating_sub(charge.amount());
            charge.try_grow(missing)
        });
        counted.map_err(|why| {
            let remedy = "UNSUBSCRIBE from a destination that you do not need, or try again.";
            Self::share_refused("subscriptions", why, remedy)
        })
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

impl App {
    /// The refusal of a share: whose it is, of what, and what can be done.
    pub(super) fn share_refused(what: &str, why: Refused, remedy: &str) -> Problem {
        let words = match why {
            Refused::User => format!(
                "You have as many {what} as one user may have on this node at the moment. {remedy}"
            ),
            Refused::Network => format!(
                "Your network has as many {what} as one network may have on this node at the moment. \
                 {remedy}"
            ),
            Refused::Full => format!(
                "This node has no more {what} to give at the moment. Try again, or on another node."
            ),
        };
        Problem::new(Code::LimitExceeded, words).retry_after_ms(RETRY_AFTER_MS)
    }
}
