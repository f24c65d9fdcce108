//! Rules that are computable from values: the permission table, destination rules, token buckets.
//!
//! Not here: frames, engines, clocks. Invariant: a decision depends on its arguments alone.

pub mod bucket;
