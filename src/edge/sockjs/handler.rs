//! What an endpoint asks of the service behind it: who a client is, and whether there is time and room for it.
//!
//! Not here: requests and their answers (`endpoint`). Invariant: a service sees every request before its body is
//! read.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Response;
use axum::http::header::HeaderValue;
use axum::http::request::Parts;
use futures_util::future::BoxFuture;

use super::line::Line;
use super::owner::Caller;
use crate::budget::Memory;
use crate::edge::charges::SocketCharge;

/// The answer to a request that goes no further.
pub(super) type Refused = Box<Response<Body>>;

/// The service behind an endpoint.
pub(super) trait SessionHandler: Send + Sync + 'static {
    /// The client that sends this request. Nothing is judged yet.
    fn caller(&self, head: &Parts) -> Result<Caller, Refused>;

    /// Counts a request for the network of its client, and waits until there is time for it. A request that is
    /// awaited (`is_awaited`) waits only when the network has sent too many. Returns the refusal when it has, or when
    /// there is no time.
    fn admit<'a>(
        &'a self,
        head: &'a Parts,
        caller: &'a Caller,
        is_awaited: bool,
    ) -> BoxFuture<'a, Result<(), Refused>>;

    /// Returns the refusal for a page that may not talk to this service.
    fn judge(&self, caller: &Caller) -> Result<(), Refused>;

    /// Waits until there is time to read a long body that has come.
    fn long_body<'a>(&'a self, caller: &'a Caller) -> BoxFuture<'a, ()>;

    /// Makes room for a session that this request opens, by requests or by WebSocket.
    fn enter(&self, head: &Parts, by_requests: bool) -> Result<Admitted, Refused>;

    /// What everything draws on that is buffered for clients.
    fn memory(&self) -> &Arc<Memory>;

    /// A cookie for a client that asks what the endpoint can do.
    fn cookie(&self, head: &Parts) -> Option<HeaderValue>;
}

/// Serves a session to its end.
pub(super) type Serve = Box<dyn FnOnce(Line) -> BoxFuture<'static, ()> + Send>;

/// A session that may open.
pub(super) struct Admitted {
    /// A cookie that the opening answer sets.
    pub(super) set_cookie: Option<HeaderValue>,
    /// The secret that this cookie holds.
    pub(super) given: Option<String>,
    /// What the session is charged with, if it is.
    pub(super) charge: Option<Arc<SocketCharge>>,
    /// What it is for.
    pub(super) serve: Serve,
}
