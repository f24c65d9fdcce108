//! The paths of this server.
//!
//! Not here: what each of them does. Invariant: a path that is not in this list is a 404 with a
//! problem, and a method that a path does not take is a 405 with one.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{Response, StatusCode};
use axum::routing::{delete, get, post};
use axum::{Router, middleware};

use super::{Edge, cors, health, page, reply, rest, sockjs};
use crate::model::{Code, Problem};

/// All routes.
pub(super) fn router(edge: &Arc<Edge>) -> Router {
    if !page::is_complete() {
        tracing::warn!("built without STOMP.js: the page at / says how to get it, all else works");
    }
    let mut router = Router::new()
        .route("/health", get(ready))
        .route("/api/v1/health/ready", get(ready))
        .route("/api/v1/health/live", get(live))
        .route("/metrics", get(metrics))
        .merge(rest(edge));
    for path in &edge.settings.websocket_paths {
        router = router.merge(sockjs::routes(edge, path));
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

/// REST, behind the guard that looks at the Origin of pages. OPTIONS is routed so that the guard,
/// which answers it for pages of other origins, sees it.
fn rest(edge: &Arc<Edge>) -> Router<Arc<Edge>> {
    Router::new()
        .route(
            "/api/v1/auth/anonymous",
            post(rest::anonymous).options(refuse_method),
        )
        .route(
            "/api/v1/auth/ticket",
            post(rest::ticket).options(refuse_method),
        )
        .route(
            "/api/v1/me/export",
            get(rest::export).options(refuse_method),
        )
        .route("/api/v1/me", delete(rest::erase).options(refuse_method))
        .layer(middleware::from_fn_with_state(
            Arc::clone(edge),
            cors::guard,
        ))
}

async fn ready(State(edge): State<Arc<Edge>>) -> Response<Body> {
    health::ready(edge.health.as_ref(), edge.shutdown.is_cancelled()).await
}

async fn live(State(edge): State<Arc<Edge>>) -> Response<Body> {
    health::live(edge.visitors.now())
}

async fn metrics(State(edge): State<Arc<Edge>>) -> Response<Body> {
    let mut response = Response::new(Body::from((edge.metrics)()));
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

async fn refuse_method() -> Response<Body> {
    let problem = Problem::new(Code::BadRequest, "This path does not take that method.");
    reply::problem_as(StatusCode::METHOD_NOT_ALLOWED, &problem)
}
