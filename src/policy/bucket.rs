//! The arithmetic of token buckets.
//!
//! Not here: where the levels are kept (`quota`). Time is an argument, in milliseconds of any
//! monotonic origin. Invariant: a bucket never admits more than its capacity plus its refill.

/// The unit a level counts in: a bucket gains `per_10_min` of them in a millisecond, so that whole
/// numbers lose nothing between two looks. One token is as many as ten minutes have milliseconds.
pub const UNITS_PER_TOKEN: u64 = 600_000;

/// What a refusal says when the bucket never refills: ask again in ten minutes.
pub const RETRY_NEVER_MS: u64 = 600_000;

/// How fast something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many at once; also what a new bucket holds. Zero switches the limit off.
    pub capacity: u32,
    /// How many come back per ten minutes.
    pub per_10_min: u32,
}

impl Rate {
    /// So many per minute on average, and a burst on top of it after a while of silence: a minute may
    /// have both.
    #[must_use]
    pub fn on_average(per_min: u32, burst: u32) -> Self {
        Self {
            capacity: if per_min == 0 { 0 } else { burst },
            per_10_min: per_min.saturating_mul(10),
        }
    }

    /// Never more than so many in any minute: what a burst may take is missing from the refill, so that
    /// both together are the number.
    #[must_use]
    pub fn within_a_minute(per_min: u32, burst: u32) -> Self {
        let burst = burst.min(per_min);
        Self {
            capacity: burst,
            per_10_min: (per_min - burst).saturating_mul(10),
        }
    }

    /// So many quarters of this: 4 is the same, 8 twice as many. A limit that is off stays off.
    #[must_use]
    pub fn in_quarters(self, quarters: u32) -> Self {
        let part = |number: u32| {
            let number = u64::from(number) * u64::from(quarters) / 4;
            u32::try_from(number).unwrap_or(u32::MAX)
        };
        Self {
            capacity: part(self.capacity).max(u32::from(self.capacity > 0)),
            per_10_min: part(self.per_10_min),
        }
    }

    /// Whether there is no limit at all.
    #[must_use]
    pub fn is_off(self) -> bool {
        self.capacity == 0
    }

    /// Milliseconds from empty to full; [`RETRY_NEVER_MS`] when nothing comes back.
    #[must_use]
    pub fn fill_ms(self) -> u64 {
        self.wait_ms(self.full_units())
    }

    fn full_units(self) -> u64 {
        u64::from(self.capacity) * UNITS_PER_TOKEN
    }

    /// Milliseconds until so many units have come back, rounded up.
    fn wait_ms(self, units: u64) -> u64 {
        match self.per_10_min {
            0 => RETRY_NEVER_MS,
            per_10_min => units.div_ceil(u64::from(per_10_min)),
        }
    }
}

/// The answer of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Taken; about so many are left.
    Allowed {
        /// Tokens left, as far as this node knows.
        remaining: u32,
    },
    /// Not taken; the next token comes after this many milliseconds.
    Refused {
        /// Milliseconds until the next token.
        retry_after_ms: u64,
    },
}

/// What a bucket held, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// In [`UNITS_PER_TOKEN`].
    pub units: u64,
    /// When the level was read, in milliseconds of the caller's clock.
    pub at_ms: u64,
}

impl Level {
    /// A new bucket: full.
    #[must_use]
    pub fn full(now_ms: u64, rate: Rate) -> Self {
        Self {
            units: rate.full_units(),
            at_ms: now_ms,
        }
    }

    /// Whole tokens in it at its own time.
    #[must_use]
    pub fn tokens(self) -> u32 {
        u32::try_from(self.units / UNITS_PER_TOKEN).unwrap_or(u32::MAX)
    }

    /// In how many milliseconds it is full again; zero when it is, [`RETRY_NEVER_MS`] after its last use when nothing
    /// comes back.
    #[must_use]
    pub fn full_in_ms(self, now_ms: u64, rate: Rate) -> u64 {
        let missing = rate.full_units().saturating_sub(self.units);
        let full_at = self.at_ms.saturating_add(rate.wait_ms(missing));
        match missing {
            0 => 0,
            _ => full_at.saturating_sub(now_ms),
        }
    }

    /// The level at `now_ms`. A clock that went back refills nothing and does not count twice.
    #[must_use]
    pub fn refilled(self, now_ms: u64, rate: Rate) -> Self {
        let gained = now_ms
            .saturating_sub(self.at_ms)
            .saturating_mul(u64::from(rate.per_10_min));
        Self {
            units: self.units.saturating_add(gained).min(rate.full_units()),
            at_ms: self.at_ms.max(now_ms),
        }
    }
}

/// Takes `n` tokens, all or none. Returns the level afterwards, to be kept in either case.
///
/// A rate that is off admits everything. More than the capacity is never admitted.
#[must_use]
pub fn take(level: Level, now_ms: u64, rate: Rate, n: u32) -> (Level, Verdict) {
    if rate.is_off() {
        let remaining = u32::MAX;
        return (level, Verdict::Allowed { remaining });
    }
    let mut level = level.refilled(now_ms, rate);
    let wanted = u64::from(n) * UNITS_PER_TOKEN;
    if level.units < wanted {
        let retry_after_ms = rate.wait_ms(wanted - level.units);
        return (level, Verdict::Refused { retry_after_ms });
    }
    level.units -= wanted;
    let remaining = level.tokens();
    (level, Verdict::Allowed { remaining })
}

/// In how many milliseconds so many tokens can be taken from this level, when they cannot now.
#[must_use]
pub fn refused_for_ms(level: Level, now_ms: u64, rate: Rate, tokens: u32) -> Option<u64> {
    match take(level, now_ms, rate, tokens).1 {
        Verdict::Allowed { .. } => None,
        Verdict::Refused { retry_after_ms } => Some(retry_after_ms),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANONYMOUS: Rate = Rate {
        capacity: 100,
        per_10_min: 2_000,
    };

    #[test]
    fn a_take_leaves_what_the_table_says() {
        let check = |tokens: u64, elapsed_ms: u64, n: u32, expected: Verdict| {
            let level = Level {
                units: tokens * UNITS_PER_TOKEN,
                at_ms: 1_000,
            };
            let (_, verdict) = take(level, 1_000 + elapsed_ms, ANONYMOUS, n);
            assert_eq!(verdict, expected, "{tokens} tokens, {elapsed_ms} ms, {n}");
        };
        let allowed = |remaining| Verdict::Allowed { remaining };
        let refused = |retry_after_ms| Verdict::Refused { retry_after_ms };
        check(100, 0, 1, allowed(99));
        check(100, 0, 100, allowed(0));
        check(100, 3_600_000, 100, allowed(0));
        check(1, 0, 1, allowed(0));
        check(0, 0, 1, refused(300));
        check(0, 299, 1, refused(1));
        check(0, 300, 1, allowed(0));
        check(0, 600, 1, allowed(1));
        check(5, 0, 10, refused(1_500));
        check(0, 30_000, 0, allowed(100));
    }

    #[test]
    fn a_level_says_when_it_is_full_again() {
        let full = Level::full(1_000, ANONYMOUS);
        assert_eq!(full.full_in_ms(1_000, ANONYMOUS), 0);
        let (taken, _) = take(full, 1_000, ANONYMOUS, 10);
        assert_eq!(taken.full_in_ms(1_000, ANONYMOUS), 3_000);
        assert_eq!(taken.full_in_ms(3_999, ANONYMOUS), 1);
        assert_eq!(taken.full_in_ms(4_000, ANONYMOUS), 0);
        assert_eq!(taken.refilled(4_000, ANONYMOUS).tokens(), 100);
        let never = Rate {
            per_10_min: 0,
            ..ANONYMOUS
        };
        assert_eq!(taken.full_in_ms(2_000, never), RETRY_NEVER_MS - 1_000);
    }

    #[test]
    fn a_minute_has_the_burst_on_top_or_within() {
        let most = |rate: Rate| {
            let mut level = Level::full(0, rate);
            let mut admitted = 0;
            for now_ms in 0..60_000 {
                let (after, verdict) = take(level, now_ms, rate, 1);
                level = after;
                admitted += u32::from(matches!(verdict, Verdict::Allowed { .. }));
            }
            admitted
        };
        assert_eq!(most(Rate::on_average(200, 100)), 299);
        assert_eq!(most(Rate::on_average(500, 100)), 599);
        assert_eq!(most(Rate::within_a_minute(200, 100)), 199);
        assert_eq!(most(Rate::within_a_minute(200, 500)), 200);
        assert!(Rate::on_average(0, 100).is_off());
        assert!(Rate::within_a_minute(0, 100).is_off());
    }

    #[test]
    fn a_rate_of_zero_capacity_is_off() {
        let off = Rate {
            capacity: 0,
            per_10_min: 0,
        };
        let (_, verdict) = take(Level::full(0, off), 0, off, 1_000);
        let remaining = u32::MAX;
        assert_eq!(verdict, Verdict::Allowed { remaining });
    }

    #[test]
    fn a_bucket_that_never_refills_still_says_when_to_ask_again() {
        let once = Rate {
            capacity: 1,
            per_10_min: 0,
        };
        let (level, _) = take(Level::full(0, once), 0, once, 1);
        let (_, verdict) = take(level, u64::MAX, once, 1);
        let retry_after_ms = RETRY_NEVER_MS;
        assert_eq!(verdict, Verdict::Refused { retry_after_ms });
    }

    #[test]
    fn a_smaller_capacity_counts_at_once() {
        let level = Level::full(0, ANONYMOUS);
        let smaller = Rate {
            capacity: 3,
            ..ANONYMOUS
        };
        let remaining = 2;
        assert_eq!(take(level, 0, smaller, 1).1, Verdict::Allowed { remaining });
    }

    proptest! {
        #[test]
        fn never_more_than_capacity_and_refill(
            capacity in 1_u32..500,
            per_10_min in 0_u32..100_000,
            takes in prop::collection::vec((-500_i64..2_000, 0_u32..20), 1..300),
        ) {
            let rate = Rate { capacity, per_10_min };
            let start = 10_000_000_u64;
            let mut level = Level::full(start, rate);
            let mut now = start;
            let mut latest = start;
            let mut admitted = 0_u64;
            for (step, n) in takes {
                now = now.saturating_add_signed(step);
                latest = latest.max(now);
                let (after, verdict) = take(level, now, rate, n);
                level = after;
                if matches!(verdict, Verdict::Allowed { .. }) {
                    admitted += u64::from(n);
                }
                let refill = (latest - start) * u64::from(per_10_min) / UNITS_PER_TOKEN;
                prop_assert!(admitted <= u64::from(capacity) + refill);
                prop_assert!(level.tokens() <= capacity);
            }
        }

        #[test]
        fn after_the_named_wait_the_token_is_there_and_not_before(
            capacity in 1_u32..500,
            per_10_min in 1_u32..100_000,
            units in 0_u64..UNITS_PER_TOKEN,
        ) {
            let rate = Rate { capacity, per_10_min };
            let level = Level { units, at_ms: 7 };
            let (level, verdict) = take(level, 7, rate, 1);
            let Verdict::Refused { retry_after_ms } = verdict else {
                return Err(TestCaseError::fail("less than a token was taken"));
            };
            let at = |ms: u64| take(level, 7 + ms, rate, 1).1;
            let is_allowed = matches!(at(retry_after_ms), Verdict::Allowed { .. });
            prop_assert!(is_allowed);
            let is_refused = matches!(at(retry_after_ms - 1), Verdict::Refused { .. });
            prop_assert!(is_refused);
        }
    }
}
