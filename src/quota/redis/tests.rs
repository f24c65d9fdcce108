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

#[test]
fn a_refusal_is_remembered_until_the_next_token_is_due() {
    let rate = Rate {
        capacity: 100,
        per_10_min: 600,
    };
    let mut subject = Subject::new(0, rate);
    let grant = Grant {
        taken: 0,
        left: 0,
        wait_ms: 400,
    };
    let refused = |retry_after_ms| Verdict::Refused { retry_after_ms };
    assert_eq!(subject.settle(0, rate, &grant, 1, 3_000), refused(400));
    assert_eq!(subject.spend(399, rate, 1), Some(refused(1)));
    assert_eq!(subject.spend(400, rate, 1), None);
}

#[test]
fn a_refusal_of_many_refuses_no_fewer() {
    let rate = Rate {
        capacity: 100,
        per_10_min: 600,
    };
    let mut subject = Subject::new(0, rate);
    let grant = Grant {
        taken: 0,
        left: 7,
        wait_ms: 9_000,
    };
    let refused = |retry_after_ms| Verdict::Refused { retry_after_ms };
    assert_eq!(subject.settle(0, rate, &grant, 16, 3_000), refused(9_000));
    assert_eq!(subject.spend(1, rate, 60), Some(refused(8_999)));
    assert_eq!(subject.spend(1, rate, 15), None);
}
