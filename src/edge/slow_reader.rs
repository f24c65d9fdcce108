//! Whether a peer that is written to past its driver takes anything while its socket cannot be written.
//!
//! Not here: answers of HTTP (`paced`), what waits for the peer (`hub::outbox`). Invariant: a peer that takes fewer
//! than [`BYTES_PER_SEC_MIN`] bytes a second has taken nothing.
//!
//! A socket can be written again when a third of its buffer is free, which is 43 s of a reader of 1 kB/s. That is longer
//! than `OUTBOX_STALL`, so before such a peer is closed it is looked at how much the kernel still holds for it.

use std::time::Duration;

use super::patience::BYTES_PER_SEC_MIN;
use super::send_buffer::{give_up_shut_windows, held_for_peer};
use super::socket::Socket;

/// A peer whose socket cannot be written.
#[derive(Debug)]
pub(super) struct SlowReader {
    /// What the kernel held for it when that was looked at last.
    held: usize,
}

impl SlowReader {
    /// Nothing that waits for the peer may be written until [`SlowReader::end`], but by the task that holds this.
    pub(super) fn new(socket: &Socket) -> Self {
        let held = socket.wire_socket().map_or(0, |socket| {
            give_up_shut_windows(socket, false);
            held_for_peer(socket)
        });
        Self { held }
    }

    /// Whether the peer has taken something for so long.
    pub(super) fn has_taken(&mut self, socket: &Socket, within: Duration) -> bool {
        let Some(socket) = socket.wire_socket() else {
            return false;
        };
        let held = held_for_peer(socket);
        let before = std::mem::replace(&mut self.held, held);
        let least = u128::from(BYTES_PER_SEC_MIN) * within.as_millis() / 1_000;
        before.saturating_sub(held) as u128 >= least.max(1)
    }

    /// The socket is written to by others again, or closed.
    pub(super) fn end(self, socket: &Socket) {
        if let Some(socket) = socket.wire_socket() {
            give_up_shut_windows(socket, true);
        }
    }
}
