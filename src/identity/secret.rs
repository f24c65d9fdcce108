//! The proof: a visitor's secret, and the cookie in which a browser keeps it.
//!
//! Not here: what the store knows of a secret (`visitors`). Invariant: the secret itself is never
//! stored, logged or shown by a `Debug`; only its SHA-256 leaves this process.
//!
//! A signed secret is all that there is of a visitor until something must be kept. It names its visitor, so
//! that any node opens it without a row:
//!
//! ```text
//! secret = "sbv2." base64url(flags, 1 byte | address, 9 | made at, 6 | used at, 6 | MAC, 16)
//! cookie = such a secret; made at is 0, used at is when it was given
//! ```
//!
//! `flags`: 1 is loose, 2 is a name in Korean, 4 is a cookie that no CONNECTED frame has named yet. Times are
//! Unix milliseconds. The MAC (HMAC-SHA256 under `FP_KEY`, its first 16 bytes) covers everything before it.
//! `used at` slides when the secret is told anew, `made at` never changes: with the address it names the secret
//! in the store. Before there were signed secrets a store gave each visitor a random one, which it still opens:
//!
//! ```text
//! secret = "sbv1." base64url(32 random bytes)                 43 characters, no padding
//! cookie = secret "." base64url(first 16 bytes of the MAC)    22 characters, no padding
//! ```
//!
//! The MAC lets a handshake tell a genuine cookie from an invented one without asking the store. The time
//! ends it: a visitor of whom nothing is kept is gone an hour after the last use, in whatever way their
//! secret is presented.

mod visit;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::Mac;
use sha2::{Digest, Sha256};

pub use self::visit::Visit;
use super::Clock;
use super::fingerprint::FingerprintKey;
use super::random::RandomUnavailable;
use crate::model::{UnixMillis, UserId};
use crate::store::TokenHash;

/// The name of the cookie.
pub const COOKIE: &str = "sb_vid";

/// What a CONNECT writes into `visitor-token` to ask for a visitor of its own.
pub const NEW: &str = "new";

const PREFIX: &str = "sbv1.";
const SIGNED_PREFIX: &str = "sbv2.";
const SECRET_BYTES: usize = 32;
const MAC_BYTES: usize = 16;

/// What the store keeps of a signed secret: a hash of what names it. Nobody can make the secret of it.
pub(super) fn token_of(user: &UserId, made_at: UnixMillis) -> TokenHash {
    let mut hash = Sha256::new();
    hash.update(b"sbv2\0");
    hash.update(user.as_str());
    hash.update(made_at.0.to_be_bytes());
    hash.finalize().into()
}

/// A secret that was presented, in whatever way, and is genuine as far as that can be told without the
/// store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// What the store keeps of it.
    pub(super) token: TokenHash,
    /// What a signed one says.
    pub(super) visit: Option<Visit>,
}

impl Claim {
    /// Reads a secret as its holder keeps it.
    pub(super) fn read(key: &FingerprintKey, text: &str) -> Option<Self> {
        if text.starts_with(SIGNED_PREFIX) {
            return Visit::read(key, text).map(Self::of);
        }
        let token = Secret::parse(text)?.hash();
        Some(Self { token, visit: None })
    }

    pub(super) fn of(visit: Visit) -> Self {
        Self {
            token: visit.token(),
            visit: Some(visit),
        }
    }
}

/// What opened a visitor's identity before there were signed secrets.
#[derive(Clone)]
pub struct Secret([u8; SECRET_BYTES]);

impl Secret {
    /// Reads what [`Secret::tell`] writes; `None` for everything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        decode(text.strip_prefix(PREFIX)?).map(Self)
    }

    /// The secret as its holder keeps it. Never log this.
    #[must_use]
    pub fn tell(&self) -> String {
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(self.0))
    }

    /// What the store keeps: SHA-256 of the text. It has 256 random bits, so it needs no salt and
    /// no slow hash, and looking it up reveals nothing through the time that it takes.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        Sha256::digest(self.tell()).into()
    }
}

/// Whether a text claims to be a visitor's secret, rather than a password or another token.
#[must_use]
pub fn is_visitor_token(text: &str) -> bool {
    text.starts_with(PREFIX) || text.starts_with(SIGNED_PREFIX)
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Makes and reads the cookie `sb_vid`, without touching the store.
#[derive(Clone)]
pub struct VisitorCookies {
    key: FingerprintKey,
    life: Duration,
    clock: Clock,
}

impl VisitorCookies {
    /// Cookies under this key that live for `life` after each handshake.
    #[must_use]
    pub fn new(key: FingerprintKey, life: Duration, clock: Clock) -> Self {
        Self { key, life, clock }
    }

    /// The value for a handshake that brought this `Cookie` header, and whether it is the one that
    /// was brought: a genuine one is kept, everything else is replaced by a new one.
    ///
    /// # Errors
    /// When a new one is needed and the operating system gives no random bits.
    pub fn cookie_for(&self, header: Option<&str>) -> Result<(String, bool), RandomUnavailable> {
        match self.genuine_in(header) {
            Some((value, _)) => Ok((value.to_owned(), true)),
            None => Ok((Visit::cookie((self.clock)())?.tell(&self.key), false)),
        }
    }

    /// What the genuine cookie of this header stands for, if its time alone does not say that the visitor
    /// is still there.
    pub(super) fn old_in(&self, header: &str) -> Option<Claim> {
        let (_, claim) = self.genuine_in(Some(header))?;
        let now = (self.clock)();
        (!claim.visit.is_some_and(|visit| visit.is_recent(now))).then_some(claim)
    }

    fn genuine_in<'h>(&self, header: Option<&'h str>) -> Option<(&'h str, Claim)> {
        // Cookies of several paths may come under one name; an invented one must not hide ours.
        header
            .into_iter()
            .flat_map(|header| header.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(name, _)| *name == COOKIE)
            .find_map(|(_, value)| Some((value, self.claim_in(value)?)))
    }

    /// The secret in a cookie as its holder would present it, if this cluster made the cookie.
    #[must_use]
    pub fn secret_in(&self, value: &str) -> Option<String> {
        if value.starts_with(SIGNED_PREFIX) {
            return Visit::read(&self.key, value).map(|_| value.to_owned());
        }
        self.random_in(value).map(|secret| secret.tell())
    }

    /// What a cookie stands for.
    pub(super) fn claim_in(&self, value: &str) -> Option<Claim> {
        if value.starts_with(SIGNED_PREFIX) {
            return Visit::read(&self.key, value).map(Claim::of);
        }
        let token = self.random_in(value)?.hash();
        Some(Claim { token, visit: None })
    }

    fn random_in(&self, value: &str) -> Option<Secret> {
        let (told, mac) = value.rsplit_once('.')?;
        let secret = Secret::parse(told)?;
        let mac: [u8; MAC_BYTES] = decode(mac)?;
        let expected = self.key.mac(&[COOKIE.as_bytes(), b"\0", told.as_bytes()]);
        // Compares in constant time.
        expected.verify_truncated_left(&mac).ok()?;
        Some(secret)
    }

    /// The `Set-Cookie` header for a value; `tls` when the client's connection is encrypted.
    #[must_use]
    pub fn set_cookie(&self, value: &str, tls: bool) -> String {
        self.header(value, self.life.as_secs(), tls)
    }

    /// The `Set-Cookie` header that gives a browser this secret; `None` for what is none.
    #[must_use]
    pub fn set_cookie_of(&self, secret: &str, tls: bool) -> Option<String> {
        if Visit::read(&self.key, secret).is_some() {
            return Some(self.set_cookie(secret, tls));
        }
        let value = self.value_of(&Secret::parse(secret)?);
        Some(self.set_cookie(&value, tls))
    }

    /// The `Set-Cookie` header that makes a browser forget the cookie.
    #[must_use]
    pub fn clear_cookie(&self, tls: bool) -> String {
        self.header("", 0, tls)
    }

    fn header(&self, value: &str, max_age_s: u64, tls: bool) -> String {
        let secure = if tls { "; Secure" } else { "" };
        format!("{COOKIE}={value}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Lax{secure}")
    }

    fn value_of(&self, secret: &Secret) -> String {
        let told = secret.tell();
        let mac = self.key.mac(&[COOKIE.as_bytes(), b"\0", told.as_bytes()]);
        let mac = mac.finalize().into_bytes();
        format!("{told}.{}", URL_SAFE_NO_PAD.encode(&mac[..MAC_BYTES]))
    }
}

impl std::fmt::Debug for VisitorCookies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VisitorCookies")
            .field("life", &self.life)
            .finish_non_exhaustive()
    }
}

/// Exactly `N` octets in base64url without padding, in the one way of writing them.
fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    // The length is checked first, so that a long text costs nothing.
    if text.len() != (N * 8).div_ceil(6) {
        return None;
    }
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests;
