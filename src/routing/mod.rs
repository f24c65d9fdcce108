//! Routing decisions that are computable from values, and the order and holes of conversations.
//!
//! Not here: frames, engines, clocks; `broker` puts what is decided here to work. Invariant: every
//! rule of delivery that can be a pure function is one, with its table test beside it.

pub mod flows;
pub mod inbox;
pub mod plan;

pub use flows::{FlowsIn, FlowsOut, Numbered};
pub use inbox::{Hole, Inbox, Offer};
pub use plan::{Life, Plan, plan};
