//! What an outbox draws from the byte account, and that it gives everything back.

use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;

use super::*;
use crate::budget::{Claimant, MemorySettings, Owner};
use crate::hub::{OutboxLimits, Pulled};
use crate::model::{CloseReason, Network};

const LIMITS: OutboxLimits = OutboxLimits {
    frames_max: 1_000,
    bytes_max: 512 << 10,
};

fn memory(bytes_max: u64) -> Arc<Memory> {
    Memory::new(MemorySettings { bytes_max })
}

fn outbox(memory: &Arc<Memory>, address: &'static str) -> Arc<Outbox> {
    let owner = Owner {
        memory: Arc::clone(memory),
        address,
    };
    Arc::new(Outbox::with_owner(LIMITS, Arc::new(owner)))
}

fn shared(memory: &Arc<Memory>, address: &str) -> u64 {
    let network = Network::of(address.parse::<IpAddr>().unwrap());
    memory.pool().held_by_network(network)
}

fn frame(bytes: usize) -> Framed {
    Framed::message(&vec![b'x'; bytes])
}

const ONE: &str = "192.0.2.1";
const CUT: Option<Pulled> = Some(Pulled::Cut(CloseReason::SLOW_CONSUMER));

#[test]
fn up_to_the_base_nothing_is_leased() {
    let memory = memory(1 << 30);
    let outbox = outbox(&memory, ONE);
    for _ in 0..8 {
        assert!(outbox.push(frame(BASE_BYTES / 8)));
    }
    assert_eq!(shared(&memory, ONE), 0);
    assert!(outbox.lock().rare.is_none());
    assert!(outbox.push(frame(1)));
    assert_eq!(shared(&memory, ONE), CHUNK_BYTES as u64);
    outbox.push_own(frame(CHUNK_BYTES));
    assert_eq!(shared(&memory, ONE), 2 * CHUNK_BYTES as u64);
}

#[test]
fn what_the_driver_has_pulled_is_covered_until_it_asks_again() {
    let memory = memory(1 << 30);
    let outbox = outbox(&memory, ONE);
    assert!(outbox.push(frame(100 << 10)));
    let covered = shared(&memory, ONE);
    assert!(covered >= 98 << 10, "{covered}");
    let pulled = outbox.try_pull();
    assert_eq!(shared(&memory, ONE), covered);
    assert!(outbox.push(frame(100 << 10)));
    assert!(shared(&memory, ONE) >= 198 << 10);
    drop(pulled);
    assert!(outbox.try_pull().is_some());
    assert_eq!(outbox.try_pull(), None);
    assert_eq!(shared(&memory, ONE), CHUNK_BYTES as u64, "one chunk stays");
    outbox.rest();
    assert_eq!(shared(&memory, ONE), 0);
    assert!(outbox.push(frame(BASE_BYTES)));
    assert_eq!(shared(&memory, ONE), 0, "the base is there again");
}

#[test]
fn an_outbox_that_is_not_granted_more_is_cut_and_gives_everything_back() {
    let memory = memory(100 << 10);
    let outbox = outbox(&memory, ONE);
    let pushed = (0..100).filter(|_| outbox.push(frame(4 << 10))).count();
    // Whole chunks within seven eighths of 100 KiB, and the base: the frames themselves are charged where
    // they are made, and not in this test.
    assert_eq!(pushed, 20);
    assert_eq!(outbox.try_pull(), CUT);
    assert_eq!(shared(&memory, ONE), 0);
    outbox.push_own(frame(4 << 10));
    assert_eq!(outbox.try_pull(), CUT);
    drop(outbox);
    assert_eq!(memory.used(), 0);
}

#[test]
fn answers_of_a_session_that_are_not_granted_cut_it_too() {
    let memory = memory(100 << 10);
    let outbox = outbox(&memory, ONE);
    for _ in 0..100 {
        outbox.push_own(frame(4 << 10));
    }
    assert_eq!(outbox.try_pull(), CUT);
    assert_eq!(shared(&memory, ONE), 0);
}

#[test]
fn the_limit_holds_whatever_the_account_grants() {
    let memory = memory(0);
    let outbox = outbox(&memory, ONE);
    let pushed = (0..200).filter(|_| outbox.push(frame(4 << 10))).count();
    assert_eq!(pushed, 128, "512 KiB");
    let large = self::outbox(&memory, ONE);
    assert!(large.push(frame(600 << 10)), "one frame always fits");
    assert!(!large.push(frame(1)));
}

#[test]
fn a_client_whose_driver_pulls_may_have_many_times_the_limit_within_its_share() {
    let pushed = |memory: &Arc<Memory>| {
        let outbox = outbox(memory, ONE);
        // So little needs no lease.
        assert!(outbox.push(frame(100)));
        assert!(outbox.try_pull().is_some(), "the client reads");
        (0..5_000).filter(|_| outbox.push(frame(4 << 10))).count()
    };
    assert_eq!(pushed(&memory(0)), 4_096, "16 MiB");
    let scarce = memory(2 << 20);
    let few = pushed(&scarce);
    assert!(
        (300..450).contains(&few),
        "{few}: its share is seven eighths of 2 MiB"
    );
    assert_eq!(scarce.used(), 0);
}

/// Otherwise one address, or one /48, could have the readers of a topic cut.
#[test]
fn the_burst_of_one_network_is_less_than_what_may_wait_for_a_client_that_reads() {
    let defaults = crate::app::AppSettings::default();
    let burst = u64::from(defaults.rate_network.capacity) << 10;
    let waiting = (LIMITS.bytes_max * READING_TIMES) as u64;
    assert!(2 * burst < waiting, "{burst} of an address, {waiting}");
}

#[test]
fn the_largest_holder_is_cut_for_a_newcomer() {
    let memory = memory(1 << 20);
    let stalled: Vec<_> = (1..=3)
        .map(|_| {
            let outbox = outbox(&memory, ONE);
            while outbox.lock().bytes < 200 << 10 && outbox.push(frame(8 << 10)) {}
            outbox
        })
        .collect();
    let mut own = memory.lease(&Claimant::stranger(Network::of([198, 51, 100, 1].into())));
    own.try_cover(800 << 10, 0).unwrap();
    let newcomer = outbox(&memory, "192.0.2.2");
    assert!(newcomer.push(frame(60 << 10)));
    let cut = stalled.iter().filter(|outbox| outbox.is_cut()).count();
    assert!(cut <= 1, "{cut}");
    assert!(!newcomer.is_cut());
    drop((stalled, newcomer, own));
    assert_eq!(memory.used(), 0);
    assert_eq!(shared(&memory, ONE), 0);
}

#[test]
fn an_outbox_that_only_keeps_room_is_not_cut() {
    let memory = memory(1 << 30);
    let outbox = outbox(&memory, ONE);
    assert!(outbox.push(frame(10 << 10)));
    assert!(outbox.try_pull().is_some());
    assert_eq!(outbox.try_pull(), None);
    outbox.evict();
    assert!(!outbox.is_cut());
    assert_eq!(shared(&memory, ONE), 0);
    assert!(outbox.push(frame(10 << 10)));
    outbox.evict();
    assert!(outbox.is_cut());
    assert_eq!(outbox.is_cut.load(Relaxed), outbox.lock().cut.is_some());
}

#[test]
fn an_outbox_is_no_larger_for_it() {
    // With two counts of an Arc 224, which is a size class of the allocator.
    assert!(size_of::<Outbox>() <= 208, "{}", size_of::<Outbox>());
}
