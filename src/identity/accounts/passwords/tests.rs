//! The permits of hashes: their number, their queue, their rest.

use std::time::Duration;

use super::super::hashes::DUMMY;
use super::permits::NETWORK_WAITING_MAX;
use super::*;
use crate::model::{ClientIdentifier, Width};

const MIB: u64 = 1 << 20;

pub(in super::super) fn from(name: u8) -> NamedNetworks {
    NamedNetworks {
        levels: [(ClientIdentifier::from_mac(&[name; 32]), Width::Address)]
            .into_iter()
            .collect(),
        multiple: 1,
    }
}

#[test]
fn hashes_take_a_sixteenth_of_the_memory_and_half_of_the_cores_at_most() {
    for (cores, memory, permits) in [
        (64, u64::MAX, 32),
        (64, 16_384 * MIB, 32),
        (64, 1_024 * MIB, 3),
        (64, 512 * MIB, 1),
        (64, 64 * MIB, 1),
        (4, 1_024 * MIB, 2),
        (1, 1_024 * MIB, 1),
    ] {
        let limit = HashLimit::for_cores(cores, memory);
        assert_eq!(
            limit.permits,
            permits,
            "{cores} cores, {} MiB",
            memory / MIB
        );
        assert!(limit.bytes() <= (memory / 16).max(hashes::HASH_BYTES));
    }
}

/// Otherwise as many of them as there are permits would take three times the memory that is counted for hashes.
#[tokio::test]
async fn a_hash_that_needs_more_memory_takes_more_permits() {
    let passwords = Passwords::new(HashLimit::for_cores(64, 1_024 * MIB));
    assert_eq!(passwords.permits_for(hashes::HASH_BYTES), 1);
    assert_eq!(passwords.permits_for(hashes::HASH_BYTES + 1), 3);
    assert_eq!(passwords.permits_for(64 * MIB), 4);
    let held = passwords.permit(&from(1), 1).await.unwrap();
    // 32 MiB, and no hash of any password.
    let large = "$argon2id$v=19$m=32768,t=1,p=1$c3RvbXBib3gtZHVtbXktMQ$\
                 YW4gb3V0cHV0IG9mIG5vIHBhc3N3b3JkIGF0IGFsbC4";
    let more = passwords.permit(&from(1), 1).await.unwrap();
    let one = from(1);
    let mut verifying = Box::pin(passwords.verify(&one, ("imported", large), || Ok(())));
    assert!(futures_util::poll!(&mut verifying).is_pending());
    assert_eq!(passwords.permits.waiting(), 1);
    drop(more);
    assert!(!verifying.await.unwrap());
    drop(held);
}

#[tokio::test]
async fn a_password_is_that_of_its_hash_only() {
    let passwords = Passwords::new(HashLimit::of(u64::MAX));
    let new = NewPassword {
        password: "correct horse battery",
        email: "",
        name: "",
    };
    let hash = passwords.hash(&from(1), new).await.unwrap();
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
    let verify = async |password: &str, hash: &str| {
        passwords
            .verify(&from(1), (password, hash), || Ok(()))
            .await
            .unwrap()
    };
    assert!(verify("correct horse battery", &hash).await);
    assert!(!verify("correct horse batterx", &hash).await);
    assert!(!verify("", &hash).await);
    assert!(!verify(&"x".repeat(10_000_000), &hash).await);
    assert!(!verify("correct horse battery", "no hash").await);
    assert_ne!(hash, passwords.hash(&from(1), new).await.unwrap());
}

#[tokio::test]
async fn beyond_its_part_of_the_queue_a_network_pushes_out_its_own() {
    let passwords = Passwords::new(HashLimit::of(u64::MAX));
    let held = passwords.permit(&from(3), passwords.jobs).await.unwrap();
    let (flooding, other) = (from(1), from(2));
    let first: Vec<_> = (0..500)
        .map(|_| passwords.verify(&flooding, ("x", DUMMY), || Ok(())))
        .collect();
    let mut first = futures_util::future::join_all(first);
    // Polled once: all but those who wait have their answer, and wait for the rest.
    assert!(futures_util::poll!(&mut first).is_pending());
    assert_eq!(passwords.permits.waiting(), NETWORK_WAITING_MAX);
    let mut honest = Box::pin(passwords.verify(&other, ("x", DUMMY), || Ok(())));
    assert!(
        futures_util::poll!(&mut honest).is_pending(),
        "a place in the queue"
    );
    let more: Vec<_> = (0..500)
        .map(|_| passwords.verify(&flooding, ("x", DUMMY), || Ok(())))
        .collect();
    let mut more = futures_util::future::join_all(more);
    assert!(futures_util::poll!(&mut more).is_pending());
    drop(held);
    let (first, more, honest) = tokio::join!(first, more, honest);
    assert!(!honest.unwrap(), "looked at, and wrong");
    let refused: Vec<_> = first
        .into_iter()
        .chain(more)
        .filter_map(Result::err)
        .collect();
    assert!(
        refused.len() >= 1_000 - 2 * NETWORK_WAITING_MAX,
        "{}",
        refused.len()
    );
    assert!(
        refused
            .iter()
            .all(|it| it.code == Code::TryLater && it.retry_after_ms.is_some())
    );
    assert_eq!(passwords.permits.waiting(), 0);
}

#[tokio::test]
async fn a_weak_password_is_scored_under_a_permit_and_not_hashed() {
    let passwords = Passwords::new(HashLimit::of(u64::MAX));
    let weak = NewPassword {
        password: "passwordpassword",
        email: "",
        name: "",
    };
    let problem = passwords.hash(&from(1), weak).await.unwrap_err();
    assert_eq!(problem.code, Code::ValidationFailed);
    assert_eq!(problem.field.as_deref(), Some("password"));
    let one = from(1);
    let held = passwords.permit(&one, passwords.jobs).await.unwrap();
    let mut scoring = Box::pin(passwords.hash(&one, weak));
    assert!(futures_util::poll!(&mut scoring).is_pending());
    drop(held);
    assert!(scoring.await.is_err());
}

#[test]
fn a_thread_that_ends_a_job_has_the_next_one() {
    for (cores, permits, jobs) in [(1, 1, 1), (2, 1, 2), (3, 1, 2), (4, 2, 3), (64, 32, 33)] {
        let limit = HashLimit::for_cores(cores, u64::MAX);
        let passwords = Passwords::new(limit);
        assert_eq!(limit.permits, permits, "{cores} cores");
        assert_eq!(passwords.permits.free(), jobs);
        // What runs at the same time never has more memory than the hashes of all threads: beside one of this size the others
        // have as many permits as fit.
        for units in 2..=permits {
            let bytes = u64::from(units) * hashes::HASH_BYTES;
            let beside = jobs - passwords.permits_for(bytes);
            assert!(units + beside <= permits, "{units}");
        }
    }
}

#[tokio::test]
async fn a_single_core_rests_as_long_as_it_has_worked() {
    let passwords = Passwords::new(HashLimit::for_cores(1, u64::MAX));
    let permit = passwords.permit(&from(1), 1).await.unwrap();
    let work = Duration::from_millis(40);
    let busy = move || {
        let began = std::time::Instant::now();
        while began.elapsed() < work {
            std::hint::spin_loop();
        }
        Some(())
    };
    passwords.work(permit, busy).await.unwrap();
    let began = Instant::now();
    let _next = passwords.permit(&from(1), 1).await.unwrap();
    assert!(began.elapsed() >= work / 2, "{:?}", began.elapsed());
    assert!(
        Passwords::new(HashLimit::for_cores(2, u64::MAX))
            .rest
            .is_none()
    );
}
