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
//! `flags`: 1 is loose, 2 is a name in Korean, 4 is a cookie of which no CONNECTED has told yet. Times are Unix milliseconds. The MAC (HMAC-SHA256 under
//! `FP_KEY`, its first 16 bytes) covers everything before it. `used at` slides when the secret is told anew,
//! `made at` never changes: with the address it names the secret in the store. Before there were signed
//! secrets a store gave each visitor a random one, which it still opens:
//!
//! ```text
//! secret = "sbv1." base64url(32 random bytes)                 43 characters, no padding
//! cookie = secret "." base64url(first 16 bytes of the MAC)    22 characters, no padding
//! ```
//!
//! The MAC lets a handshake tell a genuine cookie from an invented one without asking the store. The time
//! ends it: a visitor of whom nothing is kept is gone an hour after the last use, in whatever way their
//! secret is presented.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use super::Clock;
use super::fingerprint::FingerprintKey;
use super::random::{RandomUnavailable, random};
use crate::model::{UnixMillis, UserId};
use crate::store::{TokenHash, VISIT_LIFE};

/// The name of the cookie.
pub const COOKIE: &str = "sb_vid";

/// What a CONNECT writes into `visitor-token` to ask for a visitor of its own.
pub const NEW: &str = "new";

const PREFIX: &str = "sbv1.";
const SIGNED_PREFIX: &str = "sbv2.";
const SECRET_BYTES: usize = 32;
const MAC_BYTES: usize = 16;
/// What is signed.
const VISIT_BYTES: usize = 22;
const SIGNED_BYTES: usize = VISIT_BYTES + MAC_BYTES;

const LOOSE: u8 = 1;
const KOREAN: u8 = 2;
const COOKIE_ONLY: u8 = 4;

/// What a signed secret says of its visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    /// The bits of the address.
    pub(super) address: [u8; 9],
    /// When it was made; 0 of a cookie.
    pub(super) made_at: UnixMillis,
    /// When it was told last; of a cookie when it was given.
    pub(super) used_at: UnixMillis,
    /// Whether it is a cookie of which no CONNECTED has told yet: it says for which visitor it stands, and
    /// does not prove that there is one.
    pub(super) is_cookie: bool,
    /// Whether a fingerprint may open the identity.
    pub(super) is_loose: bool,
    /// The language of the name.
    pub(super) is_korean: bool,
}

impl Visit {
    /// A new visitor.
    ///
    /// # Errors
    /// When the operating system gives no random bits.
    pub(super) fn random() -> Result<Self, RandomUnavailable> {
        Ok(Self::at(random()?))
    }

    /// The visitor of a new cookie.
    ///
    /// # Errors
    /// When the operating system gives no random bits.
    fn cookie(now: UnixMillis) -> Result<Self, RandomUnavailable> {
        Ok(Self {
            used_at: now,
            is_cookie: true,
            ..Self::random()?
        })
    }

    /// As a CONNECTED tells of it now.
    pub(super) fn told_at(self, now: UnixMillis) -> Self {
        Self {
            used_at: now,
            is_cookie: false,
            ..self
        }
    }

    /// Whether it was used within the life of a visitor of whom nothing is kept.
    pub(super) fn is_recent(&self, now: UnixMillis) -> bool {
        now.since(self.used_at) <= VISIT_LIFE
    }

    fn at(mut address: [u8; 9]) -> Self {
        // An address has 65 bits, and one way of writing them.
        address[0] &= 1;
        Self {
            address,
            made_at: UnixMillis(0),
            used_at: UnixMillis(0),
            is_cookie: false,
            is_loose: false,
            is_korean: false,
        }
    }

    /// The visitor with an address of our own making; for any other address a visitor of none.
    pub(super) fn of_address(user: &UserId) -> Self {
        Self::at(user.random_bits().unwrap_or_default())
    }

    /// The visitor of a cookie whose own address was given up: the same one each time it is asked.
    pub(super) fn next(&self, key: &FingerprintKey) -> Self {
        let mac = key.mac(&[b"next\0", &self.address]).finalize().into_bytes();
        let mut address = [0; 9];
        address.copy_from_slice(&mac[..9]);
        Self {
            used_at: self.used_at,
            is_cookie: self.is_cookie,
            ..Self::at(address)
        }
    }

    /// The address of the visitor.
    #[must_use]
    pub fn user_id(&self) -> UserId {
        UserId::from_random(self.address)
    }

    /// The secret as its holder keeps it. Never log this.
    pub(super) fn tell(&self, key: &FingerprintKey) -> String {
        let mut bytes = [0; SIGNED_BYTES];
        bytes[..VISIT_BYTES].copy_from_slice(&self.bytes());
        let mac = Self::mac(key, &bytes[..VISIT_BYTES])
            .finalize()
            .into_bytes();
        bytes[VISIT_BYTES..].copy_from_slice(&mac[..MAC_BYTES]);
        format!("{SIGNED_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Reads what [`Visit::tell`] writes under the same key; `None` for everything else.
    pub(super) fn read(key: &FingerprintKey, text: &str) -> Option<Self> {
        let bytes: [u8; SIGNED_BYTES] = decode(text.strip_prefix(SIGNED_PREFIX)?)?;
        let (visit, mac) = bytes.split_at(VISIT_BYTES);
        // Compares in constant time.
        Self::mac(key, visit).verify_truncated_left(mac).ok()?;
        Self::of_bytes(visit)
    }

    /// Without the MAC, for what is authenticated in another way.
    pub(super) fn bytes(&self) -> [u8; VISIT_BYTES] {
        let mut bytes = [0; VISIT_BYTES];
        let flag = |is_set: bool, flag: u8| u8::from(is_set) * flag;
        bytes[0] = flag(self.is_loose, LOOSE)
            | flag(self.is_korean, KOREAN)
            | flag(self.is_cookie, COOKIE_ONLY);
        bytes[1..10].copy_from_slice(&self.address);
        bytes[10..16].copy_from_slice(&self.made_at.0.to_be_bytes()[2..]);
        bytes[16..].copy_from_slice(&self.used_at.0.to_be_bytes()[2..]);
        bytes
    }

    pub(super) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; VISIT_BYTES] = bytes.try_into().ok()?;
        let (flags, rest) = bytes.split_first()?;
        let (address, times) = rest.split_first_chunk::<9>()?;
        let (made_at, used_at) = times.split_at_checked(6)?;
        let time = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(0, |time, byte| time << 8 | u64::from(*byte))
        };
        Some(Self {
            address: *address,
            made_at: UnixMillis(time(made_at)),
            used_at: UnixMillis(time(used_at)),
            is_loose: flags & LOOSE != 0,
            is_korean: flags & KOREAN != 0,
            is_cookie: flags & COOKIE_ONLY != 0,
        })
    }

    fn mac(key: &FingerprintKey, visit: &[u8]) -> Hmac<Sha256> {
        key.mac(&[b"sbv2\0", visit])
    }

    /// What the store keeps of the secret.
    pub(super) fn token(&self) -> TokenHash {
        token_of(&self.user_id(), self.made_at)
    }
}

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
