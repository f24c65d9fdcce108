//! WebSocket on the wire (RFC 6455 sections 5 to 8), as a server sees it: frames of a client in, frames
//! for a client out.
//!
//! Not here: the opening handshake and sockets (`edge`), what a message means (`session`). Invariants:
//! nothing is buffered but what a control frame carries; however octets are cut, what comes out is
//! the same; nothing that RFC 6455 forbids a client gets past the decoder.
//!
//! ```text
//! frame    = head [ length ] key payload      of a client
//!          | head [ length ] payload          of this server
//! head     = FIN(1) RSV(3, zero) opcode(4)  MASK(1) length7(7)
//! length   = 2 octets if length7 = 126, 8 octets if length7 = 127, as short as it can be
//! key      = 4 octets; octet i of the payload is xored with octet i mod 4 of it
//! opcode   = 0 goes on | 1 text | 2 binary | 8 close | 9 ping | 10 pong
//! ```
//!
//! | rule | section | what breaks it |
//! |---|---|---|
//! | frames of a client are masked | 5.1 | [`Violation::Malformed`] |
//! | reserved bits are zero, since nothing is negotiated | 5.2 | [`Violation::Malformed`] |
//! | a length is written as short as it can be, its first bit is zero | 5.2 | [`Violation::Malformed`] |
//! | control frames are whole and hold 125 octets at most | 5.5 | [`Violation::Malformed`] |
//! | a close holds nothing, or a code that may be sent and text | 5.5.1, 7.4 | [`Violation::Malformed`] |
//! | a message goes on until its last frame, and only then begins another | 5.4 | [`Violation::Malformed`] |
//! | text is UTF-8 | 8.1 | [`Violation::NotUtf8`] |
//! | a message is no longer than the limit | 10.4 | [`Violation::TooLong`] |
//! | the heads of its fragments take little more than what they hold | 10.4 | [`Violation::Fragments`] |

mod alive;
mod close;
mod decode;
mod framed;
mod mask;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tables;
mod utf8;

pub use alive::{alive_bytes, counted};
pub use close::{REASON_BYTES_MAX, close_frame};
pub use decode::{CONTROL_BYTES_MAX, Decoder, Found, HEADS_BYTES, HEADS_PER_PAYLOAD, Violation};
pub use framed::Framed;
