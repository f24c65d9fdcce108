//! Rules that are computable from values: the permission table, destination rules, token buckets.
//!
//! Not here: frames, engines, clocks. Invariant: a decision depends on its arguments alone.

pub mod bucket;
pub mod destinations;
mod names;
pub mod patterns;
pub mod permission;
pub mod reach;
pub mod rules;
pub mod writing;

pub use destinations::{is_reserved, may_send, may_subscribe};
pub use permission::{Action, Grant, grant, is_permitted, permit};
pub use reach::{may_reach, recipient_offline};
pub use rules::{InvalidRules, Rules};
pub use writing::{DmPolicy, may_write};
