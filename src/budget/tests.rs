//! Shares of a pool: who gets how much, and who loses.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::*;
use crate::model::{Kind, Network, UserId};

fn at(address: &str) -> Claimant {
    Claimant::stranger(Network::of(address.parse::<IpAddr>().unwrap()))
}

fn known(address: &str, user: &str, kind: Kind) -> Claimant {
    Claimant {
        user: Some(user.parse::<UserId>().unwrap()),
        kind,
        ..at(address)
    }
}

fn pool(capacity: u64, reserve: u64) -> Arc<Pool> {
    Pool::new(PoolSettings {
        reserve,
        ..PoolSettings::new("test", capacity)
    })
}

/// Takes one by one until it is refused.
fn drain(pool: &Arc<Pool>, claimant: &Claimant) -> Vec<Charge> {
    std::iter::from_fn(|| pool.take(claimant, 1).ok()).collect()
}

#[test]
fn one_address_ends_at_half_and_the_next_still_gets_its_share() {
    let pool = pool(1_000, 0);
    let first = drain(&pool, &at("192.0.2.1"));
    assert_eq!(first.len(), 500);
    let second = drain(&pool, &at("192.0.2.2"));
    assert_eq!(second.len(), 250);
    assert!(pool.take(&at("192.0.2.1"), 1).is_err());
    assert!(pool.take(&at("192.0.2.3"), 1).is_ok());
    drop((first, second));
    assert_eq!(pool.used(), 0);
}

#[test]
fn many_addresses_of_one_48_have_no_more_than_one_ipv4_address() {
    let pool = pool(1_000, 0);
    let mut held = Vec::new();
    for number in 0..200 {
        held.extend(drain(&pool, &at(&format!("2001:db8:0:{number:x}00::1"))));
    }
    assert_eq!(pool.used(), 500);
    assert_eq!(held.len(), 500);
    assert_eq!(drain(&pool, &at("2001:db8:1::1")).len(), 167);
}

#[test]
fn each_width_has_a_level_of_its_own() {
    let one_64 = drain(&pool(1_000, 0), &at("2001:db8::1")).len();
    let one_56 = {
        let pool = pool(1_000, 0);
        let held: Vec<_> = (0..200)
            .flat_map(|number| drain(&pool, &at(&format!("2001:db8:0:{number:x}::1"))))
            .collect();
        held.len()
    };
    assert_eq!((one_64, one_56), (333, 429));
}

#[test]
fn visitors_leave_the_reserve_to_members() {
    let pool = pool(1_000, 400);
    let mut visitors = Vec::new();
    for last in 1..=250 {
        visitors.extend(drain(&pool, &at(&format!("192.0.2.{last}"))));
    }
    assert_eq!(visitors.len(), 600);
    let member = known("192.0.2.1", "user_a", Kind::Member);
    assert!(!drain(&pool, &member).is_empty());
}

#[test]
fn one_user_has_less_than_their_network() {
    let pool = pool(1_000, 0);
    let user = drain(&pool, &known("192.0.2.1", "user_a", Kind::Anonymous));
    assert_eq!(user.len(), 200);
    assert_eq!(
        pool.take(&known("192.0.2.1", "user_a", Kind::Anonymous), 1)
            .unwrap_err(),
        Refused::User
    );
    assert!(
        pool.take(&known("192.0.2.1", "user_b", Kind::Anonymous), 1)
            .is_ok()
    );
}

#[test]
fn a_named_network_has_a_multiple() {
    let pool = pool(1_000, 0);
    let mut office = at("192.0.2.1");
    office.multiple = 3;
    assert_eq!(drain(&pool, &office).len(), 750);
}

#[test]
fn zero_is_no_limit() {
    let pool = pool(0, 0);
    assert!(pool.take(&at("192.0.2.1"), u64::MAX / 2).is_ok());
}

/// A client at an address, for tests of what draws on the account.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) memory: Arc<Memory>,
    pub(crate) address: &'static str,
}

impl MemoryOwner for Owner {
    fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    fn claimant(&self) -> Claimant {
        at(self.address)
    }
}

#[derive(Debug, Default)]
struct Told(AtomicUsize);

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
fn a_charge_follows_its_client_when_more_is_known_of_them() {
    let pool = pool(1_000, 0);
    let mut charge = pool.take(&at("192.0.2.1"), 10).unwrap();
    let member = known("192.0.2.1", "user_a", Kind::Member);
    charge.identify(member.clone());
    assert_eq!(pool.held_by_user(member.user.as_ref().unwrap()), 10);
    assert_eq!(pool.held_by_network(member.network), 10);
    charge.grow_shared(5).unwrap();
    assert_eq!(
        (pool.used(), pool.held_by_network(member.network)),
        (10, 15)
    );
    drop(charge);
    assert_eq!((pool.used(), pool.held_by_network(member.network)), (0, 0));
}

#[test]
fn a_lease_is_taken_in_chunks() {
    let memory = Memory::new(MemorySettings { bytes_max: 1 << 30 });
    let mut lease = memory.lease(&at("192.0.2.1"));
    lease.cover(1).unwrap();
    assert_eq!(memory.used(), 16 << 10);
    lease.cover(16 << 10).unwrap();
    assert_eq!(memory.used(), 16 << 10);
    lease.cover((16 << 10) + 1).unwrap();
    assert_eq!(memory.used(), 32 << 10);
    lease.cover_shared(100).unwrap();
    assert_eq!(memory.used(), 32 << 10);
    lease.cover(0).unwrap();
    assert_eq!(memory.used(), 0);
    memory.set_shared_gauge(|| 1 << 30);
    assert!(memory.is_full());
    assert_eq!(lease.cover(1), Err(Refused::Full));
}

#[test]
fn an_evicted_charge_grows_again_from_nothing() {
    let pool = pool(100, 0);
    let told: Arc<dyn Evict> = Arc::new(Told::default());
    let mut large = pool.take(&at("192.0.2.1"), 95).unwrap();
    large.set_evictable(Arc::downgrade(&told));
    assert!(pool.make_room(&at("192.0.2.2"), 10, 0));
    assert_eq!(pool.used(), 0);
    large.grow(5).unwrap();
    assert_eq!((large.amount(), pool.used()), (5, 5));
    large.shrink(2);
    drop(large);
    assert_eq!(pool.used(), 0);
}

#[test]
fn covering_quietly_evicts_nobody_and_follows_both_ways() {
    let memory = Memory::new(MemorySettings { bytes_max: 1_000 });
    let told = Arc::new(Told::default());
    let mut large = memory.lease(&at("192.0.2.1"));
    large.try_cover(740, 0).unwrap();
    let whose: Arc<dyn Evict> = told.clone();
    large.set_evictable(Arc::downgrade(&whose));
    let mut small = memory.lease(&at("192.0.2.2"));
    small.try_cover(50, 20).unwrap();
    small.try_cover(5, 30).unwrap();
    assert_eq!((small.covered(), small.covered_shared()), (5, 30));
    assert_eq!(memory.used(), 745);
    assert!(small.try_cover(900, 30).is_err());
    assert_eq!(told.0.load(Relaxed), 0);
    assert_eq!((small.covered(), small.covered_shared()), (5, 30));
    assert!(memory.make_room(small.claimant(), 150, 0));
    assert_eq!((told.0.load(Relaxed), memory.used()), (1, 5));
    drop((large, small));
    assert_eq!(memory.used(), 0);
}

#[test]
fn what_several_hold_together_is_not_free() {
    let memory = Memory::new(MemorySettings { bytes_max: 800 });
    memory.set_shared_gauge(|| 100);
    let mut lease = memory.lease(&at("192.0.2.1"));
    let granted = (0..800).filter(|held| lease.try_cover(held + 1, 0).is_ok());
    // Half of what is left of seven eighths.
    assert_eq!(granted.count(), 300);
    assert_eq!(memory.used(), 400);
}

#[test]
fn the_first_one_is_within_every_share_of_a_small_pool() {
    let pool = pool(3, 1);
    let claimant = known("192.0.2.1", "user_a", Kind::Anonymous);
    let first = pool.take(&claimant, 1).unwrap();
    assert!(pool.take(&claimant, 1).is_err());
    assert!(pool.take(&at("192.0.2.2"), 1).is_ok());
    drop(first);
}

#[test]
fn a_protected_charge_is_not_evicted() {
    let pool = pool(100, 0);
    let told: Arc<dyn Evict> = Arc::new(Told::default());
    let mut large = pool.take(&at("192.0.2.1"), 50).unwrap();
    large.set_evictable(Arc::downgrade(&told));
    large.protect();
    let others: Vec<_> = (2..=50)
        .map(|last| pool.take(&at(&format!("192.0.2.{last}")), 1).unwrap())
        .collect();
    assert!(pool.take(&at("198.51.100.1"), 10).is_err());
    drop((large, others));
    assert_eq!(pool.used(), 0);
}

#[test]
fn what_is_restored_counts_without_being_asked_for() {
    let pool = pool(100, 0);
    let mut stored = pool.charge(&at("192.0.2.1"));
    stored.restore(150);
    assert_eq!(pool.used(), 150);
    assert_eq!(pool.take(&at("192.0.2.2"), 1).unwrap_err(), Refused::Full);
    drop(stored);
    assert!(pool.take(&at("192.0.2.2"), 1).is_ok());
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
    assert!(pool.make_room(&at("192.0.2.3"), 10, 0));
    large.protect();
    large.set_evictable(Arc::downgrade(&told));
    assert_eq!((large.amount(), pool.used()), (0, 5));
    drop(large);
    assert_eq!(pool.used(), 5);
    drop(other);
    assert_eq!(pool.used(), 0);
}
