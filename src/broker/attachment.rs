//! The sessions of this node: attached to their location, detached, and subscribed.
//!
//! Not here: the protocol (`session`) and who the user is (`identity`). Invariant: a session is in
//! the hub before its location is written, so that whoever finds the location finds the session;
//! and a location that could not be written or removed is tried again until it is acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::yield_now;

use super::{Broker, lock};
use crate::hub::{HubSession, Subscriber, Window};
use crate::location::{LocationError, SessionEntry};
use crate::model::{SessionId, UserId};
use crate::store::{Position, StoreError};

/// How many locations may wait to be removed; beyond that they are left to expire.
const DETACH_WAITING_MAX: usize = 100_000;

/// How many sessions one call to location is for: it must be answered within one deadline.
const CHUNK: usize = 1_000;

/// How long to wait when location did not take a removal.
const DETACH_RETRY: Duration = Duration::from_secs(1);

/// What is still to be told to location, and the counters of this life.
#[derive(Debug, Default)]
pub(super) struct Attachments {
    /// Sessions that are gone and whose location may still be there.
    leaving: Mutex<BTreeMap<SessionId, UserId>>,
    /// Wakes the task that removes them.
    leaving_now: Notify,
    /// Wakes those who wait for a removal.
    removed: Notify,
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

    /// Lets a session go: nothing more is queued for it when this returns. The future resolves when
    /// its location is removed, or after a second; what location does not take is tried again.
    pub fn detach(self: &Arc<Self>, id: SessionId) -> impl Future<Output = ()> + Send + 'static {
        if let Some((session, abandoned)) = self.hub.remove(id) {
            for topic in abandoned {
                self.abandon(&topic);
            }
            self.leave(&session);
        }
        let broker = Arc::clone(self);
        async move {
            let removed = async {
                loop {
                    let waiting = broker.attachment.removed.notified();
                    if !lock(&broker.attachment.leaving).contains_key(&id) {
                        return;
                    }
                    waiting.await;
                }
            };
            // Late is no failure: whoever waits wanted to be sure, not to wait for ever.
            let _late = tokio::time::timeout(DETACH_RETRY, removed).await;
        }
    }

    /// Subscribes a session to its user's direct messages, through a window if it acknowledges. The inbox stands
    /// when this returns, so that an UNSUBSCRIBE that follows finds it. When the future has resolved, what is
    /// committed from then on reaches the session; the RECEIPT is due when its location is acknowledged too
    /// ([`HubSession::attached`]).
    ///
    /// # Errors
    /// When the store does not answer; the subscription does not exist then.
    pub fn subscribe_messages(
        self: &Arc<Self>,
        session: &Arc<HubSession>,
        id: &str,
        subscriber: Subscriber,
        window: Option<Arc<Window>>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + 'static {
        let epoch = self.attachment.epochs.fetch_add(1, Ordering::Relaxed);
        session.open_inbox(id, epoch, subscriber, window);
        let (broker, session) = (Arc::clone(self), Arc::clone(session));
        async move {
            let settled = broker.settle_messages(&session, epoch).await;
            if settled.is_err() {
                // By its epoch: meanwhile there may be another subscription with this id.
                session.close_epoch(epoch);
            }
            settled
        }
    }

    async fn settle_messages(
        self: &Arc<Self>,
        session: &Arc<HubSession>,
        epoch: u64,
    ) -> Result<(), StoreError> {
        // The location was written at CONNECT. If it is not acknowledged yet, the session goes on
        // with the baseline of now; its late acknowledgement triggers a repair, and only after that
        // does the subscription count as settled.
        let user = &session.user;
        let heads = self
            .store
            .heads(std::slice::from_ref(user), Position::START)
            .await?;
        let rooms: Vec<_> = heads
            .heads
            .iter()
            .map(|head| (head.room, head.seq))
            .collect();
        for other in self.hub.sessions_of(user) {
            let behind = if other.id == session.id {
                session.settle_inbox(epoch, &rooms)
            } else {
                rooms
                    .iter()
                    .filter(|(room, seq)| other.raise(*room, *seq))
                    .map(|r| r.0)
                    .collect()
            };
            for room in behind {
                self.fetch(room, user.clone());
            }
            // A user may have many sessions, inboxes and conversations.
            yield_now().await;
        }
        self.hub.compared(user, heads.position);
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
            visitor: session.visitor.clone(),
        };
        (session.user.clone(), entry)
    }

    /// Registers sessions: all, or those that are not acknowledged yet. Returns whether there were
    /// any that were late.
    pub(super) async fn register_sessions(&self, everything: bool) -> Result<bool, LocationError> {
        let sessions: Vec<_> = self
            .hub
            .sessions()
            .into_iter()
            .filter(|session| everything || !session.is_attached())
            .collect();
        let mut any_late = false;
        for chunk in sessions.chunks(CHUNK) {
            let entries: Vec<_> = chunk.iter().map(|session| self.entry(session)).collect();
            self.location.attach(&entries).await?;
            for session in chunk {
                any_late |= !session.is_attached();
                session.set_attached();
                // One that left while its registration was on the way must not stay behind.
                if self.hub.session(session.id).is_none() {
                    self.leave(session);
                }
            }
        }
        Ok(any_late)
    }

    /// Has the location of a session removed.
    fn leave(&self, session: &HubSession) {
        let mut leaving = lock(&self.attachment.leaving);
        if leaving.len() < DETACH_WAITING_MAX {
            leaving.insert(session.id, session.user.clone());
        }
        drop(leaving);
        self.attachment.leaving_now.notify_one();
    }

    /// Removes the locations of sessions that are gone: all that wait together, so that the end of
    /// thousands at once is a few calls.
    pub(super) async fn leave_loop(self: Arc<Self>) {
        loop {
            self.attachment.leaving_now.notified().await;
            while let leaving = self.leaving()
                && !leaving.is_empty()
            {
                if self.location.detach(&leaving).await.is_err() {
                    tokio::time::sleep(DETACH_RETRY).await;
                    continue;
                }
                {
                    let mut waiting = lock(&self.attachment.leaving);
                    for (_, id) in leaving {
                        waiting.remove(&id);
                    }
                }
                self.attachment.removed.notify_waiters();
            }
        }
    }

    fn leaving(&self) -> Vec<(UserId, SessionId)> {
        let leaving = lock(&self.attachment.leaving);
        let some = leaving.iter().take(CHUNK);
        some.map(|(id, user)| (user.clone(), *id)).collect()
    }
}
