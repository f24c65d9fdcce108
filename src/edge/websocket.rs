//! The WebSocket endpoint: from an HTTP request to a socket that a connection is driven over.
//!
//! Not here: STOMP (`connection`). Invariant: who may not come in is told so in HTTP, before the
//! upgrade; after it the HTTP side keeps no memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    ALLOW, CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, SET_COOKIE, UPGRADE,
};
use axum::http::{Method, Response, StatusCode};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, stream::FusedStream};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes, error::ProtocolError};

use super::connection::{Connection, Opened};
use super::handshake::{self, Opening};
use super::peer::{Peer, Requester};
use super::socket::{Gone, Received, Socket};
use super::{Edge, reply};
use crate::model::{CloseReason, Code, Problem};

/// What somebody reads who opens the endpoint in a browser.
const NO_UPGRADE: &str = "This is a WebSocket endpoint for STOMP 1.0, 1.1 and 1.2.\n\
    Connect to it with ws:// (or wss://), subprotocols v12.stomp, v11.stomp, v10.stomp or none.\n\
    SockJS is not built here yet: give your client this URL as a WebSocket, for instance\n\
    new StompJs.Client({ brokerURL: 'ws://<host>/ws-chat' }).\n";

/// Small: an idle connection costs these octets for ever. A chat message with its headers fits; for
/// a longer one tungstenite makes room, and only reads it in more pieces.
const READ_BUFFER_BYTES: usize = 2 << 10;

/// Frames are gathered up to here before they are written, and always written at the flush.
const WRITE_BUFFER_BYTES: usize = 4 << 10;

/// How much is read away of somebody who goes on writing although we have said goodbye: more than
/// what may be on its way, and no more.
const AWAY_BYTES_MAX: usize = 8 << 20;
const AWAY_MESSAGES_MAX: usize = 16_384;

/// Whether a request asks for a WebSocket, properly or not.
pub(super) fn is_asked_for(headers: &HeaderMap) -> bool {
    handshake::has_token(headers, &UPGRADE, "websocket")
}

/// `GET /ws-chat`.
pub(super) async fn open(State(edge): State<Arc<Edge>>, mut request: Request) -> Response<Body> {
    let opening = handshake::open(request.method(), request.version(), request.headers());
    let (accept, subprotocol) = match opening {
        Opening::WebSocket {
            accept,
            subprotocol,
        } => (accept, subprotocol),
        Opening::Ordinary => return without_upgrade(request.method()),
        Opening::OtherVersion => return other_version(),
        Opening::Broken(words) => {
            return reply::problem(&Problem::new(Code::BadRequest, words));
        }
    };
    let Some(peer) = request.extensions().get::<Arc<Peer>>().cloned() else {
        return reply::problem(&Problem::new(Code::Internal, "The peer is not known."));
    };
    let requester = Requester::new(&edge, &peer, request.headers());
    let address = edge.settings.log_address.show(requester.address);
    if requester.origin == super::origin::Verdict::Refused {
        tracing::debug!(%address, "a page of another origin was refused; CORS_ORIGINS allows it");
        let words = "Pages of this origin may not connect here. Add it to CORS_ORIGINS.";
        return reply::problem(&Problem::new(Code::Forbidden, words));
    }
    let permits = match edge.admit(&peer, requester.address) {
        Ok(permits) => permits,
        Err(refusal) => {
            tracing::debug!(%address, ?refusal, "a WebSocket was refused");
            return reply::refusal(refusal);
        }
    };
    tracing::debug!(%address, "a WebSocket opens");
    let Ok((handshake, set_cookie)) = requester.with_cookie(edge.visitors.cookies()) else {
        return reply::problem(&Problem::new(Code::Internal, "There are no random bits."));
    };
    let opened = Opened {
        handshake,
        subprotocol: subprotocol.map(|(_, version)| version),
        permits,
    };
    let upgrade = hyper::upgrade::on(&mut request);
    edge.tracker.spawn(run(Arc::clone(&edge), upgrade, opened));
    switching(&accept, subprotocol.map(|(name, _)| name), set_cookie)
}

/// From the moment at which the 101 is written to the end of the connection.
async fn run(edge: Arc<Edge>, upgrade: OnUpgrade, opened: Opened) {
    let bytes_max = edge.settings.message_bytes_max();
    let Some(socket) = Box::pin(upgraded(upgrade, bytes_max)).await else {
        return;
    };
    // Boxed: a future keeps room for every place that a value is moved through.
    Box::new(Connection::new(edge, Socket::WebSocket(socket), opened))
        .run()
        .await;
}

/// The WebSocket once its handshake is written; `None` when the client is gone.
pub(super) async fn upgraded(upgrade: OnUpgrade, bytes_max: usize) -> Option<Box<WebSocket>> {
    let upgraded = match upgrade.await {
        Ok(upgraded) => upgraded,
        Err(error) => {
            tracing::debug!(%error, "a handshake did not end");
            return None;
        }
    };
    let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else {
        tracing::error!("an upgraded connection is not over TCP");
        return None;
    };
    let socket = WebSocket::new(parts.io.into_inner(), parts.read_buf, bytes_max).await;
    Some(Box::new(socket))
}

fn without_upgrade(method: &Method) -> Response<Body> {
    if method != Method::GET && method != Method::HEAD {
        let mut response = reply::text(StatusCode::METHOD_NOT_ALLOWED, NO_UPGRADE);
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET"));
        return response;
    }
    let mut response = reply::text(StatusCode::UPGRADE_REQUIRED, NO_UPGRADE);
    upgrade_headers(&mut response);
    response
}

fn other_version() -> Response<Body> {
    let problem = Problem::new(
        Code::BadRequest,
        "Only version 13 of WebSocket is spoken here.",
    );
    let mut response = reply::problem_as(StatusCode::UPGRADE_REQUIRED, &problem);
    upgrade_headers(&mut response);
    let version = HeaderValue::from_static("13");
    response
        .headers_mut()
        .insert(SEC_WEBSOCKET_VERSION, version);
    response
}

pub(super) fn switching(
    accept: &str,
    subprotocol: Option<&'static str>,
    set_cookie: Option<HeaderValue>,
) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    upgrade_headers(&mut response);
    let headers = response.headers_mut();
    if let Ok(accept) = HeaderValue::from_str(accept) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(name) = subprotocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name));
    }
    if let Some(cookie) = set_cookie {
        headers.insert(SET_COOKIE, cookie);
    }
    response
}

fn upgrade_headers(response: &mut Response<Body>) {
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

/// An open WebSocket. The only thing that knows how octets travel; another transport offers the
/// same few verbs.
#[derive(Debug)]
pub(super) struct WebSocket {
    stream: WebSocketStream<TcpStream>,
}

impl WebSocket {
    async fn new(stream: TcpStream, read_already: Bytes, message_bytes_max: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(WRITE_BUFFER_BYTES)
            .max_write_buffer_size(usize::MAX)
            .max_message_size(Some(message_bytes_max))
            .max_frame_size(Some(message_bytes_max));
        // Copied: taking the octets over would keep the whole buffer of the request for ever.
        let read_already = read_already.to_vec();
        let stream =
            WebSocketStream::from_partially_read(stream, read_already, Role::Server, Some(config));
        Self {
            stream: stream.await,
        }
    }

    /// Waits for the next message. Safe to drop and call again.
    pub(super) async fn receive(&mut self) -> Received {
        use tungstenite::Error;
        match self.stream.next().await {
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
            Some(Err(Error::Utf8(_))) => Received::NotUtf8,
            Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake))) => {
                Received::Gone
            }
            Some(Err(Error::Protocol(_))) => Received::Malformed,
            Some(Err(_)) | None => Received::Gone,
        }
    }

    /// Takes one STOMP frame, or one heart-beat, as one message: text when it is UTF-8. Waits only
    /// while the peer does not read; what is taken is bounded by one write buffer and one frame.
    pub(super) async fn write(&mut self, frame: Bytes) -> Result<(), Gone> {
        let message = match Utf8Bytes::try_from(frame.clone()) {
            Ok(text) => Message::Text(text),
            Err(_) => Message::Binary(frame),
        };
        self.stream.feed(message).await.map_err(|_| Gone)
    }

    /// Writes out what was taken.
    pub(super) async fn flush(&mut self) -> Result<(), Gone> {
        self.stream.flush().await.map_err(|_| Gone)
    }

    /// Asks the peer for a sign of life.
    pub(super) async fn ping(&mut self) -> Result<(), Gone> {
        self.stream
            .send(Message::Ping(Bytes::new()))
            .await
            .map_err(|_| Gone)
    }

    /// Says goodbye with a reason (none when the peer has said it already), and waits for the
    /// peer to have read it, at most for `linger`: a socket that is dropped with octets unread
    /// takes the goodbye with it.
    pub(super) async fn close(&mut self, reason: Option<&CloseReason>, linger: Duration) {
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
                self.read_away().await;
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

    async fn read_away(&mut self) {
        let stream = self.stream.get_mut();
        if stream.shutdown().await.is_err() {
            return;
        }
        let mut nothing = vec![0; READ_BUFFER_BYTES];
        let mut away = 0;
        while away < AWAY_BYTES_MAX
            && let Ok(octets) = stream.read(&mut nothing).await
            && octets > 0
        {
            away += octets;
        }
    }
}

/// A close frame holds a code and at most so many octets of reason.
const REASON_BYTES_MAX: usize = 123;

/// The beginning of a text, at most so many octets, whole characters.
fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of the future that an async function of these arguments gives.
    fn future_bytes<A, F: Future>(_function: impl FnOnce(A) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_connection_is_a_small_task() {
        let bytes = future_bytes(|(edge, upgrade, opened)| run(edge, upgrade, opened));
        let bytes = bytes + size_of::<Connection>();
        assert!(bytes <= 3 << 10, "{bytes} octets");
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        assert_eq!(cut("draining", 123), "draining");
        assert_eq!(cut(&"가".repeat(60), 123), "가".repeat(41));
    }
}
