//! The opening handshake of WebSocket (RFC 6455 section 4.2), as a decision on the request head.
//!
//! Not here: who may connect (`origin`, `admission`), the upgrade itself (`websocket`). Pure.
//! Invariant: exactly one subprotocol is answered, one that was offered, or none.

use axum::http::header::{
    CONNECTION, HeaderMap, HeaderName, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::{Method, Version as HttpVersion};
use base64::Engine;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::identity::Token;
use crate::stomp::Version;

/// The subprotocols that we speak, the best first.
const SUBPROTOCOLS: [(&str, Version); 3] = [
    ("v12.stomp", Version::V1_2),
    ("v11.stomp", Version::V1_1),
    ("v10.stomp", Version::V1_0),
];

/// What the request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// A WebSocket, as it must be asked for.
    WebSocket(Offer),
    /// No WebSocket at all: an ordinary request.
    Ordinary,
    /// A WebSocket of a version that we do not speak; answer 426 with ours.
    OtherVersion,
    /// A broken handshake, with what is wrong.
    Broken(&'static str),
}

/// What comes with a proper request for a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    /// The value of `Sec-WebSocket-Accept`.
    pub(super) accept: String,
    /// The subprotocol to answer with, and the version that it stands for.
    pub(super) subprotocol: Option<(&'static str, Version)>,
    /// The secret of an entry `bearer.<token>`: a page can set no other header. Never answered.
    pub(super) bearer: Option<Token>,
}

/// Reads the head of a request.
pub(super) fn open(method: &Method, version: HttpVersion, headers: &HeaderMap) -> Opening {
    if !has_token(headers, &UPGRADE, "websocket") {
        return Opening::Ordinary;
    }
    if method != Method::GET || version != HttpVersion::HTTP_11 {
        return Opening::Broken("a WebSocket opens with GET and HTTP/1.1");
    }
    if !has_token(headers, &CONNECTION, "upgrade") {
        return Opening::Broken("the header 'Connection: Upgrade' is missing");
    }
    match headers
        .get(SEC_WEBSOCKET_VERSION)
        .map(|value| value.as_bytes())
    {
        Some(b"13") => {}
        Some(_) => return Opening::OtherVersion,
        None => return Opening::Broken("the header 'Sec-WebSocket-Version' is missing"),
    }
    let Some(key) = headers.get(SEC_WEBSOCKET_KEY).map(|value| value.as_bytes()) else {
        return Opening::Broken("the header 'Sec-WebSocket-Key' is missing");
    };
    let decoded = base64::engine::general_purpose::STANDARD.decode(key);
    if decoded.map(|nonce| nonce.len()) != Ok(16) {
        return Opening::Broken("'Sec-WebSocket-Key' is not 16 octets in base64");
    }
    Opening::WebSocket(Offer {
        accept: derive_accept_key(key),
        subprotocol: subprotocol(headers),
        bearer: bearer(headers),
    })
}

/// The secret among the offered subprotocols, the first if there are several.
fn bearer(headers: &HeaderMap) -> Option<Token> {
    tokens(headers, &SEC_WEBSOCKET_PROTOCOL)
        .find_map(|token| token.strip_prefix("bearer."))
        .filter(|token| !token.is_empty())
        .map(Token::new)
}

/// The best subprotocol that was offered, if we know any of them.
fn subprotocol(headers: &HeaderMap) -> Option<(&'static str, Version)> {
    SUBPROTOCOLS
        .into_iter()
        .find(|(name, _)| tokens(headers, &SEC_WEBSOCKET_PROTOCOL).any(|token| token == *name))
}

/// Whether a header that is a list has this element, in whatever case.
pub(super) fn has_token(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    tokens(headers, name).any(|token| token.eq_ignore_ascii_case(wanted))
}

/// The elements of a header that is a comma-separated list, over all its lines.
fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn opening(lines: &[(&'static str, &str)]) -> Opening {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        open(&Method::GET, HttpVersion::HTTP_11, &headers)
    }

    fn asked(protocols: &[&str]) -> Option<&'static str> {
        offered(protocols).subprotocol.map(|(name, _)| name)
    }

    fn offered(protocols: &[&str]) -> Offer {
        let mut lines = vec![
            ("upgrade", "WebSocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", KEY),
        ];
        lines.extend(
            protocols
                .iter()
                .map(|line| ("sec-websocket-protocol", *line)),
        );
        match opening(&lines) {
            Opening::WebSocket(offer) => {
                assert_eq!(offer.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
                offer
            }
            other @ (Opening::Ordinary | Opening::OtherVersion | Opening::Broken(_)) => {
                panic!("{other:?}")
            }
        }
    }

    #[test]
    fn the_highest_subprotocol_that_was_offered_is_chosen() {
        assert_eq!(asked(&[]), None);
        assert_eq!(asked(&["mqtt, wamp.2.json"]), None);
        assert_eq!(
            asked(&["v10.stomp, v12.stomp, v11.stomp"]),
            Some("v12.stomp")
        );
        assert_eq!(asked(&["mqtt,v10.stomp", "v11.stomp"]), Some("v11.stomp"));
        assert_eq!(asked(&["v10.stomp"]), Some("v10.stomp"));
        assert_eq!(asked(&["V12.STOMP"]), None);
    }

    #[test]
    fn a_secret_among_the_subprotocols_is_found_and_never_shown() {
        let check = |protocols: &[&str], name: Option<&str>, secret: Option<&str>| {
            let offer = offered(protocols);
            assert_eq!(offer.subprotocol.map(|(name, _)| name), name);
            assert_eq!(offer.bearer.as_ref().map(Token::reveal), secret);
            assert!(!format!("{offer:?}").contains("s3cret"), "{offer:?}");
        };
        check(
            &["v12.stomp, bearer.s3cret"],
            Some("v12.stomp"),
            Some("s3cret"),
        );
        check(&["bearer.s3cret"], None, Some("s3cret"));
        check(&["v10.stomp", "bearer."], Some("v10.stomp"), None);
        check(&["v10.stomp", "Bearer.s3cret"], Some("v10.stomp"), None);
    }

    #[test]
    fn what_is_no_handshake_is_told_apart() {
        let upgrade = ("upgrade", "websocket");
        let connection = ("connection", "upgrade");
        let version = ("sec-websocket-version", "13");
        assert_eq!(opening(&[]), Opening::Ordinary);
        assert_eq!(
            opening(&[("upgrade", "h2c"), connection]),
            Opening::Ordinary
        );
        assert_eq!(
            opening(&[upgrade, connection, ("sec-websocket-version", "8")]),
            Opening::OtherVersion
        );
        for broken in [
            &[upgrade, version][..],
            &[upgrade, connection],
            &[upgrade, connection, version],
            &[upgrade, connection, version, ("sec-websocket-key", "short")],
        ] {
            assert!(matches!(opening(broken), Opening::Broken(_)), "{broken:?}");
        }
    }
}
