//! What an endpoint says whoever asks: the greeting, what it can do, the page of the iframe.
//!
//! Invariant: the page of the iframe runs its own script and the client's and nothing else, and only
//! pages that may talk to this server may hold it.

use axum::body::Body;
use axum::http::header::{
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH,
};
use axum::http::{Response, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::answers;
use super::settings::SockJsSettings;
use crate::sockjs::{IFRAME_SCRIPT, iframe_page};

/// The base itself.
pub(super) fn greeting() -> Response<Body> {
    answers::text(StatusCode::OK, "Welcome to SockJS!\n")
}

/// What the endpoint can do, with 32 random bits for clients that have no good source of their own.
pub(super) fn info(settings: &SockJsSettings) -> Response<Body> {
    let Ok(entropy) = getrandom::u32() else {
        let words = "There are no random bits.\n";
        return answers::text(StatusCode::INTERNAL_SERVER_ERROR, words);
    };
    let info = serde_json::json!({
        "websocket": settings.websocket,
        "cookie_needed": settings.cookie_needed,
        "origins": ["*:*"],
        "entropy": entropy,
    });
    let mut response = Response::new(Body::from(info.to_string()));
    let json = HeaderValue::from_static("application/json; charset=UTF-8");
    response.headers_mut().insert(CONTENT_TYPE, json);
    answers::not_cached(response.headers_mut());
    response
}

/// The page of the iframe with what its answer says of it.
#[derive(Debug)]
pub(super) struct IframePage {
    text: String,
    etag: HeaderValue,
    policy: HeaderValue,
    parts_policy: HeaderValue,
}

impl IframePage {
    /// The page for pages of these origins, as a content security policy lists them.
    pub(super) fn new(client_url: &str, ancestors: &str) -> Self {
        let text = iframe_page(client_url);
        let etag = format!("\"{}\"", &STANDARD.encode(Sha256::digest(&text))[..22]);
        let own = STANDARD.encode(Sha256::digest(IFRAME_SCRIPT));
        // A path of this server is covered by 'self'.
        let client = match client_url.starts_with('/') {
            true => "",
            false => client_url,
        };
        let policy = format!(
            "default-src 'none'; script-src 'self' 'sha256-{own}' {client}; connect-src 'self'; \
             frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors {ancestors}"
        );
        // Whose callback is checked and whose frames are quoted for scripts.
        let parts = format!(
            "default-src 'none'; script-src 'unsafe-inline'; base-uri 'none'; \
             frame-ancestors {ancestors}"
        );
        let value = |text: &str| {
            HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("default-src 'none'"))
        };
        Self {
            etag: value(&etag),
            policy: value(&policy),
            parts_policy: value(&parts),
            text,
        }
    }

    /// The policy of a page that comes in parts (the transport htmlfile): only the page around it
    /// calls its scripts, and it loads nothing.
    pub(super) fn policy_of_parts(&self) -> HeaderValue {
        self.parts_policy.clone()
    }

    /// The page, or that it is still the same.
    pub(super) fn answer(&self, request: &HeaderMap) -> Response<Body> {
        let is_known = request.get(IF_NONE_MATCH) == Some(&self.etag);
        let mut response = Response::default();
        let headers = response.headers_mut();
        headers.insert(ETAG, self.etag.clone());
        answers::cached(headers);
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        let html = HeaderValue::from_static("text/html; charset=UTF-8");
        headers.insert(CONTENT_TYPE, html);
        headers.insert(CONTENT_SECURITY_POLICY, self.policy.clone());
        *response.body_mut() = Body::from(self.text.clone());
        response
    }
}
