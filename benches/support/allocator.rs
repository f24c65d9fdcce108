//! The broker's allocator, for everything that is measured: what differs is the work, not the tools.
//!
//! Invariant: a benchmark that measures code of the broker has this in it.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
