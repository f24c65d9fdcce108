//! Answers of HTTP as SockJS words them.
//!
//! Not here: when which of them is given. Invariant: an answer of a session is never cached; what a
//! page of another origin may read names that origin, and `*` never goes with credentials.

use axum::body::Body;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ALLOW,
    CACHE_CONTROL, CONTENT_TYPE, COOKIE, EXPIRES, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
    SET_COOKIE, VARY,
};
use axum::http::{Response, StatusCode};

const NOT_CACHED: &str = "no-store, no-cache, no-transform, must-revalidate, max-age=0";
const CACHED: &str = "public, max-age=31536000";
/// A year, in seconds, for how long a browser need not ask again.
const PREFLIGHT_AGE: &str = "31536000";
/// A date for caches that do not know `max-age`, which wins over it.
const FAR_AWAY: &str = "Thu, 31 Dec 2037 23:55:55 GMT";

const TEXT: &str = "text/plain; charset=UTF-8";

fn put(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}

/// A text.
pub(super) fn text(status: StatusCode, words: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(words));
    *response.status_mut() = status;
    put(response.headers_mut(), CONTENT_TYPE, TEXT);
    response
}

/// There is no memory for it now, or no room in its session. 503 if that is so for everybody.
pub(super) fn later(
    status: StatusCode,
    words: &'static str,
    seconds: &'static str,
) -> Response<Body> {
    let mut response = text(status, words);
    put(response.headers_mut(), RETRY_AFTER, seconds);
    response
}

/// There is nothing at this path, or no such session.
pub(super) fn not_found() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "404 Error: Page not found\n")
}

/// The messages were taken. The type is for browsers that take the lack of one for XML.
pub(super) fn taken() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    put(response.headers_mut(), CONTENT_TYPE, TEXT);
    response
}

/// Another method is wanted. Without a body and its type.
pub(super) fn other_method(allowed: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    put(response.headers_mut(), ALLOW, allowed);
    response
}

/// What a browser asks before it asks. The answer holds for a year.
pub(super) fn preflight(allowed: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    put(headers, ACCESS_CONTROL_ALLOW_METHODS, allowed);
    put(headers, ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE);
    cached(headers);
    response
}

/// For as long as caches like.
pub(super) fn cached(headers: &mut HeaderMap) {
    put(headers, CACHE_CONTROL, CACHED);
    put(headers, EXPIRES, FAR_AWAY);
}

/// Never.
pub(super) fn not_cached(headers: &mut HeaderMap) {
    put(headers, CACHE_CONTROL, NOT_CACHED);
}

/// What a page of another origin wants to see before it may read the answer. The request has passed
/// the rule for origins already.
pub(super) fn share(headers: &mut HeaderMap, request: &HeaderMap, origin: Option<&HeaderValue>) {
    match origin {
        Some(origin) => {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            put(headers, ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
        }
        None => put(headers, ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    }
    headers.append(VARY, HeaderValue::from_static("origin"));
    if let Some(asked) = request.get(ACCESS_CONTROL_REQUEST_HEADERS)
        && !asked.is_empty()
    {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
}

/// The cookie by which some balancers know a session: as it came, or one that says nothing.
pub(super) fn balancers_cookie(headers: &mut HeaderMap, request: &HeaderMap) {
    let cookies = request.get_all(COOKIE).into_iter();
    let cookies = cookies.filter_map(|line| line.to_str().ok());
    let found = cookies
        .flat_map(cookie::Cookie::split_parse)
        .filter_map(Result::ok)
        .find(|cookie| cookie.name() == "JSESSIONID");
    let value = found.as_ref().map_or("dummy", |cookie| cookie.value());
    if let Ok(cookie) = HeaderValue::from_str(&format!("JSESSIONID={value}; path=/")) {
        headers.append(SET_COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_another_origin_is_named_and_a_star_has_no_credentials() {
        let answer = |origin: Option<&'static str>, asked: &[&'static str]| {
            let (mut headers, mut request) = (HeaderMap::new(), HeaderMap::new());
            for names in asked {
                put(&mut request, ACCESS_CONTROL_REQUEST_HEADERS, names);
            }
            let origin = origin.map(HeaderValue::from_static);
            share(&mut headers, &request, origin.as_ref());
            let get = |name: HeaderName| headers.get(name).cloned();
            (
                get(ACCESS_CONTROL_ALLOW_ORIGIN),
                get(ACCESS_CONTROL_ALLOW_CREDENTIALS),
                get(ACCESS_CONTROL_ALLOW_HEADERS),
            )
        };
        let value = |text| Some(HeaderValue::from_static(text));
        assert_eq!(answer(None, &[]), (value("*"), None, None));
        assert_eq!(
            answer(Some("null"), &[""]),
            (value("null"), value("true"), None)
        );
        assert_eq!(
            answer(Some("http://a.b"), &["a, b, c"]),
            (value("http://a.b"), value("true"), value("a, b, c"))
        );
    }

    #[test]
    fn the_balancers_cookie_is_echoed_or_says_nothing() {
        let check = |cookies: &'static str, expected: &str| {
            let (mut headers, mut request) = (HeaderMap::new(), HeaderMap::new());
            put(&mut request, COOKIE, cookies);
            balancers_cookie(&mut headers, &request);
            assert_eq!(headers[SET_COOKIE], expected);
        };
        check("", "JSESSIONID=dummy; path=/");
        check("a=b; JSESSIONID=abcdef", "JSESSIONID=abcdef; path=/");
        check("XJSESSIONID=abcdef", "JSESSIONID=dummy; path=/");
    }
}
