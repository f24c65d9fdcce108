//! Shares of a pool: who gets how much, and who loses.

mod evicting;
mod refused;

use std::net::IpAddr;
use std::sync::Arc;

use super::state::Amount;
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

#[test]
fn a_charge_follows_its_client_when_more_is_known_of_them() {
    let pool = pool(1_000, 0);
    let mut charge = pool.take(&at("192.0.2.1"), 10).unwrap();
    let member = known("192.0.2.1", "user_a", Kind::Member);
    charge.identify(&member);
    assert_eq!(pool.held_by_user(member.user.as_ref().unwrap()), 10);
    assert_eq!(pool.held_by_network(member.network), 10);
    charge.try_resize(Amount { own: 10, shared: 5 }).unwrap();
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
    lease.try_cover((16 << 10) + 1, 100).unwrap();
    assert_eq!(
        (memory.used(), lease.covered_shared()),
        (32 << 10, 16 << 10)
    );
    lease.cover(0).unwrap();
    assert_eq!(memory.used(), 0);
    memory.add_gauge(|| 1 << 29);
    memory.add_gauge(|| 1 << 29);
    assert!(memory.is_full());
    assert_eq!(lease.cover(1), Err(Refused::Full));
}

/// Leases of single bytes.
const BYTES: Chunks = Chunks { bytes: 1, slack: 0 };

#[test]
fn a_lease_keeps_its_slack_until_it_is_released() {
    let memory = Memory::new(MemorySettings { bytes_max: 1 << 30 });
    let chunks = Chunks {
        bytes: 100,
        slack: 200,
    };
    let mut lease = memory.lease_in(&at("192.0.2.1"), chunks);
    let covered = |lease: &Lease| (lease.covered(), lease.covered_shared());
    lease.try_cover(450, 1).unwrap();
    assert_eq!(covered(&lease), (500, 100));
    lease.try_cover(250, 0).unwrap();
    assert_eq!(covered(&lease), (500, 100));
    lease.try_cover(200, 0).unwrap();
    assert_eq!(covered(&lease), (200, 100));
    lease.release(101, 0);
    assert_eq!(covered(&lease), (200, 0));
    lease.release(1, 0);
    assert_eq!((covered(&lease), memory.used()), ((100, 0), 100));
}

#[test]
fn what_is_used_is_read_without_the_lock_of_the_pool() {
    let pool = pool(1_000, 0);
    let charge = pool.take(&at("192.0.2.1"), 10).unwrap();
    let held = pool.lock();
    let (send, read) = std::sync::mpsc::channel();
    let asked = Arc::clone(&pool);
    let asking = std::thread::spawn(move || send.send(asked.used()));
    let used = read.recv_timeout(std::time::Duration::from_secs(5));
    drop(held);
    assert_eq!(used, Ok(10));
    asking.join().unwrap().unwrap();
    drop(charge);
    assert_eq!(pool.used(), 0);
}

#[test]
fn what_several_hold_together_is_not_free() {
    let memory = Memory::new(MemorySettings { bytes_max: 800 });
    memory.add_gauge(|| 100);
    let mut lease = memory.lease_in(&at("192.0.2.1"), BYTES);
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
fn what_is_restored_counts_without_being_asked_for() {
    let pool = pool(100, 0);
    let mut stored = pool.charge(&at("192.0.2.1"));
    stored.restore(150);
    assert_eq!(pool.used(), 150);
    assert_eq!(pool.take(&at("192.0.2.2"), 1).unwrap_err(), Refused::Full);
    drop(stored);
    assert!(pool.take(&at("192.0.2.2"), 1).is_ok());
}
