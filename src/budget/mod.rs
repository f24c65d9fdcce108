//! The scarce things of this node, and who may hold how much of them.
//!
//! Not here: rates over time (`policy::bucket`), and what the things are. Invariant: nothing that a client
//! can make grow is held without a [`Charge`], and dropping the charge is the only way to give it back.
//!
//! A fixed limit per network fails either the school of 5,000 people behind one address or the attacker
//! with 50 addresses. So a limit here is a part of what is *free* (dynamic thresholds, Choudhury and Hahne,
//! 1998): who is alone may hold much, and the more others hold, the less each may. Nobody can empty a
//! [`Pool`], because the limit shrinks while they try:
//!
//! ```text
//! a part of 1   of what is free: one holder ends at 1/2 of the pool, two at 1/3 each, ...
//! a part of 1/4 of what is free: one holder ends at 1/5
//! ```
//!
//! [`Memory`] is the pool of bytes. [`Tallies`] count many small things of one client, such as messages in
//! queues, without a charge for each. [`Aging`] counts what is stored and comes back with time; a
//! [`Reservation`] is a part of it for something that is on its way to the store. [`PushOut`] is for what nobody gives
//! back: there a newcomer always finds room, and the oldest entry of a network that holds much goes.

mod aging;
mod charge;
mod claimant;
mod lease;
mod memory;
mod multiples;
mod order;
mod parts;
mod pool;
mod push_out;
mod refusals;
mod reservation;
mod room;
mod state;
mod tally;
#[cfg(test)]
mod tests;

pub use aging::{Aging, AgingAccount};
pub use charge::Charge;
pub use claimant::Claimant;
pub use lease::{Chunks, Lease};
pub use memory::{Memory, MemoryOwner, MemorySettings};
pub use multiples::Multiples;
pub use parts::{Part, Parts};
pub use pool::{Evict, Eviction, Pool, PoolSettings, Refused};
pub use push_out::{Levels, PushOut, PushedOut};
pub use reservation::{MESSAGE_COST_BYTES, Reservation};
pub use room::{Missing, granted};
pub use tally::{Portion, Tallies};
#[cfg(test)]
pub(crate) use tests::Owner;
