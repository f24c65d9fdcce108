//! The small steps of the hot path, each as a case that can be run again and again.
//!
//! Not here: how they are measured; `micro` takes their time, `instructions` counts what they
//! execute. Invariant: a case makes its fixture once, and every run of it does the same work.

mod bucket;
mod codec;
mod envelope;
mod hub;
mod people;
mod routing;

use std::error::Error;

/// Why a fixture could not be made.
type Failure = Box<dyn Error + Send + Sync>;
/// What a case runs.
pub(crate) type Run = Box<dyn FnMut()>;
/// A case that is ready, or why its fixture could not be made.
pub(crate) type Made = Result<Run, Failure>;

/// One small step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// Its group and its name: `hub/fan_out_100`.
    pub(crate) name: &'static str,
    /// Makes its fixture.
    pub(crate) make: fn() -> Made,
}

impl Case {
    const fn new(name: &'static str, make: fn() -> Made) -> Self {
        Self { name, make }
    }
}

/// Every case, group by group.
pub(crate) fn all() -> impl Iterator<Item = Case> {
    let groups = [
        codec::CASES,
        envelope::CASES,
        routing::CASES,
        bucket::CASES,
        hub::CASES,
    ];
    groups.into_iter().flatten().copied()
}
