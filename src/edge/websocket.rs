//! The WebSocket endpoint: from an HTTP request to a socket that a connection is driven over.
//!
//! Not here: STOMP (`connection`), an open WebSocket (`line`). Invariant: who may not come in is told so in HTTP,
//! before the upgrade; after it the HTTP side keeps no memory.

mod incoming;
mod line;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, SET_COOKIE, UPGRADE,
};
use axum::http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::connection::{Connection, Opened};
use super::handshake::{self, Opening};
use super::paced::Paced;
use super::peer::{Peer, Requester};
use super::settings::MessageKind;
use super::socket::Socket;
use super::{Edge, reply};
use crate::identity::{Token, is_ticket};
use crate::model::{Code, Problem};

pub(super) use incoming::Messages;
pub(super) use line::WebSocket;

/// Whether a request asks for a WebSocket, properly or not.
pub(super) fn is_asked_for(headers: &HeaderMap) -> bool {
    handshake::has_token(headers, &UPGRADE, "websocket")
}

/// `GET /ws-chat`.
pub(super) fn open(edge: &Arc<Edge>, mut request: Request) -> Response<Body> {
    let opening = handshake::open(request.method(), request.version(), request.headers());
    let offer = match opening {
        Opening::WebSocket(offer) => offer,
        Opening::Ordinary => {
            let words = "the header 'Upgrade: websocket' is missing";
            return reply::problem(&Problem::new(Code::BadRequest, words));
        }
        Opening::OtherVersion => return other_version(),
        Opening::Broken(words) => {
            return reply::problem(&Problem::new(Code::BadRequest, words));
        }
    };
    let asked = match Asked::of(request.uri().query(), edge.settings.message_kind) {
        Ok(asked) => asked,
        Err(words) => return reply::problem(&Problem::new(Code::BadRequest, words)),
    };
    let Some(peer) = request.extensions().get::<Arc<Peer>>().cloned() else {
        return reply::problem(&Problem::new(Code::Internal, "The peer is not known."));
    };
    let requester = Requester::new(edge, &peer, request.headers());
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
    let Ok((mut handshake, set_cookie)) = requester.with_cookie(edge.visitors.cookies()) else {
        return reply::problem(&Problem::new(Code::Internal, "There are no random bits."));
    };
    handshake.presented = asked.ticket.or(offer.bearer);
    let opened = Opened {
        handshake,
        subprotocol: offer.subprotocol.map(|(_, version)| version),
        permits,
    };
    let upgrade = hyper::upgrade::on(&mut request);
    edge.tracker
        .spawn(run(Arc::clone(edge), upgrade, asked.kind, opened));
    let subprotocol = offer.subprotocol.map(|(name, _)| name);
    switching(&offer.accept, subprotocol, set_cookie)
}

/// What the query of the request asks for. What is not known there is nobody's business.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// `frame`: how frames are to be sent.
    kind: MessageKind,
    /// `ticket`, which stands for a secret once.
    pub(super) ticket: Option<Token>,
}

impl Asked {
    /// Reads a query; the first of a name wins.
    pub(super) fn of(query: Option<&str>, kind: MessageKind) -> Result<Self, &'static str> {
        let first = |name: &str| {
            let mut parameters = query.unwrap_or_default().split('&');
            parameters.find_map(|parameter| parameter.strip_prefix(name)?.strip_prefix('='))
        };
        let kind = match first("frame") {
            None => kind,
            Some("auto") => MessageKind::Auto,
            Some("text") => MessageKind::Text,
            Some("binary") => MessageKind::Binary,
            Some(_) => return Err("The parameter 'frame' is one of auto, text and binary."),
        };
        let ticket = match first("ticket") {
            // A secret itself must not stand in an address, where logs find it.
            Some(text) if !is_ticket(text) => {
                return Err("The parameter 'ticket' is one that POST /api/v1/auth/ticket gives.");
            }
            ticket => ticket.map(Token::new),
        };
        Ok(Self { kind, ticket })
    }
}

/// From the moment at which the 101 is written to the beginning of the connection.
async fn run(edge: Arc<Edge>, upgrade: OnUpgrade, kind: MessageKind, opened: Opened) {
    let bytes_max = edge.settings.message_bytes_max();
    let Some(socket) = Box::pin(upgraded(upgrade, bytes_max, kind, Messages::Pieces)).await else {
        return;
    };
    Connection::spawn(edge, Socket::WebSocket(socket), opened);
}

/// The WebSocket once its handshake is written; `None` when the client is gone.
pub(super) async fn upgraded(
    upgrade: OnUpgrade,
    bytes_max: usize,
    kind: MessageKind,
    messages: Messages,
) -> Option<Box<WebSocket>> {
    let upgraded = match upgrade.await {
        Ok(upgraded) => upgraded,
        Err(error) => {
            tracing::debug!(%error, "a handshake did not end");
            return None;
        }
    };
    let Ok(parts) = upgraded.downcast::<TokioIo<Paced>>() else {
        tracing::error!("an upgraded connection is not over a stream of ours");
        return None;
    };
    let stream = parts.io.into_inner().into_stream()?;
    let socket = WebSocket::new(stream, &parts.read_buf, bytes_max, kind, messages);
    Some(Box::new(socket))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_says_how_it_wants_its_frames() {
        let check = |query: Option<&str>, expected: Option<MessageKind>| {
            let asked = Asked::of(query, MessageKind::Text);
            assert_eq!(asked.ok().map(|asked| asked.kind), expected, "{query:?}");
        };
        check(None, Some(MessageKind::Text));
        check(Some(""), Some(MessageKind::Text));
        check(
            Some("ticket=sbt1.x&frame=binary"),
            Some(MessageKind::Binary),
        );
        check(Some("frame=auto"), Some(MessageKind::Auto));
        check(Some("frame=text&frame=binary"), Some(MessageKind::Text));
        check(Some("frame=BINARY"), None);
        check(Some("frame="), None);
        check(Some("subframe=x&frames=y"), Some(MessageKind::Text));
    }

    #[test]
    fn a_ticket_is_read_and_a_secret_in_an_address_is_refused() {
        let ticket = |query| Asked::of(Some(query), MessageKind::Auto).map(|asked| asked.ticket);
        assert_eq!(ticket("ticket=sbt1.x"), Ok(Some(Token::new("sbt1.x"))));
        assert_eq!(ticket("frame=text"), Ok(None));
        assert!(ticket("ticket=sbv1.x").is_err());
        assert!(ticket("ticket=").is_err());
    }
}
