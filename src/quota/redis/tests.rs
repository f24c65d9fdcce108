//! What a node knows of a bucket in Redis. Not here: Redis itself (`tests/it/conformance_quota.rs`). Invariant: nothing
//! is spent after its time.

use super::*;

#[test]
fn a_lease_is_a_tenth_of_a_burst_between_one_and_twenty() {
    let check = |capacity, expected| {
        let rate = Rate {
            capacity,
            per_10_min: 1,
        };
        assert_eq!(lease_tokens(rate, 20), expected, "{capacity}");
    };
    check(1, 1);
    check(10, 1);
    check(100, 10);
    check(150, 15);
    check(1_000, 20);
}

#[test]
fn unspent_tokens_are_not_spent_after_their_time() {
    let rate = Rate {
        capacity: 100,
        per_10_min: 600,
    };
    let mut subject = Subject::new(0, rate);
    let grant = Grant {
        taken: 10,
        left: 90,
        wait_ms: 0,
    };
    let remaining = 99;
    assert_eq!(
        subject.settle(0, rate, &grant, 1, 3_000),
        Verdict::Allowed { remaining }
    );
    assert!(subject.spend(2_999, rate, 1).is_some());
    assert_eq!(subject.spend(3_000, rate, 1), None);
    assert_eq!(subject.leased, 8);
}

/// A bucket of 100 tokens that had `left` of them, too few, when Redis was asked for `tokens`.
fn refused(tokens: u32, left: u32, wait_ms: u64) -> (Subject, Rate) {
    let rate = Rate {
        capacity: 100,
        per_10_min: 600,
    };
    let mut subject = Subject::new(0, rate);
    let grant = Grant {
        taken: 0,
        left,
        wait_ms,
    };
    let verdict = subject.settle(0, rate, &grant, tokens, 3_000);
    assert_eq!(verdict, refusal(wait_ms));
    (subject, rate)
}

fn refusal(retry_after_ms: u64) -> Verdict {
    Verdict::Refused { retry_after_ms }
}

#[test]
fn a_refusal_is_remembered_until_the_next_token_is_due() {
    let (mut subject, rate) = refused(1, 0, 400);
    assert_eq!(subject.spend(399, rate, 1), Some(refusal(1)));
    assert_eq!(subject.spend(400, rate, 1), None);
}

#[test]
fn a_refusal_of_many_tokens_refuses_no_fewer() {
    let (mut subject, rate) = refused(16, 7, 9_000);
    assert_eq!(subject.spend(1, rate, 60), Some(refusal(8_999)));
    assert_eq!(subject.spend(1, rate, 15), None);
}
