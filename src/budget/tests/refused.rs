//! Nobody loses anything for a claimant who is refused anyway; a claimant who is within their share is served.

use std::sync::Arc;

use super::evicting::Told;
use super::{at, known, pool};
use crate::budget::{Charge, Claimant, Evict, Eviction, Pool, Refused};
use crate::model::{Kind, UserId};

/// A network that holds so many charges of this size, all of which may be taken away, and how many were.
struct School {
    told: Arc<Told>,
    _charges: Vec<Charge>,
}

impl School {
    fn of(pool: &Arc<Pool>, number: u64, size: u64) -> Self {
        let told = Arc::new(Told::default());
        let whose: Arc<dyn Evict> = told.clone();
        let charges = (0..number).map(|_| {
            let mut charge = pool.charge(&at("192.0.2.1"));
            charge.restore(size);
            charge.set_evictable(Arc::downgrade(&whose));
            charge
        });
        Self {
            _charges: charges.collect(),
            told,
        }
    }

    fn lost(&self) -> usize {
        self.told.count()
    }
}

/// Uses up everything but this much, for a member, so that visitors cannot take it away.
fn others(pool: &Arc<Pool>, left: u64) -> Charge {
    let mut others = pool.charge(&known("203.0.113.1", "user_z", Kind::Member));
    others.restore(pool.capacity() - pool.used() - left);
    others
}

fn user(number: u32) -> UserId {
    format!("user_{number}").parse().unwrap()
}

/// Who asks for one more: whether they get it, and how many of a school's charges go. The school holds 45 % in
/// charges of 0.1 %, and nothing is free.
fn asks(claimants: &[Claimant], each: u64, asking: &Claimant) -> (Result<(), Refused>, usize) {
    let pool = pool(10_000, 0);
    let school = School::of(&pool, 450, 10);
    let held: Vec<_> = claimants
        .iter()
        .map(|claimant| {
            let mut charge = pool.charge(claimant);
            charge.restore(each);
            charge
        })
        .collect();
    let _others = others(&pool, 0);
    let used = pool.used();
    let mut outcome = Ok(());
    for _ in 0..3 {
        outcome = pool.take(asking, 1).map(drop);
        if outcome.is_err() {
            assert_eq!(pool.used(), used, "what was tried out is undone");
        }
    }
    drop(held);
    (outcome, school.lost())
}

#[test]
fn an_address_beyond_its_share_takes_nothing_from_a_larger_one() {
    let address = at("192.0.2.2");
    for percent in 7..=22 {
        let outcome = asks(std::slice::from_ref(&address), percent * 100, &address);
        assert_eq!(outcome, (Err(Refused::Full), 0), "{percent} %");
    }
    // Within a sixteenth it is served, and a newcomer always.
    assert_eq!(asks(std::slice::from_ref(&address), 50, &address).0, Ok(()));
    assert_eq!(asks(&[address], 2_200, &at("192.0.2.3")), (Ok(()), 1));
}

#[test]
fn each_width_of_a_network_beyond_its_share_takes_nothing() {
    let hosts = |parts: [&str; 8]| parts.map(|part| at(&format!("2001:db8:0:{part}::1")));
    // 320 of a /64, 560 of a /56 and 720 of a /48, where the limits at a sixteenth are 312, 468 and 625.
    let one_64 = hosts(["0"; 8]);
    let one_56 = hosts(["0", "1", "2", "3", "4", "5", "6", "7"]);
    let one_48 = hosts(["0", "100", "200", "300", "400", "500", "600", "700"]);
    for (hosts, each, asking) in [
        (&one_64, 40, "2001:db8::2"),
        (&one_56, 70, "2001:db8:0:ff::1"),
        (&one_48, 90, "2001:db8:0:ff00::1"),
    ] {
        let outcome = asks(hosts, each, &at(asking));
        assert_eq!(outcome, (Err(Refused::Full), 0), "{asking}");
    }
}

#[test]
fn a_user_beyond_their_share_takes_nothing() {
    let mut visitor = at("192.0.2.2");
    visitor.user = Some(user(1));
    let outcome = asks(std::slice::from_ref(&visitor), 160, &visitor);
    assert_eq!(outcome, (Err(Refused::Full), 0));
    let outcome = asks(std::slice::from_ref(&visitor), 10, &visitor);
    assert_eq!(outcome.0, Ok(()));
}

/// The pool of consumers as it is by default.
#[test]
fn a_visitor_with_many_consumers_ends_those_of_nobody() {
    for left in [0, 60, 124, 125] {
        let pool = pool(2_000, 500);
        let school = School::of(&pool, 675, 1);
        let mut visitor = at("192.0.2.2");
        visitor.user = Some(user(1));
        let _held: Vec<_> = (0..32)
            .map(|_| {
                let mut charge = pool.charge(&visitor);
                charge.restore(1);
                charge
            })
            .collect();
        let mut crowd = pool.charge(&at("203.0.113.1"));
        crowd.restore(1_500 - pool.used() - left);
        for _ in 0..100 {
            assert!(pool.take(&visitor, 1).is_err());
        }
        assert_eq!(school.lost(), 0, "{left} free");
        visitor = at("192.0.2.3");
        visitor.user = Some(user(2));
        assert!(pool.take(&visitor, 1).is_ok());
        assert!(school.lost() <= 4, "{}", school.lost());
    }
}

#[test]
fn nobody_loses_when_too_little_can_be_taken_away() {
    let pool = pool(1_000, 0);
    let school = School::of(&pool, 3, 10);
    let mut kept = pool.charge(&at("192.0.2.1"));
    kept.restore(400);
    let _others = others(&pool, 0);
    assert!(pool.take(&at("192.0.2.2"), 31).is_err());
    assert_eq!((school.lost(), pool.used()), (0, 1_000));
    let taken = pool.take(&at("192.0.2.2"), 30).unwrap();
    assert_eq!(school.lost(), 3);
    drop(taken);
}

/// A client who needs more than is taken away at once gets on with every attempt.
#[test]
fn a_large_wish_is_granted_after_several_attempts() {
    let pool = pool(10_000, 0);
    let school = School::of(&pool, 4_500, 1);
    let _others = others(&pool, 0);
    let asking = at("192.0.2.2");
    let attempts = (1..=20).find(|_| pool.take(&asking, 200).is_ok());
    assert_eq!((attempts, school.lost()), (Some(4), 200));
}

#[test]
fn what_is_only_possible_takes_nothing() {
    let pool = pool(1_000, 0);
    let school = School::of(&pool, 45, 10);
    let _others = others(&pool, 5);
    let mut charge = pool.charge(&at("192.0.2.2"));
    charge.grow_with(Eviction::Possible, 20).unwrap();
    assert_eq!((charge.amount(), school.lost()), (0, 0));
    charge.grow_with(Eviction::Possible, 5).unwrap();
    assert_eq!((charge.amount(), school.lost()), (5, 0));
    let refused = charge.grow_with(Eviction::Possible, 600);
    assert_eq!((refused, school.lost()), (Err(Refused::Full), 0));
}
