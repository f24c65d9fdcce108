//! What REST derives from the secret of the service: the MAC of cursors, and the seal of kept answers.
//!
//! Not here: the keys of cookies and tokens (`identity`). Invariant: what is sealed can be opened only
//! by whoever has both the service's secret and the caller's own key; nothing of either is stored.

use chacha20poly1305::aead::{Aead as _, KeyInit as _};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

const NONCE_BYTES: usize = 12;

/// The key of REST. Its `Debug` shows nothing.
#[derive(Clone)]
pub struct RestKey([u8; 32]);

impl RestKey {
    /// The key that follows from the secret of the service (HKDF-SHA256, RFC 5869), the same on every
    /// node.
    #[must_use]
    pub fn derive(secret: &[u8]) -> Self {
        Self(expand(None, secret, b"stompbox rest key v1"))
    }

    /// A MAC over the parts; what it is for comes first.
    pub(super) fn mac(&self, parts: &[&[u8]]) -> [u8; 16] {
        // Both crates have a `new_from_slice`, and 32 octets are a key of either.
        let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new(&padded(&self.0).into());
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        let whole: [u8; 32] = mac.finalize().into_bytes().into();
        let mut first = [0; 16];
        first.copy_from_slice(&whole[..16]);
        first
    }

    /// Seals octets for whoever brings this word again.
    pub(super) fn seal(&self, word: &[u8], octets: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).ok()?;
        let sealed = self
            .cipher(word)
            .encrypt(&Nonce::from(nonce), octets)
            .ok()?;
        Some([&nonce[..], &sealed].concat())
    }

    /// Opens what [`RestKey::seal`] gave for this word.
    pub(super) fn open(&self, word: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        self.cipher(word).decrypt(&Nonce::from(*nonce), sealed).ok()
    }

    fn cipher(&self, word: &[u8]) -> ChaCha20Poly1305 {
        let key = expand(Some(&self.0), word, b"stompbox kept answer v1");
        ChaCha20Poly1305::new(&Key::from(key))
    }
}

fn expand(salt: Option<&[u8]>, secret: &[u8], purpose: &[u8]) -> [u8; 32] {
    let mut key = [0; 32];
    // 32 octets are far below what HKDF can expand to, so this does not fail.
    let expanded = Hkdf::<Sha256>::new(salt, secret).expand(purpose, &mut key);
    debug_assert!(expanded.is_ok());
    key
}

/// HMAC pads its key to one block of the hash.
fn padded(key: &[u8; 32]) -> [u8; 64] {
    let mut block = [0; 64];
    block[..32].copy_from_slice(key);
    block
}

impl std::fmt::Debug for RestKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RestKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_opened_by_the_same_word_alone() {
        let key = RestKey::derive(b"secret of the service");
        let sealed = key.seal(b"word", b"an access token").unwrap();
        assert!(!sealed.windows(6).any(|part| part == b"access"));
        assert_eq!(key.open(b"word", &sealed).unwrap(), b"an access token");
        assert!(key.open(b"ward", &sealed).is_none());
        assert!(RestKey::derive(b"another").open(b"word", &sealed).is_none());
        let mut bent = sealed.clone();
        bent[20] ^= 1;
        assert!(key.open(b"word", &bent).is_none());
        assert!(key.open(b"word", b"short").is_none());
        assert_ne!(sealed, key.seal(b"word", b"an access token").unwrap());
    }

    #[test]
    fn a_mac_tells_its_parts_apart() {
        let key = RestKey::derive(b"k");
        assert_ne!(key.mac(&[b"ab", b"c"]), key.mac(&[b"a", b"bc"]));
        assert_eq!(format!("{key:?}"), "RestKey(..)");
    }
}
