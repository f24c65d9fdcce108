//! The proof: a visitor's secret, and the cookie in which a browser keeps it.
//!
//! Not here: what the store knows of a secret (`visitors`). Invariant: the secret itself is never
//! stored, logged or shown by a `Debug`; only its SHA-256 leaves this process.
//!
//! ```text
//! secret = "sbv1." base64url(32 random octets)                 43 characters, no padding
//! cookie = secret "." base64url(first 16 octets of the MAC)    22 characters, no padding
//! ```
//!
//! The MAC lets a handshake tell a genuine cookie from an invented one without asking the store.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::Mac;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::fingerprint::FingerprintKey;
use super::random::{RandomUnavailable, random};
use crate::store::TokenHash;

/// The name of the cookie.
pub const COOKIE: &str = "sb_vid";

/// What a CONNECT writes into `visitor-token` to ask for a visitor of its own.
pub const NEW: &str = "new";

const PREFIX: &str = "sbv1.";
const SECRET_BYTES: usize = 32;
const MAC_BYTES: usize = 16;

/// What opens a visitor's identity.
#[derive(Clone)]
pub struct Secret([u8; SECRET_BYTES]);

impl Secret {
    /// A new one.
    ///
    /// # Errors
    /// When the operating system gives no random bits.
    pub fn random() -> Result<Self, RandomUnavailable> {
        random().map(Self)
    }

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
    text.starts_with(PREFIX)
}

impl PartialEq for Secret {
    /// In constant time.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Makes and reads the cookie `sb_vid`, without touching the store.
#[derive(Clone, Debug)]
pub struct VisitorCookies {
    key: FingerprintKey,
    life: Duration,
}

impl VisitorCookies {
    /// Cookies under this key that live for `life` after each handshake.
    #[must_use]
    pub fn new(key: FingerprintKey, life: Duration) -> Self {
        Self { key, life }
    }

    /// The value for a handshake that brought this `Cookie` header, and whether it is the one that
    /// was brought: a genuine one is kept, everything else is replaced by a new one.
    ///
    /// # Errors
    /// When a new one is needed and the operating system gives no random bits.
    pub fn cookie_for(&self, header: Option<&str>) -> Result<(String, bool), RandomUnavailable> {
        // Cookies of several paths may come under one name; an invented one must not hide ours.
        let genuine = header
            .into_iter()
            .flat_map(|header| header.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(name, _)| *name == COOKIE)
            .find(|(_, value)| self.secret_in(value).is_some());
        match genuine {
            Some((_, value)) => Ok((value.to_owned(), true)),
            None => Ok((self.value_of(&Secret::random()?), false)),
        }
    }

    /// The secret in a cookie, if this cluster made the cookie.
    #[must_use]
    pub fn secret_in(&self, value: &str) -> Option<Secret> {
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

/// Exactly `N` octets in base64url without padding, in the one way of writing them.
fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    // The length is checked first, so that a long text costs nothing.
    if text.len() != (N * 8).div_ceil(6) {
        return None;
    }
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookies(key: &[u8]) -> VisitorCookies {
        let key = FingerprintKey::from_bytes(key);
        VisitorCookies::new(key, Duration::from_secs(60))
    }

    #[test]
    fn a_secret_reads_back_and_shows_nothing() {
        let secret = Secret::random().unwrap();
        let told = secret.tell();
        assert_eq!(told.len(), 48);
        assert_eq!(Secret::parse(&told), Some(secret.clone()));
        assert_ne!(secret, Secret::random().unwrap());
        assert_eq!(secret.hash(), <[u8; 32]>::from(Sha256::digest(&told)));
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }

    #[test]
    fn what_is_no_secret_is_not_read() {
        let told = Secret([0; SECRET_BYTES]).tell();
        let unused_bits = format!("{}B", &told[..told.len() - 1]);
        for text in [
            "",
            "new",
            "sbv1.",
            &told[1..],
            &told[..told.len() - 1],
            &format!("{told}A"),
            &format!("{told}="),
            &told.replace("sbv1", "sbv2"),
            &told.replace('A', "+"),
            &unused_bits,
        ] {
            assert!(Secret::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_genuine_cookie_is_kept_and_everything_else_replaced() {
        let ours = cookies(b"ours");
        let (value, presented) = ours.cookie_for(None).unwrap();
        assert!(!presented);
        let secret = ours.secret_in(&value).unwrap();
        assert_eq!(value.rsplit_once('.').unwrap().0, secret.tell());

        let (foreign, _) = cookies(b"theirs").cookie_for(None).unwrap();
        let forged = format!("{}.{}", Secret::random().unwrap().tell(), "A".repeat(22));
        let check = |header: &str, kept: bool| {
            let (found, presented) = ours.cookie_for(Some(header)).unwrap();
            assert_eq!((found == value, presented), (kept, kept), "{header}");
            assert!(ours.secret_in(&found).is_some());
        };
        check(&format!("sb_vid={value}"), true);
        check(&format!("a=b; sb_vid={value}; c=d"), true);
        check(&format!("sb_vid={forged}; sb_vid={value}"), true);
        check(&format!("sb_vid={value};sb_vid={forged}"), true);
        check(&format!("xsb_vid={value}"), false);
        check(&format!("sb_vid={foreign}"), false);
        check(&format!("sb_vid={forged}"), false);
        check(&format!("sb_vid={}", secret.tell()), false);
        check(&format!("sb_vid={value}A"), false);
        check("sb_vid=", false);
        check("", false);
    }

    #[test]
    fn the_cookie_is_hidden_from_scripts_and_secure_under_tls() {
        let plain = cookies(b"k");
        assert_eq!(
            plain.set_cookie("v", false),
            "sb_vid=v; Path=/; Max-Age=60; HttpOnly; SameSite=Lax"
        );
        assert!(plain.set_cookie("v", true).ends_with("; Secure"));
        assert!(
            plain
                .clear_cookie(false)
                .starts_with("sb_vid=; Path=/; Max-Age=0;")
        );
    }
}
