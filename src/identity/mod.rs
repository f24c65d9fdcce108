//! Who someone is: fingerprints, visitors' secrets, and the decision which identity a CONNECT gets.
//!
//! Not here: what he may do (`policy`), where he is (`location`). Three notions are kept apart: the
//! hint (fingerprint) recognises, the proof (secret) opens, the address (`user_id`) receives.
//! Invariant: nobody ever reads what was meant for another.

pub mod handshake;

pub use handshake::Handshake;
