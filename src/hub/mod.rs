//! The sessions and subscriptions of this node, and the bounded outboxes towards them.
//!
//! Not here: other nodes (`location`, `bus`), sockets (`edge`). Invariant: no lock is held across
//! an await. Order of locks where two are needed: index, then the session's subscriptions, then
//! window, then outbox.

mod cursors;
pub mod delivery;
pub mod fan_out;
pub mod flusher;
pub mod outbox;
pub mod session;
pub mod topics;
pub mod trace;
pub mod window;
pub mod windows;
pub mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

pub use delivery::{Delivery, Shown, Subscriber};
pub use fan_out::FanOut;
pub use flusher::Flusher;
pub use outbox::{Frames, Mark, Outbox, OutboxLimits, Place, Pulled};
pub use session::HubSession;
pub use topics::{Sink, Topics};
pub use trace::Trace;
pub use window::{Content, Opening, Settled, Window};
pub use windows::NeverIssued;
pub use wire::{Unwritten, Wire};

use crate::model::{RoomId, SessionId, UserId};
use crate::store::Position;

/// Everybody who is connected to this node.
#[derive(Debug, Default)]
pub struct Hub {
    index: RwLock<Index>,
    /// Who subscribes to which `/topic/**` here.
    pub topics: Topics,
    /// What became of the last messages here.
    pub trace: Trace,
}

#[derive(Debug, Default)]
struct Index {
    sessions: BTreeMap<SessionId, Arc<HubSession>>,
    users: BTreeMap<UserId, Local>,
}

/// A user with a session here.
#[derive(Debug, Default)]
struct Local {
    sessions: Vec<Arc<HubSession>>,
    /// Up to here in the order of commits, every conversation of the user was compared with what
    /// his sessions here know of. Changed by baselines and by repair.
    position: Position,
}

impl Hub {
    /// Adds a session.
    pub fn insert(&self, session: Arc<HubSession>) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let local = index.users.entry(session.user.clone()).or_default();
        local.sessions.push(Arc::clone(&session));
        index.sessions.insert(session.id, session);
    }

    /// Removes a session and its subscriptions. Returns it, and the topics that nobody here wants
    /// any more.
    pub fn remove(&self, id: SessionId) -> Option<(Arc<HubSession>, Vec<Box<str>>)> {
        let session = {
            let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
            let session = index.sessions.remove(&id)?;
            if let Some(local) = index.users.get_mut(&session.user) {
                local.sessions.retain(|other| other.id != id);
                if local.sessions.is_empty() {
                    index.users.remove(&session.user);
                }
            }
            session
        };
        session.let_go();
        let abandoned = self.topics.remove_session(id);
        Some((session, abandoned))
    }

    /// A session by its id.
    #[must_use]
    pub fn session(&self, id: SessionId) -> Option<Arc<HubSession>> {
        self.read(|index| index.sessions.get(&id).cloned())
    }

    /// Every session, in the order of their ids.
    #[must_use]
    pub fn sessions(&self) -> Vec<Arc<HubSession>> {
        self.read(|index| index.sessions.values().cloned().collect())
    }

    /// Every user who has a session here.
    #[must_use]
    pub fn users(&self) -> Vec<UserId> {
        self.read(|index| index.users.keys().cloned().collect())
    }

    /// How many sessions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read(|index| index.sessions.len())
    }

    /// Whether nobody is connected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sessions of a user here.
    #[must_use]
    pub fn sessions_of(&self, user: &UserId) -> Vec<Arc<HubSession>> {
        self.read(|index| {
            index
                .users
                .get(user)
                .map_or_else(Vec::new, |u| u.sessions.clone())
        })
    }

    /// Offers a message to every session of its members here. Returns the members for whom
    /// something before it is missing.
    pub fn offer(&self, delivery: &Arc<Delivery>) -> Vec<UserId> {
        let mut behind = Vec::new();
        for user in delivery.message.members() {
            let sessions = self.sessions_of(user);
            // All are offered it; `any` would stop at the first with a hole.
            if sessions
                .iter()
                .filter(|session| session.offer(delivery, &self.trace))
                .count()
                > 0
            {
                behind.push(user.clone());
            }
        }
        behind
    }

    /// The users who have an inbox here, with the position up to which they were compared.
    #[must_use]
    pub fn repairable(&self) -> Vec<(UserId, Position)> {
        self.read(|index| {
            let subscribed = |(user, local): (&UserId, &Local)| {
                let any = local.sessions.iter().any(|session| session.has_inbox());
                any.then(|| (user.clone(), local.position))
            };
            index.users.iter().filter_map(subscribed).collect()
        })
    }

    /// The user's conversations were compared with the store up to this position.
    pub fn compared(&self, user: &UserId, position: Position) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(local) = index.users.get_mut(user) {
            local.position = local.position.max(position);
        }
    }

    /// Tells the user's sessions that a conversation reaches up to `seq`. Returns whether one of
    /// them misses something.
    #[must_use]
    pub fn raise(&self, user: &UserId, room: RoomId, seq: u64) -> bool {
        let sessions = self.sessions_of(user);
        sessions
            .iter()
            .filter(|session| session.raise(room, seq))
            .count()
            > 0
    }

    /// The sessions here of several users.
    #[must_use]
    pub fn sessions_of_all(&self, users: &BTreeSet<UserId>) -> Vec<Arc<HubSession>> {
        users
            .iter()
            .flat_map(|user| self.sessions_of(user))
            .collect()
    }

    fn read<T>(&self, read: impl FnOnce(&Index) -> T) -> T {
        read(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests;
