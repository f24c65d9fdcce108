//! The binary: an allocator, and the command line of `stompbox::node`.

use std::process::ExitCode;

/// Many small allocations of many threads; freed memory goes back to the system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // With huge pages one byte in use keeps 2 MiB resident: an idle node had 42 MiB instead of 25, and what clients can make
    // it hold took a third more than the memory account says. A kernel that refuses this only leaves them on.
    #[cfg(target_os = "linux")]
    let _refused = rustix::thread::disable_transparent_huge_pages(true);
    stompbox::node::cli::main()
}
