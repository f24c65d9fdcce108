//! Any octets, as messages, paths and forms of SockJS: no panic, and what is written is read again.

#![no_main]

#[path = "../checks/sockjs.rs"]
mod sockjs;

libfuzzer_sys::fuzz_target!(|input: &[u8]| sockjs::check(input));
