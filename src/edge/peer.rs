//! Who is at the other end, as far as the socket and the request head tell.
//!
//! Not here: identities (`identity` makes one of the [`Handshake`]). Invariant: what a proxy says
//! of a client is believed only of a trusted proxy.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::{COOKIE, HOST, HeaderName, HeaderValue, ORIGIN, USER_AGENT};

use tokio::time::Instant;

use super::Edge;
use super::admission::Permit;
use super::charges::SocketCharge;
use super::origin::{Asked, Verdict};
use crate::identity::{Handshake, RandomUnavailable, VisitorCookies, client_address};
use crate::model::{Code, Problem};
use crate::turns::Busy;

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
static SEC_GPC: HeaderName = HeaderName::from_static("sec-gpc");

/// A user agent is cut here before it is looked at.
const USER_AGENT_BYTES_MAX: usize = 512;

/// How long the turn of a socket is good for a request.
const TURN_FOR: Duration = Duration::from_millis(10);

/// The other end of a socket. Every request on the socket finds it among its extensions.
#[derive(Debug)]
pub(super) struct Peer {
    /// Its address: the client's, or a proxy's. Behind a proxy that speaks the PROXY protocol, the
    /// one that it names.
    pub(super) address: SocketAddr,
    /// Whether it is one of the trusted proxies.
    pub(super) is_proxy: bool,
    /// Whether it came through our own TLS.
    pub(super) is_secure: bool,
    /// Whether the socket had its turn, until a request has taken it.
    pub(super) turn: Mutex<SocketTurn>,
    /// Whether bytes have come that wait for a turn.
    pub(super) waits_for_turn: AtomicBool,
    /// Its place among the sockets, held for as long as the socket lives.
    pub(super) place: Mutex<Option<Permit>>,
    /// Its part of the byte account, held as long.
    pub(super) charge: Arc<SocketCharge>,
}

/// What a request finds that comes on a socket.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum SocketTurn {
    /// It waits for a turn of its own.
    #[default]
    No,
    /// The socket had one then.
    At(Instant),
    /// It has waited for one for too long already.
    TooLate,
}

impl SocketTurn {
    pub(super) fn now() -> Self {
        Self::At(Instant::now())
    }

    fn is_good(self) -> bool {
        matches!(self, Self::At(at) if at.elapsed() < TURN_FOR)
    }
}

impl Peer {
    /// Whether a request that has come now has the turn of its socket. It has if it was there already: thousands of
    /// sockets that had their turns long ago may send their requests all at once.
    ///
    /// # Errors
    /// [`Busy`] if it has waited for too long before it was read.
    pub(super) fn take_turn(&self) -> Result<bool, Busy> {
        let taken = std::mem::take(&mut *self.lock_turn());
        match taken {
            SocketTurn::TooLate => Err(Busy),
            SocketTurn::No | SocketTurn::At(_) => Ok(taken.is_good()),
        }
    }

    /// Whether a request that comes now would have the turn of its socket.
    pub(super) fn has_turn(&self) -> bool {
        self.lock_turn().is_good()
    }

    /// What the request finds that comes next.
    pub(super) fn note_turn(&self, turn: SocketTurn) {
        *self.lock_turn() = turn;
    }

    /// Whether bytes have come that wait for a turn, which is not held against the client.
    pub(super) fn waits_for_turn(&self) -> bool {
        self.waits_for_turn.load(Relaxed)
    }

    fn lock_turn(&self) -> MutexGuard<'_, SocketTurn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives up what the socket holds as that of a proxy, once it is held as that of its client.
    pub(super) fn give_up(&self) {
        self.charge.shrink(u64::MAX);
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
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
    /// Whether the Origin would be this server's own if what the peer says of TLS were believed.
    is_behind_untrusted_tls: bool,
}

impl<'a> Requester<'a> {
    pub(super) fn new(edge: &Edge, peer: &Peer, headers: &'a HeaderMap) -> Self {
        let forwarded = last(headers, &FORWARDED_PROTO).filter(|_| peer.is_proxy);
        let secure = forwarded.map_or(peer.is_secure, |line| {
            line.rsplit(',').next().map(str::trim) == Some("https")
        });
        let hops = headers.get_all(&FORWARDED_FOR).iter();
        let forwarded: Vec<_> = hops.map(|line| line.to_str().unwrap_or_default()).collect();
        let trusted = &edge.settings.trusted_proxies;
        let mut origins = headers.get_all(ORIGIN).iter();
        let asked = Asked {
            // Octets that are no text, and a second Origin, are as good as a foreign one.
            origin: origins.next().map(|first| match origins.next() {
                None => first.to_str().unwrap_or_default(),
                Some(_) => "",
            }),
            host: only(headers, &HOST),
            secure,
        };
        let origin = edge.origins.judge(asked);
        let by_tls = Asked {
            secure: true,
            ..asked
        };
        Self {
            headers,
            address: client_address(peer.address.ip(), &forwarded, trusted),
            origin,
            secure,
            is_behind_untrusted_tls: origin == Verdict::Refused
                && !secure
                && !peer.is_proxy
                && last(headers, &FORWARDED_PROTO).is_some()
                && edge.origins.judge(by_tls) == Verdict::Same,
        }
    }

    /// The refusal of a page whose origin may not talk to this server, and what to do about it.
    pub(super) fn refused_origin(&self) -> Problem {
        let detail = match self.is_behind_untrusted_tls {
            true => {
                "The page came by https, but this server takes the request for http: it ignores X-Forwarded-Proto, \
                 because the proxy is not trusted. Add the address of the proxy to TRUSTED_PROXIES."
            }
            false => "Pages of this origin may not use this server. Add it to CORS_ORIGINS.",
        };
        Problem::new(Code::Forbidden, detail)
    }

    /// The origin of the page that has sent it, where that is this server's own.
    pub(super) fn own_page(&self) -> Option<&'a str> {
        let origin = self.headers.get(ORIGIN)?.to_str().ok();
        origin.filter(|_| self.origin == Verdict::Same)
    }

    /// The record from which a CONNECT gets its identity, and the cookie to be set. Cookies count
    /// only for pages that may talk to this server.
    pub(super) fn with_cookie(
        &self,
        cookies: &VisitorCookies,
    ) -> Result<(Handshake, Option<HeaderValue>), RandomUnavailable> {
        let mut handshake = self.without_cookie();
        if !handshake.from_page {
            return Ok((handshake, None));
        }
        let (value, presented) = cookies.cookie_for(last(self.headers, &COOKIE))?;
        let set_cookie = HeaderValue::from_str(&cookies.set_cookie(&value, self.secure)).ok();
        handshake.cookie = Some(value);
        handshake.cookie_presented = presented;
        Ok((handshake, set_cookie))
    }

    /// The same record for somebody who presents his secret himself.
    pub(super) fn without_cookie(&self) -> Handshake {
        let header = |name| last(self.headers, name);
        let same_site = header(&SEC_FETCH_SITE) == Some("same-origin");
        let agent = header(&USER_AGENT).unwrap_or_default();
        Handshake {
            address: self.address,
            user_agent: agent[..agent.floor_char_boundary(USER_AGENT_BYTES_MAX)].to_owned(),
            from_page: self.origin.is_page() || (self.origin == Verdict::Absent && same_site),
            opted_out: header(&SEC_GPC) == Some("1"),
            cookie: None,
            cookie_presented: false,
            presented: None,
        }
    }
}

/// A header that may come once, as text.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?;
    lines.next().is_none().then(|| first.to_str().ok())?
}

/// The last line of a header as text: the one that the nearest hop wrote.
fn last<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get_all(name).iter().next_back()?.to_str().ok()
}
