//! Evictions: who loses what for whom, and what a search for them costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use super::{BYTES, at, drain, known, pool};
use crate::budget::state::Amount;
use crate::budget::{Claimant, Evict, Memory, MemorySettings, Refused};
use crate::model::{Kind, Network};

/// Counts how often a charge was taken away.
#[derive(Debug, Default)]
pub(super) struct Told(AtomicUsize);

impl Told {
    pub(super) fn count(&self) -> usize {
        self.0.load(Relaxed)
    }
}

impl Evict for Told {
    fn evict(&self) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[test]
fn the_largest_holder_loses_and_not_the_newcomer() {
    let pool = pool(100, 0);
    let told = Arc::new(Told::default());
    let whose: std::sync::Weak<dyn Evict> = {
        let whose: Arc<dyn Evict> = told.clone();
        Arc::downgrade(&whose)
    };
    let mut large = pool.take(&at("192.0.2.1"), 50).unwrap();
    large.set_evictable(whose);
    let others: Vec<_> = (2..=50)
        .map(|last| pool.take(&at(&format!("192.0.2.{last}")), 1).unwrap())
        .collect();
    assert_eq!(pool.used(), 99);
    let newcomer = pool.take(&at("198.51.100.1"), 10).unwrap();
    assert_eq!(told.0.load(Relaxed), 1);
    assert_eq!(pool.used(), 49 + 10);
    drop(large);
    assert_eq!(
        pool.used(),
        49 + 10,
        "what was evicted is not given back twice"
    );
    drop((newcomer, others));
    assert_eq!(pool.used(), 0);
}

#[test]
fn nobody_is_evicted_for_somebody_who_holds_as_much() {
    let pool = pool(100, 0);
    let told: Arc<dyn Evict> = Arc::new(Told::default());
    let mut large = pool.take(&at("192.0.2.1"), 40).unwrap();
    large.set_evictable(Arc::downgrade(&told));
    assert!(pool.take(&at("192.0.2.2"), 70).is_err());
    assert_eq!(pool.used(), 40);
}

#[test]
fn an_evicted_charge_grows_again_from_nothing() {
    let pool = pool(100, 0);
    let told: Arc<dyn Evict> = Arc::new(Told::default());
    let mut large = pool.take(&at("192.0.2.1"), 95).unwrap();
    large.set_evictable(Arc::downgrade(&told));
    drop(pool.take(&at("192.0.2.2"), 10).unwrap());
    assert_eq!(pool.used(), 0);
    large.grow(5).unwrap();
    assert_eq!((large.amount(), pool.used()), (5, 5));
    large.shrink(2);
    drop(large);
    assert_eq!(pool.used(), 0);
}

#[test]
fn an_attempt_evicts_nothing_and_covering_does() {
    let memory = Memory::new(MemorySettings { bytes_max: 1_000 });
    let told = Arc::new(Told::default());
    let mut large = memory.lease_in(&at("192.0.2.1"), BYTES);
    large.cover(430).unwrap();
    let whose: Arc<dyn Evict> = told.clone();
    large.set_evictable(Arc::downgrade(&whose));
    let member = known("192.0.2.3", "user_a", Kind::Member);
    let mut others = memory.pool().charge(&member);
    others.restore(500);
    let mut small = memory.lease_in(&at("192.0.2.2"), BYTES);
    small.try_cover(50, 10).unwrap();
    small.try_cover(5, 15).unwrap();
    assert_eq!((small.covered(), small.covered_shared()), (5, 15));
    assert_eq!(memory.used(), 935);
    assert!(small.try_cover(80, 15).is_err());
    assert_eq!((told.0.load(Relaxed), small.covered()), (0, 5));
    small.cover(80).unwrap();
    assert_eq!((told.0.load(Relaxed), memory.used()), (1, 580));
    drop((large, small, others));
    assert_eq!(memory.used(), 0);
}

/// References to frames, whose bytes go with them.
#[derive(Debug)]
struct References {
    frames: Arc<AtomicU64>,
    left: u64,
}

impl Evict for References {
    fn evict(&self) {
        self.frames.store(self.left, Relaxed);
    }
}

#[test]
fn what_is_shared_is_taken_away_when_it_uses_up_the_pool_and_not_before() {
    // Bytes of frames before and after the references to them have gone.
    let loses = |before: u64, left: u64| {
        let memory = Memory::new(MemorySettings { bytes_max: 1_000 });
        let frames = Arc::new(AtomicU64::new(before));
        let gauge = Arc::clone(&frames);
        memory.add_shared_gauge(move || gauge.load(Relaxed));
        let take = |last: u8, own: u64, shared: u64| {
            let mut charge = memory.pool().charge(&at(&format!("192.0.2.{last}")));
            charge.try_resize(Amount { own, shared }).unwrap();
            charge
        };
        let (mut bodies, mut stalled) = (take(1, 150, 0), take(2, 0, 200));
        let told = Arc::new(Told::default());
        let of_bodies: Arc<dyn Evict> = told.clone();
        bodies.set_evictable(Arc::downgrade(&of_bodies));
        let of_stalled: Arc<dyn Evict> = Arc::new(References {
            frames: Arc::clone(&frames),
            left,
        });
        stalled.set_evictable(Arc::downgrade(&of_stalled));
        let member = known("192.0.2.3", "user_a", Kind::Member);
        let mut others = memory.pool().charge(&member);
        others.restore(1_000 - 150 - before);
        assert!(memory.pool().take(&at("192.0.2.4"), 20).is_ok());
        (told.0.load(Relaxed), stalled.held().shared)
    };
    // Many refer to the same frames: a reference that goes frees a hundredth of what it counts for.
    assert_eq!(loses(2, 2), (1, 200));
    // The session has frames of its own, which go with it.
    assert_eq!(loses(190, 0), (0, 0));
}

#[test]
fn bytes_in_queues_add_no_weight_to_references() {
    // A crowd refers 1 GiB in all to one MiB of frames. What fills the account are messages in queues.
    let memory = Memory::new(MemorySettings {
        bytes_max: 512 << 20,
    });
    memory.add_shared_gauge(|| 1 << 20);
    memory.add_gauge(|| 256 << 20);
    let told = Arc::new(Told::default());
    let whose: Arc<dyn Evict> = told.clone();
    let crowd: Vec<_> = (0..256)
        .map(|number| {
            let mut session = memory
                .pool()
                .charge(&at(&format!("192.0.{}.1", number % 4)));
            session.refer(4 << 20);
            session.set_evictable(Arc::downgrade(&whose));
            session
        })
        .collect();
    let mut others = memory
        .pool()
        .charge(&known("198.51.100.1", "user_a", Kind::Member));
    others.restore(254 << 20);
    let refused = memory.pool().take(&at("198.51.100.2"), 2 << 20);
    assert!(refused.is_err(), "a reference that goes frees nothing");
    assert_eq!(told.0.load(Relaxed), 0, "sessions lost for nothing");
    drop((crowd, others));
}

#[test]
fn a_newcomer_gets_what_several_small_charges_make_free() {
    let pool = pool(1_000, 0);
    let told = Arc::new(Told::default());
    let whose: Arc<dyn Evict> = told.clone();
    let sockets: Vec<_> = (0..50)
        .map(|_| {
            let mut socket = pool.take(&at("192.0.2.1"), 10).unwrap();
            socket.set_evictable(Arc::downgrade(&whose));
            socket
        })
        .collect();
    let mut others = pool.charge(&at("192.0.2.2"));
    others.restore(500);
    let newcomer = pool.take(&at("192.0.2.3"), 35).unwrap();
    assert!((4..=8).contains(&told.0.load(Relaxed)), "{told:?}");
    drop((sockets, newcomer, others));
    assert_eq!(pool.used(), 0);
}

#[test]
fn a_named_network_counts_by_its_multiple_when_the_largest_is_looked_for() {
    let loses = |multiple: u32| {
        let pool = pool(1_000, 0);
        let told = Arc::new(Told::default());
        let whose: Arc<dyn Evict> = told.clone();
        let mut office = at("192.0.2.1");
        office.multiple = multiple;
        let mut large = pool.take(&office, 500).unwrap();
        large.set_evictable(Arc::downgrade(&whose));
        let mut small = pool.charge(&at("192.0.2.2"));
        small.restore(495);
        let _newcomer = pool.take(&at("192.0.2.3"), 30);
        told.0.load(Relaxed)
    };
    assert_eq!((loses(1), loses(10)), (1, 0));
}

/// Twenty thousand sockets of two thousand networks, then a thousand newcomers: the charges are looked at once, and
/// every newcomer is served at once. A search through all of them for each newcomer takes minutes here.
#[test]
fn a_search_for_the_largest_does_not_look_at_every_charge() {
    const NETWORKS: u32 = 2_000;
    let pool = pool(20_800, 0);
    let told = Arc::new(Told::default());
    let whose: Arc<dyn Evict> = told.clone();
    let from = |number: u32| {
        let address = std::net::Ipv4Addr::from(0x0a00_0000 + number);
        Claimant::stranger(Network::of(address.into()))
    };
    let mut sockets = Vec::new();
    for number in 0..20_000 {
        let mut socket = pool.take(&from(number % NETWORKS), 1).unwrap();
        socket.set_evictable(Arc::downgrade(&whose));
        sockets.push(socket);
    }
    let began = std::time::Instant::now();
    let newcomers: Vec<_> = (0..1_000)
        .map(|number| pool.take(&from(NETWORKS + number), 1))
        .collect();
    let took = began.elapsed();
    assert_eq!(newcomers.iter().filter(|it| it.is_ok()).count(), 1_000);
    assert!(told.0.load(Relaxed) >= 200, "{told:?}");
    assert_eq!(pool.lock().orders_made, 1);
    assert!(took.as_millis() < 1_000, "{took:?}");
    drop((sockets, newcomers));
    assert_eq!(pool.used(), 0);
}

#[test]
fn a_protected_charge_is_not_evicted() {
    let pool = pool(100, 0);
    let told: Arc<dyn Evict> = Arc::new(Told::default());
    let mut large = pool.take(&at("192.0.2.1"), 50).unwrap();
    large.set_evictable(Arc::downgrade(&told));
    large.protect(0);
    let others: Vec<_> = (2..=50)
        .map(|last| pool.take(&at(&format!("192.0.2.{last}")), 1).unwrap())
        .collect();
    assert!(pool.take(&at("198.51.100.1"), 10).is_err());
    drop((large, others));
    assert_eq!(pool.used(), 0);
}

#[test]
fn a_visitor_takes_nothing_from_a_member() {
    let newcomer_gets = |newcomer: Claimant| {
        let pool = pool(100, 0);
        let told: Arc<dyn Evict> = Arc::new(Told::default());
        let member = known("192.0.2.1", "user_a", Kind::Member);
        let mut large = pool.take(&member, 20).unwrap();
        large.set_evictable(Arc::downgrade(&told));
        let _others: Vec<_> = (2..=80)
            .map(|last| pool.take(&at(&format!("192.0.2.{last}")), 1).unwrap())
            .collect();
        pool.take(&newcomer, 5).is_ok()
    };
    assert!(!newcomer_gets(at("198.51.100.1")));
    assert!(newcomer_gets(known("198.51.100.1", "user_b", Kind::Member)));
}

#[test]
fn nobody_loses_while_the_pool_is_not_short() {
    let pool = pool(1_000, 0);
    let told = Arc::new(Told::default());
    let school: Arc<dyn Evict> = told.clone();
    let mut large = pool.take(&at("192.0.2.1"), 500).unwrap();
    large.set_evictable(Arc::downgrade(&school));
    let user = known("192.0.2.2", "user_a", Kind::Anonymous);
    let held = drain(&pool, &user);
    assert_eq!(held.len(), 100);
    assert_eq!(pool.take(&user, 1).unwrap_err(), Refused::User);
    assert_eq!(told.0.load(Relaxed), 0);
}

#[test]
fn an_evicted_charge_is_not_given_back_again_after_it_was_made_evictable_anew() {
    let pool = pool(100, 0);
    let told: Arc<dyn Evict> = Arc::new(Told::default());
    let mut large = pool.take(&at("192.0.2.1"), 95).unwrap();
    large.set_evictable(Arc::downgrade(&told));
    let other = pool.take(&at("192.0.2.2"), 5).unwrap();
    drop(pool.take(&at("192.0.2.3"), 10).unwrap());
    large.protect(0);
    large.set_evictable(Arc::downgrade(&told));
    assert_eq!((large.amount(), pool.used()), (0, 5));
    drop(large);
    assert_eq!(pool.used(), 5);
    drop(other);
    assert_eq!(pool.used(), 0);
}

/// A queue whose place is taken away while a client uses it again.
#[test]
fn what_came_into_use_again_takes_back_what_was_taken_away() {
    let pool = pool(100, 0);
    let told: Arc<dyn Evict> = Arc::new(Told::default());
    let mut place = pool.take(&at("192.0.2.1"), 95).unwrap();
    place.set_evictable(Arc::downgrade(&told));
    let newcomer = pool.take(&at("192.0.2.2"), 10).unwrap();
    assert_eq!((place.amount(), pool.used()), (0, 10));
    place.protect(95);
    assert_eq!((place.amount(), pool.used()), (95, 105));
    drop((place, newcomer));
    assert_eq!(pool.used(), 0);
}
