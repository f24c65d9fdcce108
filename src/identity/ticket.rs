//! The ticket: what a page puts into the address of a WebSocket, because it can set no header there.
//!
//! Not a secret of its own: it stands for the visitor's secret for half a minute, once. Whether it was
//! used is asked of the quota (a bucket that holds one token and takes ten minutes for another), so
//! the nodes of a cluster know of each other's. Invariant: it says nothing about the secret to
//! whoever reads it in a log, and opens nothing a second time.
//!
//! ```text
//! ticket = "sbt1." base64url(expiry in Unix ms, 8 bytes | random, 8 bytes | what the secret says, 22 bytes,
//!                            or SHA-256 of an old one, 32 bytes | first 16 bytes of the MAC)
//! ```

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::Mac;

use super::fingerprint::FingerprintKey;
use super::random::{RandomUnavailable, random};
use super::secret::{Claim, Visit};
use crate::model::UnixMillis;
use crate::policy::bucket::Rate;
use crate::store::TokenHash;

/// How long a ticket can be used.
pub const TICKET_LIFE: Duration = Duration::from_secs(30);

/// The bucket by which a ticket is used once: it must not refill while the ticket lives.
pub(super) const ONCE: Rate = Rate {
    capacity: 1,
    per_10_min: 1,
};

const PREFIX: &str = "sbt1.";
const PURPOSE: &[u8] = b"ticket\0";
/// Without what stands for the secret.
const FRAME_BYTES: usize = 16;
const MAC_BYTES: usize = 16;

/// Whether a text claims to be a ticket, rather than a secret that no address may hold.
#[must_use]
pub fn is_ticket(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// A ticket that is genuine and has not expired.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    /// The secret that it stands for.
    pub(super) claim: Claim,
    nonce: u64,
}

impl Ticket {
    /// The key of the bucket that remembers its use.
    pub(super) fn key(&self) -> String {
        format!("ticket:{:016x}", self.nonce)
    }

    /// Writes a new ticket for a secret.
    pub(super) fn tell(
        key: &FingerprintKey,
        claim: &Claim,
        now: UnixMillis,
    ) -> Result<String, RandomUnavailable> {
        let mut octets = Vec::with_capacity(FRAME_BYTES + 32 + MAC_BYTES);
        octets.extend_from_slice(&now.after(TICKET_LIFE).0.to_be_bytes());
        octets.extend_from_slice(&random::<8>()?);
        match &claim.visit {
            Some(visit) => octets.extend_from_slice(&visit.bytes()),
            None => octets.extend_from_slice(&claim.token),
        }
        let mac = key.mac(&[PURPOSE, &octets]).finalize().into_bytes();
        octets.extend_from_slice(&mac[..MAC_BYTES]);
        Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(octets)))
    }

    /// Reads one; `None` when this cluster did not write it, or it has expired.
    pub(super) fn read(key: &FingerprintKey, text: &str, now: UnixMillis) -> Option<Self> {
        let octets = URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?;
        let (signed, mac) = octets.split_at_checked(octets.len().checked_sub(MAC_BYTES)?)?;
        // Compares in constant time.
        let expected = key.mac(&[PURPOSE, signed]);
        expected.verify_truncated_left(mac).ok()?;
        let (expiry, rest) = signed.split_first_chunk::<8>()?;
        let (nonce, secret) = rest.split_first_chunk::<8>()?;
        let claim = match TokenHash::try_from(secret) {
            Ok(token) => Claim { token, visit: None },
            Err(_) => Claim::of(Visit::of_bytes(secret)?),
        };
        let ticket = Self {
            claim,
            nonce: u64::from_be_bytes(*nonce),
        };
        (now < UnixMillis(u64::from_be_bytes(*expiry))).then_some(ticket)
    }
}

impl std::fmt::Debug for Ticket {
    /// Without the secret's hash.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_000_000);
    const OLD: Claim = Claim {
        token: [7; 32],
        visit: None,
    };

    #[test]
    fn a_ticket_reads_back_until_it_expires() {
        let key = FingerprintKey::derive(b"a secret of the cluster");
        let claim = OLD;
        let text = Ticket::tell(&key, &claim, NOW).unwrap();
        let read = |now| Ticket::read(&key, &text, now);
        assert_eq!(read(NOW).unwrap().claim, claim);
        let signed = Claim::of(Visit::random().unwrap());
        let ticket = Ticket::tell(&key, &signed, NOW).unwrap();
        assert_eq!(Ticket::read(&key, &ticket, NOW).unwrap().claim, signed);
        assert_eq!(read(NOW.after(TICKET_LIFE)), None);
        let last = NOW.after(TICKET_LIFE - Duration::from_millis(1));
        assert_eq!(read(last).unwrap(), read(NOW).unwrap());
        let other = Ticket::tell(&key, &claim, NOW).unwrap();
        assert_ne!(
            Ticket::read(&key, &other, NOW).unwrap().key(),
            read(NOW).unwrap().key()
        );
    }

    #[test]
    fn what_this_cluster_did_not_write_is_no_ticket() {
        let key = FingerprintKey::derive(b"a secret of the cluster");
        let text = Ticket::tell(&key, &OLD, NOW).unwrap();
        let foreign = FingerprintKey::derive(b"another one");
        assert_eq!(Ticket::read(&foreign, &text, NOW), None);
        for at in PREFIX.len()..text.len() {
            let mut octets = text.clone().into_bytes();
            octets[at] = if octets[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(octets).unwrap();
            // The last letter holds bits that mean nothing; those must be zero.
            assert_eq!(Ticket::read(&key, &changed, NOW), None, "{at}");
        }
        for text in ["", PREFIX, "sbt1.AAAA", "sbv1.AAAA", &text[1..]] {
            assert_eq!(Ticket::read(&key, text, NOW), None, "{text}");
        }
    }
}
