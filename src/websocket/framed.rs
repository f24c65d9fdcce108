//! A frame of this server: head and payload in one piece, shared by everybody whom it is for.
//!
//! Not here: which payload. Invariant: the head says what follows it: FIN, text exactly when the
//! payload is UTF-8, and the length as short as it can be.

use std::fmt;

use bytes::Bytes;

use super::alive::Alive;

/// The opcodes that this server sends; a ping is always the same frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Text = 1,
    Binary = 2,
    Close = 8,
    Pong = 10,
}

/// The longest head: two octets and eight of length.
const HEAD_BYTES_MAX: usize = 10;

const FIN: u8 = 0x80;

/// A whole frame. What is not sent over WebSocket takes the payload only. Its `Debug` does not show
/// what people write.
#[derive(Clone, PartialEq, Eq)]
pub struct Framed {
    octets: Bytes,
    /// Where in the octets the payload begins.
    payload: u8,
}

impl fmt::Debug for Framed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Framed({} octets)", self.len())
    }
}

impl Framed {
    /// How many octets of room [`Framed::filled`] needs before the payload.
    pub const ROOM: usize = HEAD_BYTES_MAX;

    /// The heart-beat of STOMP.
    pub const BEAT: Self = Self {
        octets: Bytes::from_static(b"\x81\x01\n"),
        payload: 2,
    };

    /// A ping without a payload.
    pub const PING: Self = Self {
        octets: Bytes::from_static(b"\x89\x00"),
        payload: 2,
    };

    /// A message, of which a copy is made.
    #[must_use]
    pub fn message(payload: &[u8]) -> Self {
        Self::of(opcode_of(payload), payload)
    }

    /// The same message in a binary frame. What is no message stays as it is.
    #[must_use]
    pub fn in_binary(&self) -> Self {
        match self.octets.first() {
            Some(first) if first & 0x0f == Opcode::Text as u8 => {
                Self::of(Opcode::Binary, self.octets(false))
            }
            _ => self.clone(),
        }
    }

    /// The answer to a ping.
    #[must_use]
    pub fn pong(payload: &[u8]) -> Self {
        Self::of(Opcode::Pong, payload)
    }

    /// A message that was written behind [`Framed::ROOM`] octets of room: the head is put there, and
    /// nothing is copied.
    #[must_use]
    pub fn filled(mut octets: Vec<u8>) -> Self {
        debug_assert!(octets.len() >= Self::ROOM, "there is room for a head");
        let payload = octets.get(Self::ROOM..).unwrap_or_default();
        let head = Head::of(opcode_of(payload), payload.len());
        let begin = Self::ROOM - head.as_slice().len();
        if let Some(room) = octets.get_mut(begin..Self::ROOM) {
            room.copy_from_slice(head.as_slice());
        }
        Self {
            octets: Alive::bytes(octets, begin),
            payload: head.length,
        }
    }

    pub(super) fn of(opcode: Opcode, payload: &[u8]) -> Self {
        let head = Head::of(opcode, payload.len());
        let octets = [head.as_slice(), payload].concat();
        Self {
            octets: Alive::bytes(octets, 0),
            payload: head.length,
        }
    }

    /// The frame as it stands on a WebSocket.
    #[must_use]
    pub fn on_wire(&self) -> &Bytes {
        &self.octets
    }

    /// The octets of the frame, or those of its payload only.
    #[must_use]
    pub fn octets(&self, is_framed: bool) -> &[u8] {
        let begin = match is_framed {
            true => 0,
            false => usize::from(self.payload),
        };
        self.octets.get(begin..).unwrap_or_default()
    }

    /// The payload, sharing the memory of the frame.
    #[must_use]
    pub fn payload(&self) -> Bytes {
        self.octets.slice(usize::from(self.payload)..)
    }

    /// Octets of the payload.
    #[must_use]
    pub fn len(&self) -> usize {
        self.octets.len() - usize::from(self.payload)
    }

    /// Whether there is no payload.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn opcode_of(payload: &[u8]) -> Opcode {
    match std::str::from_utf8(payload) {
        Ok(_) => Opcode::Text,
        Err(_) => Opcode::Binary,
    }
}

/// The head of a frame.
struct Head {
    octets: [u8; HEAD_BYTES_MAX],
    length: u8,
}

impl Head {
    fn of(opcode: Opcode, length: usize) -> Self {
        let mut octets = [0; HEAD_BYTES_MAX];
        let [first, second, long @ ..] = &mut octets;
        *first = FIN | opcode as u8;
        let length = match length {
            0..126 => {
                *second = length as u8;
                2
            }
            126..0x1_0000 => {
                *second = 126;
                let [high, low, ..] = long;
                [*high, *low] = (length as u16).to_be_bytes();
                4
            }
            _ => {
                *second = 127;
                *long = (length as u64).to_be_bytes();
                10
            }
        };
        Self { octets, length }
    }

    fn as_slice(&self) -> &[u8] {
        self.octets
            .get(..usize::from(self.length))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_as_short_as_it_can_be() {
        let check = |length: usize, head: &[u8]| {
            let payload = vec![b'x'; length];
            let frame = Framed::message(&payload);
            assert_eq!(frame.on_wire()[..head.len()], *head, "{length} octets");
            assert_eq!(frame.payload(), payload, "{length} octets");
            assert_eq!(frame.len(), length);
            let room = [&[0; Framed::ROOM][..], &payload].concat();
            assert_eq!(Framed::filled(room), frame, "{length} octets behind room");
        };
        check(0, &[0x81, 0]);
        check(125, &[0x81, 125]);
        check(126, &[0x81, 126, 0, 126]);
        check(65_535, &[0x81, 126, 0xff, 0xff]);
        check(65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn only_text_is_sent_as_text() {
        assert_eq!(Framed::message("한".as_bytes()).on_wire()[0], 0x81);
        assert_eq!(Framed::message(b"\xff").on_wire()[0], 0x82);
        assert_eq!(
            Framed::message(b"a").in_binary().on_wire()[..],
            *b"\x82\x01a"
        );
        assert_eq!(Framed::pong(b"a").in_binary(), Framed::pong(b"a"));
        assert_eq!(Framed::pong(b"a").on_wire()[..], *b"\x8a\x01a");
        assert_eq!(Framed::BEAT, Framed::message(b"\n"));
        assert_eq!(Framed::PING.on_wire()[..], [0x89, 0]);
    }
}
