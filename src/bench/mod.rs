//! The load generator behind `stompbox bench`: it drives any STOMP server over WebSocket, or a
//! Socket.IO server, and says what a delivery, a connection and an arrival cost.
//!
//! Not here: what a command line looks like (`node::cli`), and anything of this broker: it is a client
//! like any other, so that all servers are measured by the same clock. One thread holds all
//! connections over one poll, because it shares the machine with what it measures. Invariants: every
//! run ends, by its duration, its count, its patience or its stop; what is lost, doubled or out
//! of order is counted and makes the run fail; a latency counts from when a message was due.

mod body;
mod crew;

mod dialect;

mod fleet;
mod gather;
mod hearing;
mod kernel;
mod letter;
mod link;
mod meter;
mod order;
mod pace;
mod plot;
mod progress;
mod report;
mod scenario;
mod socket;
mod table;
mod target;
mod template;
mod tls;
mod traffic;
mod websocket;

use std::sync::atomic::AtomicBool;

pub use order::{Dialect, Order, Scenario};
pub use report::{Report, Verdict};

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The order contradicts itself: say so, with exit code 2.
    #[error("{0}")]
    Order(String),
    /// Nobody listens there: start a server.
    #[error(
        "nobody listens at {url} ({reason}); start a server first: `stompbox` alone serves ws://127.0.0.1:8080/ws-chat"
    )]
    NoServer {
        /// What was asked for.
        url: String,
        /// What the system said.
        reason: String,
    },
    /// The server does not want this client; its words say why.
    #[error("{url} refuses: {words}{}", hint(words))]
    Refused {
        /// Who refuses.
        url: String,
        /// An ERROR frame, a status line or a close, as it came.
        words: String,
    },
    /// The server said nothing for too long.
    #[error("{0}")]
    Silent(String),
    /// The system has too little of something.
    #[error("{0}")]
    System(String),
    /// Somebody pressed Ctrl-C before there was anything to say.
    #[error("stopped before anything was measured")]
    Stopped,
}

/// What most functions here return.
type Outcome<T> = Result<T, BenchError>;

/// What to do about the refusals that everybody meets first.
fn hint(words: &str) -> &'static str {
    let of_limits = [
        "try_later",
        "rate_limited",
        "limit_exceeded",
        " 429 ",
        " 503 ",
    ];
    if of_limits.iter().any(|word| words.contains(word)) {
        return "\nAll clients of a load generator come from one address, so that limits per \
                network, person or second end it: docs/bench.md names the settings to raise.";
    }
    ""
}

/// Measures what was ordered, until it is done or `stop` is set.
///
/// # Errors
///
/// When nothing could be measured. What was lost, doubled or out of order is no error here but in
/// the verdict of the report.
pub fn run(order: &Order, stop: &AtomicBool) -> Result<Report, BenchError> {
    let order = order.clone().checked()?;
    scenario::run(&order, stop)
}
