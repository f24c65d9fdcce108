//! From a request to an open WebSocket, for the places of SockJS.
//!
//! Not here: frames. Invariant: what is no proper request for a WebSocket gets the words of SockJS.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::HeaderValue;
use axum::http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;

use super::answers;
use crate::edge::handshake::{self, Offer, Opening};
use crate::edge::settings::MessageKind;
use crate::edge::websocket::{self, Messages, WebSocket};

/// What becomes a WebSocket once the answer is written.
#[derive(Debug)]
pub(super) struct Upgrade {
    upgrade: OnUpgrade,
    accept: String,
    subprotocol: Option<&'static str>,
}

/// Reads the request.
pub(super) fn asked(request: &mut Request) -> Result<Upgrade, Box<Response<Body>>> {
    let opening = handshake::open(request.method(), request.version(), request.headers());
    let words = match opening {
        Opening::WebSocket(Offer {
            accept,
            subprotocol,
            ..
        }) => {
            let upgrade = hyper::upgrade::on(request);
            return Ok(Upgrade {
                upgrade,
                accept,
                subprotocol: subprotocol.map(|(name, _)| name),
            });
        }
        Opening::Ordinary => "Can \"Upgrade\" only to \"WebSocket\".",
        Opening::OtherVersion => "Only version 13 of WebSocket is spoken here.",
        Opening::Broken(_) => "\"Connection\" must be \"Upgrade\", and the handshake whole.",
    };
    Err(Box::new(answers::text(StatusCode::BAD_REQUEST, words)))
}

impl Upgrade {
    /// The answer.
    pub(super) fn answer(&self, set_cookie: Option<HeaderValue>) -> Response<Body> {
        websocket::switching(&self.accept, self.subprotocol, set_cookie)
    }

    /// Waits until the answer is written. `None` when the client is gone.
    pub(super) async fn open(self, message_bytes_max: usize) -> Option<Box<WebSocket>> {
        let kind = MessageKind::Auto;
        websocket::upgraded(self.upgrade, message_bytes_max, kind, Messages::Whole).await
    }
}
