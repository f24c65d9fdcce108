//! What clients see of queues, acknowledgement and transactions, on engines in memory.

mod acknowledging;
mod committing;
mod rig;
mod sharing;
