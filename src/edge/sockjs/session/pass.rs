//! The requests that a session waits for: one that receives and one that sends, both of its owner.
//!
//! Not here: what passes stand for (`endpoint`). Invariant: a session gives one pass in each direction at a time, and
//! none to a client that does not own it.

use std::sync::Arc;

use super::HttpSession;
use crate::edge::sockjs::owner::Caller;

/// After so many bodies that hold no messages a session is closed. The client of SockJS never sends one.
const BROKEN_MAX: u8 = 5;

/// What the client gets who sent them.
const BROKEN: (u16, &str) = (1002, "Too many broken requests");

/// What a request does with its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Direction {
    /// It takes frames.
    Receives,
    /// It brings messages.
    Sends,
}

/// The passes that are out, and what was sent in vain.
#[derive(Debug, Default)]
pub(super) struct Passes {
    receives: bool,
    sends: bool,
    broken: u8,
}

/// The right of one request to go on without a turn. Dropping it gives it back.
#[derive(Debug)]
pub(in super::super) struct Pass {
    session: Arc<HttpSession>,
    direction: Direction,
}

impl HttpSession {
    /// A pass for a request of this caller; none for a second request in the same direction, and none once there is
    /// nothing more to take or to bring.
    pub(in super::super) fn pass(
        self: &Arc<Self>,
        caller: &Caller,
        direction: Direction,
    ) -> Option<Pass> {
        let mut state = self.state();
        let is_awaited = match direction {
            Direction::Receives => !state.receiver && !state.close_heard && !state.passes.receives,
            Direction::Sends => state.closed.is_none() && !state.passes.sends,
        };
        if !is_awaited || !state.owner.admits(caller) {
            return None;
        }
        *state.passes.of(direction) = true;
        drop(state);
        Some(Pass {
            session: Arc::clone(self),
            direction,
        })
    }

    /// Counts a body that holds no messages. After [`BROKEN_MAX`] the session is closed.
    pub(in super::super) fn note_broken(&self) {
        let is_last = {
            let broken = &mut self.state().passes.broken;
            *broken = broken.saturating_add(1);
            *broken >= BROKEN_MAX
        };
        if is_last {
            let (code, text) = BROKEN;
            self.close(code, text);
            self.inward.notify_one();
        }
    }
}

impl Passes {
    fn of(&mut self, direction: Direction) -> &mut bool {
        match direction {
            Direction::Receives => &mut self.receives,
            Direction::Sends => &mut self.sends,
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        *self.session.state().passes.of(self.direction) = false;
    }
}
