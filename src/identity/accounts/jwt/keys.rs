//! The keys of access tokens: one that signs, and those that are still believed.
//!
//! Not here: claims (`super`). Invariant: a key is found by its `kid` in a map that never changes,
//! and verifies with the one algorithm that it was made for, whatever a token says.

use std::collections::BTreeMap;

use hkdf::Hkdf;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The shortest secret for HS256, in octets.
const SECRET_MIN: usize = 32;

/// What the keys are made of. Its `Debug` shows nothing.
#[derive(Clone)]
pub struct KeyMaterial {
    /// `JWT_SECRET`: signs with HS256 unless there is a key, and is what other keys follow from.
    pub secret: Vec<u8>,
    /// `JWT_KEY`: a private Ed25519 key, PKCS8 in PEM; signs with EdDSA.
    pub key: Option<String>,
    /// `JWT_SECRET_PREVIOUS`: verifies only.
    pub secret_previous: Option<Vec<u8>>,
    /// `JWT_KEY_PREVIOUS`: verifies only.
    pub key_previous: Option<String>,
}

impl std::fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyMaterial(..)")
    }
}

/// A key cannot be used; the words say which and what is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A secret is too short.
    #[error("a secret of fewer than 32 octets; make one with `openssl rand -base64 32`")]
    Short,
    /// A key is none.
    #[error(
        "no private Ed25519 key in PEM (PKCS8); make one with `openssl genpkey -algorithm ed25519`"
    )]
    Pem,
}

/// A key with the one algorithm that it is for.
pub(super) struct Verifier {
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

/// The keys of this cluster.
pub(super) struct Keys {
    pub(super) kid: String,
    pub(super) algorithm: Algorithm,
    pub(super) signing: EncodingKey,
    verifying: BTreeMap<String, Verifier>,
    public: Vec<Value>,
    /// From which the successor of a refresh token follows.
    pub(super) refresh: [u8; 64],
}

impl Keys {
    pub(super) fn new(material: &KeyMaterial) -> Result<Self, KeyError> {
        let mut verifying = BTreeMap::new();
        let mut public = Vec::new();
        if let Some(secret) = &material.secret_previous {
            let (kid, verifier) = of_secret(secret)?;
            verifying.insert(kid, verifier);
        }
        if let Some(pem) = &material.key_previous {
            let pair = KeyPair::read(pem)?;
            public.push(pair.public_jwk());
            verifying.insert(pair.kid.clone(), pair.verifier()?);
        }
        let (kid, verifier) = of_secret(&material.secret)?;
        verifying.insert(kid.clone(), verifier);
        let (kid, algorithm, signing) = match &material.key {
            None => {
                let signing = EncodingKey::from_secret(&material.secret);
                (kid, Algorithm::HS256, signing)
            }
            Some(pem) => {
                let pair = KeyPair::read(pem)?;
                public.insert(0, pair.public_jwk());
                verifying.insert(pair.kid.clone(), pair.verifier()?);
                (pair.kid, Algorithm::EdDSA, pair.signing)
            }
        };
        let mut refresh = [0; 64];
        let derived = Hkdf::<Sha256>::new(None, &material.secret);
        // 64 octets, one block of the hash, are far below what HKDF can expand to, so this does not fail.
        let expanded = derived.expand(b"stompbox refresh key v1", &mut refresh);
        debug_assert!(expanded.is_ok());
        Ok(Self {
            kid,
            algorithm,
            signing,
            verifying,
            public,
            refresh,
        })
    }

    pub(super) fn verifier(&self, kid: &str) -> Option<&Verifier> {
        self.verifying.get(kid)
    }

    /// The public keys as a JWK set (RFC 7517); secrets have no place in it.
    pub(super) fn public(&self) -> Value {
        json!({ "keys": self.public })
    }
}

/// A secret, and its name: a hash under a label of its own, so that it is of no other use.
fn of_secret(secret: &[u8]) -> Result<(String, Verifier), KeyError> {
    if secret.len() < SECRET_MIN {
        return Err(KeyError::Short);
    }
    let verifier = Verifier {
        algorithm: Algorithm::HS256,
        key: DecodingKey::from_secret(secret),
    };
    Ok((kid_of(secret), verifier))
}

/// The first 16 hexadecimal digits of a labelled SHA-256.
fn kid_of(octets: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(b"stompbox kid v1\0");
    hash.update(octets);
    hash.finalize()
        .iter()
        .take(8)
        .map(|octet| format!("{octet:02x}"))
        .collect()
}

/// A private Ed25519 key, and the public one that follows from it.
struct KeyPair {
    kid: String,
    signing: EncodingKey,
    x: String,
}

impl KeyPair {
    fn read(pem: &str) -> Result<Self, KeyError> {
        let broken = |_: jsonwebtoken::errors::Error| KeyError::Pem;
        let signing = EncodingKey::from_ed_pem(pem.as_bytes()).map_err(broken)?;
        let jwk = Jwk::from_encoding_key(&signing, Algorithm::EdDSA).map_err(broken)?;
        let AlgorithmParameters::OctetKeyPair(public) = jwk.algorithm else {
            return Err(KeyError::Pem);
        };
        Ok(Self {
            kid: kid_of(public.x.as_bytes()),
            signing,
            x: public.x,
        })
    }

    fn verifier(&self) -> Result<Verifier, KeyError> {
        let key = DecodingKey::from_ed_components(&self.x).map_err(|_| KeyError::Pem)?;
        Ok(Verifier {
            algorithm: Algorithm::EdDSA,
            key,
        })
    }

    fn public_jwk(&self) -> Value {
        json!({
            "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig",
            "kid": self.kid, "x": self.x,
        })
    }
}
