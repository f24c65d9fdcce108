//! Who is at the other end, as far as the socket and the request head tell.
//!
//! Not here: identities (`identity` makes one of the [`Handshake`]). Invariant: what a proxy says
//! of a client is believed only of a trusted proxy.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use axum::http::header::{HOST, HeaderName, HeaderValue, ORIGIN, USER_AGENT};

use super::Edge;
use super::admission::Permit;
use super::origin::{Asked, Verdict};
use crate::identity::Handshake;

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_GPC: HeaderName = HeaderName::from_static("sec-gpc");

/// A user agent is cut here before it is looked at.
const USER_AGENT_BYTES_MAX: usize = 512;

/// The other end of a socket. Every request on the socket finds it among its extensions.
#[derive(Debug)]
pub(super) struct Peer {
    /// Its address: the client's, or a proxy's.
    pub(super) address: SocketAddr,
    /// Whether it is one of the trusted proxies.
    pub(super) is_proxy: bool,
    /// Held for as long as the socket lives: the place among the sockets, and in its network.
    pub(super) _permits: (Permit, Option<Permit>),
}

/// The client that sent a request, and what it says of itself.
#[derive(Debug)]
pub(super) struct Requester<'a> {
    headers: &'a HeaderMap,
    /// Its address: the right-most hop that is no trusted proxy.
    pub(super) address: IpAddr,
    /// What the Origin rule says.
    pub(super) origin: Verdict,
    /// Whether it came by TLS.
    pub(super) secure: bool,
}

impl<'a> Requester<'a> {
    pub(super) fn new(edge: &Edge, peer: &Peer, headers: &'a HeaderMap) -> Self {
        let secure = peer.is_proxy
            && last(headers, &FORWARDED_PROTO)
                .is_some_and(|line| line.rsplit(',').next().map(str::trim) == Some("https"));
        let mut origins = headers.get_all(ORIGIN).iter();
        let asked = Asked {
            // Octets that are no text, and a second Origin, are as good as a foreign one.
            origin: origins.next().map(|first| match origins.next() {
                None => first.to_str().unwrap_or_default(),
                Some(_) => "",
            }),
            host: last(headers, &HOST),
            secure,
        };
        Self {
            headers,
            address: client_address(edge, peer, headers),
            origin: edge.origins.judge(asked),
            secure,
        }
    }

    /// The record from which a CONNECT gets its identity, and the cookie to be set.
    pub(super) fn handshake(&self, _edge: &Edge) -> (Handshake, Option<HeaderValue>) {
        let header = |name| last(self.headers, name);
        let same_site = header(&SEC_FETCH_SITE) == Some("same-origin");
        let agent = header(&USER_AGENT).unwrap_or_default();
        let handshake = Handshake {
            address: self.address,
            user_agent: agent[..agent.floor_char_boundary(USER_AGENT_BYTES_MAX)].to_owned(),
            from_page: self.origin.is_page() || (self.origin == Verdict::Absent && same_site),
            opted_out: header(&SEC_GPC) == Some("1"),
            cookie: None,
            cookie_presented: false,
        };
        (handshake, None)
    }
}

fn client_address(_edge: &Edge, peer: &Peer, _headers: &HeaderMap) -> IpAddr {
    peer.address.ip().to_canonical()
}

/// The last line of a header as text: the one that the nearest hop wrote.
fn last<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get_all(name).iter().next_back()?.to_str().ok()
}
