//! What a socket is charged with in the byte account, and what an answer is leased with.
//!
//! Not here: the account itself (`budget`). Invariant: the charge of a socket lives exactly as long as the
//! socket, and counts to the network of its client as soon as that is known.

use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use bytes::Bytes;

use super::admission::Refusal;
use crate::budget::{Charge, Claimant, Lease, Memory, Refused};

/// What a socket of HTTP costs beyond [`Memory::BASE_BYTES`]: its task and the buffer for heads. Measured
/// are 20 KiB for an idle one and 26 KiB with 12 kB of a head, both of them without the kernel's part.
pub(super) const HTTP_BYTES: u64 = 24 << 10;

/// What TLS costs beyond that: the state of a session, measured as 8 KiB, and a record in each direction.
pub(super) const TLS_BYTES: u64 = 40 << 10;

/// What the kernel may hold of an answer that its client does not read: twice `SEND_BUFFER_BYTES`, as Linux
/// counts it.
pub(super) const KERNEL_BYTES: u64 = 128 << 10;

/// The charge of one socket.
#[derive(Debug)]
pub(super) struct SocketCharge(Mutex<Charge>);

impl SocketCharge {
    /// Takes the base of a socket and so much more.
    pub(super) fn take(memory: &Memory, who: &Claimant, more: u64) -> Result<Self, Refusal> {
        let charge = Self(Mutex::new(memory.socket(who)?));
        charge.grow(more)?;
        Ok(charge)
    }

    fn lock(&self) -> MutexGuard<'_, Charge> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes so much more.
    pub(super) fn grow(&self, more: u64) -> Result<(), Refused> {
        match more {
            0 => Ok(()),
            _ => self.lock().grow(more),
        }
    }

    /// Gives so much back, or all that there is.
    pub(super) fn shrink(&self, less: u64) {
        if less > 0 {
            self.lock().shrink(less);
        }
    }
}

/// Whoever is refused memory is refused a place.
impl From<Refused> for Refusal {
    fn from(_: Refused) -> Self {
        Self::Memory
    }
}

/// The body of an answer, which is leased until its last byte is written. What the base of a socket covers
/// needs no lease. Only for answers that are made for one request: what all share costs nothing more.
pub(super) fn leased(bytes: Bytes, lease: impl FnOnce() -> Lease) -> Result<Bytes, Refused> {
    if bytes.len() as u64 <= Memory::BASE_BUFFER_BYTES {
        return Ok(bytes);
    }
    let mut lease = lease();
    lease.cover(bytes.len() as u64)?;
    Ok(held(bytes, lease))
}

/// Bytes that keep a lease for as long as any part of them is alive.
pub(super) fn held(bytes: Bytes, lease: Lease) -> Bytes {
    Bytes::from_owner(Held {
        bytes,
        _lease: lease,
    })
}

struct Held {
    bytes: Bytes,
    _lease: Lease,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A body of bytes that are leased.
pub(super) fn body(bytes: Bytes, lease: impl FnOnce() -> Lease) -> Result<Body, Refused> {
    leased(bytes, lease).map(Body::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::MemorySettings;
    use crate::model::Network;

    #[test]
    fn an_answer_is_leased_until_its_last_part_is_gone() {
        let memory = Memory::new(MemorySettings { bytes_max: 1 << 20 });
        let claimant = Claimant::stranger(Network::of([192, 0, 2, 1].into()));
        let lease = || memory.lease(&claimant);
        let small = leased(Bytes::from(vec![0; 4 << 10]), lease).unwrap();
        assert_eq!((small.len(), memory.used()), (4 << 10, 0));
        let mut large = leased(Bytes::from(vec![7; 20 << 10]), lease).unwrap();
        assert_eq!((large.len(), memory.used()), (20 << 10, 32 << 10));
        let part = large.split_to(10);
        drop(large);
        assert_eq!((memory.used(), part.as_ref()), (32 << 10, &[7; 10][..]));
        drop(part);
        assert_eq!(memory.used(), 0);
        assert!(leased(Bytes::from(vec![0; 1 << 20]), lease).is_err());
    }

    #[test]
    fn a_socket_is_charged_until_it_ends() {
        let memory = Memory::new(MemorySettings { bytes_max: 1 << 20 });
        let claimant = Claimant::stranger(Network::of([192, 0, 2, 1].into()));
        let charge = SocketCharge::take(&memory, &claimant, HTTP_BYTES).unwrap();
        assert_eq!(memory.used(), Memory::BASE_BYTES + HTTP_BYTES);
        charge.shrink(u64::MAX);
        assert_eq!(memory.used(), 0);
        charge.grow(7).unwrap();
        drop(charge);
        assert_eq!(memory.used(), 0);
        let too_much = SocketCharge::take(&memory, &claimant, 1 << 20);
        assert_eq!(too_much.unwrap_err(), Refusal::Memory);
        assert_eq!(memory.used(), 0);
    }
}
