//! An open WebSocket: octets of messages in, frames out, the goodbye.
//!
//! Not here: the opening (`websocket`), RFC 6455 itself (the room `websocket`), what a message means
//! (`connection`). Invariants: one STOMP frame is one message; a connection that waits keeps neither
//! what it has read nor room for what it will.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::time::timeout;

use super::incoming::{Incoming, Messages};
use crate::edge::connection::TURN_BYTES;
use crate::edge::duplex::{Duplex, PlainWire};
use crate::edge::farewell::Farewell;
use crate::edge::settings::MessageKind;
use crate::edge::socket::{Gone, Received};
use crate::edge::stream::Stream;
use crate::hub::{Unwritten, Wire};
use crate::model::CloseReason;
use crate::websocket::{Framed, close_frame};

/// How many messages are read away of somebody who goes on writing although we have said goodbye.
const AWAY_MESSAGES_MAX: usize = 16_384;

/// An open WebSocket.
#[derive(Debug)]
pub(in crate::edge) struct WebSocket {
    duplex: Duplex,
    incoming: Incoming,
    kind: MessageKind,
    /// The answer to the last ping, where the driver does not give it.
    pong: Option<Framed>,
}

impl WebSocket {
    /// A WebSocket of which these octets were read together with the request.
    pub(in crate::edge) fn new(
        stream: Stream,
        read_already: &[u8],
        message_bytes_max: usize,
        kind: MessageKind,
        messages: Messages,
    ) -> Self {
        Self {
            duplex: Duplex::new(stream, true),
            incoming: Incoming::new(read_already, message_bytes_max, messages),
            kind,
            pong: None,
        }
    }

    /// What stands for both directions.
    pub(in crate::edge) fn duplex(&self) -> &Duplex {
        &self.duplex
    }

    /// The way past the driver. Frames are shared as they are for most: who wants all of them binary,
    /// or in frames of SockJS, has none.
    pub(in crate::edge) fn wire(&self) -> Option<Arc<dyn Wire>> {
        let is_shared = self.kind != MessageKind::Binary && !self.incoming.is_whole();
        is_shared.then(|| self.duplex.wire()).flatten()
    }

    /// The same with its socket.
    pub(in crate::edge) fn plain_wire(&self) -> Option<Arc<PlainWire>> {
        self.duplex.plain_wire()
    }

    /// Takes back what a writer has left.
    pub(in crate::edge) fn put_back(&mut self, unwritten: Unwritten) {
        self.duplex.put_back(unwritten);
    }

    /// Waits for what comes next. Safe to drop and call again.
    pub(in crate::edge) async fn receive(&mut self) -> Received {
        poll_fn(|context| self.poll_receive(context)).await
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Received> {
        let received = loop {
            if let Some(known) = self.incoming.known() {
                break known;
            }
            if self.pong.is_some() && self.poll_pong(context).is_err() {
                break Received::Gone;
            }
            let Self {
                duplex, incoming, ..
            } = self;
            match duplex.poll_read(context, |octets| incoming.read(octets)) {
                Poll::Ready(Ok(Some(received))) => break received,
                // Others have their turn, although there is nothing to tell.
                Poll::Ready(Ok(None)) if duplex.read_bytes() > usize::from(TURN_BYTES) => {
                    break Received::Buffered;
                }
                Poll::Ready(Ok(None)) => {}
                Poll::Ready(Err(_)) => break Received::Gone,
                Poll::Pending => match incoming.unfinished() {
                    Some(unfinished) => break unfinished,
                    None => return Poll::Pending,
                },
            }
        };
        if self.incoming.is_whole()
            && let Received::Pinged(Some(pong)) = received
        {
            self.pong = Some(pong);
            return Poll::Ready(Received::Pinged(None));
        }
        Poll::Ready(received)
    }

    /// Answers a ping where the driver does not, unless other octets wait: it goes out behind them.
    fn poll_pong(&mut self, context: &mut Context<'_>) -> std::io::Result<()> {
        if !self.duplex.is_written() {
            return Ok(());
        }
        if let Some(pong) = self.pong.take() {
            self.duplex.take(pong.on_wire().clone());
        }
        match self.duplex.poll_flush(context) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => Ok(()),
        }
    }

    /// How many bytes were read since the last call.
    pub(in crate::edge) fn take_read(&mut self) -> usize {
        self.duplex.take_read()
    }

    /// How many bytes were read and are not told.
    pub(in crate::edge) fn buffered(&self) -> usize {
        self.incoming.buffered()
    }

    /// Whether a message has begun, and its rest is still to come.
    pub(in crate::edge) fn is_amid_message(&self) -> bool {
        self.incoming.is_amid_message()
    }

    /// Takes one STOMP frame, or one heart-beat, as one message. Waits only while the peer does not
    /// read.
    pub(in crate::edge) async fn write(&mut self, frame: &Framed) -> Result<(), Gone> {
        let octets = match self.kind {
            MessageKind::Auto | MessageKind::Text => frame.on_wire().clone(),
            MessageKind::Binary => frame.in_binary().on_wire().clone(),
        };
        self.duplex.write(octets).await
    }

    /// Writes out what was taken.
    pub(in crate::edge) async fn flush(&mut self) -> Result<(), Gone> {
        if let Some(pong) = self.pong.take() {
            self.duplex.write(pong.on_wire().clone()).await?;
        }
        self.duplex.flush().await
    }

    /// Asks the peer for a sign of life.
    pub(in crate::edge) async fn ping(&mut self) -> Result<(), Gone> {
        self.duplex.write(Framed::PING.on_wire().clone()).await?;
        self.flush().await
    }

    /// Says goodbye with a reason (none when the peer has said it already), and waits for the peer to
    /// have read it as long as the farewell lasts.
    pub(in crate::edge) async fn close(
        &mut self,
        reason: Option<&CloseReason>,
        farewell: &mut Farewell,
    ) {
        let linger = farewell.linger;
        let goodbye = async {
            let frame = match reason {
                Some(reason) => close_frame(reason.code, &reason.text),
                // What the peer has said is answered with itself (RFC 6455 section 5.5.1).
                None => close_frame(self.incoming.closed().unwrap_or(1000), ""),
            };
            self.duplex.write(frame.on_wire().clone()).await?;
            self.flush().await?;
            let mut messages = 0;
            while !self.incoming.is_over() && messages < AWAY_MESSAGES_MAX {
                let _away = self.receive().await;
                messages += 1;
                farewell.dropped(self.duplex.take_read()).await;
            }
            if self.incoming.closed().is_none() {
                // What the peer sends is not understood any more, only read away.
                self.duplex.read_away(farewell).await;
            }
            Ok::<_, Gone>(())
        };
        if timeout(linger, goodbye).await.is_err() {
            tracing::debug!("a peer did not close in time");
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn a_message_that_is_told_whole_comes_back_to_its_driver_after_each_32_kib() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        let (mut client, stream) = (client.unwrap(), Stream::Plain(accepted.unwrap().0));
        let mut message = vec![0x82, 0xff];
        message.extend_from_slice(&100_000_u64.to_be_bytes());
        message.resize(message.len() + 4 + 100_000, 0);
        let mut socket = WebSocket::new(stream, &[], 1 << 20, MessageKind::Auto, Messages::Whole);
        let read = async {
            let mut most = 0;
            loop {
                let received = socket.receive().await;
                most = most.max(socket.take_read());
                if let Received::Octets { octets, .. } = received {
                    return (octets.len(), most);
                }
            }
        };
        client.write_all(&message).await.unwrap();
        let (bytes, most) = read.await;
        assert_eq!(bytes, 100_000);
        assert!(most <= (32 + 16) << 10, "{most} bytes");
    }
}
