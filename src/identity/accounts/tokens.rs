//! Tokens that are looked up: refresh tokens, links, resets. Random octets, of which the store
//! keeps the SHA-256.
//!
//! ```text
//! refresh = "sbr1." base64url(32 octets)    link = "sbl1." ...    reset = "sbp1." ...
//! ```
//!
//! Not here: visitors' secrets (`secret`). Invariant: the successor of a refresh token follows from
//! it by a key of the cluster, so that the same successor can be told again without being kept, and
//! nobody without the key can compute it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::identity::problem::no_random;
use crate::identity::random::random;
use crate::model::Problem;
use crate::store::TokenHash;

const TOKEN_BYTES: usize = 32;

/// What a token is for: its first letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Refresh,
    Link,
    Reset,
}

impl Use {
    fn prefix(self) -> &'static str {
        match self {
            Self::Refresh => "sbr1.",
            Self::Link => "sbl1.",
            Self::Reset => "sbp1.",
        }
    }
}

/// A token. It has no `Debug`.
pub(super) struct Opaque {
    purpose: Use,
    octets: [u8; TOKEN_BYTES],
}

impl Opaque {
    pub(super) fn random(purpose: Use) -> Result<Self, Problem> {
        let octets = random().map_err(no_random)?;
        Ok(Self { purpose, octets })
    }

    /// Reads what [`Opaque::tell`] writes; `None` for everything else.
    pub(super) fn parse(purpose: Use, text: &str) -> Option<Self> {
        let text = text.strip_prefix(purpose.prefix())?;
        // The length is checked first, so that a long text costs nothing.
        if text.len() != (TOKEN_BYTES * 8).div_ceil(6) {
            return None;
        }
        let octets = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        Some(Self { purpose, octets })
    }

    pub(super) fn tell(&self) -> String {
        let text = URL_SAFE_NO_PAD.encode(self.octets);
        format!("{}{text}", self.purpose.prefix())
    }

    pub(super) fn hash(&self) -> TokenHash {
        Sha256::digest(self.tell()).into()
    }

    /// The token that comes after this one.
    pub(super) fn successor(&self, key: &[u8; 64]) -> Self {
        let mut mac = Hmac::<Sha256>::new(&(*key).into());
        mac.update(&self.octets);
        Self {
            purpose: self.purpose,
            octets: mac.finalize().into_bytes().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_for_its_use_only() {
        let token = Opaque::random(Use::Refresh).unwrap();
        let told = token.tell();
        let read = Opaque::parse(Use::Refresh, &told).unwrap();
        assert_eq!(read.hash(), token.hash());
        assert!(Opaque::parse(Use::Link, &told).is_none());
        for text in ["", "sbr1.", &told[1..], &format!("{told}A"), &told[..47]] {
            assert!(Opaque::parse(Use::Refresh, text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_successor_is_the_same_each_time_and_needs_the_key() {
        let token = Opaque::random(Use::Refresh).unwrap();
        let (ours, theirs) = ([1; 64], [2; 64]);
        let next = token.successor(&ours);
        assert_eq!(next.hash(), token.successor(&ours).hash());
        assert_ne!(next.hash(), token.successor(&theirs).hash());
        assert_ne!(next.hash(), token.hash());
        assert_ne!(next.successor(&ours).hash(), next.hash());
    }
}
