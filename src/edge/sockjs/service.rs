//! Services of SockJS that are no broker: one function for each session.
//!
//! Not here: who may come in: everybody may. For examples and for conformance suites, not for the
//! world. Invariant: it is the code of the broker's endpoints that serves them.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Response;
use axum::http::header::{HeaderValue, ORIGIN};
use axum::http::request::Parts;
use axum::routing::any;
use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::answers;
use super::endpoint::{Endpoint, path_from};
use super::handler::{Admitted, Refused, SessionHandler};
use super::line::Line;
use super::owner::Caller;
use super::settings::SockJsSettings;
use crate::budget::{Memory, MemorySettings};
use crate::edge::farewell::Farewell;
use crate::edge::paced::Paced;
use crate::edge::socket::Received;
use crate::edge::stream::Stream;
use crate::model::CloseReason;

/// How long a closed session waits for its client's own close.
const LINGER: Duration = Duration::from_secs(1);

/// How long a client may take nothing of an answer.
const STALL: Duration = Duration::from_secs(10);

/// How long the head of a request may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The server's end of one session.
#[derive(Debug)]
pub struct Channel(Line);

impl Channel {
    /// The next message of the client; `None` when the session is over. Safe to drop and call again.
    pub async fn receive(&mut self) -> Option<String> {
        loop {
            match self.0.receive().await {
                Received::Octets { octets, .. } => {
                    return String::from_utf8(octets.into()).ok();
                }
                Received::Pinged(_)
                | Received::Ponged
                | Received::Unfinished
                | Received::Buffered => {}
                Received::Closed(_)
                | Received::TooLarge
                | Received::Fragments
                | Received::NoMemory
                | Received::NotUtf8
                | Received::Malformed
                | Received::Gone => return None,
            }
        }
    }

    /// Sends a message; whether the session is still there to take it. Waits while the client reads
    /// too slowly.
    pub async fn send(&mut self, message: &str) -> bool {
        self.0.send(message).await.is_ok() && self.0.flush().await.is_ok()
    }

    /// Closes the session with a code and words that the client's `onclose` gets.
    pub async fn close(mut self, code: u16, reason: &str) {
        let reason = CloseReason {
            code,
            text: reason.to_owned().into(),
        };
        let mut farewell = Farewell::without_turns(LINGER);
        self.0.close(Some(&reason), &mut farewell).await;
    }
}

type Run = Arc<dyn Fn(Channel) -> BoxFuture<'static, ()> + Send + Sync>;

/// A service at a path.
#[derive(Clone)]
pub struct Service {
    base: String,
    settings: SockJsSettings,
    run: Run,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service")
            .field("base", &self.base)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Service {
    /// A service at a base such as `/echo`, whose sessions are each given to this function.
    pub fn new<F, T>(base: &str, settings: SockJsSettings, run: F) -> Self
    where
        F: Fn(Channel) -> T + Send + Sync + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        Self {
            base: base.to_owned(),
            settings,
            run: Arc::new(move |channel| Box::pin(run(channel))),
        }
    }

    fn routes(self, tracker: &TaskTracker) -> Router {
        let below = self.base.len();
        let memory = Memory::new(MemorySettings { bytes_max: 0 });
        let handler = Arc::new(Open(Arc::clone(&self.run), memory));
        let endpoint = Endpoint::new(self.settings, "*", handler, tracker.clone());
        let endpoint = Arc::new(endpoint);
        let base = self.base;
        let answer = any(async move |request: Request| {
            let path = path_from(below, &request);
            endpoint.answer(&path, request).await
        });
        Router::new()
            .route(&base, answer.clone())
            .route(&format!("{base}/"), answer.clone())
            .route(&format!("{base}/{{*below}}"), answer)
    }
}

/// Serves until `shutdown`. Everything runs on the tracker.
pub async fn serve(
    tcp: TcpListener,
    services: Vec<Service>,
    tracker: TaskTracker,
    shutdown: CancellationToken,
) {
    let router = services.into_iter().fold(Router::new(), |router, service| {
        router.merge(service.routes(&tracker))
    });
    let router = router.fallback(async || answers::not_found());
    loop {
        let accepted = tokio::select! {
            accepted = tcp.accept() => accepted,
            () = shutdown.cancelled() => return,
        };
        if let Ok((stream, address)) = accepted {
            let (router, shutdown) = (router.clone(), shutdown.clone());
            tracker.spawn(async move {
                tokio::select! {
                    () = serve_socket(stream, address.ip(), router) => {}
                    () = shutdown.cancelled() => {}
                }
            });
        }
    }
}

async fn serve_socket(stream: TcpStream, address: IpAddr, router: Router) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(address);
        let answered = router.clone().oneshot(request.map(Body::new));
        async move {
            match answered.await {
                Ok(response) => Ok::<Response<Body>, Infallible>(response),
                Err(never) => match never {},
            }
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT);
    let served = http
        .serve_connection(
            TokioIo::new(Paced::new(Stream::Plain(stream), STALL, None)),
            service,
        )
        .with_upgrades();
    if let Err(error) = served.await {
        tracing::debug!(%error, "a request ended early");
    }
}

/// A handler that lets every client in and counts nothing.
struct Open(Run, Arc<Memory>);

impl SessionHandler for Open {
    fn caller(&self, head: &Parts) -> Result<Caller, Refused> {
        let address = head.extensions.get::<IpAddr>();
        let address = address.copied().unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        Ok(Caller {
            origin: head.headers.get(ORIGIN).cloned(),
            ..Caller::at(address)
        })
    }

    fn admit<'a>(
        &'a self,
        _: &'a Parts,
        _: &'a Caller,
        _: bool,
    ) -> BoxFuture<'a, Result<(), Refused>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn judge(&self, _: &Caller) -> Result<(), Refused> {
        Ok(())
    }

    fn long_body<'a>(&'a self, _: &'a Caller) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }

    fn enter(&self, _: &Parts, _: bool) -> Result<Admitted, Refused> {
        let run = Arc::clone(&self.0);
        Ok(Admitted {
            set_cookie: None,
            given: None,
            charge: None,
            serve: Box::new(move |line| run(Channel(line))),
        })
    }

    fn cookie(&self, _: &Parts) -> Option<HeaderValue> {
        None
    }

    fn memory(&self) -> &Arc<Memory> {
        &self.1
    }
}
