//! The cookie of a visitor who is gone, taken off a request before the handshake looks at it.
//!
//! Not here: when a visitor is gone (`identity`), the cookie that the handshake gives instead (`peer`).
//! Invariant: a cookie that still names a visitor is never taken away, and one of the last hour costs
//! nothing but the reading of its time.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::Method;
use axum::http::header::COOKIE;

use super::Edge;
use super::peer::{Peer, Requester};
use super::websocket;

/// The path of SockJS that a page asks for before it opens a session.
const INFO: &str = "/info";

/// Whether a page begins with this request. Only there a cookie is looked up: a request of an open SockJS session
/// brings the cookie as the secret of that session.
pub(super) fn begins(request: &Request, path: &str) -> bool {
    *request.method() == Method::GET && (path == INFO || websocket::is_asked_for(request.headers()))
}

/// Takes the cookie off a request with which a page begins if its visitor is gone. Asks the quota and the store, so
/// the request has had its turn before.
pub(super) async fn drop_if_over(edge: &Arc<Edge>, request: &mut Request) {
    let mut lines = request.headers().get_all(COOKIE).iter();
    let Some(header) = lines.next_back().and_then(|line| line.to_str().ok()) else {
        return;
    };
    let Some(peer) = request.extensions().get::<Arc<Peer>>() else {
        return;
    };
    let address = Requester::new(edge, peer, request.headers()).address;
    if edge.visitors.is_cookie_over(address, header).await {
        request.headers_mut().remove(COOKIE);
    }
}
