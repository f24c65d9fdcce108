//! What rates refuse, as an operator sees it: a counter, and one line a minute in the log.
//!
//! Not here: what a rate is (`policy::bucket`), what the client is told. Invariant: however many clients are refused, a rate
//! writes one line a minute, which names the settings and no whole address.

use std::time::Instant;

use crate::model::{EveryMinute, Network};

/// Of whom a rate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateOf {
    /// One user, or one session.
    User,
    /// All clients of a network.
    Network,
}

/// A rate of clients.
#[derive(Debug)]
pub struct RefusedRate {
    of: RateOf,
    name: &'static str,
    settings: &'static str,
    lines: EveryMinute,
}

/// Messages of one user.
pub static USER_MESSAGES: RefusedRate = RefusedRate::new(
    RateOf::User,
    "user_messages",
    "RATE_ANON_PER_MIN, RATE_AUTH_PER_MIN, RATE_BURST",
);
/// Messages of a network.
pub static NETWORK_MESSAGES: RefusedRate = RefusedRate::new(
    RateOf::Network,
    "network_messages",
    "RATE_NET_PER_MIN, RATE_NET_BURST, or NETWORK_LIMITS for that network",
);
/// Frames of one session.
pub static SESSION_FRAMES: RefusedRate =
    RefusedRate::new(RateOf::User, "session_frames", "CLIENT_FRAMES_PER_10S");
/// CONNECTs of a network.
pub static NETWORK_CONNECTS: RefusedRate = RefusedRate::new(
    RateOf::Network,
    "network_connects",
    "CONNECT_PER_NET, CONNECT_BURST, or NETWORK_LIMITS for that network",
);
/// New visitors of a network.
pub static NETWORK_VISITORS: RefusedRate = RefusedRate::new(
    RateOf::Network,
    "network_visitors",
    "VISITORS_PER_NETWORK, or NETWORK_LIMITS for that network",
);
/// Sign-ins and registrations of a network.
pub static NETWORK_SIGN_INS: RefusedRate = RefusedRate::new(
    RateOf::Network,
    "network_sign_ins",
    "LOGIN_PER_NET, REGISTER_PER_NET, or NETWORK_LIMITS for that network",
);
/// Requests of one user.
pub static USER_REQUESTS: RefusedRate = RefusedRate::new(
    RateOf::User,
    "user_requests",
    "HTTP_PER_MIN, HTTP_AUTH_PER_MIN",
);
/// Requests of a network.
pub static NETWORK_REQUESTS: RefusedRate = RefusedRate::new(
    RateOf::Network,
    "network_requests",
    "HTTP_PER_NET, HTTP_AUTH_PER_NET, or NETWORK_LIMITS for that network",
);

impl RefusedRate {
    const fn new(of: RateOf, name: &'static str, settings: &'static str) -> Self {
        Self {
            of,
            name,
            settings,
            lines: EveryMinute::new(),
        }
    }

    /// Of whom it is.
    #[must_use]
    pub fn of(&self) -> RateOf {
        self.of
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
