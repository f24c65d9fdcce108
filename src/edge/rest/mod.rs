//! REST: the API under `/api/v1`.
//!
//! Not here: what an identity or an account is (`identity`), what is done with messages (`app`).
//! Invariant: every path of REST stands in the one table, from which the router and the OpenAPI
//! document are made, and every request passes the one gate.
//!
//! ```text
//! table      all routes                          route    what a route is
//! gate       what every request passes           openapi  the document of the table
//! caller     who asks                            csrf     whether a cookie counts
//! limits     how often                           trace    X-Request-Id
//! call       a request and an answer             cursor   where a list goes on
//! keys       what is derived from the secret     idempotency   what is done once
//! service, visitor, auth, link, me, export, admin        the handlers
//! ```

mod admin;
mod auth;
mod call;
mod caller;
mod csrf;
mod cursor;
mod device;
mod export;
mod gate;
mod idempotency;
mod keys;
mod limits;
mod link;
mod me;
mod openapi;
mod passwords;
mod route;
mod service;
mod table;
mod trace;
mod visitor;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware;
use axum::routing::{MethodFilter, on};

use super::{Edge, cors, routes};
use crate::quota::Quota;
use crate::store::AccountStore;

pub(super) use export::Exports;
pub use keys::RestKey;
pub use openapi::openapi;
pub(super) use trace::Members;

/// The base of all paths.
const BASE: &str = "/api/v1";

/// What REST is made with beyond what the whole edge has.
#[derive(Clone, Debug)]
pub struct RestParts {
    /// How often a client may ask.
    pub quota: Arc<dyn Quota>,
    /// How often a client may ask this node, whatever the others of the cluster count.
    pub node_quota: Arc<dyn Quota>,
    /// Where the answers of requests with an `Idempotency-Key` are kept.
    pub kept: Arc<dyn AccountStore>,
    /// The key of cursors and of kept answers.
    pub key: RestKey,
}

/// The routes of the table behind what all of them have in front: the name of the request, and the
/// guard that looks at the Origin of pages, which sees the methods that a path does not take too.
pub(super) fn router(edge: &Arc<Edge>) -> Router<Arc<Edge>> {
    let mut router = Router::new();
    for route in table::routes() {
        let Ok(method) = MethodFilter::try_from(route.method.clone()) else {
            continue;
        };
        let (edge, path, route) = (Arc::clone(edge), route.path, Arc::new(route));
        let handler =
            move |request: Request| gate::pass(Arc::clone(&edge), Arc::clone(&route), request);
        router = router.route(path, on(method, handler));
    }
    let guard = middleware::from_fn_with_state(Arc::clone(edge), cors::guard);
    router
        .method_not_allowed_fallback(routes::refuse_method)
        .layer(guard)
        .layer(middleware::from_fn(trace::name))
}
