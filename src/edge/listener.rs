//! The accept loop, and HTTP/1.1 on each socket.
//!
//! Not here: routes, WebSocket. Invariant: a socket that says nothing, or says it too slowly, is
//! closed in bounded time; an error of `accept` never ends the loop and never spins.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{CONNECTION, HeaderValue};
use axum::http::{Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::admission::Refusal;
use super::peer::Peer;
use super::{Edge, EdgeState, reply, routes};
use crate::model::{Code, Problem};

/// The head of a request: so many lines, so many octets. Beyond it hyper answers 431.
const HEADERS_MAX: usize = 64;
const HEAD_BYTES_MAX: usize = 16 << 10;

/// What the kernel may hold for a peer that does not read.
const SEND_BUFFER_BYTES: usize = 64 << 10;

/// How long written octets may stay unacknowledged before the kernel gives the peer up.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20);

/// The pause after an error of `accept`, doubled while it goes on.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How many sockets at once are told why they are refused; others are just closed.
const REFUSALS_MAX: usize = 256;

/// How long a refused client has for its request.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves until `shutdown`. Connections run on the tracker and end by themselves after that,
/// WebSockets at a bounded pace with 1012: wait for the tracker.
pub async fn serve(
    tcp: TcpListener,
    state: Arc<EdgeState>,
    tracker: TaskTracker,
    shutdown: CancellationToken,
) {
    let edge = Arc::new(Edge::new(state, tracker, shutdown.clone()));
    let listener = Listener {
        router: routes::router(&edge),
        refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
        edge,
    };
    let mut pause = PAUSE_MIN;
    loop {
        let accepted = tokio::select! {
            accepted = tcp.accept() => accepted,
            () = shutdown.cancelled() => return,
        };
        match accepted {
            Ok((stream, address)) => {
                pause = PAUSE_MIN;
                listener.take(stream, address);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, pause_ms = pause.as_millis(), "no connection can be accepted");
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = shutdown.cancelled() => return,
                }
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// Whether the error is of the connection that was to be accepted, not of the listener.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

struct Listener {
    edge: Arc<Edge>,
    router: Router,
    refusals: Arc<Semaphore>,
}

impl Listener {
    /// Gives a socket its place and its task, or tells it why there is none.
    fn take(&self, stream: TcpStream, address: SocketAddr) {
        if let Err(error) = tune(&stream) {
            tracing::debug!(%error, "a socket was gone before it was served");
            return;
        }
        let ip = address.ip().to_canonical();
        let proxies = &self.edge.settings.trusted_proxies;
        let is_proxy = proxies.iter().any(|net| net.contains(&ip));
        let admission = &self.edge.admission;
        let permits = admission.socket().and_then(|socket| match is_proxy {
            true => Ok((socket, None)),
            false => Ok((socket, Some(admission.network(ip)?))),
        });
        match permits {
            Ok(permits) => {
                let peer = Arc::new(Peer {
                    address,
                    is_proxy,
                    _permits: permits,
                });
                let edge = Arc::clone(&self.edge);
                let router = self.router.clone();
                self.edge
                    .tracker
                    .spawn(serve_socket(edge, router, stream, peer));
            }
            Err(refusal) => {
                if let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() {
                    self.edge.tracker.spawn(refuse(stream, refusal, permit));
                }
            }
        }
    }
}

/// Socket options: see the constants for why.
fn tune(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15));
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    Ok(())
}

/// Answers the requests of one socket, until it is upgraded or ends.
async fn serve_socket(edge: Arc<Edge>, router: Router, stream: TcpStream, peer: Arc<Peer>) {
    let settings = &edge.settings;
    let request_timeout = settings.request_timeout;
    let http = http(settings.header_read_timeout);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Arc::clone(&peer));
        let answered = router.clone().oneshot(request.map(Body::new));
        async move {
            let response = tokio::time::timeout(request_timeout, answered).await;
            let mut response = match response {
                Ok(Ok(response)) => response,
                Err(_) => too_slow(),
            };
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
    if let Err(error) = served {
        tracing::debug!(%error, "a request ended early");
    }
}

/// Tells one client why it does not come in, whatever it asks for.
async fn refuse(stream: TcpStream, refusal: Refusal, _permit: OwnedSemaphorePermit) {
    let service = service_fn(async |_request: hyper::Request<Incoming>| {
        let mut response = reply::refusal(refusal);
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        reply::secure(headers);
        Ok::<_, Infallible>(response)
    });
    let connection = http(REFUSAL_TIMEOUT).serve_connection(TokioIo::new(stream), service);
    if tokio::time::timeout(REFUSAL_TIMEOUT, connection)
        .await
        .is_err()
    {
        tracing::debug!("a refused client did not listen");
    }
}

fn http(header_read_timeout: Duration) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(header_read_timeout)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    http
}

fn too_slow() -> Response<Body> {
    let problem = Problem::new(Code::Internal, "The answer took too long.");
    reply::problem_as(StatusCode::GATEWAY_TIMEOUT, &problem)
}
