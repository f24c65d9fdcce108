//! The WebSocket endpoint: from an HTTP request to a socket that a connection is driven over.
//!
//! Not here: STOMP (`connection`), messages (`line`). Invariant: who may not come in is told so in HTTP, before the
//! upgrade; after it the HTTP side keeps no memory.

mod line;
mod watch;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    ALLOW, CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, SET_COOKIE, UPGRADE,
};
use axum::http::{Method, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::connection::{Connection, Opened};
use super::handshake::{self, Opening};
use super::peer::{Peer, Requester};
use super::settings::MessageKind;
use super::socket::Socket;
use super::stream::Stream;
use super::{Edge, reply};
use crate::model::{Code, Problem};

pub(super) use line::WebSocket;

/// What somebody reads who opens the endpoint in a browser.
const NO_UPGRADE: &str = "This is a WebSocket endpoint for STOMP 1.0, 1.1 and 1.2.\n\
    Connect to it with ws:// (or wss://), subprotocols v12.stomp, v11.stomp, v10.stomp or none.\n\
    SockJS is not built here yet: give your client this URL as a WebSocket, for instance\n\
    new StompJs.Client({ brokerURL: 'ws://<host>/ws-chat' }).\n";

/// `GET /ws-chat`.
pub(super) async fn open(State(edge): State<Arc<Edge>>, mut request: Request) -> Response<Body> {
    let opening = handshake::open(request.method(), request.version(), request.headers());
    let offer = match opening {
        Opening::WebSocket(offer) => offer,
        Opening::Ordinary => return without_upgrade(request.method()),
        Opening::OtherVersion => return other_version(),
        Opening::Broken(words) => {
            return reply::problem(&Problem::new(Code::BadRequest, words));
        }
    };
    let Some(kind) = kind_of(request.uri().query(), edge.settings.message_kind) else {
        let words = "The parameter 'frame' is one of auto, text and binary.";
        return reply::problem(&Problem::new(Code::BadRequest, words));
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
    let Ok((mut handshake, set_cookie)) = requester.with_cookie(edge.visitors.cookies()) else {
        return reply::problem(&Problem::new(Code::Internal, "There are no random bits."));
    };
    handshake.presented = offer.bearer;
    let opened = Opened {
        handshake,
        subprotocol: offer.subprotocol.map(|(_, version)| version),
        permits,
    };
    let upgrade = hyper::upgrade::on(&mut request);
    edge.tracker
        .spawn(run(Arc::clone(&edge), upgrade, kind, opened));
    let subprotocol = offer.subprotocol.map(|(name, _)| name);
    switching(&offer.accept, subprotocol, set_cookie)
}

/// How frames are to be sent: as the request asks, else as the setting says. None when it asks for
/// what there is not.
fn kind_of(query: Option<&str>, otherwise: MessageKind) -> Option<MessageKind> {
    let parameters = query.unwrap_or_default().split('&');
    let mut asked = parameters.filter_map(|parameter| parameter.strip_prefix("frame="));
    match asked.next() {
        None => Some(otherwise),
        Some("auto") => Some(MessageKind::Auto),
        Some("text") => Some(MessageKind::Text),
        Some("binary") => Some(MessageKind::Binary),
        Some(_) => None,
    }
}

/// From the moment at which the 101 is written to the end of the connection.
async fn run(edge: Arc<Edge>, upgrade: OnUpgrade, kind: MessageKind, opened: Opened) {
    let upgraded = match upgrade.await {
        Ok(upgraded) => upgraded,
        Err(error) => {
            tracing::debug!(%error, "a handshake did not end");
            return;
        }
    };
    let Ok(parts) = upgraded.downcast::<TokioIo<Stream>>() else {
        tracing::error!("an upgraded connection is not over a stream of ours");
        return;
    };
    let bytes_max = edge.settings.message_bytes_max();
    let socket = Box::pin(WebSocket::new(
        parts.io.into_inner(),
        parts.read_buf,
        bytes_max,
        kind,
    ))
    .await;
    // Boxed: a future keeps room for every place that a value is moved through.
    Box::new(Connection::new(
        edge,
        Socket::WebSocket(Box::new(socket)),
        opened,
    ))
    .run()
    .await;
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

fn switching(
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

    /// The size of the future that an async function of these arguments gives.
    fn future_bytes<A, F: Future>(_function: impl FnOnce(A) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_connection_is_a_small_task() {
        let bytes = future_bytes(|(edge, upgrade, kind, opened)| run(edge, upgrade, kind, opened));
        let bytes = bytes + size_of::<Connection>();
        assert!(bytes <= 3 << 10, "{bytes} octets");
    }

    #[test]
    fn a_client_says_how_it_wants_its_frames() {
        let check = |query: Option<&str>, expected: Option<MessageKind>| {
            assert_eq!(kind_of(query, MessageKind::Text), expected, "{query:?}");
        };
        check(None, Some(MessageKind::Text));
        check(Some(""), Some(MessageKind::Text));
        check(Some("ticket=x&frame=binary"), Some(MessageKind::Binary));
        check(Some("frame=auto"), Some(MessageKind::Auto));
        check(Some("frame=text&frame=binary"), Some(MessageKind::Text));
        check(Some("frame=BINARY"), None);
        check(Some("frame="), None);
        check(Some("subframe=x"), Some(MessageKind::Text));
    }
}
