//! Any octets, as frames of a WebSocket client: no panic, limits hold, cuts change nothing.

#![no_main]

#[path = "../checks/websocket.rs"]
mod websocket;

libfuzzer_sys::fuzz_target!(|input: &[u8]| websocket::check(input));
