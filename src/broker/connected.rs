//! Whether somebody is connected, for whoever asks before he writes to him.
//!
//! Not here: where a message goes, which is read anew for each (`router`). Invariant: a yes is at most
//! a moment old; a no is never remembered, and while location does not answer nobody is away.

use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::time::Instant;

use super::Broker;
use crate::model::UserId;

/// So long somebody who was found connected to another node counts as connected.
const MOMENT: Duration = Duration::from_secs(1);

/// How many users are remembered.
const USERS_MAX: usize = 10_000;

/// Who was found connected to another node, and when.
#[derive(Debug)]
pub(super) struct Connected(Cache<UserId, Instant>);

impl Default for Connected {
    fn default() -> Self {
        Self(Cache::new(USERS_MAX))
    }
}

impl Connected {
    /// Location was read at this moment: the user has sessions somewhere, or none.
    pub(super) fn note(&self, user: &UserId, is_connected: bool, read_at: Instant) {
        if is_connected {
            self.0.insert(user.clone(), read_at);
        } else {
            self.0.remove(user);
        }
    }
}

impl Broker {
    /// Whether somebody is connected here, or was a moment ago elsewhere.
    #[must_use]
    pub fn was_connected(&self, user: &UserId) -> bool {
        let found_at = || self.connected.0.get(user);
        !self.hub.sessions_of(user).is_empty() || found_at().is_some_and(|at| at.elapsed() < MOMENT)
    }

    /// Whether somebody is connected. While location does not answer nobody can say that he is not.
    pub async fn is_connected(&self, user: &UserId) -> bool {
        if !self.hub.sessions_of(user).is_empty() {
            return true;
        }
        let read_at = Instant::now();
        let users = std::slice::from_ref(user);
        let Ok(located) = self.location.locate(users, &[]).await else {
            return true;
        };
        let is_connected = located.users.iter().any(|sessions| !sessions.is_empty());
        self.connected.note(user, is_connected, read_at);
        is_connected
    }
}
