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

use super::admission::{Permit, Refusal};
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
    charge: Mutex<Charge>,
    /// A std mutex of its own, because an eviction takes it.
    end: Mutex<End>,
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
        taken.lock().set_evictable(taken.whose());
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
            charge: Mutex::new(charge),
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
            *self.lock() = charge;
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
        self.lock().protect(0);
    }

    fn lock(&self) -> MutexGuard<'_, Charge> {
        self.charge.lock().unwrap_or_else(PoisonError::into_inner)
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
            _ => granted(|| self.lock().try_grow(more)),
        }
    }

    /// Gives this much back, or all that there is.
    pub(super) fn shrink(&self, less: u64) {
        if less > 0 {
            self.lock().shrink(less);
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
mod tests {
    use super::*;
    use crate::budget::MemorySettings;
    use crate::hub::OutboxLimits;
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

    const LIMITS: OutboxLimits = OutboxLimits {
        frames_max: 100,
        bytes_max: 1 << 10,
    };

    /// A node whose memory is held by three sockets of one address and by others.
    fn short() -> (Arc<Memory>, Vec<Arc<SocketCharge>>, Charge) {
        let memory = Memory::new(MemorySettings { bytes_max: 1 << 20 });
        let holder = Claimant::stranger(Network::of([192, 0, 2, 1].into()));
        let sockets = (0..3)
            .map(|_| SocketCharge::take(Eviction::Allowed, &memory, &holder, 100 << 10).unwrap());
        let sockets: Vec<_> = sockets.collect();
        let others = Claimant::stranger(Network::of([192, 0, 2, 2].into()));
        let mut others = memory.pool().charge(&others);
        others.restore((896 << 10) - memory.used());
        (memory, sockets, others)
    }

    fn newcomer() -> Claimant {
        Claimant::stranger(Network::of([192, 0, 2, 3].into()))
    }

    #[tokio::test]
    async fn the_task_of_a_socket_is_aborted_when_its_charge_is_needed() {
        let (memory, sockets, _others) = short();
        let tasks: Vec<_> = sockets
            .iter()
            .map(|charge| {
                let task = tokio_util::task::TaskTracker::new().spawn(std::future::pending::<()>());
                charge.ends_by(End::Task(task.abort_handle()));
                task
            })
            .collect();
        let one = SocketCharge::take(Eviction::Allowed, &memory, &newcomer(), 0).unwrap();
        let mut aborted = 0;
        for task in tasks {
            let ended = tokio::time::timeout(std::time::Duration::from_millis(100), task).await;
            aborted += usize::from(ended.is_ok_and(|it| it.unwrap_err().is_cancelled()));
        }
        assert_eq!(aborted, 1);
        drop(one);
    }

    /// From now on each of them ends with the session of one of these outboxes.
    fn ending_with_sessions(sockets: &[Arc<SocketCharge>]) -> Vec<Arc<Outbox>> {
        let session = |charge: &Arc<SocketCharge>| {
            let outbox = Arc::new(Outbox::new(LIMITS));
            charge.ends_by(End::Session(Arc::downgrade(&outbox)));
            outbox
        };
        sockets.iter().map(session).collect()
    }

    #[tokio::test]
    async fn a_session_is_cut_and_one_that_was_taken_away_before_its_connect_too() {
        let (memory, sockets, _others) = short();
        let outboxes = ending_with_sessions(&sockets);
        let _one = SocketCharge::take(Eviction::Allowed, &memory, &newcomer(), 0).unwrap();
        let is_cut = |outboxes: &[Arc<Outbox>]| {
            let cut = outboxes.iter().filter(|outbox| outbox.is_cut());
            cut.count()
        };
        assert_eq!(is_cut(&outboxes), 1);
        let (memory, sockets, _others) = short();
        let _one = SocketCharge::take(Eviction::Allowed, &memory, &newcomer(), 0).unwrap();
        let late = ending_with_sessions(&sockets);
        assert_eq!(is_cut(&late), 1);
    }

    #[test]
    fn a_charge_of_what_is_free_takes_nothing_from_others() {
        let (memory, sockets, _others) = short();
        assert!(SocketCharge::take_of_free(&memory, &newcomer(), 0).is_err());
        assert!(SocketCharge::take(Eviction::Never, &memory, &newcomer(), 0).is_err());
        let is_evicted = |it: &Arc<SocketCharge>| matches!(*it.end(), End::Evicted);
        assert!(!sockets.iter().any(is_evicted));
        assert!(SocketCharge::take(Eviction::Allowed, &memory, &newcomer(), 0).is_ok());
        assert!(sockets.iter().any(is_evicted));
    }

    #[test]
    fn a_socket_of_a_trusted_proxy_is_not_taken_away() {
        let (memory, sockets, _others) = short();
        sockets.iter().for_each(|socket| socket.protect());
        assert!(SocketCharge::take(Eviction::Allowed, &memory, &newcomer(), 0).is_err());
    }

    #[test]
    fn a_socket_is_charged_until_it_ends() {
        let memory = Memory::new(MemorySettings { bytes_max: 1 << 20 });
        let claimant = Claimant::stranger(Network::of([192, 0, 2, 1].into()));
        let charge = SocketCharge::take(Eviction::Allowed, &memory, &claimant, HTTP_BYTES).unwrap();
        assert_eq!(memory.used(), Memory::BASE_BYTES + HTTP_BYTES);
        charge.shrink(u64::MAX);
        assert_eq!(memory.used(), 0);
        charge.grow(7).unwrap();
        drop(charge);
        assert_eq!(memory.used(), 0);
        let too_much = SocketCharge::take(Eviction::Allowed, &memory, &claimant, 1 << 20);
        assert_eq!(too_much.unwrap_err(), Refusal::Memory);
        assert_eq!(memory.used(), 0);
    }
}
