//! STOMP frames on the wire, versions 1.0, 1.1 and 1.2 (<https://stomp.github.io>).
//!
//! Not here: sessions, destinations, sockets. Invariant: octets split in any way give the same
//! frames, in linear time, within the limits; no input panics.
//!
//! # Grammar
//!
//! ```text
//! stream  = *( EOL / frame )              ; an EOL between frames is a heart-beat
//! frame   = command EOL *( header EOL ) EOL body NUL
//! command = 1*32 OCTET                    ; one of the table in `command`
//! header  = name ":" value                ; the first ":" divides them
//! name    = 1*text
//! value   = *text                         ; 1.0: one leading space is dropped
//! text    = any UTF-8 character but LF and NUL, escaped as the version says:
//!           1.0 and the frames CONNECT, STOMP, CONNECTED: nothing is escaped, and ":" and
//!           backslash in a value stand for themselves
//!           1.1: "\n" LF, "\c" colon, "\\" backslash; CR stands for itself
//!           1.2: the same and "\r" CR; CR does not stand for itself
//! body    = n OCTET, n being `content-length`; without one any octets but NUL
//! EOL     = LF / CR LF                    ; CR LF in 1.2, before negotiation, and between frames
//! ```
//!
//! # Deliberate deviations
//!
//! - A colon in a value needs no escape on the way in: clients forget it, and nothing is
//!   ambiguous, since the first colon divides. On the way out it is always escaped.
//! - NUL inside of a head is refused: it is always a frame without its blank line, which would
//!   otherwise swallow the next frame.
//! - Between frames CR LF is taken in every version.
//! - `content-length` is digits and nothing else: neither a sign nor white space.
//! - A frame that is wrong keeps the `receipt` that was read of it, wherever else in the head it is
//!   wrong, so that the ERROR can name it.
//! - STOMP is escaped as CONNECT, which it stands for: not at all.
//! - What a version cannot express is replaced on the way out, never written raw: in values LF,
//!   CR and NUL become a space, in names these and the colon become an underscore. So nobody can
//!   smuggle a header to a subscriber of an older version.
//!
//! # Limits
//!
//! [`Limits`] has those that are configured; a command line has at most
//! [`decode::COMMAND_BYTES_MAX`] octets. Every limit is checked as soon as it is crossed, before
//! more is buffered. A line is counted without its LF, a head with its blank line.

pub mod command;
pub mod decode;
pub mod encode;
pub mod error;
pub mod escape;
pub mod frame;
mod head;
pub mod limits;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tables;
pub mod version;

pub use command::Command;
pub use decode::Decoder;
pub use encode::{Message, encode};
pub use error::DecodeError;
pub use frame::{Frame, Headers};
pub use limits::{InvalidLimits, Limits};
pub use version::Version;
