//! The place of a pattern among those of this node: which of its subscribers it counts to.
//!
//! Not here: how many places there are and who loses one (`budget`), which patterns are wanted (`interest`).
//! Invariant: a place counts to a client whose subscription stands, as far as there is one, and is never protected:
//! when it is taken away, that subscription ends and the place passes to the next subscriber. So a client cannot keep
//! a place by subscribing twice.

use std::sync::{Arc, Weak};

use crate::broker::{Broker, lock};
use crate::budget::{Charge, Claimant, Evict};

/// A subscription to a pattern, as the place of the pattern needs it.
#[derive(Debug)]
pub struct PatternSubscriber {
    /// The place, when the pattern is new on this node; else a charge of nothing.
    pub charge: Charge,
    /// How much a place is.
    pub amount: u64,
    /// The client whom the subscription counts to.
    pub claimant: Claimant,
    /// Ends the subscription. It is dropped with the subscription.
    pub subscription: Weak<dyn Evict>,
}

/// The place of a pattern.
#[derive(Debug)]
pub(super) struct PatternPlace {
    charge: Charge,
    amount: u64,
    /// The subscription that it counts to.
    holder: Weak<dyn Evict>,
    /// The others, in the order of their SUBSCRIBEs.
    others: Vec<(Claimant, Weak<dyn Evict>)>,
    /// Keeps what the pool tells of an eviction.
    _taken_away: Arc<TakenAway>,
}

impl PatternPlace {
    pub(super) fn new(broker: &Arc<Broker>, pattern: &str, first: PatternSubscriber) -> Self {
        let taken_away = Arc::new(TakenAway {
            broker: Arc::downgrade(broker),
            pattern: pattern.into(),
        });
        let whose: Weak<TakenAway> = Arc::downgrade(&taken_away);
        let mut place = Self {
            charge: first.charge,
            amount: first.amount,
            holder: first.subscription,
            others: Vec::new(),
            _taken_away: taken_away,
        };
        place.restore();
        place.charge.set_evictable(whose);
        place
    }

    /// Another client subscribes to the pattern.
    pub(super) fn join(&mut self, other: PatternSubscriber) {
        if self.others.len() == self.others.capacity() {
            self.others.retain(|(_, it)| it.strong_count() > 0);
        }
        self.others.push((other.claimant, other.subscription));
        self.pass_on();
    }

    /// Passes the place to the next subscriber when its holder has left. Returns whether it has a holder.
    pub(super) fn pass_on(&mut self) -> bool {
        if self.holder.strong_count() > 0 {
            return true;
        }
        self.others.retain(|(_, it)| it.strong_count() > 0);
        if self.others.is_empty() {
            return false;
        }
        let (claimant, holder) = self.others.remove(0);
        self.charge.identify(&claimant);
        self.holder = holder;
        self.restore();
        true
    }

    /// A place that was taken away a moment ago is counted again: the pattern is in use.
    fn restore(&mut self) {
        let missing = self.amount.saturating_sub(self.charge.amount());
        if missing > 0 {
            self.charge.restore(missing);
        }
    }
}

/// Told when the place of a pattern is taken away.
struct TakenAway {
    broker: Weak<Broker>,
    pattern: Box<str>,
}

impl std::fmt::Debug for TakenAway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TakenAway")
            .field("pattern", &self.pattern)
            .finish_non_exhaustive()
    }
}

impl Evict for TakenAway {
    fn evict(&self) {
        let Some(broker) = self.broker.upgrade() else {
            return;
        };
        let holder = {
            let state = lock(&broker.interest.state);
            let place = state.place(&self.pattern);
            place.and_then(|place| place.holder.upgrade())
        };
        if let Some(holder) = holder {
            holder.evict();
        }
        let has_holder = lock(&broker.interest.state).pass_place_on(&self.pattern);
        if !has_holder {
            broker.abandon_at_once(&self.pattern);
        }
    }
}
