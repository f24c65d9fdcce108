//! SockJS as values: what it writes, what it reads, what its paths mean.
//!
//! Not here: sessions, requests and sockets (`edge::sockjs`). Pure. Invariant: whatever text is
//! quoted here is one string of JSON that every browser reads back as it was, and whatever octets
//! come in, what is read is bounded by them.
//!
//! The protocol is that of SockJS-protocol 0.3.3. Server to client, one of
//!
//! ```text
//! o                        the session is open
//! h                        a heart-beat
//! a["message","message"]   messages
//! c[3000,"Go away!"]       the session is closed
//! ```
//!
//! each wrapped as its transport wants it ([`Framing`]); client to server, a string of JSON or an
//! array of them ([`read_messages`]). A lone surrogate, which JSON can write and Unicode cannot,
//! becomes U+FFFD.

mod frame;
mod json;
mod page;
mod path;

pub use frame::{Framing, HEARTBEAT, OPEN, close_frame, message_frame};
pub use json::{MESSAGES_MAX, ReadError, quote_into, read_messages};
pub use page::{IFRAME_SCRIPT, form_field, iframe_page, is_callback, query_callback};
pub use path::{Place, Transport, place};
