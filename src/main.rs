//! The binary: an allocator, and the command line of `stompbox::node`.

use std::process::ExitCode;

/// Many small allocations of many threads: half the time of the system's allocator, and freed
/// memory goes back. The figures stand in `docs/performance.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    stompbox::node::cli::main()
}
