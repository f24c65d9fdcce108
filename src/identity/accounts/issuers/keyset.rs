//! The public keys of a site: a JWK set (RFC 7517), from a file or from a URL.
//!
//! Not here: whom a token speaks for (`claims`). Invariant: a key verifies with the one algorithm
//! that its JWK says or that its type has; a symmetric key in a public set is none; and a kid that
//! nobody knows makes this node ask at most once a minute.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

use crate::identity::accounts::fetch::Fetch;
use crate::model::UnixMillis;

/// How many keys of a set are looked at.
const KEYS_MAX: usize = 64;

/// How often a URL is asked at most.
const ASK_EVERY: Duration = Duration::from_secs(60);

/// How old keys may be before they are asked for again, and before they are not believed any more.
const FRESH: Duration = Duration::from_secs(10 * 60);
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// A public key with its algorithm.
#[derive(Clone)]
pub(super) struct PublicKey {
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

/// Keys by their `kid`.
#[derive(Clone, Default)]
pub(super) struct KeySet(BTreeMap<String, PublicKey>);

impl KeySet {
    /// Reads a JWK set. Keys that are of no use are left out; `None` when it is none, or nothing of
    /// it is of use.
    pub(super) fn read(octets: &[u8]) -> Option<Self> {
        let set: Value = serde_json::from_slice(octets).ok()?;
        let keys = set.get("keys")?.as_array()?.iter().take(KEYS_MAX);
        let keys = keys.filter_map(|key| {
            let jwk: Jwk = serde_json::from_value(key.clone()).ok()?;
            let kid = jwk.common.key_id.clone().unwrap_or_default();
            Some((kid, public_key(&jwk)?))
        });
        let keys: BTreeMap<_, _> = keys.collect();
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// The key of this name; without a name the only one.
    pub(super) fn find(&self, kid: Option<&str>) -> Option<&PublicKey> {
        match kid {
            Some(kid) => self.0.get(kid),
            None if self.0.len() == 1 => self.0.values().next(),
            None => None,
        }
    }
}

fn public_key(jwk: &Jwk) -> Option<PublicKey> {
    use AlgorithmParameters::{EllipticCurve as Ec, OctetKeyPair as Ed, RSA};
    let own = if let RSA(_) = &jwk.algorithm {
        Algorithm::RS256
    } else if matches!(&jwk.algorithm, Ec(key) if key.curve == EllipticCurve::P256) {
        Algorithm::ES256
    } else if matches!(&jwk.algorithm, Ed(key) if key.curve == EllipticCurve::Ed25519) {
        Algorithm::EdDSA
    } else {
        // A secret among public keys is none, and other curves are not taken.
        return None;
    };
    let said = match jwk.common.key_algorithm {
        None => own,
        Some(KeyAlgorithm::RS256) => Algorithm::RS256,
        Some(KeyAlgorithm::ES256) => Algorithm::ES256,
        Some(KeyAlgorithm::EdDSA) => Algorithm::EdDSA,
        Some(_) => return None,
    };
    let is_for_signatures = jwk
        .common
        .public_key_use
        .as_ref()
        .is_none_or(|it| *it == PublicKeyUse::Signature);
    if said != own || !is_for_signatures {
        return None;
    }
    let key = DecodingKey::from_jwk(jwk).ok()?;
    Some(PublicKey {
        algorithm: own,
        key,
    })
}

/// Keys behind a URL, as they were when last asked for.
pub(super) struct RemoteKeys {
    url: String,
    fetch: Fetch,
    /// A std mutex: it guards a pointer and two times and is never held across an await.
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    keys: Arc<KeySet>,
    read_at: UnixMillis,
    asked_at: Option<UnixMillis>,
}

impl RemoteKeys {
    pub(super) fn new(url: String, fetch: Fetch) -> Self {
        Self {
            url,
            fetch,
            known: Mutex::default(),
        }
    }

    /// The keys in which this kid is looked for; `None` when none can be believed.
    pub(super) async fn keys(&self, kid: Option<&str>, now: UnixMillis) -> Option<Arc<KeySet>> {
        let (known, must_ask) = self.look(kid, now);
        if !must_ask {
            return known;
        }
        let answer = self.fetch.get(&self.url).await.ok();
        let Some(keys) = answer.and_then(|octets| KeySet::read(&octets)) else {
            return known;
        };
        let keys = Arc::new(keys);
        let mut state = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        state.keys = Arc::clone(&keys);
        state.read_at = now;
        Some(keys)
    }

    /// What is known and can be believed, and whether the site is to be asked now, which is then
    /// noted: others do not ask for the same meanwhile.
    fn look(&self, kid: Option<&str>, now: UnixMillis) -> (Option<Arc<KeySet>>, bool) {
        let mut state = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let age = now.since(state.read_at);
        let known = (age < STALE).then(|| Arc::clone(&state.keys));
        let has_it = known.as_ref().is_some_and(|it| it.find(kid).is_some());
        let asked_lately = state.asked_at.is_some_and(|at| now.since(at) < ASK_EVERY);
        let must_ask = !asked_lately && (!has_it || age >= FRESH);
        if must_ask {
            state.asked_at = Some(now);
        }
        (known, must_ask)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_set_of_as_many_keys_as_an_answer_holds_is_read_in_milliseconds() {
        // The longest answer is 64 KiB; a modulus of 4,096 bits has 683 digits.
        let key = |number: usize| json!({"kty": "RSA", "kid": number.to_string(), "e": "AQAB", "n": "Q".repeat(683)});
        let keys: Vec<_> = (0..85).map(key).collect();
        let octets = json!({ "keys": keys }).to_string();
        assert!((60_000..65_536).contains(&octets.len()), "{}", octets.len());
        let runs = (0..9).map(|_| {
            let began = std::time::Instant::now();
            let set = KeySet::read(octets.as_bytes()).unwrap();
            assert_eq!(set.0.len(), KEYS_MAX);
            began.elapsed()
        });
        let least = runs.min().unwrap();
        eprintln!("{KEYS_MAX} keys of 4,096 bits: {least:?}");
        assert!(least < Duration::from_millis(5), "{least:?}");
    }
}
