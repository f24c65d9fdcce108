//! What a connection is driven over: a WebSocket, a SockJS session, a TCP stream.
//!
//! Not here: how each of them carries octets. Invariant: every transport ends in the same way: what
//! was written goes out, then the close with its reason, then a moment for the peer's own.

use std::sync::Arc;

use bytes::Bytes;

use super::charges::SocketCharge;
use super::duplex::{Duplex, PlainWire};
use super::farewell::Farewell;
use super::sockjs::SockJs;
use super::tcp::Tcp;
use super::websocket::WebSocket;
use crate::hub::{Unwritten, Wire};
use crate::model::CloseReason;
use crate::websocket::Framed;

/// An open connection. The only thing that knows how octets travel.
#[derive(Debug)]
#[expect(
    clippy::enum_variant_names,
    reason = "a WebSocket has that name in RFC 6455"
)]
pub(super) enum Socket {
    /// A WebSocket.
    WebSocket(Box<WebSocket>),
    /// A session of SockJS.
    SockJs(Box<SockJs>),
    /// A TCP stream, plain or under TLS.
    Tcp(Box<Tcp>),
}

/// What comes in.
#[derive(Debug)]
pub(super) enum Received {
    /// Octets of STOMP, cut anywhere.
    Octets {
        /// Of one or of several messages.
        octets: Bytes,
        /// How many messages among them hold nothing but line ends.
        empty: u32,
    },
    /// A ping, with the answer that the driver is to give, if any.
    Pinged(Option<Framed>),
    /// A pong.
    Ponged,
    /// A message has begun, and its rest is to come. Told once for each.
    Unfinished,
    /// More of a message that is told only when it is whole is there ([`Socket::buffered`]).
    Buffered,
    /// The peer closes, with this code.
    Closed(u16),
    /// A message longer than any frame may be.
    TooLarge,
    /// A message in too many fragments for what it holds.
    Fragments,
    /// Messages for which the byte account has nothing left.
    NoMemory,
    /// A text message that is not UTF-8.
    NotUtf8,
    /// Frames that break RFC 6455.
    Malformed,
    /// The line is dead.
    Gone,
}

impl Received {
    /// Octets that came by themselves.
    pub(super) fn octets(octets: Bytes) -> Self {
        let empty = u32::from(is_line_ends(&octets));
        Self::Octets { octets, empty }
    }
}

/// Whether there is nothing but line ends.
pub(super) fn is_line_ends(octets: &[u8]) -> bool {
    octets.iter().all(|octet| matches!(octet, b'\n' | b'\r'))
}

/// The line is dead, or the peer has closed.
#[derive(Debug)]
pub(super) struct Gone;

impl Socket {
    /// The label of the transport, for metrics.
    pub(super) fn transport(&self) -> &'static str {
        match self {
            Self::WebSocket(_) => "websocket",
            Self::SockJs(socket) => socket.transport(),
            Self::Tcp(_) => "tcp",
        }
    }

    /// Whether the peer could hear nothing any more once the node accepts no new requests.
    pub(super) fn needs_requests(&self) -> bool {
        match self {
            Self::SockJs(socket) => socket.needs_requests(),
            Self::WebSocket(_) | Self::Tcp(_) => false,
        }
    }

    /// Whether STOMP beats towards the peer, for a transport that would beat by itself.
    pub(super) fn set_beats(&mut self, beats: bool) {
        match self {
            Self::SockJs(socket) => socket.set_beats(beats),
            Self::WebSocket(_) | Self::Tcp(_) => {}
        }
    }

    /// Whether silence can be broken by asking: a WebSocket answers a ping even when its page
    /// sleeps, and a session of SockJS has requests. Otherwise only the kernel knows whether the
    /// line is dead.
    pub(super) fn answers_pings(&self) -> bool {
        match self {
            Self::WebSocket(_) | Self::SockJs(_) => true,
            Self::Tcp(_) => false,
        }
    }

    /// Whether a message of the transport has begun, and its rest is still to come.
    pub(super) fn is_amid_message(&self) -> bool {
        match self {
            Self::WebSocket(socket) => socket.is_amid_message(),
            Self::SockJs(socket) => socket.is_amid_message(),
            Self::Tcp(_) => false,
        }
    }

    /// How many bytes of the peer it keeps that were not told.
    pub(super) fn buffered(&self) -> usize {
        match self {
            Self::WebSocket(socket) => socket.buffered(),
            Self::SockJs(socket) => socket.buffered(),
            Self::Tcp(_) => 0,
        }
    }

    /// How many bytes of a stream were read since the last call. Requests take turns of their own.
    pub(super) fn take_read(&mut self) -> usize {
        match self {
            Self::WebSocket(socket) => socket.take_read(),
            Self::SockJs(socket) => socket.take_read(),
            Self::Tcp(socket) => socket.take_read(),
        }
    }

    /// Waits for the next message. Safe to drop and call again.
    pub(super) async fn receive(&mut self) -> Received {
        match self {
            Self::WebSocket(socket) => socket.receive().await,
            // Boxed, as below.
            Self::SockJs(socket) => Box::pin(socket.receive()).await,
            Self::Tcp(socket) => socket.receive().await,
        }
    }

    /// What the kernel holds of what is written here is charged so from now on.
    pub(super) fn charge_to(&self, charge: &Arc<SocketCharge>) {
        if let Some(duplex) = self.duplex() {
            duplex.charge_to(charge);
        }
    }

    /// Gives back what was charged for it and is sent.
    pub(super) fn rest(&self) {
        if let Some(duplex) = self.duplex() {
            duplex.rest();
        }
    }

    /// Both directions of its one socket; a session over requests has many.
    fn duplex(&self) -> Option<&Duplex> {
        match self {
            Self::WebSocket(socket) => Some(socket.duplex()),
            Self::SockJs(socket) => socket.duplex(),
            Self::Tcp(socket) => Some(socket.duplex()),
        }
    }

    /// The way past the driver, where there is one. Octets that are written there and those that are
    /// written here must not be mixed.
    pub(super) fn wire(&self) -> Option<Arc<dyn Wire>> {
        match self {
            Self::WebSocket(socket) => socket.wire(),
            Self::SockJs(_) => None,
            Self::Tcp(socket) => socket.wire(),
        }
    }

    /// The same with its socket.
    pub(super) fn plain_wire(&self) -> Option<Arc<PlainWire>> {
        match self {
            Self::WebSocket(socket) => socket.plain_wire(),
            Self::SockJs(_) => None,
            Self::Tcp(socket) => socket.plain_wire(),
        }
    }

    /// Takes back what those who used the wire have left: it goes out before everything else.
    pub(super) async fn put_back(&mut self, unwritten: Unwritten) -> Result<(), Gone> {
        match self {
            Self::WebSocket(socket) => socket.put_back(unwritten),
            Self::Tcp(socket) => socket.put_back(unwritten),
            Self::SockJs(socket) => {
                for frame in unwritten.into_parts().0 {
                    Box::pin(socket.write(&frame)).await?;
                }
            }
        }
        Ok(())
    }

    /// Takes one STOMP frame, one heart-beat, or the answer to a ping. Waits only while the peer does
    /// not read.
    pub(super) async fn write(&mut self, frame: &Framed) -> Result<(), Gone> {
        match self {
            Self::WebSocket(socket) => socket.write(frame).await,
            // Boxed: a future has room for every transport, and is moved about for each frame.
            Self::SockJs(socket) => Box::pin(socket.write(frame)).await,
            Self::Tcp(socket) => socket.write(frame).await,
        }
    }

    /// Writes what was taken.
    pub(super) async fn flush(&mut self) -> Result<(), Gone> {
        match self {
            Self::WebSocket(socket) => socket.flush().await,
            Self::SockJs(socket) => Box::pin(socket.flush()).await,
            Self::Tcp(socket) => socket.flush().await,
        }
    }

    /// What asks the peer for a sign of life, for whoever writes to the wire.
    pub(super) fn ping_frame(&self) -> Framed {
        match self {
            Self::WebSocket(_) | Self::SockJs(_) => Framed::PING,
            // STOMP ignores it between frames. The kernel gives the connection up when nobody
            // acknowledges it.
            Self::Tcp(_) => Framed::BEAT,
        }
    }

    /// Asks the peer for a sign of life.
    pub(super) async fn ping(&mut self) -> Result<(), Gone> {
        match self {
            Self::WebSocket(socket) => socket.ping().await,
            Self::SockJs(socket) => Box::pin(socket.ping()).await,
            Self::Tcp(socket) => socket.ping().await,
        }
    }

    /// Flushes, says goodbye, and waits for the peer's own goodbye as long as the farewell lasts.
    pub(super) async fn close(&mut self, reason: Option<&CloseReason>, farewell: &mut Farewell) {
        match self {
            Self::WebSocket(socket) => socket.close(reason, farewell).await,
            Self::SockJs(socket) => socket.close(reason, farewell).await,
            // An ERROR frame has said why; TCP itself knows no reasons.
            Self::Tcp(socket) => socket.close(farewell).await,
        }
    }
}
