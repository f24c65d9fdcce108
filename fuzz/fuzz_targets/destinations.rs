//! Any two destinations, and any rules: nobody gets where he may not.

#![no_main]

#[path = "../checks/destinations.rs"]
mod destinations;

libfuzzer_sys::fuzz_target!(|input: &[u8]| destinations::check(input));
