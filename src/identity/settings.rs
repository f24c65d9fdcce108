//! The settings of anonymous identity, with the defaults of the documentation.
//!
//! Not here: where they are read from (`node`).

use std::sync::Arc;
use std::time::Duration;

use super::decision::Mode;
use crate::budget::Multiples;
use crate::model::UnixMillis;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Whether a fingerprint may open a loose identity (`ANON_RECOGNITION`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recognition {
    /// `hint`: it may.
    #[default]
    Hint,
    /// `token`: a fingerprint never opens anything.
    Token,
}

/// How visitors are treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VisitorSettings {
    /// `ANON_RECOGNITION`.
    pub mode: Recognition,
    /// `ANON_ENABLED`: whether there are visitors at all.
    pub enabled: bool,
    /// `ANON_TOKEN_TTL`: how long a secret lives after it was last presented.
    pub token_ttl: Duration,
    /// `ANON_HINT_TTL`: how long after it was last seen a loose identity is recognised. Location
    /// forgets fingerprints after an hour, so a longer time has no effect.
    pub hint_ttl: Duration,
    /// `VISITORS_PER_NETWORK`: new visitors of an IPv4 address or an IPv6 /64 in ten minutes, half of
    /// them at once; a /56 has half as many more, a /48 twice as many. Zero switches the limit off.
    pub per_network: u32,
    /// `NETWORK_LIMITS`: networks with larger limits than others.
    pub multiples: Arc<Multiples>,
    /// Until then visitors of whom nothing is stored may still be coming back to a node that was restarted
    /// and has forgotten where they are.
    pub returning_until: UnixMillis,
}

impl Default for VisitorSettings {
    fn default() -> Self {
        Self {
            mode: Recognition::Hint,
            enabled: true,
            token_ttl: 30 * DAY,
            hint_ttl: Duration::from_secs(60 * 60),
            per_network: 10_000,
            multiples: Arc::default(),
            returning_until: UnixMillis::default(),
        }
    }
}

impl VisitorSettings {
    /// The two switches as the decision needs them.
    #[must_use]
    pub fn decision_mode(&self) -> Mode {
        match (self.enabled, self.mode) {
            (false, _) => Mode::Disabled,
            (true, Recognition::Hint) => Mode::Hint,
            (true, Recognition::Token) => Mode::Token,
        }
    }
}
