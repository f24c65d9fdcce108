//! Requests of pages to REST: the Origin rule again, and what browsers want to hear (CORS).
//!
//! Invariant: a page that may not talk to this server changes nothing and reads nothing.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    HeaderMap, HeaderValue, ORIGIN, VARY,
};
use axum::http::{Method, Response, StatusCode};
use axum::middleware::Next;

use super::origin::Verdict;
use super::peer::{Peer, Requester};
use super::{Edge, reply};
use crate::model::{Code, Problem};

/// Stands before every route of REST.
pub(super) async fn guard(
    State(edge): State<Arc<Edge>>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let Some(origin) = request.headers().get(ORIGIN).cloned() else {
        return next.run(request).await;
    };
    let Some(peer) = request.extensions().get::<Arc<Peer>>() else {
        return reply::problem(&Problem::new(Code::Internal, "The request has no peer."));
    };
    let requester = Requester::new(&edge, peer, request.headers());
    match requester.origin {
        Verdict::Refused => reply::problem(&requester.refused_origin()),
        Verdict::Listed => {
            let is_preflight = request.method() == Method::OPTIONS
                && request
                    .headers()
                    .contains_key(ACCESS_CONTROL_REQUEST_METHOD);
            let mut response = match is_preflight {
                true => preflight(),
                false => next.run(request).await,
            };
            admit(response.headers_mut(), origin);
            response
        }
        Verdict::Same | Verdict::Absent => next.run(request).await,
    }
}

fn preflight() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    let mut put = |name, value| headers.insert(name, HeaderValue::from_static(value));
    put(
        ACCESS_CONTROL_ALLOW_METHODS,
        "GET, POST, PUT, PATCH, DELETE",
    );
    put(
        ACCESS_CONTROL_ALLOW_HEADERS,
        "authorization, content-type, idempotency-key, x-csrf-token, x-request-id",
    );
    put(ACCESS_CONTROL_MAX_AGE, "600");
    response
}

fn admit(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(
            "ratelimit, ratelimit-policy, retry-after, x-request-id, location, idempotent-replay",
        ),
    );
    headers.append(VARY, HeaderValue::from_static("origin"));
}
