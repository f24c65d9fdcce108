//! The stream of an HTTP connection, whose peer must go on reading what it asked for.
//!
//! Not here: WebSocket and TCP, whose driver has a deadline for each write (`connection`). Invariants: an
//! answer whose reader takes nothing for [`Paced::new`]'s `stall`, or reads more slowly than `patience`
//! allows, ends the connection; what the kernel holds for a reader is charged to its socket.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::charges::KERNEL_BYTES;
use super::patience::Patience;
use super::peer::Peer;
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
    stream: Stream,
    /// Where the charge is; none for services that have no account.
    peer: Option<Arc<Peer>>,
    patience: Patience,
    /// There while the peer takes nothing.
    blocked: Option<Blocked>,
    /// The bytes of the answer since its client was seen to go on, and when the last were written.
    written: u64,
    wrote_at: Instant,
    /// What is charged for them.
    charged: u64,
}

#[derive(Debug)]
struct Blocked {
    since: Instant,
    until: Pin<Box<Sleep>>,
}

impl Paced {
    /// The stream of this peer; an answer of which nothing is taken for `stall` ends it.
    pub(super) fn new(stream: Stream, stall: Duration, peer: Option<Arc<Peer>>) -> Self {
        Self {
            stream,
            peer,
            patience: Patience::new(stall),
            blocked: None,
            written: 0,
            wrote_at: Instant::now(),
            charged: 0,
        }
    }

    /// The stream itself, for what is not HTTP any more.
    pub(super) fn into_stream(mut self) -> Stream {
        self.charge(0);
        self.stream
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
                self.written = 0;
            }
            self.wrote_at = now;
            self.written += bytes as u64;
            if !self.charge(charge_for(self.written)) {
                return Poll::Ready(Err(no_memory()));
            }
        }
        Poll::Ready(outcome)
    }

    /// The peer takes nothing: how long it may go on so.
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<Error> {
        if self.blocked.is_none() {
            // What is written lies in the kernel, which takes no more.
            if !self.charge(KERNEL_BYTES) {
                return Poll::Ready(no_memory());
            }
            self.written = KERNEL_BYTES;
        }
        let left = self.patience.left();
        let blocked = self.blocked.get_or_insert_with(|| Blocked {
            since: Instant::now(),
            until: Box::pin(sleep(left)),
        });
        blocked.until.as_mut().poll(context).map(|()| {
            metrics::counter!("http_readers_closed_total").increment(1);
            ErrorKind::TimedOut.into()
        })
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

fn no_memory() -> Error {
    ErrorKind::OutOfMemory.into()
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
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if this.charged > 0 && this.blocked.is_none() && buffer.filled().len() > before {
            // A client that asks for more has what it asked for.
            this.written = 0;
            this.charge(0);
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
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.watch(context, written, |bytes| *bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.watch(context, written, |bytes| *bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(context);
        this.watch(context, flushed, |()| 0)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        let shut = Pin::new(&mut this.stream).poll_shutdown(context);
        this.watch(context, shut, |()| 0)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn pair(stall: Duration) -> (Paced, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        let stream = Stream::Plain(accepted.unwrap().0);
        (Paced::new(stream, stall, None), client.unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_ends_the_stream() {
        let (mut paced, _client) = pair(Duration::from_secs(10)).await;
        let began = Instant::now();
        let error = loop {
            if let Err(error) = paced.write_all(&[b'x'; 64 << 10]).await {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), 10);
    }

    #[tokio::test]
    async fn a_reader_that_goes_on_gets_everything() {
        const BYTES: usize = 8 << 20;
        let (mut paced, mut client) = pair(Duration::from_secs(10)).await;
        let writing = async {
            paced.write_all(&vec![b'x'; BYTES]).await.unwrap();
            paced.shutdown().await.unwrap();
        };
        let reading = async {
            let mut bytes = Vec::new();
            client.read_to_end(&mut bytes).await.unwrap();
            bytes.len()
        };
        let ((), bytes) = tokio::join!(writing, reading);
        assert_eq!(bytes, BYTES);
    }

    #[test]
    fn written_bytes_are_charged_in_steps_up_to_what_the_kernel_holds() {
        let steps = [0, 4 << 10, 5 << 10, 17 << 10, 1 << 20].map(charge_for);
        assert_eq!(steps, [0, 0, 16 << 10, 32 << 10, KERNEL_BYTES]);
    }
}
