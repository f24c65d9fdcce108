//! What a socket is charged with in the byte account, how it ends when that is taken away, and what an answer is
//! leased with.
//!
//! Not here: the account itself, and who loses (`budget`). Invariants: the charge of a socket lives exactly as long as
//! the socket, and counts to the network of its client as soon as that is known; a socket whose charge, place or
//! request was evicted ends at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use axum::body::Body;
use bytes::Bytes;
use tokio::task::AbortHandle;

use super::admission::{Permit, Refusal, Ticket};
use crate::budget::{Charge, Claimant, Evict, Eviction, Lease, Memory, Missing, Refused, granted};
use crate::hub::Outbox;
use crate::model::CloseReason;

/// What a socket of HTTP costs beyond [`Memory::BASE_BYTES`]: its task and the buffer for heads. Measured
/// are 20 KiB for an idle one and 26 KiB with 12 kB of a head, both of them without the kernel's part.
pub(super) const HTTP_BYTES: u64 = 24 << 10;

/// What TLS costs beyond that: the state of a session, measured as 8 KiB, and a record in each direction.
pub(super) const TLS_BYTES: u64 = 40 << 10;

/// What the kernel may hold of an answer that its client does not read: twice `SEND_BUFFER_BYTES`, as Linux
/// counts it.
pub(super) const KERNEL_BYTES: u64 = 128 << 10;

/// The charge of one socket, or of a session over requests.
#[derive(Debug)]
pub(super) struct SocketCharge {
    /// A std mutex: held for a turn of the pool, never while room is made in it.
    held: Mutex<Held>,
    /// A std mutex of its own, because an eviction takes it.
    end: Mutex<End>,
}

/// What it holds.
#[derive(Debug)]
struct Held {
    charge: Charge,
    /// While it is not known whose it is, and its places are in the reserve.
    unknown: Option<Box<Ticket>>,
}

/// How a connection ends whose charge is taken away.
#[derive(Debug, Default)]
pub(super) enum End {
    /// It is not known yet.
    #[default]
    Unknown,
    /// The task is aborted, and drops its socket.
    Task(AbortHandle),
    /// The session over requests is closed.
    Requests(Weak<dyn Evict>),
    /// The STOMP session is cut.
    Session(Weak<Outbox>),
    /// It was taken away.
    Evicted,
}

impl SocketCharge {
    /// Takes the base of a socket and this much more.
    pub(super) fn take(
        eviction: Eviction,
        memory: &Memory,
        who: &Claimant,
        more: u64,
    ) -> Result<Arc<Self>, Refusal> {
        let taken = Self::new(eviction, memory, who, more)?;
        taken.lock().charge.set_evictable(taken.whose());
        Ok(taken)
    }

    /// The same of what is free, and nothing takes it away: for what lasts for a moment.
    pub(super) fn take_of_free(
        memory: &Memory,
        who: &Claimant,
        more: u64,
    ) -> Result<Arc<Self>, Refusal> {
        Self::new(Eviction::Never, memory, who, more)
    }

    fn new(
        eviction: Eviction,
        memory: &Memory,
        who: &Claimant,
        more: u64,
    ) -> Result<Arc<Self>, Refusal> {
        let charge = charge_of(eviction, memory, who, more)?;
        Ok(Arc::new(Self {
            held: Mutex::new(Held {
                charge,
                unknown: None,
            }),
            end: Mutex::default(),
        }))
    }

    /// Takes the same anew for the client whom a proxy has named, and gives back what it held for the proxy.
    pub(super) fn retake(
        self: &Arc<Self>,
        eviction: Eviction,
        memory: &Memory,
        who: &Claimant,
        more: u64,
    ) -> Result<(), Refusal> {
        let mut charge = charge_of(eviction, memory, who, more)?;
        if eviction != Eviction::Possible {
            charge.set_evictable(self.whose());
            self.lock().charge = charge;
        }
        Ok(())
    }

    /// Its places are in the reserve until it is known whose it is.
    pub(super) fn is_unknown_by(&self, ticket: Ticket) {
        self.lock().unknown = Some(Box::new(ticket));
    }

    /// Whether its places are in the reserve until it is known whose it is.
    pub(super) fn is_unknown(&self) -> bool {
        self.lock().unknown.is_some()
    }

    /// It is known now whose it is.
    pub(super) fn is_known(&self) {
        self.lock().unknown = None;
    }

    /// From now on it counts as that of a member, or of a bot.
    pub(super) fn identify(&self, who: &Claimant) {
        self.lock().charge.identify(who);
    }

    /// From now on it counts as that of a visitor, unless that is refused.
    pub(super) fn settle(
        &self,
        eviction: Eviction,
        memory: &Memory,
        who: &Claimant,
        whose: Weak<dyn Evict>,
    ) -> Result<(), Refusal> {
        let amount = self.lock().charge.amount();
        let mut charge = memory.pool().charge(who);
        charge.grow_with(eviction, amount)?;
        if eviction != Eviction::Possible {
            let mut held = self.lock();
            // Less is needed when the request that it came by has ended meanwhile.
            charge.shrink(amount.saturating_sub(held.charge.amount()));
            charge.set_evictable(whose);
            held.charge = charge;
        }
        Ok(())
    }

    /// Binds the place of the socket to it: the socket ends when either is taken away. Those of a trusted proxy,
    /// whose sockets serve many clients, never are.
    pub(super) fn ends_with(self: &Arc<Self>, place: Permit, is_proxy: bool) -> Permit {
        if is_proxy {
            self.protect();
            return place;
        }
        place.evictable(self.whose())
    }

    fn protect(&self) {
        self.lock().charge.protect(0);
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) -> MutexGuard<'_, End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is told when something is taken away without which the socket has to end.
    pub(super) fn whose(self: &Arc<Self>) -> Weak<dyn Evict> {
        let whose: Weak<Self> = Arc::downgrade(self);
        whose
    }

    /// From now on it ends so. One that was taken away before ends at once.
    pub(super) fn ends_by(&self, end: End) {
        let mut now = self.end();
        match (&*now, &end) {
            (End::Evicted, _) => {
                drop(now);
                end.happen();
            }
            // A task may hear of its own spawn after its client's CONNECT.
            (End::Session(_), End::Task(_)) => {}
            _ => *now = end,
        }
    }

    /// Takes this much more.
    pub(super) fn grow(&self, more: u64) -> Result<(), Refused> {
        match more {
            0 => Ok(()),
            _ => granted(|| self.lock().charge.try_grow(more)),
        }
    }

    /// Gives this much back, or all that there is.
    pub(super) fn shrink(&self, less: u64) {
        if less > 0 {
            self.lock().charge.shrink(less);
        }
    }
}

/// The base of a socket and this much more.
fn charge_of(
    eviction: Eviction,
    memory: &Memory,
    who: &Claimant,
    more: u64,
) -> Result<Charge, Refused> {
    let mut charge = memory.pool().charge(who);
    charge.grow_with(eviction, Memory::BASE_BYTES.saturating_add(more))?;
    Ok(charge)
}

impl Evict for SocketCharge {
    fn evict(&self) {
        let end = std::mem::replace(&mut *self.end(), End::Evicted);
        end.happen();
    }
}

impl End {
    fn happen(self) {
        match self {
            Self::Unknown | Self::Evicted => {}
            Self::Task(task) => task.abort(),
            Self::Requests(session) => {
                if let Some(session) = session.upgrade() {
                    session.evict();
                }
            }
            Self::Session(outbox) => {
                if let Some(outbox) = outbox.upgrade() {
                    outbox.cut(CloseReason::LIMIT_EXCEEDED);
                }
            }
        }
    }
}

/// A client that is refused memory is refused a place.
impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Full => Self::Memory,
            Refused::User | Refused::Network => Self::NetworkMemory,
        }
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
    Ok(with_lease(bytes, lease))
}

/// The same of what is free, under a lock that an eviction needs.
pub(super) fn leased_of_free(
    bytes: Bytes,
    lease: impl FnOnce() -> Lease,
) -> Result<Bytes, Refused> {
    if bytes.len() as u64 <= Memory::BASE_BUFFER_BYTES {
        return Ok(bytes);
    }
    let mut lease = lease();
    let covered = lease.try_cover(bytes.len() as u64, 0);
    covered.map_err(Missing::refused)?;
    Ok(with_lease(bytes, lease))
}

/// Bytes that keep a lease for as long as any part of them is alive.
pub(super) fn with_lease(bytes: Bytes, lease: Lease) -> Bytes {
    Bytes::from_owner(LeasedBytes {
        bytes,
        _lease: lease,
    })
}

struct LeasedBytes {
    bytes: Bytes,
    _lease: Lease,
}

impl AsRef<[u8]> for LeasedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A body of bytes that are leased.
pub(super) fn body(bytes: Bytes, lease: impl FnOnce() -> Lease) -> Result<Body, Refused> {
    leased(bytes, lease).map(Body::from)
}

#[cfg(test)]
mod tests;
