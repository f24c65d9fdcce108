//! An open WebSocket: messages in, frames out, the goodbye.
//!
//! Not here: the opening (`websocket`), what a message means (`connection`). Invariant: one STOMP
//! frame is one message, and a text message is UTF-8.

use std::future::poll_fn;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, stream::FusedStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes, error::ProtocolError};

use super::watch::Watched;
use crate::edge::away::read_away;
use crate::edge::settings::MessageKind;
use crate::edge::socket::{Gone, Received};
use crate::edge::stream::Stream;
use crate::model::CloseReason;

/// Small: an idle connection costs these octets for ever. A chat message with its headers fits; for
/// a longer one tungstenite makes room, and only reads it in more pieces.
const READ_BUFFER_BYTES: usize = 2 << 10;

/// Frames are gathered up to here before they are written, and always written at the flush.
const WRITE_BUFFER_BYTES: usize = 4 << 10;

/// How many messages are read away of somebody who goes on writing although we have said goodbye.
const AWAY_MESSAGES_MAX: usize = 16_384;

/// A close frame holds a code and at most so many octets of reason.
const REASON_BYTES_MAX: usize = 123;

/// An open WebSocket.
#[derive(Debug)]
pub(in crate::edge) struct WebSocket {
    stream: WebSocketStream<Watched>,
    kind: MessageKind,
    /// Whether it was told that a message has begun whose rest is to come.
    is_unfinished_told: bool,
}

impl WebSocket {
    /// A WebSocket of which these octets were read together with the request.
    pub(in crate::edge) async fn new(
        stream: Stream,
        read_already: Bytes,
        message_bytes_max: usize,
        kind: MessageKind,
    ) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(WRITE_BUFFER_BYTES)
            .max_write_buffer_size(usize::MAX)
            .max_message_size(Some(message_bytes_max))
            .max_frame_size(Some(message_bytes_max));
        // Copied: taking the octets over would keep the whole buffer of the request for ever.
        let read_already = read_already.to_vec();
        let stream = Watched::new(stream, &read_already, message_bytes_max);
        let stream =
            WebSocketStream::from_partially_read(stream, read_already, Role::Server, Some(config));
        Self {
            stream: stream.await,
            kind,
            is_unfinished_told: false,
        }
    }

    /// Waits for the next message. Safe to drop and call again.
    pub(in crate::edge) async fn receive(&mut self) -> Received {
        poll_fn(|context| {
            let next = self.stream.poll_next_unpin(context);
            if next.is_pending() && !self.is_unfinished_told && self.is_amid_message() {
                self.is_unfinished_told = true;
                return Poll::Ready(Received::Unfinished);
            }
            let next = ready!(next);
            let received = self.understand(next);
            if matches!(received, Received::Octets(_)) || !self.is_amid_message() {
                self.is_unfinished_told = false;
            }
            Poll::Ready(received)
        })
        .await
    }

    /// Whether a message has begun, and its rest is still to come.
    pub(in crate::edge) fn is_amid_message(&self) -> bool {
        self.stream.get_ref().is_amid_message()
    }

    fn understand(&self, next: Option<tungstenite::Result<Message>>) -> Received {
        use tungstenite::Error;
        match next {
            Some(Ok(Message::Text(text))) => Received::Octets(text.into()),
            Some(Ok(Message::Binary(octets))) => Received::Octets(octets),
            Some(Ok(Message::Ping(_))) => Received::Pinged,
            Some(Ok(Message::Pong(_))) => Received::Ponged,
            // 1005: the close frame was empty (RFC 6455 section 7.1.5).
            Some(Ok(Message::Close(frame))) => {
                Received::Closed(frame.map_or(1005, |frame| frame.code.into()))
            }
            Some(Ok(Message::Frame(_))) => Received::Malformed,
            Some(Err(Error::Capacity(_))) => Received::TooLarge,
            Some(Err(Error::Io(_))) if self.stream.get_ref().is_too_long() => Received::TooLarge,
            Some(Err(Error::Utf8(_))) => Received::NotUtf8,
            Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake))) => {
                Received::Gone
            }
            Some(Err(Error::Protocol(_))) => Received::Malformed,
            Some(Err(_)) | None => Received::Gone,
        }
    }

    /// Takes one STOMP frame, or one heart-beat, as one message. Waits only while the peer does not
    /// read; what is taken is bounded by one write buffer and one frame.
    pub(in crate::edge) async fn write(&mut self, frame: Bytes) -> Result<(), Gone> {
        // Not `feed`, whose future carries the message about.
        let ready = poll_fn(|context| self.stream.poll_ready_unpin(context));
        ready.await.map_err(|_| Gone)?;
        let text = match self.kind {
            MessageKind::Auto | MessageKind::Text => Utf8Bytes::try_from(frame.clone()).ok(),
            MessageKind::Binary => None,
        };
        let message = text.map_or_else(|| Message::Binary(frame), Message::Text);
        self.stream.start_send_unpin(message).map_err(|_| Gone)
    }

    /// Writes out what was taken.
    pub(in crate::edge) async fn flush(&mut self) -> Result<(), Gone> {
        self.stream.flush().await.map_err(|_| Gone)
    }

    /// Asks the peer for a sign of life.
    pub(in crate::edge) async fn ping(&mut self) -> Result<(), Gone> {
        self.stream
            .send(Message::Ping(Bytes::new()))
            .await
            .map_err(|_| Gone)
    }

    /// Says goodbye with a reason (none when the peer has said it already), and waits for the
    /// peer to have read it, at most for `linger`: a socket that is dropped with octets unread
    /// takes the goodbye with it.
    pub(in crate::edge) async fn close(&mut self, reason: Option<&CloseReason>, linger: Duration) {
        let goodbye = async {
            if let Some(reason) = reason {
                let frame = CloseFrame {
                    code: reason.code.into(),
                    reason: cut(&reason.text, REASON_BYTES_MAX).into(),
                };
                self.stream
                    .send(Message::Close(Some(frame)))
                    .await
                    .map_err(|_| Gone)?;
            }
            if self.stream.is_terminated() {
                // What the peer sends cannot be understood any more, only be read away.
                read_away(self.stream.get_mut().stream()).await;
            }
            let mut messages = 0;
            while let Some(Ok(_)) = self.stream.next().await
                && messages < AWAY_MESSAGES_MAX
            {
                messages += 1;
            }
            Ok::<_, Gone>(())
        };
        if timeout(linger, goodbye).await.is_err() {
            tracing::debug!("a peer did not close in time");
        }
    }
}

/// The beginning of a text, at most so many octets, whole characters.
fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_cut_between_characters() {
        assert_eq!(cut("draining", 123), "draining");
        assert_eq!(cut(&"가".repeat(60), 123), "가".repeat(41));
    }
}
