//! What a session was let in with ends: it is warned before, and closed after a while of grace.
//!
//! Not here: how it brings something new (`auth`). Invariant: whether somebody writes or only listens,
//! his session ends within [`GRACE`] of the end of what he presented, unless he brought something new.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::sync::Notify;

use super::{App, Live};
use crate::model::{CloseReason, SessionId, UnixMillis};

/// So long before the end a session is warned.
const WARN_BEFORE: Duration = Duration::from_secs(60);

/// So long after the end it is closed.
const GRACE: Duration = Duration::from_secs(30);

/// The longest sleep: clocks are set now and then.
const NAP_MAX: Duration = Duration::from_secs(60);

/// When sessions of this node are to be looked at. What was brought anew makes an entry idle, not
/// wrong: it is held against the session when its time comes.
#[derive(Debug, Default)]
pub(super) struct Expiries {
    /// A std mutex: held for a look-up.
    due: Mutex<BTreeSet<(UnixMillis, SessionId)>>,
    /// Something is due earlier than what was waited for.
    sooner: Notify,
}

impl Expiries {
    /// Has a session looked at in time.
    pub(super) fn watch(&self, session: SessionId, expires_at: Option<UnixMillis>) {
        if let Some(expires_at) = expires_at {
            let mut due = self.lock();
            due.insert((expires_at.before(WARN_BEFORE), session));
            due.insert((expires_at.after(GRACE), session));
            drop(due);
            self.sooner.notify_one();
        }
    }

    /// The session is gone.
    pub(super) fn forget(&self, session: SessionId, expires_at: Option<UnixMillis>) {
        if let Some(expires_at) = expires_at {
            let mut due = self.lock();
            due.remove(&(expires_at.before(WARN_BEFORE), session));
            due.remove(&(expires_at.after(GRACE), session));
        }
    }

    /// The next session whose time has come, or how long it is until one's comes.
    fn next(&self, now: UnixMillis) -> Result<SessionId, Duration> {
        let mut due = self.lock();
        match due.first() {
            None => Err(NAP_MAX),
            Some((at, _)) if *at > now => Err(at.since(now).min(NAP_MAX)),
            Some(_) => due.pop_first().map(|(_, session)| session).ok_or(NAP_MAX),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<(UnixMillis, SessionId)>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl App {
    pub(super) async fn expiry_loop(self: Arc<Self>) {
        loop {
            match self.expiries.next((self.clock)()) {
                Ok(session) => {
                    if let Some(live) = self.live(session) {
                        self.expire(&live);
                    }
                }
                Err(nap) => {
                    // Either is a reason to look again.
                    let _woken = tokio::time::timeout(nap, self.expiries.sooner.notified()).await;
                }
            }
        }
    }

    /// Warns a session, or closes it.
    fn expire(&self, live: &Live) {
        let Some(expires_at) = live.principal().expires_at else {
            return;
        };
        let now = (self.clock)();
        if expires_at.after(GRACE) <= now {
            live.outbox.cut(CloseReason::TOKEN_EXPIRED);
        } else if expires_at.before(WARN_BEFORE) <= now {
            let in_ms = expires_at.0.saturating_sub(now.0);
            let body = json!({
                "type": "NOTIFICATION",
                "kind": "token_expiring",
                "in_ms": in_ms,
                "timestamp": now.to_string(),
            });
            self.notify(live.session, &body);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_looked_at_before_and_after_the_end() {
        let expiries = Expiries::default();
        let end = UnixMillis(1_000_000);
        expiries.watch(SessionId(1), Some(end));
        expiries.watch(SessionId(2), None);
        let warn = end.before(WARN_BEFORE);
        assert_eq!(expiries.next(UnixMillis(0)), Err(NAP_MAX));
        let soon = warn.before(Duration::from_secs(1));
        assert_eq!(expiries.next(soon), Err(Duration::from_secs(1)));
        assert_eq!(expiries.next(warn), Ok(SessionId(1)));
        assert_eq!(expiries.next(end), Err(GRACE));
        assert_eq!(expiries.next(end.after(GRACE)), Ok(SessionId(1)));
        assert_eq!(expiries.next(end.after(GRACE)), Err(NAP_MAX));
        expiries.watch(SessionId(3), Some(end));
        expiries.forget(SessionId(3), Some(end));
        assert_eq!(expiries.next(end.after(GRACE)), Err(NAP_MAX));
    }
}
