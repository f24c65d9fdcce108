//! Access tokens of this service: signed, and read again (RFC 7519).
//!
//! Not here: whether whoever a token speaks for still may (`super::access`), tokens of a site
//! (`issuers`). Invariant: nothing of a token is believed before its signature was verified by the
//! key that its `kid` names in a fixed map, with that key's one algorithm; every claim is required,
//! and times are compared with this node's own clock.

mod keys;
#[cfg(test)]
pub(super) mod tests;

use std::time::Duration;

use jsonwebtoken::{DecodingKey, Header, Validation, decode, decode_header, encode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use keys::{KeyError, KeyMaterial};

use self::keys::Keys;
use crate::identity::problem::no_random;
use crate::identity::random::random;
use crate::model::{Code, Kind, Problem, SignInId, UnixMillis, UserId};

/// The longest token that is looked at, in octets.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// For whom a token of the command line is.
const AUDIENCE_ADMIN: &str = "stompbox-admin";

/// Whom a token of the command line speaks for.
const SYSTEM: &str = "system";

/// How long such a token lives.
const SYSTEM_LIFE: Duration = Duration::from_secs(60);

/// No token is for longer than this; one that says so was not made by us.
const LIFE_MAX: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// What stands in every token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtSettings {
    /// `JWT_ISSUER`: the claim `iss`.
    pub issuer: String,
    /// `JWT_AUDIENCE`: the claim `aud`.
    pub audience: String,
    /// `JWT_ACCESS_TTL`: how long an access token lives.
    pub access_ttl: Duration,
    /// How far clocks may be apart.
    pub leeway: Duration,
}

impl Default for JwtSettings {
    fn default() -> Self {
        Self {
            issuer: "stompbox".to_owned(),
            audience: "stompbox".to_owned(),
            access_ttl: Duration::from_secs(15 * 60),
            leeway: Duration::from_secs(30),
        }
    }
}

/// Makes and reads access tokens. Its `Debug` shows no key.
pub struct Jwt {
    keys: Keys,
    settings: JwtSettings,
}

impl std::fmt::Debug for Jwt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jwt")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// The claims of our tokens. Unknown ones are left alone, each of these is required.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) aud: String,
    pub(super) sub: String,
    pub(super) jti: String,
    pub(super) iat: u64,
    pub(super) nbf: u64,
    pub(super) exp: u64,
    pub(super) kind: String,
    pub(super) roles: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sid: Option<String>,
}

/// Whom a token of ours speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    /// The holder of an account, by a sign-in.
    Account {
        user_id: UserId,
        sign_in: SignInId,
        expires_at: UnixMillis,
    },
    /// Whoever looks after the machine, from the command line.
    System { expires_at: UnixMillis },
}

impl Jwt {
    /// Tokens under these keys.
    ///
    /// # Errors
    /// When a key cannot be used.
    pub fn new(material: &KeyMaterial, settings: JwtSettings) -> Result<Self, KeyError> {
        Ok(Self {
            keys: Keys::new(material)?,
            settings,
        })
    }

    /// How long an access token lives.
    #[must_use]
    pub fn access_ttl(&self) -> Duration {
        self.settings.access_ttl
    }

    /// A token for the command line: it speaks for whoever has the keys, for a minute.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn system_token(&self, now: UnixMillis) -> Result<String, Problem> {
        let mut claims = self.claims(SYSTEM, Kind::Admin, now, SYSTEM_LIFE)?;
        AUDIENCE_ADMIN.clone_into(&mut claims.aud);
        self.write(&claims)
    }

    /// The public keys as a JWK set.
    #[must_use]
    pub fn jwks(&self) -> Value {
        self.keys.public()
    }

    pub(super) fn refresh_key(&self) -> &[u8; 64] {
        &self.keys.refresh
    }

    /// An access token for a sign-in.
    pub(super) fn sign(
        &self,
        user_id: &UserId,
        kind: Kind,
        sign_in: SignInId,
        now: UnixMillis,
        life: Duration,
    ) -> Result<String, Problem> {
        let mut claims = self.claims(user_id.as_str(), kind, now, life)?;
        claims.sid = Some(sign_in.to_string());
        self.write(&claims)
    }

    fn claims(
        &self,
        sub: &str,
        kind: Kind,
        now: UnixMillis,
        life: Duration,
    ) -> Result<Claims, Problem> {
        let jti = u128::from_be_bytes(random().map_err(no_random)?);
        let now = now.0 / 1_000;
        Ok(Claims {
            iss: self.settings.issuer.clone(),
            aud: self.settings.audience.clone(),
            sub: sub.to_owned(),
            jti: format!("{jti:032x}"),
            iat: now,
            nbf: now,
            exp: now.saturating_add(life.min(LIFE_MAX).as_secs()),
            kind: kind.as_str().to_owned(),
            roles: vec![kind.as_str().to_owned()],
            sid: None,
        })
    }

    fn write(&self, claims: &Claims) -> Result<String, Problem> {
        let mut header = Header::new(self.keys.algorithm);
        header.kid = Some(self.keys.kid.clone());
        encode(&header, claims, &self.keys.signing).map_err(|error| {
            tracing::error!(%error, "a token could not be signed");
            Problem::new(Code::Internal, "A token could not be signed; try again.")
        })
    }

    /// Whether a token names one of our keys: whether it is ours is another question.
    pub(super) fn claims_to_be_ours(&self, token: &str) -> bool {
        let header = read_header(token);
        let kid = header.and_then(|header| header.kid);
        kid.is_some_and(|kid| self.keys.verifier(&kid).is_some())
    }

    /// Reads one of our tokens.
    pub(super) fn read(&self, token: &str, now: UnixMillis) -> Result<Spoken, Problem> {
        let header = read_header(token).ok_or_else(refused)?;
        let kid = header.kid.as_deref().unwrap_or_default();
        let verifier = self.keys.verifier(kid).ok_or_else(refused)?;
        let claims: Claims = verify(token, &verifier.key, verifier.algorithm)?;
        if claims.iss != self.settings.issuer {
            return Err(refused());
        }
        let expires_at = within(
            &Times {
                iat: claims.iat,
                nbf: Some(claims.nbf),
                exp: claims.exp,
            },
            now,
            self.settings.leeway,
        )?;
        let kind = Kind::from_word(&claims.kind).ok_or_else(refused)?;
        if claims.aud == AUDIENCE_ADMIN {
            let is_system = claims.sub == SYSTEM && claims.sid.is_none() && kind == Kind::Admin;
            return match is_system {
                true => Ok(Spoken::System { expires_at }),
                false => Err(refused()),
            };
        }
        if claims.aud != self.settings.audience || claims.jti.is_empty() {
            return Err(refused());
        }
        let sign_in = claims.sid.and_then(|sid| sid.parse().ok());
        Ok(Spoken::Account {
            user_id: claims.sub.parse().map_err(|_| refused())?,
            sign_in: sign_in.ok_or_else(refused)?,
            expires_at,
        })
    }
}

/// The times of a token, in seconds.
pub(super) struct Times {
    pub(super) iat: u64,
    pub(super) nbf: Option<u64>,
    pub(super) exp: u64,
}

/// Whether a token counts now; returns when it ends.
pub(super) fn within(
    times: &Times,
    now: UnixMillis,
    leeway: Duration,
) -> Result<UnixMillis, Problem> {
    let at = |seconds: u64| seconds.checked_mul(1_000).map(UnixMillis);
    let (Some(iat), Some(exp)) = (at(times.iat), at(times.exp)) else {
        return Err(refused());
    };
    let nbf = times.nbf.map_or(Some(iat), at).ok_or_else(refused)?;
    let soon = now.after(leeway);
    if iat > soon || nbf > soon || exp < iat || exp > now.after(LIFE_MAX).after(leeway) {
        return Err(refused());
    }
    if exp.after(leeway) <= now {
        return Err(Problem::new(
            Code::TokenExpired,
            "The access token has expired; get another one with the refresh token.",
        ));
    }
    Ok(exp)
}

/// The header of a token that may be looked at: short enough, and without a key of its own.
pub(super) fn read_header(token: &str) -> Option<Header> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let header = decode_header(token).ok()?;
    let brings_key = header.jwk.is_some()
        || header.jku.is_some()
        || header.x5u.is_some()
        || header.x5c.is_some()
        || header.crit.is_some();
    (!brings_key).then_some(header)
}

/// Verifies a signature and reads the claims. Times, issuer and audience are left to the caller, who
/// has their types checked by having them read.
pub(super) fn verify<C: DeserializeOwned>(
    token: &str,
    key: &DecodingKey,
    algorithm: jsonwebtoken::Algorithm,
) -> Result<C, Problem> {
    let mut validation = Validation::new(algorithm);
    validation.set_required_spec_claims(&["exp", "sub", "iss", "aud"]);
    // Compared by the caller, with the clock that tests own and with the values of the issuer.
    validation.validate_exp = false;
    validation.validate_aud = false;
    let token = decode::<C>(token, key, &validation).map_err(|error| {
        tracing::debug!(%error, "a token was refused");
        refused()
    })?;
    Ok(token.claims)
}

/// One answer for everything that is wrong with a token, so that nothing can be learned by trying.
pub(super) fn refused() -> Problem {
    Problem::new(
        Code::Unauthorized,
        "This access token is not valid here; sign in again.",
    )
}
