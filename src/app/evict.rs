//! Subscriptions that end because their place is needed for clients who have less.
//!
//! Not here: who loses (`budget::pool`), which subscriptions count (`shares`). Invariant: a client whose
//! subscription was ended is told, so that none waits for messages that never come.

use std::sync::{Arc, Weak};

use super::App;
use crate::budget::Evict;
use crate::model::{CloseReason, Code, Destination, Problem, SessionId};
use crate::session::{Subscribe, Ticket};

/// A subscription whose place is taken away for a newcomer.
struct Evicted {
    app: Weak<App>,
    session: SessionId,
    id: Box<str>,
    ticket: Ticket,
}

impl std::fmt::Debug for Evicted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Evicted")
            .field("session", &self.session)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Evict for Evicted {
    fn evict(&self) {
        if let Some(app) = self.app.upgrade() {
            app.evict(self);
        }
    }
}

impl App {
    /// What is told when the place of this subscription is taken away.
    pub(super) fn evictable(
        self: &Arc<Self>,
        session: SessionId,
        subscribe: &Subscribe,
    ) -> Arc<dyn Evict> {
        Arc::new(Evicted {
            app: Arc::downgrade(self),
            session,
            id: subscribe.id.clone(),
            ticket: subscribe.ticket,
        })
    }

    /// Ends a subscription whose place was taken away. The client is told: by a notification if it listens
    /// to them, else by the end of its connection, after which it can subscribe again.
    fn evict(&self, evicted: &Evicted) {
        let Evicted {
            session,
            id,
            ticket,
            ..
        } = evicted;
        let ended = self.shares.give_back(*session, id, |it| it == *ticket);
        let (Some(destination), Some(live)) = (ended, self.live(*session)) else {
            return;
        };
        if let Destination::Topic(topic) = &destination
            && self.broker.hub.topics.remove(topic, *session, id)
        {
            self.broker.abandon_at_once(topic);
        }
        live.hub.close_windows(id);
        let words = "The place of this subscription was needed for clients that hold less. Subscribe again later.";
        let problem = Problem::new(Code::LimitExceeded, words);
        if !self.notify_unsubscribed(*session, &destination, id, &problem) {
            live.outbox.cut(CloseReason::LIMIT_EXCEEDED);
        }
    }
}
