//! The settings of accounts, with the defaults of the documentation.
//!
//! Not here: where they are read from (`node`), the keys (`jwt`), a site's issuers (`issuers`).

use std::time::Duration;

use super::passwords::HashLimit;

const MINUTE: Duration = Duration::from_secs(60);

/// How accounts are treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountSettings {
    /// `REFRESH_TTL`: how long a refresh token can be used.
    pub refresh_ttl: Duration,
    /// `LOGIN_FAILURES`: wrong passwords for one account from one network in 15 minutes, and ten
    /// times as many from all networks; zero switches it off.
    pub failures: u32,
    /// `LOGIN_FAILURES_PER_NET`: wrong passwords from one network in 15 minutes; zero switches it
    /// off.
    pub failures_per_net: u32,
    /// `LOGIN_PER_NET`: sign-ins from one network in ten minutes; zero switches it off.
    pub logins_per_net: u32,
    /// `REGISTER_PER_NET`: new accounts and letters from one network in ten minutes; zero switches
    /// it off.
    pub registrations_per_net: u32,
    /// `ANON_TOKEN_TTL`: how long the secret of a visitor lives who came by a link.
    pub visitor_token_ttl: Duration,
    /// `PUBLIC_URL`: where people reach the service, without a `/` at the end; for links in letters.
    pub public_url: String,
    /// How many passwords are hashed at a time.
    pub hashes: HashLimit,
}

impl Default for AccountSettings {
    fn default() -> Self {
        Self {
            refresh_ttl: 7 * 24 * 60 * MINUTE,
            failures: 5,
            failures_per_net: 500,
            logins_per_net: 2_000,
            registrations_per_net: 300,
            visitor_token_ttl: 30 * 24 * 60 * MINUTE,
            public_url: "http://localhost:8080".to_owned(),
            hashes: HashLimit::of(u64::MAX),
        }
    }
}
