//! What rates refuse, as an operator sees it: a counter, and one line a minute in the log.
//!
//! Not here: what a rate is (`policy::bucket`), what the client is told. Invariant: however many clients are refused, a rate
//! writes one line a minute, which names the settings and no whole address.

use std::time::Instant;

use crate::model::{EveryMinute, Network};

/// A rate of clients.
#[derive(Debug)]
pub struct RefusedRate {
    name: &'static str,
    settings: &'static str,
    lines: EveryMinute,
}

/// Messages of one user.
pub static USER_MESSAGES: RefusedRate = RefusedRate::new(
    "user_messages",
    "RATE_ANON_PER_MIN, RATE_AUTH_PER_MIN, RATE_BURST",
);
/// Messages of a network.
pub static NETWORK_MESSAGES: RefusedRate = RefusedRate::new(
    "network_messages",
    "RATE_NET_PER_MIN, RATE_NET_BURST, or NETWORK_LIMITS for that network",
);
/// Frames of one session.
pub static SESSION_FRAMES: RefusedRate =
    RefusedRate::new("session_frames", "CLIENT_FRAMES_PER_10S");
/// CONNECTs of a network.
pub static NETWORK_CONNECTS: RefusedRate = RefusedRate::new(
    "network_connects",
    "CONNECT_PER_NET, CONNECT_BURST, or NETWORK_LIMITS for that network",
);
/// New visitors of a network.
pub static NETWORK_VISITORS: RefusedRate = RefusedRate::new(
    "network_visitors",
    "VISITORS_PER_NETWORK, or NETWORK_LIMITS for that network",
);
/// Sign-ins and registrations of a network.
pub static NETWORK_SIGN_INS: RefusedRate = RefusedRate::new(
    "network_sign_ins",
    "LOGIN_PER_NET, REGISTER_PER_NET, or NETWORK_LIMITS for that network",
);
/// Requests of one user.
pub static USER_REQUESTS: RefusedRate =
    RefusedRate::new("user_requests", "HTTP_PER_MIN, HTTP_AUTH_PER_MIN");
/// Requests of a network.
pub static NETWORK_REQUESTS: RefusedRate = RefusedRate::new(
    "network_requests",
    "HTTP_PER_NET, HTTP_AUTH_PER_NET, or NETWORK_LIMITS for that network",
);

impl RefusedRate {
    const fn new(name: &'static str, settings: &'static str) -> Self {
        Self {
            name,
            settings,
            lines: EveryMinute::new(),
        }
    }

    /// Its name in metrics and in the log.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// One more was refused. Writes the line when it is due.
    pub fn note(&self, network: Network) {
        metrics::counter!("rate_refused_total", "rate" => self.name).increment(1);
        if let Some(refused) = self.lines.due(Instant::now()) {
            tracing::warn!(
                rate = self.name,
                refused,
                last_of = %network.truncated(),
                "clients were refused, because they came faster than they may; see {}",
                self.settings
            );
        }
    }
}
