//! The way past the driver of a connection: what stands for its socket, and what it has not taken.
//!
//! Not here: whose turn it is (`outbox`), sockets (`edge`). Invariant: the octets of a frame are
//! followed by those of the same frame, until it is whole.

use std::collections::VecDeque;
use std::fmt;
use std::io::{ErrorKind, IoSlice, Result};
use std::sync::Arc;

use super::flusher::{Flusher, Lives};
use crate::websocket::Framed;

/// How many frames are written at once.
const SLICES_MAX: usize = 64;

/// A socket that is written without waiting.
pub trait Wire: Send + Sync + fmt::Debug {
    /// Writes as much as it takes now. One that takes nothing says [`ErrorKind::WouldBlock`].
    ///
    /// # Errors
    /// Whatever the socket says; other than [`ErrorKind::WouldBlock`] it is dead.
    fn try_write(&self, slices: &[IoSlice<'_>]) -> Result<usize>;

    /// Whether frames go out with the head of WebSocket.
    fn is_framed(&self) -> bool;
}

/// The wire of an outbox.
#[derive(Debug)]
pub(super) struct Line {
    wire: Arc<dyn Wire>,
    pub(super) flusher: Flusher,
    /// What the wire did not take when it was written last.
    pub(super) rest: Unwritten,
    _lives: Lives,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrote {
    All,
    /// The wire takes no more for now.
    Some,
    /// The wire is dead.
    Gone,
}

impl Line {
    pub(super) fn new(wire: Arc<dyn Wire>, flusher: &Flusher) -> Self {
        Self {
            wire,
            _lives: flusher.line(),
            flusher: flusher.clone(),
            rest: Unwritten::default(),
        }
    }

    /// Writes as much as the wire takes.
    pub(super) fn write(&self, unwritten: &mut Unwritten) -> Wrote {
        let is_framed = self.wire.is_framed();
        while !unwritten.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut count = 0;
            for (slice, octets) in slices.iter_mut().zip(unwritten.slices(is_framed)) {
                *slice = IoSlice::new(octets);
                count += 1;
            }
            match self.wire.try_write(slices.get(..count).unwrap_or_default()) {
                Ok(0) => return Wrote::Gone,
                Ok(octets) => unwritten.written(octets, is_framed),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Wrote::Some,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Wrote::Gone,
            }
        }
        Wrote::All
    }
}

/// Frames in the hands of a writer, the first perhaps written in part.
#[derive(Debug, Default)]
pub struct Unwritten {
    frames: VecDeque<Framed>,
    /// So many octets of the first are written.
    begun: usize,
    /// What was written since [`Unwritten::settled`]: frames, and octets of their payloads.
    done: (usize, usize),
}

impl Unwritten {
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    pub(crate) fn extend(&mut self, frames: impl IntoIterator<Item = Framed>) {
        // `VecDeque::extend` asks the iterator for its length before each.
        for frame in frames {
            self.frames.push_back(frame);
        }
    }

    /// Nothing is in hand any more; what room there is stays.
    pub(super) fn clear(&mut self) {
        self.frames.clear();
        self.begun = 0;
        self.done = (0, 0);
    }

    /// Gives room back that only a crowd needs.
    pub(super) fn shrink_to(&mut self, frames: usize) {
        self.frames.shrink_to(frames);
    }

    /// Drops what nobody has seen anything of.
    pub(super) fn keep_what_has_begun(&mut self) {
        self.frames.truncate(usize::from(self.begun > 0));
    }

    /// What was written since it was asked last: frames, and octets of their payloads.
    pub(super) fn settled(&mut self) -> (usize, usize) {
        std::mem::take(&mut self.done)
    }

    /// So many octets of the first are written already.
    #[cfg(test)]
    pub(crate) fn begin(&mut self, octets: usize) {
        self.begun = octets;
    }

    /// The frames that are left, and how many octets of the first are written.
    #[must_use]
    pub fn into_parts(self) -> (VecDeque<Framed>, usize) {
        (self.frames, self.begun)
    }

    fn slices(&self, is_framed: bool) -> impl Iterator<Item = &[u8]> {
        let mut begun = self.begun;
        self.frames.iter().map(move |frame| {
            let octets = frame.octets(is_framed);
            octets.get(std::mem::take(&mut begun)..).unwrap_or_default()
        })
    }

    /// So many octets more are written.
    fn written(&mut self, octets: usize, is_framed: bool) {
        self.begun += octets;
        while let Some(frame) = self.frames.front() {
            let length = frame.octets(is_framed).len();
            if self.begun < length {
                return;
            }
            self.begun -= length;
            self.done.0 += 1;
            self.done.1 += frame.len();
            self.frames.pop_front();
        }
    }
}
