//! What lies under tungstenite and sees what it hides: where messages begin and end.
//!
//! tungstenite gives whole messages only, so that a message which never ends, or which goes on in
//! a million empty fragments, would be seen by nobody. Not here: everything else of RFC 6455; what
//! breaks it is found by tungstenite. Invariant: an unfinished message has cost at most so many
//! octets on the wire; beyond them nothing is read.

use std::io::{Error, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::edge::stream::Stream;

/// Room for the heads of fragments: nobody cuts a message into pieces of a few octets.
const FRAGMENTS_BYTES: usize = 64 << 10;

/// A stream of WebSocket frames of a client.
#[derive(Debug)]
pub(super) struct Watched {
    stream: Stream,
    frames: Frames,
    unfinished_max: u32,
}

impl Watched {
    /// A stream of which this much was read already, and the longest message.
    pub(super) fn new(stream: Stream, read_already: &[u8], message_bytes_max: usize) -> Self {
        let mut frames = Frames::default();
        frames.take(read_already);
        Self {
            stream,
            frames,
            unfinished_max: small(message_bytes_max.saturating_add(FRAGMENTS_BYTES)),
        }
    }

    /// Whether a frame or a message has begun, and its rest is still to come.
    pub(super) fn is_amid_message(&self) -> bool {
        self.frames.is_amid_message()
    }

    /// Whether the message that has begun is longer than any may be.
    pub(super) fn is_too_long(&self) -> bool {
        self.frames.unfinished > self.unfinished_max
    }

    /// The stream itself, when what comes is not understood any more.
    pub(super) fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        this.frames
            .take(buffer.filled().get(before..).unwrap_or_default());
        if this.is_too_long() {
            // The only way to stop tungstenite, which gives nothing back before a message ends.
            return Poll::Ready(Err(Error::other("a message that does not end")));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, octets)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// How far the frames of a client have come (RFC 6455 section 5.2). Every idle connection has one,
/// so it is packed.
#[derive(Debug, Default)]
struct Frames {
    /// Of the payload and its masking key, what is to come; of the length, what has come.
    rest: u64,
    /// The octets on the wire of the message that is not finished.
    unfinished: u32,
    place: Place,
    /// Of the frame at hand: FIN, and whether it is a control frame.
    is_final: bool,
    is_control: bool,
    /// Whether a message has begun in fragments before.
    is_fragmented: bool,
}

/// What the next octet is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// The first of a frame: FIN and the opcode.
    #[default]
    First,
    /// The second: the length, or how long the length is.
    Second,
    /// One of the length, of which so many are to come.
    Length(u8),
    /// One of the masking key and the payload.
    Rest,
}

/// Counts are bounded by the longest message, which is far below this.
fn small(octets: usize) -> u32 {
    u32::try_from(octets).unwrap_or(u32::MAX)
}

/// Every frame of a client is masked; tungstenite refuses others.
const MASK_BYTES: u64 = 4;

impl Frames {
    fn is_amid_message(&self) -> bool {
        self.is_fragmented || self.place != Place::First
    }

    fn take(&mut self, mut octets: &[u8]) {
        while let Some((&octet, after)) = octets.split_first() {
            let mut taken = 1;
            self.place = match self.place {
                Place::First => {
                    self.is_final = octet & 0x80 != 0;
                    self.is_control = octet & 0x08 != 0;
                    Place::Second
                }
                Place::Second => match octet & 0x7f {
                    126 => self.long(2),
                    127 => self.long(8),
                    length => self.of_length(length.into()),
                },
                Place::Length(left) => {
                    self.rest = self.rest << 8 | u64::from(octet);
                    match left {
                        0 | 1 => self.of_length(self.rest),
                        _ => Place::Length(left - 1),
                    }
                }
                Place::Rest => {
                    let rest = usize::try_from(self.rest).unwrap_or(usize::MAX);
                    taken = rest.min(octets.len());
                    self.rest -= taken as u64;
                    match self.rest {
                        0 => Place::First,
                        _ => Place::Rest,
                    }
                }
            };
            octets = match taken {
                1 => after,
                _ => octets.get(taken..).unwrap_or_default(),
            };
            if !self.is_control {
                self.unfinished = self.unfinished.saturating_add(small(taken));
                if self.place == Place::First {
                    self.is_fragmented = !self.is_final;
                    self.unfinished *= u32::from(self.is_fragmented);
                }
            }
        }
    }

    fn long(&mut self, octets: u8) -> Place {
        self.rest = 0;
        Place::Length(octets)
    }

    fn of_length(&mut self, length: u64) -> Place {
        self.rest = length.saturating_add(MASK_BYTES);
        Place::Rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A masked frame of a client; the key is zero, so that the payload stays as it is.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut octets = vec![first];
        match payload.len() {
            short @ 0..126 => octets.push(0x80 | u8::try_from(short).unwrap()),
            middle @ 126..65_536 => {
                octets.push(0x80 | 126);
                octets.extend(u16::try_from(middle).unwrap().to_be_bytes());
            }
            long => {
                octets.push(0x80 | 127);
                octets.extend((long as u64).to_be_bytes());
            }
        }
        octets.extend([0; 4]);
        octets.extend(payload);
        octets
    }

    const TEXT: u8 = 0x81;
    const TEXT_BEGINS: u8 = 0x01;
    const GOES_ON: u8 = 0x00;
    const ENDS: u8 = 0x80;
    const PING: u8 = 0x89;

    #[test]
    fn the_end_of_a_message_is_found_however_it_is_cut() {
        let whole = [
            frame(TEXT, b"one"),
            frame(TEXT_BEGINS, &[b'x'; 300]),
            frame(PING, b"amid"),
            frame(GOES_ON, b""),
            frame(ENDS, &[b'y'; 70_000]),
            frame(PING, b""),
        ];
        let octets = whole.concat();
        for size in [1, 2, 3, 7, 1_000, octets.len()] {
            let mut frames = Frames::default();
            for piece in octets.chunks(size) {
                frames.take(piece);
            }
            assert!(!frames.is_amid_message(), "pieces of {size}");
            assert_eq!(frames.unfinished, 0, "pieces of {size}");
        }
        let mut frames = Frames::default();
        for (index, one) in whole.iter().enumerate() {
            frames.take(one);
            assert_eq!(frames.is_amid_message(), (1..4).contains(&index), "{index}");
        }
        frames.take(&frame(TEXT, b"cut")[..4]);
        assert!(frames.is_amid_message());
    }

    #[test]
    fn what_an_unfinished_message_costs_is_counted_and_pings_are_not() {
        let mut frames = Frames::default();
        frames.take(&frame(TEXT_BEGINS, b"ab"));
        for _ in 0..1_000 {
            frames.take(&frame(GOES_ON, b""));
            frames.take(&frame(PING, b"ping"));
        }
        assert_eq!(frames.unfinished, 8 + 6_000);
        frames.take(&frame(ENDS, b""));
        assert_eq!(frames.unfinished, 0);
    }

    #[test]
    fn a_length_that_no_message_has_does_not_overflow() {
        let mut frames = Frames::default();
        frames.take(&[0x82, 0xff]);
        frames.take(&[0xff; 8]);
        frames.take(&[0; 5_000]);
        assert!(frames.is_amid_message());
    }
}
