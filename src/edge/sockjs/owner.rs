//! Who may speak for a session: the one who opened it.
//!
//! Not here: identities. Invariant: knowing the name of a session is not enough to receive what is
//! meant for it, or to speak in it.
//!
//! A client that keeps cookies is known by the secret one that its handshake set, from the first
//! request that brings it back, wherever the request comes from: people move between networks. A
//! client that keeps none is known by its network, an IPv4 address or an IPv6 /64.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::header::HeaderValue;
use subtle::ConstantTimeEq as _;

use crate::budget::{Claimant, Lease, Memory};
use crate::edge::charges::SocketCharge;
use crate::model::{Network, Problem};

/// Who sends a request.
#[derive(Clone)]
pub(super) struct Caller {
    /// Its address.
    pub(super) address: IpAddr,
    /// The network that it comes from.
    pub(super) network: Network,
    /// Whose share of the node's memory it draws on.
    pub(super) claimant: Claimant,
    /// The socket that the request came by, which ends when the memory of the request is taken away.
    pub(super) socket: Option<Arc<SocketCharge>>,
    /// The secret cookie that it brings.
    pub(super) secret: Option<String>,
    /// The page that sends it.
    pub(super) origin: Option<HeaderValue>,
    /// The refusal of that page, if it may not talk to this endpoint.
    pub(super) refused: Option<Box<Problem>>,
}

impl Caller {
    /// Somebody at this address, of whom nothing else is known.
    pub(super) fn at(address: IpAddr) -> Self {
        Self {
            address,
            network: Network::of(address),
            claimant: Claimant::stranger(Network::of(address)),
            socket: None,
            secret: None,
            origin: None,
            refused: None,
        }
    }

    /// A lease of nothing yet for this request.
    pub(super) fn lease(&self, memory: &Memory) -> Lease {
        let mut lease = memory.lease(&self.claimant);
        if let Some(socket) = &self.socket {
            lease.set_evictable(socket.whose());
        }
        lease
    }
}

impl std::fmt::Debug for Caller {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller")
            .field("network", &self.network)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

/// The one who opened a session.
pub(super) struct Owner {
    network: Network,
    secret: Option<String>,
    /// Whether the secret came back, so that the network counts no more.
    is_proven: bool,
}

impl std::fmt::Debug for Owner {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Owner")
            .field("is_proven", &self.is_proven)
            .finish_non_exhaustive()
    }
}

impl Owner {
    /// The caller, and the secret that his own answer gives him unless he has one.
    pub(super) fn new(caller: &Caller, given: Option<String>) -> Self {
        Self {
            network: caller.network,
            is_proven: caller.secret.is_some(),
            secret: caller.secret.clone().or(given),
        }
    }

    /// Whether this request may speak for the session.
    pub(super) fn admits(&mut self, caller: &Caller) -> bool {
        if let (Some(own), Some(brought)) = (&self.secret, &caller.secret)
            && bool::from(own.as_bytes().ct_eq(brought.as_bytes()))
        {
            self.is_proven = true;
            return true;
        }
        !self.is_proven && self.network == caller.network
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(address: &str, secret: Option<&str>) -> Caller {
        let mut caller = Caller::at(address.parse().unwrap());
        caller.secret = secret.map(str::to_owned);
        caller
    }

    #[test]
    fn a_client_without_cookies_is_known_by_its_network() {
        let mut owner = Owner::new(&caller("192.0.2.1", None), None);
        assert!(owner.admits(&caller("192.0.2.1", None)));
        assert!(!owner.admits(&caller("192.0.2.2", None)));
        let mut owner = Owner::new(&caller("2001:db8::1", None), None);
        assert!(owner.admits(&caller("2001:db8::ffff", None)));
        assert!(!owner.admits(&caller("2001:db8:1::1", None)));
    }

    #[test]
    fn a_client_with_a_cookie_moves_between_networks_and_its_neighbours_stay_out() {
        let mut owner = Owner::new(&caller("192.0.2.1", Some("a")), None);
        assert!(owner.admits(&caller("198.51.100.7", Some("a"))));
        assert!(!owner.admits(&caller("192.0.2.1", Some("b"))));
        assert!(!owner.admits(&caller("192.0.2.1", None)));
    }

    #[test]
    fn a_cookie_counts_from_the_first_request_that_brings_it_back() {
        let given = || Some("a".to_owned());
        let mut owner = Owner::new(&caller("192.0.2.1", None), given());
        assert!(!owner.admits(&caller("198.51.100.7", None)));
        assert!(!owner.admits(&caller("198.51.100.7", Some("b"))));
        assert!(owner.admits(&caller("192.0.2.1", None)));
        assert!(owner.admits(&caller("192.0.2.1", Some("a"))));
        assert!(!owner.admits(&caller("192.0.2.1", None)));
        assert!(!owner.admits(&caller("192.0.2.1", Some("b"))));
        assert!(owner.admits(&caller("198.51.100.7", Some("a"))));
    }
}
