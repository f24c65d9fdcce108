//! `X-Forwarded-For` and `X-Forwarded-Proto` from a peer that is not trusted: most likely a
//! proxy that is missing in TRUSTED_PROXIES.
//!
//! Not here: what a trusted proxy says (`peer`). Invariant: what such a header says is never believed, each
//! peer is logged at most once a minute, and at most [`PEERS_MAX`] of them are remembered.
//!
//! All clients behind such a proxy are one network for every limit, which shows as refusals that nobody
//! understands. Pages that came by https to a proxy are foreign to a server that believes it is asked by http.
//! Anybody can send the headers, so the log is bounded.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::{FORWARDED, HeaderName};
use tokio::time::Instant;

use super::address::AddressLog;

/// The headers of proxies.
static HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-proto"),
    FORWARDED,
];

/// For how long a peer is not logged again.
const PAUSE: Duration = Duration::from_secs(60);

/// How many peers are remembered; others are counted and not logged.
const PEERS_MAX: usize = 64;

/// The peers that were logged lately.
#[derive(Debug, Default)]
pub(super) struct Unbelieved {
    /// A std mutex: held for a look-up.
    logged: Mutex<HashMap<IpAddr, Instant>>,
}

impl Unbelieved {
    /// A peer that is no trusted proxy has sent these headers.
    pub(super) fn note(&self, peer: IpAddr, headers: &HeaderMap, shown: AddressLog) {
        if !HEADERS.iter().any(|name| headers.contains_key(name)) {
            return;
        }
        metrics::counter!("forwarded_headers_ignored_total").increment(1);
        if self.is_to_be_logged(peer) {
            // A proxy mostly has a private address, and the setting needs all of it. A public one may be a client's.
            let shown = match is_private(peer) {
                true => peer.to_string(),
                false => shown.show(peer).to_string(),
            };
            tracing::warn!(
                peer = %shown,
                "X-Forwarded-For and X-Forwarded-Proto are ignored, because this peer is not in \
                 TRUSTED_PROXIES. If it is your proxy, add its address there: until then all clients \
                 behind it count as one network and share its limits, and pages that came by https are \
                 refused"
            );
        }
    }

    fn is_to_be_logged(&self, peer: IpAddr) -> bool {
        let now = Instant::now();
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.get(&peer).is_some_and(|at| now - *at < PAUSE) {
            return false;
        }
        if logged.len() >= PEERS_MAX {
            logged.retain(|_, at| now - *at < PAUSE);
        }
        let has_room = logged.len() < PEERS_MAX;
        if has_room {
            logged.insert(peer, now);
        }
        has_room
    }
}

/// Whether an address is of this machine or of a network of one's own (RFC 1918, 4193, 6598).
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let is_shared = matches!(v4.octets(), [100, 64..=127, ..]);
            v4.is_loopback() || v4.is_private() || is_shared
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_peer_is_logged_once_a_minute_and_few_are_remembered() {
        let unbelieved = Unbelieved::default();
        let peer = |number: u32| IpAddr::from(number.to_be_bytes());
        assert!(unbelieved.is_to_be_logged(peer(1)));
        assert!(!unbelieved.is_to_be_logged(peer(1)));
        let logged = (2..1_000).filter(|number| unbelieved.is_to_be_logged(peer(*number)));
        assert_eq!(logged.count(), PEERS_MAX - 1);
        tokio::time::advance(PAUSE).await;
        assert!(unbelieved.is_to_be_logged(peer(1)));
        assert!(unbelieved.is_to_be_logged(peer(5_000)));
        assert!(unbelieved.logged.lock().unwrap().len() <= PEERS_MAX);
    }
}
