//! What a signed secret says: for which visitor it stands, and when it was told.
//!
//! Not here: what the store knows of it (`presented`). Invariant: what was read back was written under the same key.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::{MAC_BYTES, SIGNED_PREFIX, decode, token_of};
use crate::identity::fingerprint::FingerprintKey;
use crate::identity::random::{RandomUnavailable, random};
use crate::model::{UnixMillis, UserId};
use crate::store::{TokenHash, VISIT_LIFE};

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
    pub(in crate::identity) address: [u8; 9],
    /// When it was made; 0 of a cookie.
    pub(in crate::identity) made_at: UnixMillis,
    /// When it was told last; of a cookie when it was given.
    pub(in crate::identity) used_at: UnixMillis,
    /// Whether it is a cookie of which no CONNECTED has told yet: it says for which visitor it stands, and
    /// does not prove that there is one.
    pub(in crate::identity) is_cookie: bool,
    /// Whether a fingerprint may open the identity.
    pub(in crate::identity) is_loose: bool,
    /// The language of the name.
    pub(in crate::identity) is_korean: bool,
}

impl Visit {
    /// A new visitor.
    ///
    /// # Errors
    /// When the operating system gives no random bits.
    pub(in crate::identity) fn random() -> Result<Self, RandomUnavailable> {
        Ok(Self::at(random()?))
    }

    /// The visitor of a new cookie.
    ///
    /// # Errors
    /// When the operating system gives no random bits.
    pub(super) fn cookie(now: UnixMillis) -> Result<Self, RandomUnavailable> {
        Ok(Self {
            used_at: now,
            is_cookie: true,
            ..Self::random()?
        })
    }

    /// As a CONNECTED tells of it now.
    pub(in crate::identity) fn told_at(self, now: UnixMillis) -> Self {
        Self {
            used_at: now,
            is_cookie: false,
            ..self
        }
    }

    /// Whether it was used within the life of a visitor of whom nothing is kept.
    pub(in crate::identity) fn is_recent(&self, now: UnixMillis) -> bool {
        now.since(self.used_at) <= VISIT_LIFE
    }

    pub(super) fn at(mut address: [u8; 9]) -> Self {
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
    pub(in crate::identity) fn of_address(user: &UserId) -> Self {
        Self::at(user.random_bits().unwrap_or_default())
    }

    /// The visitor of a cookie whose own address was given up: the same one each time it is asked.
    pub(in crate::identity) fn next(&self, key: &FingerprintKey) -> Self {
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
    pub(in crate::identity) fn tell(&self, key: &FingerprintKey) -> String {
        let mut bytes = [0; SIGNED_BYTES];
        bytes[..VISIT_BYTES].copy_from_slice(&self.bytes());
        let mac = Self::mac(key, &bytes[..VISIT_BYTES])
            .finalize()
            .into_bytes();
        bytes[VISIT_BYTES..].copy_from_slice(&mac[..MAC_BYTES]);
        format!("{SIGNED_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Reads what [`Visit::tell`] writes under the same key; `None` for everything else.
    pub(in crate::identity) fn read(key: &FingerprintKey, text: &str) -> Option<Self> {
        let bytes: [u8; SIGNED_BYTES] = decode(text.strip_prefix(SIGNED_PREFIX)?)?;
        let (visit, mac) = bytes.split_at(VISIT_BYTES);
        // Compares in constant time.
        Self::mac(key, visit).verify_truncated_left(mac).ok()?;
        Self::of_bytes(visit)
    }

    /// Without the MAC, for what is authenticated in another way.
    pub(in crate::identity) fn bytes(&self) -> [u8; VISIT_BYTES] {
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

    pub(in crate::identity) fn of_bytes(bytes: &[u8]) -> Option<Self> {
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
    pub(in crate::identity) fn token(&self) -> TokenHash {
        token_of(&self.user_id(), self.made_at)
    }
}
