//! What REST says of the service itself: health, and the document of the API.
//!
//! Not here: how the parts are checked (`health`). Invariant: nothing of anybody is in these answers.

use axum::http::StatusCode;
use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

use super::call::{Call, Reply};
use super::route::{Class, Route, Who};
use super::{csrf, openapi};
use crate::edge::health::{self, Live, Ready};
use crate::model::{Code, Problem};

/// The routes.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/health/live", live)
            .about("Whether the process answers.")
            .by(Who::Nobody, Class::Free)
            .gives::<Live>(StatusCode::OK),
        Route::get("/api/v1/health/ready", ready)
            .about("Whether new work should be sent here.")
            .more("503 without a store, without memory, and while the node is draining.")
            .by(Who::Nobody, Class::Free)
            .gives::<Ready>(StatusCode::OK)
            .or_gives::<Ready>(StatusCode::SERVICE_UNAVAILABLE),
        Route::get("/api/v1/openapi.json", document)
            .about("This document.")
            .by(Who::Nobody, Class::Open)
            .gives::<Document>(StatusCode::OK),
        Route::get("/api/v1/auth/csrf", csrf_token)
            .about("A token for requests that rely on the visitor's cookie.")
            .more(
                "Sets the cookie `sb_csrf`. A page sends its value back in the header `X-CSRF-Token` \
                 with every request that relies on the cookie `sb_vid`.",
            )
            .by(Who::Nobody, Class::Open)
            .gives::<CsrfToken>(StatusCode::OK),
    ]
}

super::call::any_object! {
    /// An OpenAPI 3.1 document.
    Document
}

/// A token for requests that rely on a cookie.
#[derive(Debug, Serialize, ToSchema)]
struct CsrfToken {
    /// The value of the cookie `sb_csrf`.
    csrf_token: String,
}

async fn live(call: Call) -> Result<Reply, Problem> {
    Reply::json(StatusCode::OK, &health::live(call.edge.visitors.now()))
}

async fn ready(call: Call) -> Result<Reply, Problem> {
    let is_draining = call.edge.shutdown.is_cancelled();
    let edge = &call.edge;
    let (status, ready) = edge.readiness.ready(edge.app.memory(), is_draining).await;
    Reply::json(status, &ready)
}

async fn document(_: Call) -> Result<Reply, Problem> {
    let text = Bytes::from_static(openapi::text().as_bytes());
    Ok(Reply::shared(StatusCode::OK, text))
}

async fn csrf_token(call: Call) -> Result<Reply, Problem> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits)
        .map_err(|_| Problem::new(Code::Internal, "A token could not be made."))?;
    let csrf_token = format!("{:032x}", u128::from_be_bytes(bits));
    let cookie = csrf::set_cookie(&csrf_token, call.caller.secure);
    Ok(Reply::json(StatusCode::OK, &CsrfToken { csrf_token })?.with_cookie(&cookie))
}
