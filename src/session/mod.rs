//! One STOMP connection as a state machine, without I/O and without a clock.
//!
//! Not here: sockets (`edge`), what a SEND does (`app`), who the client is (`identity`): that is an
//! event out and a verdict in. Invariant: what is not in the table of (state, command) is an ERROR
//! and the end of the session.
//!
//! > After every `handle_input` call `poll_output` until it gives `None`.

pub mod contract;

pub use contract::{
    Accepted, Connect, Event, Input, Output, Reply, Send, SessionConfig, Subscribe, Ticket,
    Unsubscribe,
};
