//! The sessions and subscriptions of this node, and the bounded outboxes towards them.
//!
//! Not here: other nodes (`location`, `bus`), sockets (`edge`). Invariant: no lock is held across
//! an await, and never two locks of one kind at once.

pub mod outbox;

pub use outbox::{Outbox, OutboxLimits, Pulled};
