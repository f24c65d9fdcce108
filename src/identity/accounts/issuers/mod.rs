//! Tokens of a site's own users: whom they speak for here.
//!
//! Not here: our own tokens (`jwt`). Invariant: a token is read by the one issuer that its `iss`
//! names, with that issuer's keys and their algorithms; a site speaks for its own users only.

mod claims;
mod introspect;
mod keyset;
mod spec;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey};
use quick_cache::sync::Cache;
use serde::Deserialize;

pub use spec::{IssuerSpec, KeyPlace, read_issuers};

use self::claims::{SiteClaims, site_user};
use self::introspect::Asked;
use self::keyset::{KeySet, PublicKey, RemoteKeys};
use super::fetch::{Fetch, may_be_asked};
use super::jwt::{TOKEN_BYTES_MAX, read_header, refused, verify, within};
use crate::model::{Code, Kind, Problem, UnixMillis, UserId};

/// How many users of sites are remembered as known to the store.
const ADMITTED_MAX: usize = 10_000;

/// The shortest secret, in octets.
const SECRET_MIN: usize = 32;

/// Where an issuer's keys are.
#[derive(Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A secret that both know: HS256.
    Secret(Vec<u8>),
    /// A JWK set, as it stands in a file.
    Jwks(Vec<u8>),
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
    /// Without the secret.
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
#[derive(Clone)]
pub(super) struct SiteUser {
    pub(super) user_id: UserId,
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) expires_at: UnixMillis,
}

/// The issuers whose tokens are taken.
#[derive(Default)]
pub struct Issuers {
    all: Vec<(IssuerSettings, Keys)>,
    leeway: Duration,
}

/// An issuer's keys, ready for use.
enum Keys {
    Secret(DecodingKey),
    Known(KeySet),
    Remote(RemoteKeys),
    Asked(Asked),
}

impl std::fmt::Debug for Issuers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.all.iter().map(|(settings, _)| &settings.name);
        f.debug_list().entries(names).finish()
    }
}

/// Which issuer a token says that it is of: not believed, only looked up by.
#[derive(Deserialize)]
struct Claimed {
    iss: String,
}

impl Issuers {
    /// These issuers.
    ///
    /// # Errors
    /// When one cannot be used, with what is allowed.
    pub fn new(settings: &[IssuerSettings], leeway: Duration) -> Result<Self, InvalidIssuer> {
        let fetch = Fetch::new();
        let mut all: Vec<(IssuerSettings, Keys)> = Vec::with_capacity(settings.len());
        for one in settings {
            let is_twice = |other: &(IssuerSettings, Keys)| {
                let same_iss = !one.iss.is_empty() && other.0.iss == one.iss;
                other.0.name == one.name || same_iss
            };
            if all.iter().any(is_twice) {
                let words = format!("{}: this name or iss is there twice", one.name);
                return Err(InvalidIssuer(words));
            }
            let keys = keys_of(one, &fetch).map_err(|words| {
                let words = format!("{}: {words}", one.name);
                InvalidIssuer(words)
            })?;
            all.push((one.clone(), keys));
        }
        Ok(Self { all, leeway })
    }

    /// Whom a token speaks for.
    pub(super) async fn read(&self, token: &str, now: UnixMillis) -> Result<SiteUser, Problem> {
        if token.len() > TOKEN_BYTES_MAX || self.all.is_empty() {
            return Err(refused());
        }
        let claimed = jsonwebtoken::dangerous::insecure_decode_claims::<Claimed>(token);
        let iss = claimed.ok().map(|claimed| claimed.iss);
        let is_named = |settings: &IssuerSettings| iss.as_deref() == Some(settings.iss.as_str());
        let named = self.all.iter().find(|(settings, _)| is_named(settings));
        // One that is asked about tokens need not say whose they are.
        let asked = || {
            self.all
                .iter()
                .find(|(settings, _)| settings.iss.is_empty())
        };
        let (settings, keys) = named.or_else(asked).ok_or_else(refused)?;
        let is_only = self.all.len() == 1;
        let Some((key, algorithm)) = self.key(keys, token, now).await? else {
            let Keys::Asked(asked) = keys else {
                return Err(refused());
            };
            return asked.read(settings, is_only, token, now).await;
        };
        let claims: SiteClaims = verify(token, &key, algorithm)?;
        if !claims.are_of(settings) {
            return Err(refused());
        }
        let expires_at = within(&claims.times(), now, self.leeway)?;
        site_user(settings, is_only, &claims.sub, &claims.others, expires_at)
    }

    /// The key that a token is verified with; `None` of an issuer that is asked.
    async fn key(
        &self,
        keys: &Keys,
        token: &str,
        now: UnixMillis,
    ) -> Result<Option<(DecodingKey, Algorithm)>, Problem> {
        let found = |key: &PublicKey| (key.key.clone(), key.algorithm);
        let header = read_header(token);
        let kid = header.as_ref().and_then(|header| header.kid.as_deref());
        let key = match keys {
            Keys::Asked(_) => return Ok(None),
            Keys::Secret(key) => header.as_ref().map(|_| (key.clone(), Algorithm::HS256)),
            Keys::Known(set) => header.as_ref().and_then(|_| set.find(kid)).map(found),
            Keys::Remote(remote) => {
                if header.is_none() {
                    return Err(refused());
                }
                let set: Option<Arc<KeySet>> = remote.keys(kid, now).await;
                let set = set.ok_or_else(away)?;
                set.find(kid).map(found)
            }
        };
        key.ok_or_else(refused).map(Some)
    }
}

fn keys_of(settings: &IssuerSettings, fetch: &Fetch) -> Result<Keys, &'static str> {
    const PLACE: &str = "its URL must begin with https://, or name this machine with http://";
    let is_asked = matches!(settings.keys, KeySource::Introspect { .. });
    if !is_asked && (settings.iss.is_empty() || settings.aud.is_empty()) {
        return Err("iss= and aud= are needed, so that no token for another service is taken");
    }
    Ok(match &settings.keys {
        KeySource::Secret(secret) if secret.len() < SECRET_MIN => {
            return Err("its secret has fewer than 32 octets");
        }
        KeySource::Secret(secret) => Keys::Secret(DecodingKey::from_secret(secret)),
        KeySource::Jwks(octets) => {
            let set = KeySet::read(octets);
            Keys::Known(set.ok_or("its JWK set holds no RS256, ES256 or EdDSA key")?)
        }
        KeySource::JwksUrl(url) if !may_be_asked(url) => return Err(PLACE),
        KeySource::JwksUrl(url) => Keys::Remote(RemoteKeys::new(url.clone(), fetch.clone())),
        KeySource::Introspect { url, .. } if !may_be_asked(url) => return Err(PLACE),
        KeySource::Introspect { url, secret } => {
            Keys::Asked(Asked::new(url.clone(), secret.clone(), fetch.clone()))
        }
    })
}

/// The site that vouches for somebody does not answer.
fn away() -> Problem {
    Problem::new(
        Code::TryLater,
        "The site that you are signed in at does not answer; try again in a moment.",
    )
    .retry_after_ms(2_000)
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

    /// Somebody was forgotten: the store is asked again.
    pub(super) fn forget(&self, user: &UserId) {
        self.0.remove(user);
    }
}
