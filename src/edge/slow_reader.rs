//! A peer that takes no more of what is written to it past its driver, and how long it may go on so.
//!
//! Not here: answers of HTTP (`paced`), what waits for the peer (`hub::outbox`). Invariants: a peer that takes fewer
//! than [`BYTES_PER_SEC_MIN`] bytes a second has taken nothing; a session that is read while its peer is slow leaves at
//! most [`ANSWERS_MAX_BYTES`] of answers and those of one read.
//!
//! A socket can be written again when a third of its buffer is free, which is 43 s of a reader of 1 kB/s. That is longer
//! than `OUTBOX_STALL`, so before such a peer is closed it is looked at how much the kernel still holds for it.
//!
//! The session is read meanwhile, because a slow reader has a right to UNSUBSCRIBE, ACK and DISCONNECT. When half of
//! its outbox is in use, one read is made each time that the peer takes something: what it sends may be delivered to
//! itself, and must not cut it.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use super::duplex::PlainWire;
use super::patience::BYTES_PER_SEC_MIN;
use super::send_buffer::{SendBuffer, give_up_shut_windows, held_for_peer};
use crate::hub::Outbox;

/// How many bytes of answers may wait for a slow peer before nothing more is read of it.
const ANSWERS_MAX_BYTES: usize = 8 << 10;

/// A peer whose socket cannot be written. Nothing may be written to the socket meanwhile, but by the task that holds
/// this.
#[derive(Debug)]
pub(super) struct SlowReader {
    wire: Arc<PlainWire>,
    /// What the kernel held for it when that was looked at last.
    held: usize,
    stall: Duration,
    /// When it has to have taken something.
    until: Pin<Box<Sleep>>,
    /// What [`SlowReader::wait`] has found.
    found: Option<Found>,
    /// The bytes of answers since it is slow.
    answered: usize,
    /// Whether it has taken something since it was read.
    has_moved: bool,
}

#[derive(Debug)]
enum Found {
    Room,
    Nothing,
}

/// The peer has taken nothing for too long.
#[derive(Debug)]
pub(super) struct Stalled;

impl SlowReader {
    pub(super) fn new(wire: Arc<PlainWire>, stall: Duration) -> Self {
        give_up_shut_windows(wire.socket(), false);
        Self {
            held: held_for_peer(wire.socket()),
            wire,
            stall,
            until: Box::pin(sleep(stall)),
            found: None,
            answered: 0,
            has_moved: false,
        }
    }

    /// Waits until the kernel has room for a third of its buffer, or too long. Safe to drop and call again.
    pub(super) async fn wait(&mut self) {
        let socket = self.wire.socket();
        self.found = Some(tokio::select! {
            biased;
            // Looking at what the kernel holds wakes tasks that wait for the socket; this waits on.
            () = poll_fn(|context| SendBuffer::poll_room(socket, context)) => Found::Room,
            () = &mut self.until => Found::Nothing,
        });
    }

    /// What [`SlowReader::wait`] has found. Room is there to be filled; see [`SlowReader::filled`].
    ///
    /// # Errors
    /// When the peer has taken nothing for too long.
    pub(super) fn has_room(&mut self) -> Result<bool, Stalled> {
        let has_room = match self.found.take() {
            None | Some(Found::Room) => true,
            Some(Found::Nothing) if self.has_taken() => false,
            Some(Found::Nothing) => return Err(Stalled),
        };
        self.until.as_mut().reset(Instant::now() + self.stall);
        self.has_moved = true;
        Ok(has_room)
    }

    /// The room was filled, and the peer is as slow as before.
    pub(super) fn filled(&mut self) {
        self.held = held_for_peer(self.wire.socket());
    }

    /// Whether the peer has taken something since this was asked last.
    fn has_taken(&mut self) -> bool {
        let held = held_for_peer(self.wire.socket());
        let before = std::mem::replace(&mut self.held, held);
        let least = u128::from(BYTES_PER_SEC_MIN) * self.stall.as_millis() / 1_000;
        before.saturating_sub(held) as u128 >= least.max(1)
    }

    /// An answer of so many bytes waits behind the rest.
    pub(super) fn answered(&mut self, bytes: usize) {
        self.answered = self.answered.saturating_add(bytes);
    }

    /// Something was read of the peer.
    pub(super) fn was_read(&mut self) {
        self.has_moved = false;
    }

    /// Whether the peer may be read.
    pub(super) fn may_read(&self, outbox: Option<&Outbox>) -> bool {
        let has_room = || outbox.is_none_or(Outbox::has_room);
        self.answered < ANSWERS_MAX_BYTES && (self.has_moved || has_room())
    }
}

/// The socket is written to by others again, or closed.
impl Drop for SlowReader {
    fn drop(&mut self) {
        give_up_shut_windows(self.wire.socket(), true);
    }
}
