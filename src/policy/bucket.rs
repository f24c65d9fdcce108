//! The arithmetic of token buckets.
//!
//! Not here: where the levels are kept (`quota`). Time is an argument, in milliseconds of any
//! monotonic origin. Invariant: a bucket never admits more than its capacity plus its refill.

/// How fast something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many at once; also what a new bucket holds. Zero switches the limit off.
    pub capacity: u32,
    /// How many come back per ten minutes.
    pub per_10_min: u32,
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
