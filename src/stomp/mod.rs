//! STOMP frames on the wire, versions 1.0, 1.1 and 1.2 (<https://stomp.github.io>).
//!
//! Not here: sessions, destinations, sockets. Invariant: octets split in any way give the same
//! frames, in linear time, within the limits; no input panics.

pub mod encode;
pub mod limits;
pub mod version;

pub use limits::Limits;
pub use version::Version;
