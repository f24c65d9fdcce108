//! The sessions of one endpoint, by the name that the client gave each.
//!
//! Not here: what a session is. Invariant: a name stands for one session; one that is over is
//! remembered for a while, so that it can say so, and then forgotten.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::session::HttpSession;

/// So many sessions that are over are remembered, each with about 1 KiB; of more the oldest are forgotten
/// early.
const OVER_MAX: usize = 4_096;

/// The sessions.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// A std mutex: held for one look-up, never across an await.
    names: Mutex<Names>,
}

#[derive(Debug, Default)]
struct Names {
    known: HashMap<Box<str>, Arc<HttpSession>>,
    /// Those that are over, the first to be forgotten first.
    over: VecDeque<(Instant, Box<str>, Arc<HttpSession>)>,
}

impl Names {
    /// No timer does this: whoever looks something up does.
    fn forget(&mut self, now: Instant) {
        while let Some((until, ..)) = self.over.front()
            && (*until <= now || self.over.len() > OVER_MAX)
            && let Some((_, name, session)) = self.over.pop_front()
        {
            self.remove(&name, &session);
        }
    }

    fn remove(&mut self, name: &str, session: &Arc<HttpSession>) {
        if self
            .known
            .get(name)
            .is_some_and(|it| Arc::ptr_eq(it, session))
        {
            self.known.remove(name);
        }
    }
}

impl Sessions {
    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session of this name.
    pub(super) fn find(&self, name: &str) -> Option<Arc<HttpSession>> {
        let mut names = self.names();
        names.forget(Instant::now());
        names.known.get(name).cloned()
    }

    /// Gives a name to a session, unless somebody was faster: then that one's.
    pub(super) fn insert(
        &self,
        name: &str,
        session: &Arc<HttpSession>,
    ) -> Result<(), Arc<HttpSession>> {
        let mut names = self.names();
        match names.known.get(name) {
            Some(other) => Err(Arc::clone(other)),
            None => {
                names.known.insert(name.into(), Arc::clone(session));
                Ok(())
            }
        }
    }

    /// The session is over. It says so for a while if somebody may ask.
    pub(super) fn retire(&self, name: &str, session: &Arc<HttpSession>) {
        let now = Instant::now();
        let mut names = self.names();
        if session.rest() {
            let until = now + session.remembered_for();
            names
                .over
                .push_back((until, name.into(), Arc::clone(session)));
        } else {
            names.remove(name, session);
        }
        names.forget(now);
    }
}
