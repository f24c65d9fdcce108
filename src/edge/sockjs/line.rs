//! The server's end of a session, whatever it travels by.
//!
//! Not here: what the messages mean. Invariant: a session that is dropped says so to its client and
//! gives its name back.

use std::sync::Arc;

use tokio::time::timeout;

use super::framed::FramedSocket;
use super::registry::Sessions;
use super::session::HttpSession;
use crate::edge::duplex::Duplex;
use crate::edge::farewell::Farewell;
use crate::edge::socket::{Gone, Received};
use crate::edge::websocket::WebSocket;
use crate::model::CloseReason;
use crate::sockjs::Transport;
use crate::websocket::Framed;

/// A session.
#[derive(Debug)]
pub(in crate::edge) enum Line {
    /// A WebSocket with frames in it.
    Framed(FramedSocket),
    /// A WebSocket without any.
    Raw(Box<WebSocket>),
    /// Requests.
    Http(HttpLine),
}

/// A session over requests.
#[derive(Debug)]
pub(in crate::edge) struct HttpLine {
    session: Arc<HttpSession>,
    sessions: Arc<Sessions>,
    name: Box<str>,
    transport: Transport,
}

impl HttpLine {
    pub(super) fn new(
        session: Arc<HttpSession>,
        sessions: Arc<Sessions>,
        name: &str,
        transport: Transport,
    ) -> Self {
        Self {
            session,
            sessions,
            name: name.into(),
            transport,
        }
    }
}

impl Drop for HttpLine {
    fn drop(&mut self) {
        // 1011: whoever dropped it without a word has failed. A close that was said stands.
        self.session.close(1011, "internal");
        self.sessions.retire(&self.name, &self.session);
    }
}

impl Line {
    /// The label for metrics.
    pub(in crate::edge) fn label(&self) -> &'static str {
        match self {
            Self::Framed(_) => Transport::WebSocket.label(),
            Self::Raw(_) => "sockjs-raw-websocket",
            Self::Http(line) => line.transport.label(),
        }
    }

    /// Whether nobody could receive any more once the node accepts no new requests.
    pub(in crate::edge) fn needs_requests(&self) -> bool {
        matches!(self, Self::Http(_))
    }

    /// Whether a message has begun, and its rest is still to come.
    pub(in crate::edge) fn is_amid_message(&self) -> bool {
        match self {
            Self::Framed(line) => line.is_amid_message(),
            Self::Raw(socket) => socket.is_amid_message(),
            // A request is whole, or it is none.
            Self::Http(_) => false,
        }
    }

    /// Both directions of a WebSocket.
    pub(super) fn duplex(&self) -> Option<&Duplex> {
        match self {
            Self::Framed(framed) => Some(framed.duplex()),
            Self::Raw(socket) => Some(socket.duplex()),
            Self::Http(_) => None,
        }
    }

    /// How many bytes of a WebSocket were read and are not told. What requests bring is covered where they
    /// come in.
    pub(in crate::edge) fn buffered(&self) -> usize {
        match self {
            Self::Framed(line) => line.buffered(),
            Self::Raw(socket) => socket.buffered(),
            Self::Http(_) => 0,
        }
    }

    /// How many bytes of a WebSocket were read since the last call.
    pub(in crate::edge) fn take_read(&mut self) -> usize {
        match self {
            Self::Framed(line) => line.take_read(),
            Self::Raw(socket) => socket.take_read(),
            Self::Http(_) => 0,
        }
    }

    /// Waits for the next message. Safe to drop and call again.
    pub(in crate::edge) async fn receive(&mut self) -> Received {
        match self {
            Self::Framed(line) => line.receive().await,
            Self::Raw(socket) => socket.receive().await,
            Self::Http(line) => line.session.receive().await,
        }
    }

    /// Takes a message. Waits only while the peer does not read.
    pub(in crate::edge) async fn send(&mut self, message: &str) -> Result<(), Gone> {
        match self {
            Self::Framed(line) => line.send(message).await,
            Self::Raw(socket) => socket.write(&Framed::message(message.as_bytes())).await,
            Self::Http(line) => line.session.send(message).await,
        }
    }

    /// Writes out what was taken.
    pub(in crate::edge) async fn flush(&mut self) -> Result<(), Gone> {
        match self {
            Self::Framed(line) => line.flush().await,
            Self::Raw(socket) => socket.flush().await,
            // A request that receives is woken already.
            Self::Http(_) => Ok(()),
        }
    }

    /// Asks the peer for a sign of life.
    pub(in crate::edge) async fn ping(&mut self) -> Result<(), Gone> {
        match self {
            Self::Framed(line) => line.ping().await,
            Self::Raw(socket) => socket.ping().await,
            Self::Http(line) => {
                line.session.probe();
                Ok(())
            }
        }
    }

    /// Whether the messages beat by themselves, so that `h` need not.
    pub(in crate::edge) fn set_beats(&mut self, beats: bool) {
        match self {
            Self::Framed(line) => line.set_beats(beats),
            Self::Raw(_) => {}
            Self::Http(line) => line.session.set_beats(beats),
        }
    }

    /// Flushes and says goodbye, unless the peer has said it.
    pub(in crate::edge) async fn close(
        &mut self,
        reason: Option<&CloseReason>,
        farewell: &mut Farewell,
    ) {
        match self {
            Self::Framed(line) => line.close(reason, farewell).await,
            Self::Raw(socket) => socket.close(reason, farewell).await,
            Self::Http(line) => {
                if let Some(reason) = reason {
                    line.session.close(reason.code, &reason.text);
                    let heard = line.session.close_is_heard();
                    if timeout(farewell.linger, heard).await.is_err() {
                        tracing::debug!("a peer did not ask for the close in time");
                    }
                }
            }
        }
    }
}
