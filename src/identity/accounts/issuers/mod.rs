//! Tokens of a site's own users: whom they speak for here.
//!
//! Not here: our own tokens (`jwt`). Invariant: a site speaks for its own users only: what looks like
//! an address of ours is not taken from it, and with several sites each has its own prefix.

use std::time::Duration;

use quick_cache::sync::Cache;

use super::jwt::refused;
use crate::model::{Kind, Problem, UnixMillis, UserId};

/// How many users of sites are remembered as known to the store.
const ADMITTED_MAX: usize = 10_000;

/// Where an issuer's keys are.
#[derive(Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A secret that both know: HS256.
    Secret(Vec<u8>),
    /// A JWK set, as it stands in a file.
    Jwks(String),
    /// A JWK set behind a URL.
    JwksUrl(String),
    /// Each token is asked about there (RFC 7662), with this secret.
    Introspect {
        /// Where.
        url: String,
        /// As whom.
        secret: String,
    },
}

impl std::fmt::Debug for KeySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Secret(_) => "Secret",
            Self::Jwks(_) => "Jwks",
            Self::JwksUrl(_) => "JwksUrl",
            Self::Introspect { .. } => "Introspect",
        })
    }
}

/// What is known of an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerSettings {
    /// What it is called here.
    pub name: String,
    /// The claim `iss` of its tokens; empty for one that is asked about each token.
    pub iss: String,
    /// The claim `aud` of its tokens; empty for one that is asked.
    pub aud: String,
    /// Where its keys are.
    pub keys: KeySource,
    /// The claim with roles.
    pub roles_claim: String,
    /// The claim with the name.
    pub name_claim: String,
    /// Whether it may say who looks after this service.
    pub may_make_admins: bool,
}

/// An issuer cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidIssuer(pub String);

/// Whom a site's token speaks for.
pub(super) struct SiteUser {
    pub(super) user_id: UserId,
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) expires_at: UnixMillis,
}

/// The issuers whose tokens are taken.
#[derive(Debug, Default)]
pub struct Issuers {}

impl Issuers {
    /// These issuers.
    ///
    /// # Errors
    /// When one cannot be used.
    pub fn new(_settings: &[IssuerSettings], _leeway: Duration) -> Result<Self, InvalidIssuer> {
        Ok(Self {})
    }

    #[expect(clippy::unused_async, reason = "it asks sites")]
    pub(super) async fn read(&self, _token: &str, _now: UnixMillis) -> Result<SiteUser, Problem> {
        Err(refused())
    }
}

/// The users of sites that the store knows, so that it is not asked at each request.
#[derive(Debug)]
pub(super) struct Admitted(Cache<UserId, String>);

impl Admitted {
    pub(super) fn new() -> Self {
        Self(Cache::new(ADMITTED_MAX))
    }

    pub(super) fn knows(&self, user: &UserId, name: &str) -> bool {
        self.0.get(user).is_some_and(|known| known == name)
    }

    pub(super) fn note(&self, user: &UserId, name: &str) {
        self.0.insert(user.clone(), name.to_owned());
    }
}
