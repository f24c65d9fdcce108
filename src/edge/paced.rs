//! The stream of an HTTP connection, whose peer must go on reading what it asked for.
//!
//! Not here: WebSocket and TCP, whose driver has a deadline for each write (`connection`), the buffers of the kernel
//! (`send_buffer`). Invariants: an answer whose reader takes nothing for longer than its patience (`patience`) ends
//! the connection; what the kernel holds for a reader is charged to its socket, or it holds hardly anything; a
//! charge that is refused slows an answer down and never breaks it.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::charges::KERNEL_BYTES;
use super::patience::Patience;
use super::peer::Peer;
use super::read_turns::ReadTurns;
use super::send_buffer::{Narrowness, SLICE_BYTES, SendBuffer, is_nearly_sent};
use super::stream::Stream;
use crate::budget::Memory;

/// After a pause of this length in an answer its reader counts as having read what was written before. The
/// system does not tell; a reader that has not will block the writes that follow.
const PAUSE: Duration = Duration::from_secs(1);

/// The charge for written bytes changes in steps of this size.
const STEP_BYTES: u64 = 16 << 10;

/// A stream with a deadline for its writes.
#[derive(Debug)]
pub(super) struct Paced {
    socket: PacedSocket,
    /// Where the charge is; none for services that have no account.
    peer: Option<Arc<Peer>>,
    patience: Patience,
    /// When bytes of the peer are read; at once without it.
    turns: Option<ReadTurns>,
    /// There while the peer takes nothing.
    blocked: Option<Blocked>,
    /// The bytes of answers since the kernel had sent what was written, and when the last were written.
    written: u64,
    wrote_at: Instant,
    /// What is charged for them.
    charged: u64,
}

/// The stream, and how much the kernel holds of it. Dropped, it leaves the kernel no connection whose peer may keep
/// its window shut for ever.
#[derive(Debug)]
struct PacedSocket {
    /// None once it was taken out.
    stream: Option<Stream>,
    buffer: SendBuffer,
}

impl PacedSocket {
    fn set(&mut self, to: Narrowness) {
        if let Some(stream) = &self.stream {
            self.buffer.set(stream.socket(), to);
        }
    }

    fn is_nearly_sent(&self) -> bool {
        let narrowness = self.buffer.narrowness();
        (self.stream.as_ref()).is_none_or(|it| is_nearly_sent(it.socket(), narrowness))
    }

    fn poll_room(&self, context: &mut Context<'_>) -> Poll<()> {
        let stream = self.stream.as_ref();
        stream.map_or(Poll::Ready(()), |it| {
            SendBuffer::poll_room(it.socket(), context)
        })
    }

    fn with<T>(
        &mut self,
        poll: impl FnOnce(Pin<&mut Stream>) -> Poll<Result<T>>,
    ) -> Poll<Result<T>> {
        match &mut self.stream {
            Some(stream) => poll(Pin::new(stream)),
            None => Poll::Ready(Err(ErrorKind::NotConnected.into())),
        }
    }
}

impl Drop for PacedSocket {
    fn drop(&mut self) {
        self.set(Narrowness::Wide);
    }
}

#[derive(Debug)]
struct Blocked {
    since: Instant,
    until: Pin<Box<Sleep>>,
}

impl Paced {
    /// The stream of this peer. An answer of which nothing is taken for `stall` ends it, or a few times as
    /// long if much was taken before ([`Patience::with_reader`]).
    pub(super) fn new(stream: Stream, stall: Duration, peer: Option<Arc<Peer>>) -> Self {
        Self {
            socket: PacedSocket {
                stream: Some(stream),
                buffer: SendBuffer::default(),
            },
            peer,
            patience: Patience::with_reader(stall),
            turns: None,
            blocked: None,
            written: 0,
            wrote_at: Instant::now(),
            charged: 0,
        }
    }

    /// The same, whose bytes are read in these turns.
    pub(super) fn read_in(mut self, turns: Option<ReadTurns>) -> Self {
        self.turns = turns;
        self
    }

    /// Whether its peer has a turn to be read.
    fn poll_may_read(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match (&mut self.turns, &self.socket.stream) {
            (Some(turns), Some(stream)) => turns.poll_read(stream.socket(), context),
            _ => Poll::Ready(()),
        }
    }

    /// Takes a turn that has come while the connection does not read.
    fn take_turn(&mut self, context: &mut Context<'_>) {
        if let Some(turns) = &mut self.turns {
            let _read_later = turns.poll_turn(context);
        }
    }

    /// The stream itself, for what is not HTTP any more.
    pub(super) fn into_stream(mut self) -> Option<Stream> {
        self.charge(0);
        self.socket.set(Narrowness::Wide);
        self.socket.stream.take()
    }

    /// How many bytes may be written now; at least one.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<usize> {
        if self.written < SLICE_BYTES as u64 {
            return Poll::Ready(SLICE_BYTES);
        }
        let narrow = Narrowness::Narrow.max(self.socket.buffer.narrowness());
        self.socket.set(narrow);
        ready!(self.socket.poll_room(context));
        Poll::Ready(self.socket.buffer.slice_bytes())
    }

    /// The client goes on: forgets what was written, if the kernel has sent it. A client may ask for more and take
    /// nothing of what it asked for, so the sum over such answers counts.
    fn forget_written(&mut self) {
        if self.written <= Memory::BASE_BUFFER_BYTES || !self.socket.is_nearly_sent() {
            return;
        }
        self.written = 0;
        self.charge(0);
        self.socket.set(Narrowness::Wide);
    }

    /// Charges for what was written, or has the kernel hold hardly anything from now on.
    fn cover(&mut self, bytes: u64) {
        if self.socket.buffer.narrowness() < Narrowness::Minimal && !self.charge(bytes) {
            self.socket.set(Narrowness::Minimal);
        }
    }

    /// Looks at what became of a write or a flush.
    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<Result<T>>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Poll<Result<T>> {
        let Poll::Ready(outcome) = outcome else {
            return self.wait(context).map(Err);
        };
        let now = Instant::now();
        let waited = self.blocked.take().map(|blocked| now - blocked.since);
        let bytes = outcome.as_ref().map_or(0, bytes);
        self.patience.moved(waited.unwrap_or_default(), bytes);
        if bytes > 0 {
            if waited.is_none() && now - self.wrote_at >= PAUSE {
                // Asked before this write it would be exact; what it wrote is a slice at most.
                self.forget_written();
            }
            self.wrote_at = now;
            self.written += bytes as u64;
            self.cover(charge_for(self.written));
        }
        Poll::Ready(outcome)
    }

    /// The peer takes nothing: how long it may go on so.
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<Error> {
        if self.blocked.is_none() {
            // What is written lies in the kernel, which takes no more.
            self.written = KERNEL_BYTES;
            self.cover(KERNEL_BYTES);
        }
        let left = self.patience.left();
        let blocked = self.blocked.get_or_insert_with(|| Blocked {
            since: Instant::now(),
            until: Box::pin(sleep(left)),
        });
        ready!(blocked.until.as_mut().poll(context));
        metrics::counter!("http_readers_closed_total").increment(1);
        // What the kernel still holds it gives up as soon as for any other socket.
        self.socket.set(Narrowness::Wide);
        Poll::Ready(ErrorKind::TimedOut.into())
    }

    /// Charges so much in all for what the kernel holds; whether the account has it.
    fn charge(&mut self, bytes: u64) -> bool {
        let Some(peer) = self.peer.as_ref().filter(|_| bytes != self.charged) else {
            return true;
        };
        if bytes < self.charged {
            peer.charge.shrink(self.charged - bytes);
        } else if peer.charge.grow(bytes - self.charged).is_err() {
            return false;
        }
        self.charged = bytes;
        true
    }
}

/// The first of these bytes, up to so many.
fn first_bytes<'a>(slices: &'a [IoSlice<'_>], mut room: usize) -> SmallVec<[IoSlice<'a>; 8]> {
    let mut first = SmallVec::new();
    for slice in slices {
        let slice = &slice[..slice.len().min(room)];
        room -= slice.len();
        if !slice.is_empty() {
            first.push(IoSlice::new(slice));
        }
        if room == 0 {
            break;
        }
    }
    first
}

/// What is charged for written bytes beyond those that the base of a socket covers.
fn charge_for(written: u64) -> u64 {
    match written {
        0..=Memory::BASE_BUFFER_BYTES => 0,
        more => (more.div_ceil(STEP_BYTES) * STEP_BYTES).min(KERNEL_BYTES),
    }
}

impl AsyncRead for Paced {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_may_read(context));
        let before = buffer.filled().len();
        let read = this.socket.with(|it| it.poll_read(context, buffer));
        let bytes = buffer.filled().len() - before;
        if let Some(turns) = &mut this.turns {
            turns.note(bytes, read.is_pending());
        }
        let is_new = bytes > 0;
        if is_new && this.written > 0 && this.blocked.is_none() {
            this.forget_written();
        }
        read
    }
}

impl AsyncWrite for Paced {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        let this = self.get_mut();
        this.take_turn(context);
        let Poll::Ready(room) = this.poll_room(context) else {
            return this.wait(context).map(Err);
        };
        let bytes = &bytes[..bytes.len().min(room)];
        let written = this.socket.with(|it| it.poll_write(context, bytes));
        this.watch(context, written, |bytes| *bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let this = self.get_mut();
        this.take_turn(context);
        let Poll::Ready(room) = this.poll_room(context) else {
            return this.wait(context).map(Err);
        };
        let slices = first_bytes(slices, room);
        let written = (this.socket).with(|it| it.poll_write_vectored(context, &slices));
        this.watch(context, written, |bytes| *bytes)
    }

    fn is_write_vectored(&self) -> bool {
        let stream = self.socket.stream.as_ref();
        stream.is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        this.take_turn(context);
        let flushed = this.socket.with(|it| it.poll_flush(context));
        this.watch(context, flushed, |()| 0)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        let shut = this.socket.with(|it| it.poll_shutdown(context));
        this.watch(context, shut, |()| 0)
    }
}

#[cfg(test)]
mod tests;
