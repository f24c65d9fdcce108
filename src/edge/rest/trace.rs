//! The name of a request: `X-Request-Id`, in and out, in problems (`trace_id`) and in the log.
//!
//! Invariant: what a client gives as a name is taken only where it can stand in a log line as it is.

use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::http::Response;
use axum::http::header::{HeaderName, HeaderValue};
use axum::middleware::Next;
use serde_json::{Map, Value};

/// The header.
pub(super) static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest name that is taken.
const LENGTH_MAX: usize = 64;

/// The members of a problem, which its answer carries until the name of the request is added.
#[derive(Clone, Debug)]
pub(in crate::edge) struct Members(pub(in crate::edge) Map<String, Value>);

/// Stands before everything else of REST.
pub(super) async fn name(request: Request, next: Next) -> Response<Body> {
    let began = Instant::now();
    let id = request.headers().get(&REQUEST_ID);
    let given = id
        .and_then(|value| value.to_str().ok())
        .filter(|id| is_name(id));
    let id = given.map_or_else(fresh, str::to_owned);
    let method = request.method().clone();
    // The path as the table has it: an address may hold what is nobody's business.
    let path = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    if let Some(Members(mut members)) = response.extensions_mut().remove::<Members>() {
        members.insert("trace_id".to_owned(), id.clone().into());
        *response.body_mut() = Body::from(Value::Object(members).to_string());
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID.clone(), value);
    }
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let path = path.as_ref().map_or("-", MatchedPath::as_str);
    let status = response.status().as_u16();
    tracing::info!(trace_id = %id, %method, path, status, took_ms, "a request was answered");
    response
}

fn is_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    (1..=LENGTH_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

fn fresh() -> String {
    // A name is no secret: without random bits requests are told apart by nothing, and answered.
    getrandom::u64().map_or_else(|_| "unnamed".to_owned(), |id| format!("{id:016x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_taken() {
        for good in ["a", "01J9-x_y.z", &"x".repeat(64)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "a b", "a\"b", "a\nb", "é", "${jndi}", &"x".repeat(65)] {
            assert!(!is_name(bad), "{bad}");
        }
        assert!(is_name(&fresh()));
    }
}
