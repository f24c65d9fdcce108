//! HTTP/1.1 on one connection, by hyper.
//!
//! Not here: routes, who gets a place (`listener`). Invariant: a request that comes too slowly, or
//! is answered too slowly, ends in bounded time. A body that goes on coming is not too slow (`upload`).

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::http::header::{CONNECTION, EXPECT, HOST, HeaderValue};
use axum::http::{HeaderMap, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::rt::Timer;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tower::ServiceExt;

use super::admission::Refusal;
use super::charges::HTTP_BYTES;
use super::head_timer::HeadTimer;
use super::paced::Paced;
use super::peer::{Peer, Requester};
use super::read_turns::ReadTurns;
use super::stream::Stream;
use super::upload::{REST_WITHIN, Upload};
use super::{Edge, reply};
use crate::model::{Code, Network, Problem};
use crate::turns::Turns;

/// The head of a request: so many lines, so many octets. Beyond it hyper answers 431.
const HEADERS_MAX: usize = 64;
const HEAD_BYTES_MAX: usize = 16 << 10;

/// What load balancers and orchestrators ask.
const HEALTH: [&str; 3] = ["/health", "/api/v1/health/live", "/api/v1/health/ready"];

/// Answers the requests of one connection, until it is upgraded or ends.
pub(super) async fn serve(edge: Arc<Edge>, router: Router, stream: Stream, peer: Arc<Peer>) {
    let settings = &edge.settings;
    let request_timeout = settings.request_timeout;
    let http = http(HeadTimer::new(&peer), settings.header_read_timeout);
    let shared = Arc::clone(&edge);
    let turns = ReadTurns::of(&edge.turns, &peer);
    let stream = Paced::new(stream, settings.outbox_stall, Some(Arc::clone(&peer))).read_in(turns);
    let charged = Arc::clone(&peer);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Arc::clone(&peer));
        let (edge, router, peer) = (Arc::clone(&shared), router.clone(), Arc::clone(&peer));
        let upload = Upload::begin();
        // A client that asks before it sends its body is answered before that.
        let asks_first = request.headers().contains_key(EXPECT);
        let request = request.map(|body| upload.watch(Body::new(body)));
        // The stream of a proxy does not wait for turns, because it is of many clients.
        let of_proxy = (peer.is_proxy && !request.body().is_end_stream())
            .then(|| Requester::new(&edge, &peer, request.headers()).address)
            .map(Network::of);
        if !peer.is_proxy {
            let shown = edge.settings.log_address;
            edge.unbelieved
                .note(peer.address.ip(), request.headers(), shown);
        }
        let turns = Arc::clone(&edge.turns);
        let answered = async move {
            if !has_one_host(&request) {
                return Ok(reply::problem(&without_host()));
            }
            if waits_here(&edge, request.uri().path())
                && let Err(refusal) = edge.request_turn(&peer, request.headers()).await
            {
                return Ok(reply::refusal(refusal));
            }
            router.oneshot(request).await
        };
        async move {
            let mut response = match upload.within(request_timeout, answered).await {
                Some(Ok(response)) => response,
                None => too_slow(),
            };
            if !asks_first {
                upload.drop_rest(&turns, of_proxy, REST_WITHIN).await;
            }
            reply::secure(response.headers_mut());
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = edge.shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(settings.linger, connection).await {
                Ok(served) => served,
                Err(_) => return,
            }
        }
    };
    // What lives on now is no HTTP any more.
    charged.charge.shrink(HTTP_BYTES);
    if let Err(error) = served {
        tracing::debug!(%error, "a request ended early");
    }
}

impl Edge {
    /// Waits for the turn of a request. One that came with its socket has the turn of the socket. That of a trusted
    /// proxy has none, because its client was not known then.
    ///
    /// # Errors
    /// As [`Turns::arrive`](crate::turns::Turns::arrive).
    pub(super) async fn request_turn(
        &self,
        peer: &Peer,
        headers: &HeaderMap,
    ) -> Result<(), Refusal> {
        if peer.take_turn().map_err(|busy| self.no_turn(busy))? {
            return Ok(());
        }
        let client = Requester::new(self, peer, headers).address;
        let arrived = self.turns.arrive(client).await;
        arrived.map_err(|busy| self.no_turn(busy))
    }
}

/// Whether a request waits for the turn of its client before anything looks at it. Health does not
/// wait, because the node would be taken out while it is busiest; below the paths of WebSocket and SockJS
/// all waits but what an open session awaits of its owner (`sockjs`).
fn waits_here(edge: &Edge, path: &str) -> bool {
    let is_below = |base: &String| {
        let below = path.strip_prefix(base.as_str());
        below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
    };
    !HEALTH.contains(&path) && !edge.settings.websocket_paths.iter().any(is_below)
}

/// A request of HTTP/1.1 has one `Host`, one of HTTP/1.0 at most one (RFC 9112, section 3.2). What two parties read
/// differently, a proxy and this node for instance, is refused.
fn has_one_host(request: &Request<Body>) -> bool {
    let hosts = request.headers().get_all(HOST).iter().count();
    hosts == 1 || (hosts == 0 && request.version() < Version::HTTP_11)
}

fn without_host() -> Problem {
    Problem::new(Code::BadRequest, "A request has exactly one `Host` header.")
}

/// Tells one client why it does not come in, whatever it asks for. The caller bounds the time.
pub(super) async fn refuse(
    turns: &Turns,
    stream: Stream,
    client: IpAddr,
    refusal: Refusal,
    head_within: Duration,
) {
    let service = service_fn(async |request: Request<Incoming>| {
        let upload = Upload::begin();
        drop(request.map(|body| upload.watch(Body::new(body))));
        let network = Some(Network::of(client));
        // The other half of the time is for the answer.
        upload.drop_rest(turns, network, head_within / 2).await;
        let mut response = reply::refusal(refusal);
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        reply::secure(headers);
        Ok::<_, Infallible>(response)
    });
    let connection =
        http(TokioTimer::new(), head_within).serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a refused client did not listen");
    }
}

fn http(
    timer: impl Timer + Send + Sync + 'static,
    header_read_timeout: Duration,
) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(timer)
        .header_read_timeout(header_read_timeout)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    http
}

fn too_slow() -> Response<Body> {
    let problem = Problem::new(Code::Internal, "The answer took too long.");
    reply::problem_as(StatusCode::GATEWAY_TIMEOUT, &problem)
}

#[cfg(test)]
mod tests;
