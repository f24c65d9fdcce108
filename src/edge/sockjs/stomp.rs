//! STOMP over SockJS: the broker as the handler behind an endpoint.
//!
//! Not here: STOMP (`session`), what drives it (`connection`). Invariant: a session over SockJS gets
//! its identity, its places and its end exactly as one over WebSocket does.
//!
//! SockJS carries text. A frame whose body is no text is sent with U+FFFD in place of what is none,
//! its `content-length` made true and `octets-replaced:true` said of it: one publisher of octets
//! must not end the sessions of all who listen.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::Version;
use axum::http::header::{COOKIE, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use axum::http::request::Parts;
use axum::routing::any;
use futures_util::future::BoxFuture;

use super::endpoint::{Endpoint, path_from};
use super::handler::{Admitted, Refused, SessionHandler};
use super::line::Line;
use super::owner::Caller;
use super::rate::RequestRate;
use crate::budget::Memory;
use crate::edge::connection::{Connection, Opened};
use crate::edge::duplex::Duplex;
use crate::edge::farewell::Farewell;
use crate::edge::handshake::{self, Opening};
use crate::edge::origin::Verdict;
use crate::edge::peer::{Peer, Requester};
use crate::edge::settings::MessageKind;
use crate::edge::socket::{Gone, Received, Socket};
use crate::edge::websocket::Asked;
use crate::edge::{Edge, old_cookie, reply, websocket};
use crate::model::{CloseReason, Code, Network, Problem};
use crate::quota::refused::NETWORK_REQUESTS;
use crate::websocket::Framed;

static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The routes of one endpoint: the base, which is a WebSocket too, and everything below it.
/// `rate` is the same for all endpoints of a node.
pub(in crate::edge) fn routes(
    edge: &Arc<Edge>,
    base: &str,
    rate: &Arc<RequestRate>,
) -> Router<Arc<Edge>> {
    let settings = edge.settings.sockjs_of_stomp();
    let handler = Arc::new(Stomp {
        edge: Arc::clone(edge),
        rate: Arc::clone(rate),
    });
    let ancestors = edge.origins.as_ancestors();
    let endpoint = Endpoint::new(settings, &ancestors, handler, edge.tracker.clone());
    let endpoint = Arc::new(endpoint);
    let below = base.len();
    let edge = Arc::clone(edge);
    let answer = any(async move |mut request: Request| {
        let path = path_from(below, &request);
        if old_cookie::begins(&request, &path) {
            let peer = request.extensions().get::<Arc<Peer>>();
            if let Some(peer) = peer.cloned()
                && let Err(refusal) = edge.request_turn(&peer, request.headers()).await
            {
                return reply::refusal(refusal);
            }
            request.extensions_mut().insert(HasTurn);
            old_cookie::drop_if_over(&edge, &mut request).await;
        }
        // At these two a WebSocket is STOMP without any framing of SockJS.
        let is_bare = matches!(path.as_str(), "" | "/websocket");
        if is_bare && websocket::is_asked_for(request.headers()) {
            return websocket::open(&edge, request);
        }
        endpoint.answer(&path, request).await
    });
    Router::new()
        .route(base, answer.clone())
        .route(&format!("{base}/"), answer.clone())
        .route(&format!("{base}/{{*below}}"), answer)
}

/// Marks a request that has had its turn.
#[derive(Clone, Copy, Debug)]
struct HasTurn;

/// The broker.
struct Stomp {
    edge: Arc<Edge>,
    rate: Arc<RequestRate>,
}

impl Stomp {
    fn peer(head: &Parts) -> Result<Arc<Peer>, Refused> {
        let peer = head.extensions.get::<Arc<Peer>>().cloned();
        peer.ok_or_else(|| refuse(Code::Internal, "The peer is not known."))
    }
}

fn refuse(code: Code, words: &'static str) -> Refused {
    Box::new(reply::problem(&Problem::new(code, words)))
}

/// The network has sent more requests than it may. The client of SockJS takes it, like every answer but 200 and
/// 204, for the end of its session, and the page connects again.
fn too_many(retry_after_ms: u64) -> Refused {
    let detail = "Your network sends too many requests. Try again when Retry-After says.";
    let problem = Problem::new(Code::RateLimited, detail).retry_after_ms(retry_after_ms);
    Box::new(reply::problem(&problem))
}

/// Whether a browser sends this for a page of ours that hides where it is: a form of a page with
/// `Referrer-Policy: no-referrer` names its origin `null`.
fn is_hidden_page_of_ours(headers: &HeaderMap) -> bool {
    let is = |name: &HeaderName, value: &str| {
        let mut lines = headers.get_all(name).iter();
        lines.next().is_some_and(|line| line == value) && lines.next().is_none()
    };
    is(&ORIGIN, "null") && is(&SEC_FETCH_SITE, "same-origin")
}

impl SessionHandler for Stomp {
    fn caller(&self, head: &Parts) -> Result<Caller, Refused> {
        let edge = &self.edge;
        let peer = Self::peer(head)?;
        let requester = Requester::new(edge, &peer, &head.headers);
        let is_refused = requester.origin == Verdict::Refused;
        // The secret of a session counts whatever page brings it.
        let cookies = head.headers.get_all(COOKIE).iter().next_back();
        let cookies = cookies.and_then(|line| line.to_str().ok());
        let cookie = edge.visitors.cookies().cookie_for(cookies).ok();
        Ok(Caller {
            address: requester.address,
            network: Network::of(requester.address),
            claimant: edge.stranger(requester.address),
            socket: Some(Arc::clone(&peer.charge)),
            secret: cookie.and_then(|(value, is_brought)| is_brought.then_some(value)),
            origin: head.headers.get(ORIGIN).cloned(),
            refused: (is_refused && !is_hidden_page_of_ours(&head.headers))
                .then(|| Box::new(requester.refused_origin())),
        })
    }

    fn admit<'a>(
        &'a self,
        head: &'a Parts,
        caller: &'a Caller,
        is_awaited: bool,
    ) -> BoxFuture<'a, Result<(), Refused>> {
        Box::pin(async move {
            let networks = self.edge.visitors.networks(caller.address);
            let counted = self.rate.take(&networks).await;
            let has_turn = head.extensions.get::<HasTurn>().is_some();
            // A refusal is work too: a network beyond its rate waits for it in its turn.
            let goes_on = has_turn || (is_awaited && counted.is_ok());
            if !goes_on {
                let peer = Self::peer(head)?;
                let turn = self.edge.request_turn(&peer, &head.headers).await;
                turn.map_err(|refusal| Box::new(reply::refusal(refusal)))?;
            }
            counted.map_err(|retry_after_ms| {
                NETWORK_REQUESTS.note(Network::of(caller.address));
                too_many(retry_after_ms)
            })
        })
    }

    fn judge(&self, caller: &Caller) -> Result<(), Refused> {
        let Some(problem) = &caller.refused else {
            return Ok(());
        };
        let address = self.edge.settings.log_address.show(caller.address);
        tracing::debug!(%address, detail = &*problem.detail, "a page of another origin was refused");
        Err(Box::new(reply::problem(problem)))
    }

    fn long_body<'a>(&'a self, caller: &'a Caller) -> BoxFuture<'a, ()> {
        Box::pin(async {
            if let Some(mut place) = self.edge.turns.read(caller.network) {
                let _never_refused = place.turn().await;
            }
        })
    }

    fn enter(&self, head: &Parts, by_requests: bool) -> Result<Admitted, Refused> {
        let edge = &self.edge;
        let peer = Self::peer(head)?;
        let requester = Requester::new(edge, &peer, &head.headers);
        let address = edge.settings.log_address.show(requester.address);
        let asked = Asked::of(head.uri.query(), MessageKind::Auto)
            .map_err(|words| refuse(Code::BadRequest, words))?;
        let permits = match by_requests {
            true => edge.admit_requests(requester.address),
            false => edge.admit(&peer, requester.address),
        };
        let permits = permits.map_err(|refusal| {
            tracing::debug!(%address, ?refusal, "a SockJS session was refused");
            Box::new(reply::refusal(refusal))
        })?;
        tracing::debug!(%address, "a SockJS session opens");
        let (mut handshake, set_cookie) = requester
            .with_cookie(edge.visitors.cookies())
            .map_err(|_| refuse(Code::Internal, "There are no random bits."))?;
        let given = handshake.cookie.clone();
        let offer = match handshake::open(&head.method, head.version, &head.headers) {
            Opening::WebSocket(offer) => Some(offer),
            Opening::Ordinary | Opening::OtherVersion | Opening::Broken(_) => None,
        };
        let subprotocol = offer.as_ref().and_then(|offer| offer.subprotocol);
        handshake.presented = asked.ticket.or(offer.and_then(|offer| offer.bearer));
        let opened = Opened {
            handshake,
            subprotocol: subprotocol.map(|(_, version)| version),
            permits,
        };
        let edge = Arc::clone(edge);
        Ok(Admitted {
            set_cookie,
            given,
            charge: Some(Arc::clone(&opened.permits.charge)),
            serve: Box::new(move |line| {
                let socket = Socket::SockJs(Box::new(SockJs(line)));
                Box::pin(Box::new(Connection::new(edge, socket, opened)).run())
            }),
        })
    }

    fn memory(&self) -> &Arc<Memory> {
        self.edge.app.memory()
    }

    fn cookie(&self, head: &Parts) -> Option<HeaderValue> {
        // A cache of HTTP/1.0 may keep an answer whatever it says, and with it the secret.
        if head.version == Version::HTTP_10 {
            return None;
        }
        let peer = Self::peer(head).ok()?;
        let requester = Requester::new(&self.edge, &peer, &head.headers);
        let made = requester.with_cookie(self.edge.visitors.cookies());
        made.ok().and_then(|(_, cookie)| cookie)
    }
}

/// A session of SockJS as a socket for STOMP.
#[derive(Debug)]
pub(in crate::edge) struct SockJs(Line);

impl SockJs {
    /// The label of the transport, for metrics.
    pub(in crate::edge) fn transport(&self) -> &'static str {
        self.0.label()
    }

    /// Both directions of a WebSocket; none of a session over requests.
    pub(in crate::edge) fn duplex(&self) -> Option<&Duplex> {
        self.0.duplex()
    }

    /// Whether nobody could receive any more once the node accepts no new requests.
    pub(in crate::edge) fn needs_requests(&self) -> bool {
        self.0.needs_requests()
    }

    /// Whether a message has begun, and its rest is still to come.
    pub(in crate::edge) fn is_amid_message(&self) -> bool {
        self.0.is_amid_message()
    }

    /// How many bytes of a WebSocket were read since the last call.
    pub(in crate::edge) fn take_read(&mut self) -> usize {
        self.0.take_read()
    }

    /// How many bytes of a WebSocket were read and are not told.
    pub(in crate::edge) fn buffered(&self) -> usize {
        self.0.buffered()
    }

    /// Waits for the next message. Safe to drop and call again.
    pub(in crate::edge) async fn receive(&mut self) -> Received {
        self.0.receive().await
    }

    /// Takes one STOMP frame, or one heart-beat, as one message. Waits only while the peer does not
    /// read.
    pub(in crate::edge) async fn write(&mut self, frame: &Framed) -> Result<(), Gone> {
        let octets = frame.octets(false);
        match std::str::from_utf8(octets) {
            Ok(text) => self.0.send(text).await,
            Err(_) => self.0.send(&as_text(octets)).await,
        }
    }

    /// Writes out what was taken.
    pub(in crate::edge) async fn flush(&mut self) -> Result<(), Gone> {
        self.0.flush().await
    }

    /// Asks the peer for a sign of life.
    pub(in crate::edge) async fn ping(&mut self) -> Result<(), Gone> {
        self.0.ping().await
    }

    /// Whether STOMP beats towards the client, so that SockJS need not.
    pub(in crate::edge) fn set_beats(&mut self, beats: bool) {
        self.0.set_beats(beats);
    }

    /// Flushes and says goodbye, unless the peer has said it.
    pub(in crate::edge) async fn close(
        &mut self,
        reason: Option<&CloseReason>,
        farewell: &mut Farewell,
    ) {
        self.0.close(reason, farewell).await;
    }
}

/// A frame of ours whose body is no text, as text. Its head is text: headers always are.
fn as_text(frame: &[u8]) -> String {
    let end = frame.windows(2).position(|two| two == b"\n\n");
    let (head, rest) = frame.split_at(end.unwrap_or(frame.len()));
    let rest = rest.get(2..).unwrap_or_default();
    let body = String::from_utf8_lossy(rest.strip_suffix(b"\0").unwrap_or(rest));
    let head = String::from_utf8_lossy(head);
    let mut text = String::with_capacity(head.len() + body.len() + 64);
    for line in head
        .split('\n')
        .filter(|line| !line.starts_with("content-length:"))
    {
        text.push_str(line);
        text.push('\n');
    }
    let length = body.len();
    text.push_str(&format!(
        "content-length:{length}\noctets-replaced:true\n\n{body}\0"
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_is_no_text_stays_a_whole_frame() {
        let frame = b"MESSAGE\ndestination:/topic/a\ncontent-length:4\nx:y\n\n\xffa\0b\0";
        assert_eq!(
            as_text(frame),
            "MESSAGE\ndestination:/topic/a\nx:y\ncontent-length:6\noctets-replaced:true\n\n\
             \u{fffd}a\0b\0"
        );
    }

    #[test]
    fn a_page_of_ours_that_hides_where_it_is_is_known_by_its_browser() {
        let check = |lines: &[(&'static str, &'static str)], expected: bool| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(is_hidden_page_of_ours(&headers), expected, "{lines:?}");
        };
        let (null, ours) = (("origin", "null"), ("sec-fetch-site", "same-origin"));
        check(&[null, ours], true);
        check(&[null], false);
        check(&[null, ("sec-fetch-site", "cross-site")], false);
        check(&[null, ("sec-fetch-site", "same-site")], false);
        check(&[("origin", "https://evil.example"), ours], false);
        check(&[null, ours, ("sec-fetch-site", "cross-site")], false);
    }
}
