//! The binary: an allocator, and the command line of `stompbox::node`.

use std::process::ExitCode;

/// Many small allocations of many threads; freed memory goes back to the system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    stompbox::node::cli::main()
}
