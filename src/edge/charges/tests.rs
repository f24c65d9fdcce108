//! What sockets and answers are charged with, and how they end. Not here: who loses (`budget`). Invariant: a charge ends
//! with what it stands for.

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
    let sockets =
        (0..3).map(|_| SocketCharge::take(Eviction::Allowed, &memory, &holder, 100 << 10).unwrap());
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
