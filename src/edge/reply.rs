//! Answers of HTTP: problems as application/problem+json, and the headers that every answer has.
//!
//! Not here: routes. Invariant: an error always has the shape of RFC 9457 and a code of
//! `model::Problem`; no answer goes out without the security headers.

use axum::body::Body;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    REFERRER_POLICY, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{Response, StatusCode};
use serde_json::Value;

use super::admission::Refusal;
use super::rest::Members;
use crate::model::{Code, Problem};

/// A problem with the status that belongs to its code.
pub(super) fn problem(problem: &Problem) -> Response<Body> {
    let status = StatusCode::from_u16(problem.code.status());
    problem_as(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), problem)
}

/// A problem with another status, where HTTP knows a better one than the code's own.
pub(super) fn problem_as(status: StatusCode, problem: &Problem) -> Response<Body> {
    let mut object = problem.to_json();
    object.insert("status".to_owned(), status.as_u16().into());
    let mut response = json(status, &Value::Object(object.clone()));
    response.extensions_mut().insert(Members(object));
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    if let Some(millis) = problem.retry_after_ms {
        headers.insert(RETRY_AFTER, HeaderValue::from(millis.div_ceil(1000).max(1)));
    }
    response
}

/// A JSON value. Never cached: what it says is of this moment.
pub(super) fn json(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The answer to somebody who does not come in.
pub(super) fn refusal(refusal: Refusal) -> Response<Body> {
    let (status, _, _) = words_of(refusal);
    problem_as(status, &problem_of(refusal))
}

/// The same for somebody who does not speak HTTP.
pub(super) fn problem_of(refusal: Refusal) -> Problem {
    let (_, seconds, words) = words_of(refusal);
    Problem::new(Code::TryLater, words).retry_after_ms(seconds * 1000)
}

/// 503 says that this node refuses everybody, so that a load balancer asks another one. What is refused to one network
/// alone is 429: a load balancer that took it for a failure of the node would take the node away from all others.
fn words_of(refusal: Refusal) -> (StatusCode, u64, &'static str) {
    match refusal {
        Refusal::Full => (
            StatusCode::SERVICE_UNAVAILABLE,
            5,
            "This node has as many connections as it may have. Try again in a moment.",
        ),
        Refusal::Memory => (
            StatusCode::SERVICE_UNAVAILABLE,
            10,
            "This node is short of memory. Try again in a moment.",
        ),
        Refusal::NetworkMemory => (
            StatusCode::TOO_MANY_REQUESTS,
            10,
            "Your network uses as much memory of this node as it may have now. Close some of its connections, or try \
             again in a moment.",
        ),
        Refusal::Rate => (
            StatusCode::SERVICE_UNAVAILABLE,
            1,
            "Too many clients are connecting at once. Try again in a moment.",
        ),
        Refusal::NetworkRate => (
            StatusCode::TOO_MANY_REQUESTS,
            1,
            "Too many clients of your network are connecting at once. Try again in a moment.",
        ),
        Refusal::Busy => (
            StatusCode::TOO_MANY_REQUESTS,
            5,
            "More clients of your network ask at once than this node can serve now. Try again in a moment.",
        ),
        Refusal::Ending => (
            StatusCode::SERVICE_UNAVAILABLE,
            1,
            "This node is being stopped. Connect again, to another node or to this one when it is back.",
        ),
        Refusal::Network => (
            StatusCode::TOO_MANY_REQUESTS,
            10,
            "Your network has as many connections to this node as it may have now. Close some of them, or try again \
             in a moment.",
        ),
    }
}

/// Puts the security headers on an answer, where the route has not set its own.
pub(super) fn secure(headers: &mut HeaderMap) {
    const ALWAYS: [(HeaderName, &str); 4] = [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        ),
    ];
    for (name, value) in ALWAYS {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_when_to_try_again() {
        let check = |why: Refusal, status: u16, seconds: &str| {
            let response = refusal(why);
            assert_eq!(response.status(), status, "{why:?}");
            assert_eq!(response.headers()[RETRY_AFTER], seconds, "{why:?}");
            assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        };
        check(Refusal::Full, 503, "5");
        check(Refusal::Memory, 503, "10");
        check(Refusal::Rate, 503, "1");
        check(Refusal::NetworkMemory, 429, "10");
        check(Refusal::NetworkRate, 429, "1");
        check(Refusal::Busy, 429, "5");
        check(Refusal::Network, 429, "10");
        check(Refusal::Ending, 503, "1");
    }
}
