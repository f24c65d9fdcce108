//! Messages of the client: requests bring them, and the one task that serves the session takes them.
//!
//! Not here: messages for the client. Invariants: messages that wait for room are those of one request; what
//! waits is leased.

use tokio::time::{Instant, timeout_at};

use super::account::bytes_of;
use super::{HttpSession, State};
use crate::budget::{Lease, Missing, Refused, granted};
use crate::edge::socket::Received;

/// What a request to send comes to.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Pushed {
    /// The messages wait for the session, or are with it.
    Taken,
    /// The session is closed.
    Closed,
    /// They would have to wait, and another request waits already.
    Busy,
    /// The byte account has nothing left for them.
    NoMemory(Refused),
}

impl HttpSession {
    /// Whether a request that brings messages would be refused whatever it brings: nothing more is taken,
    /// and another one waits for that already.
    pub(in super::super) fn is_crowded(&self) -> bool {
        let state = self.state();
        state.is_pushed && self.is_full(&state)
    }

    fn is_full(&self, state: &State) -> bool {
        state.closed.is_none() && state.incoming_bytes >= self.limits.waiting_bytes_max
    }

    /// A request brings messages, and what they are leased with meanwhile. Waits while too much waits
    /// already, unless another request does.
    pub(in super::super) async fn push(
        &self,
        messages: Vec<String>,
        lease: Option<Lease>,
    ) -> Pushed {
        let mut brought = Brought { messages, lease };
        let mut place = None;
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            match granted(|| self.try_push(&mut brought, &mut place)) {
                Ok(Some(pushed)) => return pushed,
                Ok(None) => room.await,
                Err(refused) => return Pushed::NoMemory(refused),
            }
        }
    }

    /// One attempt. Nothing when the request has to wait.
    fn try_push<'a>(
        &'a self,
        brought: &mut Brought,
        place: &mut Option<WaitingPlace<'a>>,
    ) -> Result<Option<Pushed>, Missing> {
        let mut state = self.state();
        if state.closed.is_some() {
            return Ok(Some(Pushed::Closed));
        }
        if !self.is_full(&state) {
            // The session covers them from here on, not both.
            brought.lease = None;
            let bytes = bytes_of(&brought.messages);
            state.cover(bytes)?;
            state.incoming_bytes += bytes;
            state.incoming.extend(std::mem::take(&mut brought.messages));
            self.inward.notify_one();
            return Ok(Some(Pushed::Taken));
        }
        if place.is_none() {
            if state.is_pushed {
                return Ok(Some(Pushed::Busy));
            }
            state.is_pushed = true;
            *place = Some(WaitingPlace(self));
        }
        Ok(None)
    }

    /// The next message of the client, or what else became of the session. Safe to drop.
    pub(in super::super) async fn receive(&self) -> Received {
        loop {
            let alone_until = {
                let mut state = self.state();
                state.taken_bytes = 0;
                if let Some(message) = state.incoming.pop_front() {
                    state.taken_bytes = message.len() + size_of::<String>();
                    state.incoming_bytes -= state.taken_bytes;
                    self.room.notify_waiters();
                    return Received::octets(message.into());
                }
                state.uncover();
                if state.closed.is_some() {
                    return Received::Gone;
                }
                if state.tells_sign_of_life(Instant::now()) {
                    return Received::Ponged;
                }
                (!state.receiver).then(|| state.alone_since + self.limits.disconnect_after)
            };
            let woken = self.inward.notified();
            match alone_until {
                None => woken.await,
                Some(until) if until <= Instant::now() => return Received::Gone,
                // Looked at again either way.
                Some(until) => _ = timeout_at(until, woken).await,
            }
        }
    }
}

/// What a request brings.
struct Brought {
    messages: Vec<String>,
    lease: Option<Lease>,
}

/// The place of the one request that may wait for room; given back when the request is answered, or gone.
struct WaitingPlace<'a>(&'a HttpSession);

impl Drop for WaitingPlace<'_> {
    fn drop(&mut self) {
        self.0.state().is_pushed = false;
    }
}
