//! Any octets, cut anywhere: the same frames as from the whole, and no panic.

#![no_main]

#[path = "../checks/decoder.rs"]
mod decoder;

libfuzzer_sys::fuzz_target!(|input: &[u8]| decoder::check(input));
