//! Identifiers: their shapes on the wire and their compact forms in memory.
//!
//! Not here: where the bits come from. Constructors take random bytes; the caller owns the source.
//! Invariant: a value of one of these types is well-formed, so it may stand in a header, a key or a
//! log line without further checks.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use sha2::{Digest, Sha256};

/// Crockford's base32 alphabet in lower case: no `i`, `l`, `o`, `u`.
const CROCKFORD: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A text is not an id of the kind asked for; the name of that kind is inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {0}")]
pub struct InvalidId(pub &'static str);

/// Who a session speaks for and where direct messages are addressed: `user_` and 13 characters of
/// Crockford base32, or the opaque `sub` of an external issuer (1 to 128 visible ASCII octets
/// without `/`, `%`, `:` or `\`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(Arc<str>);

impl UserId {
    /// A user id of our own making from 65 of the given 72 random bits.
    #[must_use]
    pub fn from_random(bytes: [u8; 9]) -> Self {
        let mut wide = [0_u8; 16];
        wide[7..].copy_from_slice(&bytes);
        let text = base32(u128::from_be_bytes(wide), 13);
        Self(format!("user_{text}").into())
    }

    /// The 65 bits of an id of our own making; `None` of every other id.
    #[must_use]
    pub fn random_bits(&self) -> Option<[u8; 9]> {
        let digits = self.0.strip_prefix("user_").filter(|it| it.len() == 13)?;
        let wide = digits.bytes().try_fold(0_u128, |value, digit| {
            let digit = CROCKFORD.iter().position(|&c| c == digit)?;
            Some((value << 5) | digit as u128)
        })?;
        let mut bits = [0; 9];
        bits.copy_from_slice(&wide.to_be_bytes()[7..]);
        Some(bits)
    }

    /// The id as it is written on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let visible = |b: u8| b.is_ascii_graphic() && !matches!(b, b'/' | b'%' | b':' | b'\\');
        if text.is_empty() || text.len() > 128 || !text.bytes().all(visible) {
            return Err(InvalidId("user id"));
        }
        Ok(Self(text.into()))
    }
}

/// One STOMP connection's protocol life: 128 random bits, written as 26 base32 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u128);

impl FromStr for SessionId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        parse_base32(text).map(Self).ok_or(InvalidId("session id"))
    }
}

/// One sign-in of an account on a device, until it signs out: `dev_` and 26 characters. Also the
/// family of its refresh tokens, and the claim `sid` of its access tokens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignInId(pub u128);

impl FromStr for SignInId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        text.strip_prefix("dev_")
            .and_then(parse_base32)
            .map(Self)
            .ok_or(InvalidId("id of a sign-in"))
    }
}

/// A broker process, `[a-z0-9-]{1,32}` and never `all`: it becomes part of a routing key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// The id as it is written in keys and routing keys.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if text.is_empty() || text.len() > 32 || text == "all" || !text.bytes().all(allowed) {
            return Err(InvalidId("node id"));
        }
        Ok(Self(text.into()))
    }
}

/// One life of a node: random at every start, so that a restart is never mistaken for the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

impl FromStr for Incarnation {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        u64::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| InvalidId("incarnation"))
    }
}

/// A stored message: a ULID, monotonic per node, written as 26 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub u128);

impl MessageId {
    /// The ULID of 48 bits of milliseconds and 80 random bits (the ULID specification).
    #[must_use]
    pub fn from_parts(millis: u64, random: u128) -> Self {
        Self((u128::from(millis & ((1 << 48) - 1)) << 80) | (random & ((1 << 80) - 1)))
    }
}

impl FromStr for MessageId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        parse_base32(text).map(Self).ok_or(InvalidId("message id"))
    }
}

/// A conversation: `room_` and 26 characters. A direct conversation is a room too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomId(pub u128);

impl RoomId {
    /// The room of two people (or of one with himself). It follows from the two ids alone, so that
    /// every node names the same room without asking anybody and without a race at its creation.
    #[must_use]
    pub fn direct(one: &UserId, other: &UserId) -> Self {
        let (low, high) = if one <= other {
            (one, other)
        } else {
            (other, one)
        };
        let mut hash = Sha256::new();
        hash.update(b"stompbox direct room v1\0");
        hash.update(low.as_str());
        hash.update(b"\0");
        hash.update(high.as_str());
        let digest = hash.finalize();
        let mut wide = [0_u8; 16];
        wide.copy_from_slice(&digest[..16]);
        Self(u128::from_be_bytes(wide))
    }
}

impl FromStr for RoomId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        text.strip_prefix("room_")
            .and_then(parse_base32)
            .map(Self)
            .ok_or(InvalidId("room id"))
    }
}

/// The caller's own name for a message, by which a second attempt is recognised:
/// 1 to 64 of `[A-Za-z0-9_-]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(Arc<str>);

impl ClientId {
    /// The id as the client wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClientId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        if text.is_empty() || text.len() > 64 || !text.bytes().all(allowed) {
            return Err(InvalidId("client_id (1 to 64 of [A-Za-z0-9_-])"));
        }
        Ok(Self(text.into()))
    }
}

/// The fingerprint of a visitor's network and browser, keyed: 26 characters of lower-case base32.
/// It recognises; it never opens anything.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientIdentifier(Arc<str>);

impl ClientIdentifier {
    /// The first 130 bits of a MAC, as 26 characters.
    #[must_use]
    pub fn from_mac(mac: &[u8; 32]) -> Self {
        let mut text = String::with_capacity(26);
        for i in 0..26_usize {
            let bit = i * 5;
            let pair = u16::from_be_bytes([mac[bit / 8], mac[bit / 8 + 1]]);
            let shift = 11 - bit % 8;
            text.push(char::from(CROCKFORD[usize::from((pair >> shift) & 31)]));
        }
        Self(text.into())
    }

    /// The identifier as it stands in keys and rows.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClientIdentifier {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if text.len() != 26 || !text.bytes().all(|b| CROCKFORD.contains(&b)) {
            return Err(InvalidId("client identifier"));
        }
        Ok(Self(text.into()))
    }
}

macro_rules! written_as {
    ($($name:ident: |$id:ident| $text:expr;)*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let $id = self;
                f.write_str($text)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}

written_as! {
    UserId: |id| &id.0;
    SessionId: |id| &base32(id.0, 26);
    SignInId: |id| &format!("dev_{}", base32(id.0, 26));
    NodeId: |id| &id.0;
    Incarnation: |id| &format!("{:016x}", id.0);
    MessageId: |id| &base32(id.0, 26);
    RoomId: |id| &format!("room_{}", base32(id.0, 26));
    ClientId: |id| &id.0;
    ClientIdentifier: |id| &id.0;
}

/// The lowest `5 * digits` bits of `value`, most significant digit first.
fn base32(value: u128, digits: usize) -> String {
    (0..digits)
        .rev()
        .map(|place| char::from(CROCKFORD[((value >> (5 * place)) & 31) as usize]))
        .collect()
}

/// Reads the 26 digits that [`base32`] writes for 128 bits; no aliases, no capitals, no overflow.
fn parse_base32(text: &str) -> Option<u128> {
    if text.len() != 26 || text.as_bytes()[0] > b'7' {
        return None;
    }
    text.bytes().try_fold(0_u128, |value, digit| {
        let digit = CROCKFORD.iter().position(|&c| c == digit)?;
        Some((value << 5) | digit as u128)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_reads_back_what_it_writes() {
        let user = UserId::from_random([0xff, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(user.as_str().len(), 18);
        assert_eq!(user.random_bits(), Some([1, 1, 2, 3, 4, 5, 6, 7, 8]));
        assert_eq!(user.to_string().parse(), Ok(user));
        for other in ["user_a", "system", "user_ooooooooooooo"] {
            assert_eq!(other.parse::<UserId>().unwrap().random_bits(), None);
        }
        for bits in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef << 40] {
            assert_eq!(SessionId(bits).to_string().parse(), Ok(SessionId(bits)));
            assert_eq!(SignInId(bits).to_string().parse(), Ok(SignInId(bits)));
            assert_eq!(RoomId(bits).to_string().parse(), Ok(RoomId(bits)));
            assert_eq!(MessageId(bits).to_string().parse(), Ok(MessageId(bits)));
        }
        assert_eq!(Incarnation(77).to_string().parse(), Ok(Incarnation(77)));
    }

    #[test]
    fn what_is_not_an_id_is_refused() {
        for text in [
            "",
            "a/b",
            "a%2fb",
            "a:b",
            "a b",
            "a\\b",
            "é",
            &"x".repeat(129),
        ] {
            assert!(text.parse::<UserId>().is_err(), "{text}");
        }
        for text in ["", "all", "A", "a_b", "a.b", &"a".repeat(33)] {
            assert!(text.parse::<NodeId>().is_err(), "{text}");
        }
        for text in ["", "a b", "a.b", &"a".repeat(65)] {
            assert!(text.parse::<ClientId>().is_err(), "{text}");
        }
        assert!("8zzzzzzzzzzzzzzzzzzzzzzzzz".parse::<SessionId>().is_err());
        assert!("room_7".parse::<RoomId>().is_err());
    }

    #[test]
    fn the_direct_room_of_two_does_not_depend_on_who_asks() {
        let a: UserId = "user_a".parse().unwrap();
        let b: UserId = "user_b".parse().unwrap();
        assert_eq!(RoomId::direct(&a, &b), RoomId::direct(&b, &a));
        assert_ne!(RoomId::direct(&a, &a), RoomId::direct(&a, &b));
    }

    #[test]
    fn a_fingerprint_is_the_head_of_the_mac() {
        assert_eq!(
            ClientIdentifier::from_mac(&[0; 32]).as_str(),
            "0".repeat(26)
        );
        assert_eq!(
            ClientIdentifier::from_mac(&[0xff; 32]).as_str(),
            "z".repeat(26)
        );
        let mut mac = [0; 32];
        mac[0] = 0b0000_1000;
        assert!(ClientIdentifier::from_mac(&mac).as_str().starts_with("10"));
    }
}
