//! From octets that were read to what the driver is told.
//!
//! Not here: RFC 6455 itself (the room `websocket`), reading. Invariant: what is told comes in the order
//! in which it was read, and a message that holds nothing is counted however many come at once.

use bytes::Bytes;

use crate::edge::socket::{Received, is_line_ends};
use crate::websocket::{Decoder, Found, Violation};

/// How the messages of a client are given on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::edge) enum Messages {
    /// As their octets come: several in one piece, one in several.
    Pieces,
    /// Each whole and by itself. The caller has pings answered.
    Whole,
}

/// What comes in.
#[derive(Debug)]
pub(super) struct Incoming {
    decoder: Decoder,
    messages: Messages,
    /// Whether it was told that a message has begun whose rest is to come.
    is_unfinished_told: bool,
    /// Whether the client has said goodbye, or cannot be understood any more.
    is_over: bool,
    /// The code with which the client has closed.
    closed: Option<u16>,
    /// How often what is gathered has doubled, as far as it was told.
    doublings_told: u8,
    /// What was read and not looked at, from this place on: it is not moved for each message in it.
    unread: Vec<u8>,
    unread_at: usize,
    /// What there is of a message that is to be whole.
    gathered: Vec<u8>,
    /// What came behind octets that are told first. Boxed, because it is rarely there.
    next: Option<Box<Received>>,
}

impl Incoming {
    /// These octets were read together with the request; they are copied, because taking them over
    /// would keep the whole buffer of the request for ever.
    pub(super) fn new(read_already: &[u8], message_bytes_max: usize, messages: Messages) -> Self {
        Self {
            decoder: Decoder::new(message_bytes_max),
            messages,
            is_unfinished_told: false,
            is_over: false,
            closed: None,
            doublings_told: 0,
            unread: read_already.to_vec(),
            unread_at: 0,
            gathered: Vec::new(),
            next: None,
        }
    }

    /// Whether pings are answered here.
    pub(super) fn is_whole(&self) -> bool {
        self.messages == Messages::Whole
    }

    /// Whether a message has begun, and its rest is still to come.
    pub(super) fn is_amid_message(&self) -> bool {
        self.decoder.is_amid_message()
    }

    /// Whether nothing more can be understood.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// The code with which the client has closed.
    pub(super) fn closed(&self) -> Option<u16> {
        self.closed
    }

    /// What can be told without reading.
    pub(super) fn known(&mut self) -> Option<Received> {
        if let Some(next) = self.next.take() {
            return Some(*next);
        }
        if self.is_over {
            return Some(Received::Gone);
        }
        if self.unread.is_empty() {
            return None;
        }
        let mut octets = std::mem::take(&mut self.unread);
        let from = std::mem::take(&mut self.unread_at);
        let (received, left) = self.understand(octets.get_mut(from..).unwrap_or_default());
        if left > 0 {
            self.unread_at = octets.len() - left;
            self.unread = octets;
        }
        received
    }

    /// How many bytes of memory hold what was read and is not told.
    pub(super) fn buffered(&self) -> usize {
        self.unread.capacity() + self.gathered.capacity()
    }

    /// That nothing can be told although a message has begun, once for each; and that what is gathered of
    /// it has doubled, so that the caller looks at how much that is.
    pub(super) fn unfinished(&mut self) -> Option<Received> {
        let is_told = self.is_unfinished_told || self.is_over || !self.is_amid_message();
        self.is_unfinished_told |= !is_told;
        if !is_told {
            return Some(Received::Unfinished);
        }
        let doublings = doublings(self.gathered.capacity());
        let is_more = doublings > self.doublings_told.max(SMALL_DOUBLINGS);
        self.doublings_told = doublings;
        is_more.then_some(Received::Buffered)
    }

    /// What was read says this. The end of the stream is no octets.
    pub(super) fn read(&mut self, octets: &mut [u8]) -> Option<Received> {
        match octets.is_empty() {
            true => Some(self.over(Received::Gone)),
            false => {
                let (received, left) = self.understand(octets);
                let unread = octets.get(octets.len() - left..).unwrap_or_default();
                self.unread = unread.to_vec();
                received
            }
        }
    }

    /// What the octets say, and how many of them are left for later.
    fn understand(&mut self, octets: &mut [u8]) -> (Option<Received>, usize) {
        let mut left = octets;
        let mut pieces = Pieces::default();
        let other = loop {
            let found = match self.decoder.next(&mut left) {
                Ok(None) => break None,
                Ok(Some(found)) => found,
                Err(violation) => break Some(self.over(refused(violation))),
            };
            match found {
                Found::Piece {
                    octets,
                    begins,
                    ends,
                } => {
                    self.is_unfinished_told &= !ends;
                    if self.messages == Messages::Pieces {
                        pieces.add(octets, begins && ends, left.len());
                        continue;
                    }
                    self.gathered.extend_from_slice(octets);
                    if ends {
                        pieces.octets = std::mem::take(&mut self.gathered);
                        pieces.empty = u32::from(is_line_ends(&pieces.octets));
                        pieces.any = true;
                        break None;
                    }
                }
                Found::Ping(pong) => break Some(Received::Pinged(Some(pong))),
                Found::Pong => break Some(Received::Ponged),
                Found::Close(code) => {
                    self.closed = Some(code);
                    break Some(self.over(Received::Closed(code)));
                }
            }
        };
        let left = match self.is_over {
            true => 0,
            false => left.len(),
        };
        match (pieces.told(), other) {
            (Some(octets), other) => {
                self.next = other.map(Box::new);
                (Some(octets), left)
            }
            (None, other) => (other, left),
        }
    }

    fn over(&mut self, received: Received) -> Received {
        self.is_over = true;
        self.unread = Vec::new();
        self.gathered = Vec::new();
        received
    }
}

/// Less than 4 KiB is not worth a look.
const SMALL_DOUBLINGS: u8 = 11;

/// How often one byte has doubled until it is so many.
fn doublings(bytes: usize) -> u8 {
    u8::try_from(bytes.checked_ilog2().unwrap_or(0)).unwrap_or(u8::MAX)
}

/// The octets of messages, put together.
#[derive(Default)]
struct Pieces {
    octets: Vec<u8>,
    empty: u32,
    any: bool,
}

impl Pieces {
    /// One more; so many octets of the wire follow.
    fn add(&mut self, octets: &[u8], is_whole: bool, follow: usize) {
        if self.octets.is_empty() && !octets.is_empty() {
            self.octets.reserve_exact(octets.len() + follow);
        }
        self.octets.extend_from_slice(octets);
        self.empty += u32::from(is_whole && is_line_ends(octets));
        self.any = true;
    }

    fn told(self) -> Option<Received> {
        let octets = Bytes::from(self.octets);
        let empty = self.empty;
        self.any.then_some(Received::Octets { octets, empty })
    }
}

fn refused(violation: Violation) -> Received {
    match violation {
        Violation::Malformed(words) => {
            tracing::debug!(words, "a client breaks RFC 6455");
            Received::Malformed
        }
        Violation::NotUtf8 => Received::NotUtf8,
        Violation::TooLong => Received::TooLarge,
        Violation::Fragments => Received::Fragments,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A masked frame whose key is zero.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut octets = vec![
            first,
            0x80 | u8::try_from(payload.len()).unwrap(),
            0,
            0,
            0,
            0,
        ];
        octets.extend(payload);
        octets
    }

    fn told(messages: Messages, octets: &[u8]) -> Vec<String> {
        let mut incoming = Incoming::new(&[], 1_000, messages);
        let mut octets = octets.to_vec();
        let mut told = Vec::new();
        let mut received = incoming.read(&mut octets);
        while let Some(one) = received {
            let is_over = matches!(one, Received::Gone);
            told.push(if let Received::Octets { octets, empty } = &one {
                format!("{} {empty}", String::from_utf8_lossy(octets).escape_debug())
            } else {
                format!("{one:?}")
            });
            if is_over {
                break;
            }
            received = incoming.known();
        }
        told.extend(incoming.unfinished().map(|it| format!("{it:?}")));
        assert!(incoming.unfinished().is_none(), "it is told once");
        told
    }

    #[test]
    fn messages_that_come_together_are_told_together_in_pieces_and_apart_when_whole() {
        let octets = [
            frame(0x81, b"a"),
            frame(0x81, b"\n"),
            frame(0x81, b""),
            frame(0x01, b"b"),
            frame(0x80, b"\n"),
            frame(0x89, b"?"),
            frame(0x81, b"c"),
            frame(0x01, b"d"),
        ];
        let octets = octets.concat();
        let pong = "Pinged(Some(Framed(1 octets)))";
        assert_eq!(
            told(Messages::Pieces, &octets),
            ["a\\nb\\n 2", pong, "cd 0", "Unfinished"]
        );
        assert_eq!(
            told(Messages::Whole, &octets),
            ["a 0", "\\n 1", " 1", "b\\n 0", pong, "c 0", "Unfinished"]
        );
    }

    #[test]
    fn what_is_gathered_of_a_whole_message_is_told_each_time_it_has_doubled() {
        let mut incoming = Incoming::new(&[], 100_000, Messages::Whole);
        let mut told = Vec::new();
        let mut first = 0x01;
        for _ in 0..700 {
            let mut octets = frame(first, &[b'x'; 125]);
            first = 0x00;
            assert!(incoming.read(&mut octets).is_none());
            let received = incoming.unfinished();
            if let Some(Received::Buffered) = received {
                told.push(incoming.buffered());
            }
        }
        assert!((4..=7).contains(&told.len()), "{told:?}");
        assert!(told.iter().all(|bytes| *bytes >= 4 << 10), "{told:?}");
        assert!(incoming.buffered() <= 2 * told[told.len() - 1], "{told:?}");
        let whole = incoming.read(&mut frame(0x80, b""));
        assert!(
            matches!(whole, Some(Received::Octets { octets, .. }) if octets.len() == 700 * 125)
        );
        assert_eq!(incoming.buffered(), 0);
    }

    #[test]
    fn what_was_well_is_told_before_what_ends_the_connection() {
        for messages in [Messages::Pieces, Messages::Whole] {
            let octets = [frame(0x81, b"a"), frame(0x81, b"\xff"), frame(0x81, b"b")];
            assert_eq!(told(messages, &octets.concat()), ["a 0", "NotUtf8", "Gone"]);
            let octets = [frame(0x82, b"a"), frame(0x88, b""), frame(0x82, b"b")];
            let expected = ["a 0", "Closed(1005)", "Gone"];
            assert_eq!(told(messages, &octets.concat()), expected);
        }
    }
}
