//! STOMP over TCP: octets as they come, without anything around them.
//!
//! Not here: STOMP (`connection`), the socket and its options (`listener`). Invariant: an idle
//! connection keeps no buffer; what is written goes out as the very frames that were given, never
//! copied together.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead as _, AsyncWrite as _, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, timeout};

use super::Edge;
use super::admission::Refusal;
use super::away::read_away;
use super::connection::{Connection, Opened};
use super::peer::Peer;
use super::reply;
use super::socket::{Gone, Received, Socket};
use super::stream::Stream;
use crate::identity::{Handshake, client_address};
use crate::model::CloseReason;
use crate::session::{Input, Output, Session};

/// So many octets are taken at once: what the driver takes in one piece.
const READ_BYTES: usize = 4 << 10;

/// Frames are gathered up to here before they are written, and always written at the flush.
const WRITE_BYTES: usize = 4 << 10;
const WRITE_FRAMES: usize = 16;

/// The sign of life, which STOMP ignores between frames. The kernel gives the connection up when
/// nobody acknowledges it.
const END_OF_LINE: Bytes = Bytes::from_static(b"\n");

/// Drives a connection from its first octet to its end, or says why it does not come in.
pub(super) async fn serve(edge: Arc<Edge>, stream: Stream, peer: Arc<Peer>) {
    let address = client_address(peer.address.ip(), &[], &edge.settings.trusted_proxies);
    let shown = edge.settings.log_address.show(address);
    let permits = match edge.admit(&peer, address) {
        Ok(permits) => permits,
        Err(refusal) => {
            tracing::debug!(address = %shown, ?refusal, "a TCP connection was refused");
            let told = Box::pin(refuse(&edge, stream, refusal));
            if timeout(edge.settings.linger, told).await.is_err() {
                tracing::debug!("a refused client did not listen");
            }
            return;
        }
    };
    tracing::debug!(address = %shown, "a TCP connection opens");
    drop(peer);
    let opened = Opened {
        handshake: Handshake::without_page(address),
        subprotocol: None,
        permits,
    };
    let socket = Socket::Tcp(Box::new(Tcp::new(stream)));
    // Boxed: a future keeps room for every place that a value is moved through.
    Box::new(Connection::new(edge, socket, opened)).run().await;
}

/// Tells somebody who does not come in why, in an ERROR frame. The caller bounds the time.
pub(super) async fn refuse(edge: &Edge, stream: Stream, refusal: Refusal) {
    let problem = reply::problem_of(refusal);
    let reason = CloseReason::from_problem(&problem);
    let now = Instant::now().into_std();
    let mut session = Session::new(now, edge.settings.session.clone());
    let problem = Some(problem);
    session.handle_input(now, Input::End { problem, reason });
    let mut socket = Tcp::new(stream);
    while let Some(output) = session.poll_output() {
        if let Output::Transmit(frame) = output
            && socket.write(frame).await.is_err()
        {
            return;
        }
    }
    socket.close(edge.settings.linger).await;
}

/// An open TCP connection.
#[derive(Debug)]
pub(super) struct Tcp {
    stream: Stream,
    /// Frames that are taken and not written, the first perhaps in part.
    waiting: VecDeque<Bytes>,
    waiting_bytes: usize,
}

impl Tcp {
    fn new(stream: Stream) -> Self {
        Self {
            stream,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
        }
    }

    /// Waits for the next octets. Safe to drop and call again.
    pub(super) async fn receive(&mut self) -> Received {
        poll_fn(|context| {
            // On the stack: a connection that waits keeps nothing.
            let mut room = [const { MaybeUninit::uninit() }; READ_BYTES];
            let mut buffer = ReadBuf::uninit(&mut room);
            let read = ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer));
            Poll::Ready(match read {
                Err(_) => Received::Gone,
                // 1005: a close that gives no code (RFC 6455 section 7.1.5), as every one here.
                Ok(()) if buffer.filled().is_empty() => Received::Closed(1005),
                Ok(()) => Received::Octets(Bytes::copy_from_slice(buffer.filled())),
            })
        })
        .await
    }

    /// Takes one STOMP frame, or one heart-beat. Waits only while the peer does not read.
    pub(super) async fn write(&mut self, frame: Bytes) -> Result<(), Gone> {
        self.waiting_bytes += frame.len();
        self.waiting.push_back(frame);
        if self.waiting_bytes >= WRITE_BYTES || self.waiting.len() >= WRITE_FRAMES {
            Box::pin(self.write_out()).await?;
        }
        Ok(())
    }

    /// Writes out what was taken.
    pub(super) async fn flush(&mut self) -> Result<(), Gone> {
        self.write_out().await?;
        self.stream.flush().await.map_err(|_| Gone)
    }

    /// Lets the kernel find out whether the peer is still there.
    pub(super) async fn ping(&mut self) -> Result<(), Gone> {
        self.write(END_OF_LINE).await?;
        self.flush().await
    }

    /// Writes what was taken, then the end; waits at most for `linger` for the peer's own end.
    pub(super) async fn close(&mut self, linger: Duration) {
        let goodbye = async {
            if self.flush().await.is_ok() {
                read_away(&mut self.stream).await;
            }
        };
        if timeout(linger, goodbye).await.is_err() {
            tracing::debug!("a peer did not close in time");
        }
    }

    /// Safe to drop and call again: what was written is noted at once.
    async fn write_out(&mut self) -> Result<(), Gone> {
        while !self.waiting.is_empty() {
            let (stream, waiting) = (&mut self.stream, &self.waiting);
            // The slices are made anew for each attempt, so that one that waits has no room for
            // them in its task.
            let written = poll_fn(|context| {
                let mut slices = [IoSlice::new(&[]); WRITE_FRAMES];
                let frames = waiting.iter().zip(&mut slices);
                let count = frames
                    .map(|(frame, slice)| *slice = IoSlice::new(frame))
                    .count();
                let slices = slices.get(..count).unwrap_or_default();
                Pin::new(&mut *stream).poll_write_vectored(context, slices)
            });
            match written.await {
                Ok(0) | Err(_) => return Err(Gone),
                Ok(octets) => self.written(octets),
            }
        }
        Ok(())
    }

    fn written(&mut self, mut octets: usize) {
        self.waiting_bytes = self.waiting_bytes.saturating_sub(octets);
        while let Some(frame) = self.waiting.front_mut() {
            if octets < frame.len() {
                frame.advance(octets);
                return;
            }
            octets -= frame.len();
            self.waiting.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn pair() -> (Tcp, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        let stream = Stream::Plain(accepted.unwrap().0);
        (Tcp::new(stream), client.unwrap())
    }

    #[tokio::test]
    async fn frames_go_out_in_order_whatever_their_number_and_size() {
        let (mut socket, mut client) = pair().await;
        let frames: Vec<Bytes> = (0..200_usize)
            .map(|n| Bytes::from(vec![u8::try_from(n).unwrap(); n * n]))
            .collect();
        let expected: Vec<u8> = frames.iter().flatten().copied().collect();
        let writing = async {
            for frame in frames {
                socket.write(frame).await.unwrap();
            }
            socket.close(Duration::from_secs(5)).await;
        };
        let reading = async {
            let mut octets = Vec::new();
            client.read_to_end(&mut octets).await.unwrap();
            drop(client);
            octets
        };
        let ((), octets) = tokio::join!(writing, reading);
        assert!(octets == expected);
        assert_eq!((socket.waiting.len(), socket.waiting_bytes), (0, 0));
    }

    #[tokio::test]
    async fn the_end_of_the_peer_is_told() {
        let (mut socket, mut client) = pair().await;
        client.write_all(b"\n").await.unwrap();
        assert!(matches!(socket.receive().await, Received::Octets(octets) if octets == "\n"));
        drop(client);
        assert!(matches!(socket.receive().await, Received::Closed(1005)));
    }
}
