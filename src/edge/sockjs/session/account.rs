//! What a session over requests costs in memory.
//!
//! Not here: what waits in it. Invariant: what waits beyond what the base of a socket covers is leased, and
//! nothing else is.

use std::sync::{Arc, Weak};

use super::{HttpSession, State};
use crate::budget::{Charge, Claimant, Lease, Memory, Missing, Refused};

/// What a session costs in memory without what waits: its record, its name, and its name among those that
/// are over.
const SESSION_BYTES: u64 = 2 << 10;

/// What a session draws on the byte account with.
#[derive(Debug)]
pub(in super::super) struct Account {
    pub(super) memory: Arc<Memory>,
    pub(super) claimant: Claimant,
    /// [`SESSION_BYTES`], while the session lives. Those that are over have a bound of their own
    /// (`registry::OVER_MAX`).
    base: Option<Charge>,
    /// Covers what waits in both directions.
    waiting: Lease,
}

impl Account {
    /// The account of a session that this client opens.
    pub(in super::super) fn open(
        memory: &Arc<Memory>,
        claimant: &Claimant,
    ) -> Result<Self, Refused> {
        Ok(Self {
            base: Some(memory.pool().take(claimant, SESSION_BYTES)?),
            waiting: memory.lease(claimant),
            claimant: claimant.clone(),
            memory: Arc::clone(memory),
        })
    }
}

/// What messages that wait occupy. An empty one costs memory too.
pub(in super::super) fn bytes_of(messages: &[String]) -> usize {
    let bytes = |message: &String| message.len() + size_of::<String>();
    messages.iter().map(bytes).sum()
}

impl State {
    /// One attempt to cover what waits, and this many bytes more: an eviction needs the lock of the session.
    pub(super) fn cover(&mut self, more: usize) -> Result<(), Missing> {
        let bytes =
            (self.incoming_bytes + self.taken_bytes + self.pending.capacity() + more) as u64;
        match bytes <= Memory::BASE_BUFFER_BYTES {
            true => self.account.waiting.try_cover(0, 0),
            false => self.account.waiting.try_cover(bytes, 0),
        }
    }

    /// Names what is told when memory of the session is taken away.
    pub(super) fn set_evictable(&mut self, session: &Weak<HttpSession>) {
        self.account.waiting.set_evictable(session.clone());
        if let Some(base) = &mut self.account.base {
            base.set_evictable(session.clone());
        }
    }

    /// Gives everything back: nobody serves the session any more.
    pub(super) fn close_account(&mut self) {
        self.taken_bytes = 0;
        self.account.base = None;
        self.uncover();
    }

    /// Gives back what covered more than waits now.
    pub(super) fn uncover(&mut self) {
        if self.account.waiting.covered() > 0 {
            let _less_is_never_refused = self.cover(0);
        }
    }
}
