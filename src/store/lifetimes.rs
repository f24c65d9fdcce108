//! How long what is known of a visitor lives while nothing depends on it.
//!
//! Not here: how long what is kept lives, which is a matter of settings. Invariant: a row goes, and what was
//! given up is forgotten, only when no secret opens the visitor without them.

use std::time::Duration;

use crate::model::UnixMillis;

/// How long a visitor of whom nothing is kept can come back, and how long a row stays that nothing
/// depends on.
pub const VISIT_LIFE: Duration = Duration::from_secs(3_600);

/// How much longer such a row stays: the clocks of the nodes may differ.
const VISIT_MARGIN: Duration = Duration::from_secs(300);

/// How long it is noted that an address was given up. Without a row a secret opens its visitor for
/// [`VISIT_LIFE`] after it was told, and for as long as location remembers the last session, which ends with
/// the erasure; the rest is for nodes that learn of it late.
pub const ENDED_LIFE: Duration = Duration::from_secs(3 * 3_600);

/// Rows that nothing depends on go when their visitors were last seen before this.
pub(super) fn unkept_before(now: UnixMillis) -> UnixMillis {
    now.before(VISIT_LIFE + VISIT_MARGIN)
}

/// What ends within one slot of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoredSlot {
    /// The number of the slot, counted from 1970.
    pub slot: u64,
    /// How many messages it is.
    pub messages: u64,
    /// How many rows of visitors it is.
    pub visitors: u64,
    /// The bytes of their texts.
    pub bytes: u64,
}
