//! A session over the HTTP transports: what waits in each direction, and who is there to take it.
//!
//! Not here: HTTP, and what the messages mean. Invariant: at most one request receives at a time;
//! what waits is bounded in both directions; a session that lost what it handed out is closed.
//!
//! Two sides meet here: requests of the client (`attach`, `take`, `push`), and the one task that
//! serves the session (`receive`, `send`, `close`, by way of `line`). `push` and `receive` stand in
//! `incoming`, what all of it costs in `account`, which requests it waits for in `pass`.

mod account;
mod incoming;
mod pass;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::owner::{Caller, Owner};
use super::settings::Limits;
use crate::budget::{Evict, granted};
use crate::edge::charges::leased_of_free;
use crate::edge::socket::Gone;
use crate::model::CloseReason;
use crate::sockjs::{Framing, HEARTBEAT, OPEN, close_frame, message_frame, quote_into};
use pass::Passes;

/// What the client gets whose earlier request to receive was cut off.
const INTERRUPTED: (u16, &str) = (1002, "Connection interrupted");

/// What the client gets for whose frames the byte account has nothing left.
const SLOW: CloseReason = CloseReason::SLOW_CONSUMER;

/// How often the serving task hears of signs of life.
const SIGN_EVERY: Duration = Duration::from_secs(5);

pub(super) use account::{Account, bytes_of};
pub(super) use incoming::Pushed;
pub(super) use pass::{Direction, Pass};

/// The session.
#[derive(Debug)]
pub(super) struct HttpSession {
    limits: Limits,
    /// A std mutex: held for moves in memory, never across an await.
    state: Mutex<State>,
    /// Wakes the task that serves the session.
    inward: Notify,
    /// Wakes the request that receives.
    outward: Notify,
    /// Wakes whoever waits for room: requests that send, the serving task that writes.
    room: Notify,
    /// Wakes a second request to receive that gives the first a moment to be gone.
    detached: Notify,
}

#[derive(Debug)]
struct State {
    owner: Owner,
    account: Account,
    passes: Passes,
    /// Whether a request waits with its messages for room among `incoming`.
    is_pushed: bool,
    /// Whether `o` went out.
    opened: bool,
    /// Messages of the client.
    incoming: VecDeque<String>,
    incoming_bytes: usize,
    /// The last one that the serving task took: it has it until it asks for the next.
    taken_bytes: usize,
    /// Messages for the client, quoted, with commas between them.
    pending: String,
    /// The close frame, once there is one.
    closed: Option<String>,
    receiver: bool,
    /// Since when nobody receives.
    alone_since: Instant,
    /// A sign of life that the serving task has not seen yet, and when it saw the last.
    sign_of_life: bool,
    sign_told_at: Option<Instant>,
    /// Whether the close frame went out.
    close_heard: bool,
    /// Whether the messages beat by themselves, so that `h` need not.
    beats: bool,
}

impl State {
    /// Whether a sign of life is to be told. Seldom: a busy session has many.
    fn tells_sign_of_life(&mut self, now: Instant) -> bool {
        let is_due = self.sign_told_at.is_none_or(|at| now - at >= SIGN_EVERY);
        if !self.sign_of_life || !is_due {
            return false;
        }
        self.sign_of_life = false;
        self.sign_told_at = Some(now);
        true
    }
}

/// What a request to receive finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Attached {
    /// It receives now.
    Yes,
    /// Another one does.
    Busy,
    /// The session is closed, with this frame.
    Closed(String),
}

impl HttpSession {
    /// A session that a client opens, whose request receives already.
    pub(super) fn new(limits: Limits, owner: Owner, account: Account) -> Arc<Self> {
        let session = Arc::new(Self {
            limits,
            state: Mutex::new(State {
                owner,
                account,
                passes: Passes::default(),
                is_pushed: false,
                opened: false,
                incoming: VecDeque::new(),
                incoming_bytes: 0,
                taken_bytes: 0,
                pending: String::new(),
                closed: None,
                receiver: true,
                alone_since: Instant::now(),
                sign_of_life: false,
                sign_told_at: None,
                close_heard: false,
                beats: false,
            }),
            inward: Notify::new(),
            outward: Notify::new(),
            room: Notify::new(),
            detached: Notify::new(),
        });
        session.state().set_evictable(&Arc::downgrade(&session));
        session
    }

    /// What is told when memory of the session is taken away.
    pub(super) fn whose(self: &Arc<Self>) -> Weak<dyn Evict> {
        let whose: Weak<Self> = Arc::downgrade(self);
        whose
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a request may speak for this session.
    pub(super) fn belongs_to(&self, caller: &Caller) -> bool {
        self.state().owner.admits(caller)
    }

    /// A request wants to receive. A second one waits a moment for the first to be noticed as gone:
    /// a client that gave the first up may be back sooner than the end of its line is.
    pub(super) async fn attach(&self, moment: Duration) -> Attached {
        let until = Instant::now() + moment;
        loop {
            {
                let mut state = self.state();
                // What is left to be read comes before the close.
                if let Some(frame) = state.closed.clone()
                    && state.pending.is_empty()
                {
                    state.close_heard = true;
                    self.room.notify_waiters();
                    return Attached::Closed(frame);
                }
                if !state.receiver {
                    state.receiver = true;
                    state.sign_of_life = true;
                    drop(state);
                    self.inward.notify_one();
                    return Attached::Yes;
                }
            }
            if timeout_at(until, self.detached.notified()).await.is_err() {
                return Attached::Busy;
            }
        }
    }

    /// The next frame for the request that receives, wrapped, and whether it is the last. `sent`
    /// counts the octets of the answer.
    pub(super) async fn take(&self, framing: &Framing, sent: &mut usize) -> (Bytes, bool) {
        let beat_at = Instant::now() + self.limits.heartbeat;
        loop {
            if let Some(taken) = self.try_take(framing, sent, false) {
                return taken;
            }
            let woken = timeout_at(beat_at, self.outward.notified()).await;
            if woken.is_err() {
                if let Some(taken) = self.try_take(framing, sent, true) {
                    return taken;
                }
                // The messages beat by themselves: there is nothing to wait for but them.
                self.outward.notified().await;
            }
        }
    }

    fn try_take(
        &self,
        framing: &Framing,
        sent: &mut usize,
        beat_is_due: bool,
    ) -> Option<(Bytes, bool)> {
        let mut state = self.state();
        let mut is_close = false;
        let frame = if !state.opened {
            state.opened = true;
            OPEN.to_owned()
        } else if !state.pending.is_empty() {
            let frame = message_frame(&state.pending);
            // Given back whole: a session that waits should cost no buffer.
            state.pending = String::new();
            state.uncover();
            self.room.notify_waiters();
            frame
        } else if let Some(frame) = state.closed.clone() {
            is_close = true;
            state.close_heard = true;
            self.room.notify_waiters();
            frame
        } else if beat_is_due && !state.beats {
            HEARTBEAT.to_owned()
        } else {
            return None;
        };
        let account = &state.account;
        let lease = || account.memory.lease(&account.claimant);
        let octets = leased_of_free(framing.wrap(&frame).into(), lease).unwrap_or_else(|_| {
            // What was taken is lost, so the session is.
            let frame = close_frame(SLOW.code, &SLOW.text);
            let octets = framing.wrap(&frame).into();
            state.closed = Some(frame);
            state.close_heard = true;
            is_close = true;
            self.room.notify_waiters();
            octets
        });
        *sent += octets.len();
        let is_last = framing.is_polling() || is_close || *sent >= self.limits.response_bytes_max;
        if is_last {
            self.detach(&mut state);
        }
        Some((octets, is_last))
    }

    fn detach(&self, state: &mut State) {
        state.receiver = false;
        state.alone_since = Instant::now();
        self.inward.notify_one();
        self.detached.notify_one();
    }

    /// The request that receives was cut off: nobody knows what of its answer arrived.
    pub(super) fn interrupted(&self) {
        let mut state = self.state();
        if state.closed.is_none() {
            let (code, words) = INTERRUPTED;
            state.closed = Some(close_frame(code, words));
        }
        state.pending = String::new();
        state.uncover();
        self.detach(&mut state);
        self.room.notify_waiters();
    }

    /// Whether somebody receives at this moment; that counts as a sign of life.
    pub(super) fn probe(&self) {
        let mut state = self.state();
        if state.receiver {
            state.sign_of_life = true;
            self.inward.notify_one();
        }
    }

    /// Takes a message for the client. Waits while too much waits for a client that does not receive.
    pub(super) async fn send(&self, message: &str) -> Result<(), Gone> {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            let has_room = {
                let mut state = self.state();
                if state.closed.is_some() {
                    return Err(Gone);
                }
                let has_room = state.pending.len() < self.limits.waiting_bytes_max;
                if has_room {
                    if !state.pending.is_empty() {
                        state.pending.push(',');
                    }
                    quote_into(&mut state.pending, message);
                }
                has_room
            };
            if has_room {
                if granted(|| self.state().cover(0)).is_err() {
                    self.close(SLOW.code, &SLOW.text);
                    return Err(Gone);
                }
                self.outward.notify_one();
                return Ok(());
            }
            room.await;
        }
    }

    /// Whether the messages beat by themselves.
    pub(super) fn set_beats(&self, beats: bool) {
        self.state().beats = beats;
    }

    /// Closes the session, unless it is closed. What waits is still given out, until the session is
    /// forgotten.
    pub(super) fn close(&self, code: u16, reason: &str) {
        let mut state = self.state();
        if state.closed.is_none() {
            state.closed = Some(close_frame(code, reason));
        }
        state.incoming = VecDeque::new();
        state.incoming_bytes = 0;
        state.uncover();
        self.outward.notify_one();
        self.room.notify_waiters();
    }

    /// Ends the session at once: what waits is not given out any more.
    fn cut(&self, reason: &CloseReason) {
        self.state().pending = String::new();
        self.close(reason.code, &reason.text);
    }

    /// Waits until the close was heard, or nobody will ever ask for it.
    pub(super) async fn close_is_heard(&self) {
        loop {
            let heard = self.room.notified();
            tokio::pin!(heard);
            heard.as_mut().enable();
            let until = {
                let state = self.state();
                if state.close_heard {
                    return;
                }
                (!state.receiver).then(|| state.alone_since + self.limits.disconnect_after)
            };
            match until {
                None => heard.await,
                Some(until) => {
                    if timeout_at(until, heard).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// The session is over: from now on it costs no more than its last words. Whether there is
    /// still somebody, or will be, who wants to hear them.
    pub(super) fn rest(&self) -> bool {
        let mut state = self.state();
        state.pending = String::new();
        state.close_account();
        let until = state.alone_since + self.limits.disconnect_after;
        self.outward.notify_one();
        state.receiver || Instant::now() < until
    }

    /// How long a closed session goes on saying so.
    pub(super) fn remembered_for(&self) -> Duration {
        self.limits.disconnect_after
    }
}

impl Evict for HttpSession {
    fn evict(&self) {
        self.cut(&CloseReason::LIMIT_EXCEEDED);
        self.inward.notify_one();
    }
}
