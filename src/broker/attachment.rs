//! The sessions of this node: attached to their location, detached, and subscribed.
//!
//! Not here: the protocol (`session`) and who the user is (`identity`). Invariant: a session is in
//! the hub before its location is written, so that whoever finds the location finds the session;
//! and a location that could not be written or removed is tried again until it is acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Broker, lock};
use crate::hub::{HubSession, Subscriber};
use crate::location::SessionEntry;
use crate::model::{SessionId, UserId};
use crate::store::{Position, StoreError};

/// How many locations may wait to be removed; beyond that they are left to expire.
const DETACH_WAITING_MAX: usize = 100_000;

/// What is still to be told to location, and the counters of this life.
#[derive(Debug, Default)]
pub(super) struct Attachments {
    /// Sessions that are gone and whose location may still be there.
    leaving: Mutex<BTreeMap<SessionId, UserId>>,
    /// Numbers the subscriptions.
    epochs: AtomicU64,
    /// Numbers the messages that are not stored.
    messages: AtomicU64,
}

impl Broker {
    /// Takes a session in. Returns whether its location was acknowledged; if not, that is tried
    /// again in the background, and everything committed until then is repaired.
    pub async fn attach(self: &Arc<Self>, session: Arc<HubSession>) -> bool {
        self.hub.insert(Arc::clone(&session));
        match self.location.attach(&[self.entry(&session)]).await {
            Ok(()) => {
                session.set_attached();
                true
            }
            Err(error) => {
                tracing::debug!(%error, session = %session.id, "attached later");
                false
            }
        }
    }

    /// Lets a session go: nothing more is queued for it when this returns. The future removes its
    /// location; what location does not acknowledge is tried again in the background.
    pub fn detach(self: &Arc<Self>, id: SessionId) -> impl Future<Output = ()> + Send + 'static {
        if let Some((session, abandoned)) = self.hub.remove(id) {
            for topic in abandoned {
                self.abandon(&topic);
            }
            let mut leaving = lock(&self.attachment.leaving);
            if leaving.len() < DETACH_WAITING_MAX {
                leaving.insert(id, session.user.clone());
            }
        }
        let broker = Arc::clone(self);
        async move { broker.remove_locations().await }
    }

    /// Subscribes a session to its user's direct messages. It is registered when this returns; the
    /// future resolves when everything that is committed from then on reaches the session, which
    /// is when its RECEIPT is due.
    ///
    /// The future fails when the store does not answer; the subscription does not exist then.
    pub fn subscribe_messages(
        self: &Arc<Self>,
        session: &Arc<HubSession>,
        id: &str,
        subscriber: Subscriber,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + 'static {
        let epoch = self.attachment.epochs.fetch_add(1, Ordering::Relaxed);
        session.open_inbox(id, epoch, subscriber);
        let (broker, session) = (Arc::clone(self), Arc::clone(session));
        async move {
            let settled = broker.settle_inbox(&session, epoch).await;
            if settled.is_err() {
                session.close_inbox_of(epoch);
            }
            settled
        }
    }

    /// Gives a replaying inbox its baseline.
    async fn settle_inbox(
        self: &Arc<Self>,
        session: &Arc<HubSession>,
        epoch: u64,
    ) -> Result<(), StoreError> {
        // The location was written at CONNECT. If it is not acknowledged yet, the session goes on
        // with the baseline of now; its late acknowledgement triggers a repair, and only after that
        // does the subscription count as settled.
        let user = std::slice::from_ref(&session.user);
        let heads = self.store.heads(user, Position::START).await?;
        let rooms: Vec<_> = heads
            .heads
            .iter()
            .map(|head| (head.room, head.seq))
            .collect();
        for other in self.hub.sessions_of(&session.user) {
            let behind = if other.id == session.id {
                session.settle_inbox(epoch, &rooms)
            } else {
                let raised = rooms.iter().filter(|(room, seq)| other.raise(*room, *seq));
                raised.map(|(room, _)| *room).collect()
            };
            for room in behind {
                self.fetch(room, session.user.clone());
            }
        }
        self.hub.compared(&session.user, heads.position);
        session.attached().await;
        Ok(())
    }

    /// The id of a message that is not stored, unique for this life of the node.
    pub fn next_message_id(&self) -> String {
        let number = self.attachment.messages.fetch_add(1, Ordering::Relaxed);
        format!("{}-{}-{number}", self.here, self.incarnation)
    }

    /// What the others see of a session.
    fn entry(&self, session: &HubSession) -> (UserId, SessionEntry) {
        let entry = SessionEntry {
            session: session.id,
            node: self.here.clone(),
            incarnation: self.incarnation,
            device: session.device.clone(),
            since: session.since,
        };
        (session.user.clone(), entry)
    }

    /// Registers sessions: all, or those that are not acknowledged yet. Returns whether there were
    /// any that were late.
    pub(super) async fn register_sessions(
        &self,
        everything: bool,
    ) -> Result<bool, crate::location::LocationError> {
        let sessions: Vec<_> = self
            .hub
            .sessions()
            .into_iter()
            .filter(|session| everything || !session.is_attached())
            .collect();
        if sessions.is_empty() {
            return Ok(false);
        }
        let entries: Vec<_> = sessions.iter().map(|session| self.entry(session)).collect();
        self.location.attach(&entries).await?;
        let late = sessions
            .iter()
            .filter(|session| !session.is_attached())
            .count();
        for session in &sessions {
            session.set_attached();
        }
        // A session that left while its registration was on the way must not stay behind.
        let gone: Vec<_> = sessions
            .iter()
            .filter(|session| self.hub.session(session.id).is_none())
            .collect();
        lock(&self.attachment.leaving).extend(
            gone.into_iter()
                .map(|session| (session.id, session.user.clone())),
        );
        Ok(late > 0)
    }

    pub(super) async fn remove_locations(&self) {
        let leaving: Vec<(UserId, SessionId)> = lock(&self.attachment.leaving)
            .iter()
            .take(1_000)
            .map(|(id, user)| (user.clone(), *id))
            .collect();
        if !leaving.is_empty() && self.location.detach(&leaving).await.is_ok() {
            let mut waiting = lock(&self.attachment.leaving);
            for (_, id) in leaving {
                waiting.remove(&id);
            }
        }
    }
}
