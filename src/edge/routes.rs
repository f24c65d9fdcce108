//! The paths of this server.
//!
//! Not here: what each of them does. Invariant: a path that is not in this list is a 404 with a
//! problem, and a method that a path does not take is a 405 with one.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{Response, StatusCode};
use axum::routing::get;
use serde_json::json;

use super::peer::{Peer, Requester};
use super::{Edge, charges, page, reply, rest, sockjs};
use crate::model::{Code, Problem};

/// All routes.
pub(super) fn router(edge: &Arc<Edge>) -> Router {
    if !page::is_complete() {
        tracing::warn!("built without STOMP.js: the page at / says how to get it, all else works");
    }
    let mut router = Router::new()
        .route("/health", get(ready))
        .route("/metrics", get(metrics))
        .merge(rest::router(edge));
    let quota = Arc::clone(&edge.rest.node_quota);
    let rate = sockjs::RequestRate::new(edge.settings.http_per_net, quota);
    let rate = Arc::new(rate);
    for path in &edge.settings.websocket_paths {
        router = router.merge(sockjs::routes(edge, path, &rate));
    }
    for path in page::paths() {
        router = router.route(path, get(asset));
    }
    router
        .fallback(async || not_found())
        .method_not_allowed_fallback(refuse_method)
        .layer(DefaultBodyLimit::max(edge.settings.request_body_bytes_max))
        .with_state(Arc::clone(edge))
}

async fn ready(State(edge): State<Arc<Edge>>) -> Response<Body> {
    let draining = edge.shutdown.is_cancelled();
    let (status, ready) = edge.readiness.ready(edge.app.memory(), draining).await;
    reply::json(status, &json!(ready))
}

async fn metrics(State(edge): State<Arc<Edge>>, request: Request) -> Response<Body> {
    let peer = request.extensions().get::<Arc<Peer>>();
    let Some(peer) = peer else {
        return reply::problem(&Problem::new(Code::Internal, "The peer is not known."));
    };
    let client = Requester::new(&edge, peer, request.headers()).address;
    edge.admission.publish();
    let text = edge.exposition.text().await;
    let body = match charges::body(text, || edge.lease(client, &peer.charge)) {
        Ok(body) => body,
        Err(refused) => return reply::refusal(refused.into()),
    };
    let mut response = Response::new(body);
    let value = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, value);
    response
}

async fn asset(request: Request) -> Response<Body> {
    page::serve(request.uri().path(), request.headers()).unwrap_or_else(not_found)
}

fn not_found() -> Response<Body> {
    reply::problem(&Problem::new(
        Code::NotFound,
        "There is nothing at this path.",
    ))
}

pub(super) async fn refuse_method() -> Response<Body> {
    let problem = Problem::new(Code::BadRequest, "This path does not take that method.");
    reply::problem_as(StatusCode::METHOD_NOT_ALLOWED, &problem)
}
