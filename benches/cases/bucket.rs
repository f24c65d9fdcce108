//! Token buckets: one token that is there, and one that is not.
//!
//! Invariant: time goes on by exactly what refills the bucket.

use std::hint::black_box;

use stompbox::policy::bucket::{Level, Rate, Verdict, take};

use super::{Case, Made};

const RATE: Rate = Rate {
    capacity: 100,
    per_10_min: 6_000,
};

/// In which one token comes back.
const TOKEN_MS: u64 = 100;

pub(super) const CASES: &[Case] = &[
    Case::new("bucket/allowed", allowed),
    Case::new("bucket/refused", refused),
];

fn allowed() -> Made {
    let mut now_ms = 0;
    let mut level = Level::full(now_ms, RATE);
    Ok(Box::new(move || {
        now_ms += TOKEN_MS;
        let (left, verdict) = take(black_box(level), now_ms, RATE, 1);
        assert!(matches!(verdict, Verdict::Allowed { .. }));
        level = left;
    }))
}

fn refused() -> Made {
    let empty = Level {
        units: 0,
        at_ms: 1_000,
    };
    Ok(Box::new(move || {
        let (_, verdict) = take(black_box(empty), 1_010, RATE, 1);
        assert!(matches!(verdict, Verdict::Refused { .. }));
        black_box(verdict);
    }))
}
