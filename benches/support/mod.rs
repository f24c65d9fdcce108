//! What the benchmarks with real sockets share: servers as child processes, a light client, reports.
//!
//! Not here: what is measured. Invariant: every server ends with the value that started it, and
//! nothing listens anywhere but on loopback.

mod allocator;
pub(crate) mod client;
pub(crate) mod process;
pub(crate) mod report;

/// Anything that goes wrong ends the benchmark with its words.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;
/// What most functions here return.
pub(crate) type Outcome<T> = Result<T, Failure>;

/// With this argument a benchmark is its own child.
pub(crate) const CHILD: &str = "--child";

/// What the process was started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// `cargo bench`.
    Measure,
    /// Started by the benchmark itself, for something that needs a process of its own.
    Child,
    /// Anything else, such as `cargo test --all-targets`.
    Nothing,
}

/// Reads the command line, and lets this process have as many sockets as the system gives.
pub(crate) fn purpose() -> Purpose {
    let has = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    // What could not be raised shows at the first socket too many.
    let _as_far_as_it_goes = rlimit::increase_nofile_limit(u64::MAX);
    if has(CHILD) {
        Purpose::Child
    } else if has("--bench") {
        Purpose::Measure
    } else {
        Purpose::Nothing
    }
}
