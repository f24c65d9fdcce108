//! The fast gate: what the house has decided about itself, held by tests.
//!
//! Rooms import only downward, engines stay in their files, ground and rules are pure, every
//! dependency and every setting is documented, links lead somewhere, and numbers that should be
//! small only become smaller. Nothing here starts a server or needs the network.

#![expect(
    clippy::unwrap_used,
    reason = "a test stops at the first thing that is not as it must be"
)]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the syntax tree has dozens of cases, of which a check looks at a few"
)]

#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/files.rs"]
mod files;
#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/rooms.rs"]
mod rooms;
#[path = "tidy/source.rs"]
mod source;
