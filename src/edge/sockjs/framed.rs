//! A session over a WebSocket: frames out, arrays of messages in.
//!
//! Not here: WebSocket itself. Invariant: `o` is the first frame, and a heart-beat goes out when
//! nothing else did for a while.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::session::bytes_of;
use crate::budget::{Lease, Memory};
use crate::edge::duplex::Duplex;
use crate::edge::farewell::Farewell;
use crate::edge::socket::{Gone, Received};
use crate::edge::websocket::WebSocket;
use crate::model::CloseReason;
use crate::sockjs::{
    HEARTBEAT, OPEN, ReadError, close_frame, message_frame, quote_into, read_messages,
};
use crate::websocket::Framed;

/// The WebSocket with what was read of it and not taken.
#[derive(Debug)]
pub(in crate::edge) struct FramedSocket {
    socket: Box<WebSocket>,
    incoming: VecDeque<String>,
    /// Covers them, beyond what the base of a socket covers.
    lease: Lease,
    heartbeat: Duration,
    sent_at: Instant,
    alarm: Pin<Box<Sleep>>,
    beats: bool,
}

impl FramedSocket {
    /// Both directions of its WebSocket.
    pub(super) fn duplex(&self) -> &Duplex {
        self.socket.duplex()
    }

    /// Opens a session.
    pub(super) async fn open(
        socket: Box<WebSocket>,
        heartbeat: Duration,
        lease: Lease,
    ) -> Result<Self, Gone> {
        let now = Instant::now();
        let mut framed = Self {
            socket,
            incoming: VecDeque::new(),
            lease,
            heartbeat,
            sent_at: now,
            alarm: Box::pin(sleep_until(now + heartbeat)),
            beats: false,
        };
        framed.write(Bytes::from_static(OPEN.as_bytes())).await?;
        framed.flush().await?;
        Ok(framed)
    }

    pub(super) async fn receive(&mut self) -> Received {
        loop {
            if let Some(message) = self.incoming.pop_front() {
                return Received::octets(message.into());
            }
            if self.lease.covered() > 0 {
                // Whoever took the last message has done with it.
                self.incoming = VecDeque::new();
                let _less_is_never_refused = self.lease.cover(0);
            }
            let received = tokio::select! {
                received = self.socket.receive() => received,
                () = &mut self.alarm, if !self.beats => match self.rang().await {
                    Ok(()) => continue,
                    Err(Gone) => return Received::Gone,
                },
            };
            let Received::Octets { octets, .. } = received else {
                return received;
            };
            match read_messages(&octets) {
                Ok(messages) if !messages.is_empty() => {
                    let bytes = bytes_of(&messages) as u64;
                    let is_small = bytes <= Memory::BASE_BUFFER_BYTES;
                    if !is_small && self.lease.cover(bytes).is_err() {
                        return Received::NoMemory;
                    }
                    self.incoming = messages.into();
                }
                // Nothing in it: counted as a ping is.
                Ok(_) | Err(ReadError::Empty) => return Received::Pinged(None),
                // The protocol wants it abrupt: whoever sends this reads no frames either.
                Err(ReadError::Broken | ReadError::TooMany) => return Received::Gone,
            }
        }
    }

    /// How many bytes of a message that is not whole were read.
    pub(super) fn buffered(&self) -> usize {
        self.socket.buffered()
    }

    /// How many bytes were read since the last call.
    pub(super) fn take_read(&mut self) -> usize {
        self.socket.take_read()
    }

    pub(super) fn is_amid_message(&self) -> bool {
        self.socket.is_amid_message()
    }

    /// Says `h` when it is due. A peer that does not take even that is gone.
    async fn rang(&mut self) -> Result<(), Gone> {
        let now = Instant::now();
        if now >= self.sent_at + self.heartbeat {
            let patience = self.heartbeat;
            let beat = async {
                self.write(Bytes::from_static(HEARTBEAT.as_bytes())).await?;
                self.socket.flush().await
            };
            timeout(patience, beat).await.map_err(|_| Gone)??;
        }
        let next = self.sent_at + self.heartbeat;
        self.alarm.as_mut().reset(next);
        Ok(())
    }

    pub(super) async fn send(&mut self, message: &str) -> Result<(), Gone> {
        let mut quoted = String::new();
        quote_into(&mut quoted, message);
        self.write(message_frame(&quoted).into()).await
    }

    async fn write(&mut self, frame: Bytes) -> Result<(), Gone> {
        self.sent_at = Instant::now();
        self.socket.write(&Framed::message(&frame)).await
    }

    pub(super) async fn flush(&mut self) -> Result<(), Gone> {
        self.socket.flush().await
    }

    pub(super) async fn ping(&mut self) -> Result<(), Gone> {
        self.socket.ping().await
    }

    pub(super) fn set_beats(&mut self, beats: bool) {
        self.beats = beats;
    }

    pub(super) async fn close(&mut self, reason: Option<&CloseReason>, farewell: &mut Farewell) {
        if let Some(reason) = reason {
            let frame = close_frame(reason.code, &reason.text);
            // Who does not take the frame does not take the close either, and is left below.
            let said = timeout(farewell.linger, self.write(frame.into())).await;
            if !matches!(said, Ok(Ok(()))) {
                tracing::debug!("a peer did not take the last frame");
            }
        }
        self.socket.close(reason, farewell).await;
    }
}
