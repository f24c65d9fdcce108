//! The page at `/` and its files, compiled into the binary.
//!
//! Not here: the files (`web/`), how they are gathered (`build.rs`). Invariant: nothing is loaded
//! from another host, and the policy that the page is served with forbids it.

use axum::body::Body;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HOST, HeaderMap, HeaderValue,
    IF_NONE_MATCH,
};
use axum::http::{Response, StatusCode};
use bytes::Bytes;

/// A file of the page.
struct Asset {
    /// Its path on the server.
    path: &'static str,
    content_type: &'static str,
    /// Changes when the content does.
    etag: &'static str,
    content: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// The paths of all files, for the router.
pub(super) fn paths() -> impl Iterator<Item = &'static str> {
    ASSETS.iter().map(|asset| asset.path)
}

/// Whether the build found STOMP.js. Without it the broker is whole and the page says what to do.
pub(super) fn is_complete() -> bool {
    paths().any(|path| path == STOMP_JS)
}

/// Where the page looks for STOMP.js.
const STOMP_JS: &str = "/assets/stomp.umd.min.js";

/// The answer to a GET of one of the paths.
pub(super) fn serve(path: &str, headers: &HeaderMap) -> Option<Response<Body>> {
    let asset = ASSETS.iter().find(|asset| asset.path == path)?;
    let known = headers.get(IF_NONE_MATCH).map(HeaderValue::as_bytes);
    let mut response = Response::new(Body::empty());
    match known == Some(asset.etag.as_bytes()) {
        true => *response.status_mut() = StatusCode::NOT_MODIFIED,
        false => *response.body_mut() = Body::from(Bytes::from_static(asset.content)),
    }
    let answer = response.headers_mut();
    answer.insert(CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    answer.insert(ETAG, HeaderValue::from_static(asset.etag));
    // Kept, but asked for again each time: a new build is seen at once.
    answer.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Some(policy) = policy(headers) {
        answer.insert(CONTENT_SECURITY_POLICY, policy);
    }
    Some(response)
}

/// Everything from here, nothing from elsewhere, nothing inline. The WebSocket is named because
/// not every browser counts it as 'self'.
fn policy(headers: &HeaderMap) -> Option<HeaderValue> {
    let host = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b);
    let sockets = match !host.is_empty() && host.bytes().all(plain) {
        true => format!(" ws://{host} wss://{host}"),
        false => String::new(),
    };
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
         font-src 'self'; manifest-src 'self'; connect-src 'self'{sockets}; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_may_load_nothing_from_elsewhere() {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("chat.example:8080"));
        let response = serve("/", &headers).unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let policy = response.headers()[CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap();
        assert!(policy.contains("ws://chat.example:8080"), "{policy}");
        assert!(
            !policy.contains("unsafe") && !policy.contains('*'),
            "{policy}"
        );
        headers.insert(HOST, HeaderValue::from_static("evil; script-src *"));
        let policy = policy_text(&headers);
        assert!(!policy.contains("evil"), "{policy}");
        for asset in ASSETS.iter().filter(|asset| asset.path != STOMP_JS) {
            let text = String::from_utf8_lossy(asset.content);
            for foreign in ["https://cdn", "//unpkg", "//cdnjs", "fonts.googleapis"] {
                assert!(
                    !text.contains(foreign),
                    "{} loads from {foreign}",
                    asset.path
                );
            }
        }
    }

    fn policy_text(headers: &HeaderMap) -> String {
        policy(headers).unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn a_file_that_is_known_is_not_sent_again() {
        let mut headers = HeaderMap::new();
        let response = serve("/assets/main.js", &headers).unwrap();
        headers.insert(IF_NONE_MATCH, response.headers()[ETAG].clone());
        let response = serve("/assets/main.js", &headers).unwrap();
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
        assert!(serve("/assets/../Cargo.toml", &headers).is_none());
    }

    #[tokio::test]
    async fn answers_share_the_bytes_of_a_file() {
        for asset in ASSETS {
            let response = serve(asset.path, &HeaderMap::new()).unwrap();
            let body = axum::body::to_bytes(response.into_body(), usize::MAX).await;
            let body = body.unwrap();
            assert_eq!(body.as_ptr(), asset.content.as_ptr(), "{}", asset.path);
        }
    }
}
