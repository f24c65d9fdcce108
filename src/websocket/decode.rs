//! From octets of a client to messages, control frames and violations.
//!
//! Not here: what a message means, how long its rest may take. Invariant: an octet of a message is
//! looked at once and copied nowhere: it is unmasked where it lies and given on.

use super::close;
use super::framed::Framed;
use super::mask::unmask;
use super::utf8::Utf8;

/// What a control frame holds at most (RFC 6455 section 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// The heads of a message's frames may take so many bytes, and [`HEADS_PER_PAYLOAD`] for each byte of payload. No client
/// cuts a long message into pieces of one or two bytes, and decoding an empty fragment costs as much as a full one.
pub const HEADS_BYTES: usize = 4 << 10;

/// Bytes of heads for each byte of payload.
pub const HEADS_PER_PAYLOAD: usize = 2;

/// The longest head of a client's frame: two octets, eight of length, four of key.
const HEAD_BYTES_MAX: usize = 14;

/// What is found in the octets of a client.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// Octets of a message, or its end without any.
    Piece {
        /// Unmasked; of a text message they are text up to here.
        octets: &'a [u8],
        /// Whether the message begins with them.
        begins: bool,
        /// Whether it ends with them.
        ends: bool,
    },
    /// A ping, with the answer to it.
    Ping(Framed),
    /// A pong.
    Pong,
    /// The client closes, with this code. What follows is not looked at.
    Close(u16),
}

/// What RFC 6455 or a limit forbids. Nothing can be understood after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Close with 1002.
    #[error("{0}")]
    Malformed(&'static str),
    /// A text message is not UTF-8: close with 1007.
    #[error("a text message is not UTF-8")]
    NotUtf8,
    /// A message is longer than any may be: close with 1009.
    #[error("a message is longer than any may be")]
    TooLong,
    /// A message is in too many fragments for what it holds: close with 1002.
    #[error("a message is in too many fragments for what it holds")]
    Fragments,
}

/// An incremental decoder of a client's frames. Every idle connection has one, so it is packed. Its
/// `Debug` shows no octets of messages.
///
/// ```
/// use stompbox::websocket::{Decoder, Found};
///
/// let mut decoder = Decoder::new(1_024);
/// let mut octets = *b"\x81\x82\x01\x02\x03\x04\x49\x6b";
/// let mut left = &mut octets[..];
/// let found = decoder.next(&mut left);
/// assert_eq!(found, Ok(Some(Found::Piece { octets: b"Hi", begins: true, ends: true })));
/// assert_eq!(decoder.next(&mut left), Ok(None));
/// ```
#[derive(Debug)]
pub struct Decoder {
    /// Of the payload of the frame at hand, what is to come.
    rest: u64,
    message_bytes_max: u32,
    /// Octets of the payload of the message at hand, with those that its last frame announces.
    message_bytes: u32,
    /// Bytes of the heads of its frames.
    heads_bytes: u32,
    /// What there is of a head that is not whole.
    head: [u8; HEAD_BYTES_MAX],
    head_length: u8,
    key: [u8; 4],
    key_at: u8,
    frame: Frame,
    message: Message,
    utf8: Utf8,
    /// What there is of the payload of a control frame that is not whole.
    control: Vec<u8>,
}

/// The frame at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frame {
    /// There is none: a head comes next.
    None,
    Data {
        is_final: bool,
        /// Whether the message begins with what comes next.
        begins: bool,
    },
    Control(Control),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Control {
    Close,
    Ping,
    Pong,
}

/// The message at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Message {
    None,
    Text,
    Binary,
}

/// A head that is whole.
struct Head {
    first: u8,
    payload: u64,
    key: [u8; 4],
    bytes: u8,
}

type Outcome<'a> = Result<Option<Found<'a>>, Violation>;

impl Decoder {
    /// A decoder for messages of at most so many octets.
    #[must_use]
    pub fn new(message_bytes_max: usize) -> Self {
        Self {
            rest: 0,
            message_bytes_max: small(message_bytes_max),
            message_bytes: 0,
            heads_bytes: 0,
            head: [0; HEAD_BYTES_MAX],
            head_length: 0,
            key: [0; 4],
            key_at: 0,
            frame: Frame::None,
            message: Message::None,
            utf8: Utf8::default(),
            control: Vec::new(),
        }
    }

    /// What comes next; `None` when all octets are taken. What is taken is cut off at the front.
    ///
    /// # Errors
    /// The first violation. The decoder is of no more use then, as after a close.
    pub fn next<'a>(&mut self, octets: &mut &'a mut [u8]) -> Outcome<'a> {
        loop {
            let found = match self.frame {
                Frame::None if octets.is_empty() => return Ok(None),
                Frame::None => match self.head(octets)? {
                    true => continue,
                    false => return Ok(None),
                },
                Frame::Data { is_final, begins } => self.piece(octets, is_final, begins)?,
                Frame::Control(control) => self.control(octets, control)?,
            };
            if found.is_some() || octets.is_empty() {
                return Ok(found);
            }
        }
    }

    /// Whether a message or a frame has begun, and its rest is still to come.
    #[must_use]
    pub fn is_amid_message(&self) -> bool {
        self.message != Message::None || self.frame != Frame::None || self.head_length > 0
    }

    /// Takes a head, or what there is of one. Returns whether it is whole.
    fn head(&mut self, octets: &mut &mut [u8]) -> Result<bool, Violation> {
        if self.head_length == 0
            && let Some(head) = parse(octets)?
        {
            cut(octets, usize::from(head.bytes));
            self.begin(&head)?;
            return Ok(true);
        }
        while let [octet, ..] = **octets {
            if let Some(place) = self.head.get_mut(usize::from(self.head_length)) {
                *place = octet;
            }
            cut(octets, 1);
            self.head_length += 1;
            let known = self.head.get(..usize::from(self.head_length));
            if let Some(head) = parse(known.unwrap_or_default())? {
                self.head_length = 0;
                self.begin(&head)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A frame begins.
    fn begin(&mut self, head: &Head) -> Result<(), Violation> {
        let is_final = head.first & 0x80 != 0;
        let begins = match (head.first & 0x0f, self.message) {
            (0, Message::None) => return malformed("nothing is there that could go on"),
            (0, Message::Text | Message::Binary) => false,
            (1, Message::None) => {
                self.message = Message::Text;
                true
            }
            (2, Message::None) => {
                self.message = Message::Binary;
                true
            }
            (1 | 2, _) => return malformed("a message begins in another"),
            (8, _) => return self.begin_control(Control::Close, head),
            (9, _) => return self.begin_control(Control::Ping, head),
            (10, _) => return self.begin_control(Control::Pong, head),
            _ => return malformed("there is no such opcode"),
        };
        let payload = u32::try_from(head.payload).unwrap_or(u32::MAX);
        self.message_bytes = self.message_bytes.saturating_add(payload);
        if self.message_bytes > self.message_bytes_max {
            return Err(Violation::TooLong);
        }
        self.heads_bytes = self.heads_bytes.saturating_add(u32::from(head.bytes));
        let heads_max = self.message_bytes.saturating_mul(small(HEADS_PER_PAYLOAD));
        if self.heads_bytes > heads_max.saturating_add(small(HEADS_BYTES)) {
            return Err(Violation::Fragments);
        }
        self.frame = Frame::Data { is_final, begins };
        self.payload_of(head);
        Ok(())
    }

    fn begin_control(&mut self, control: Control, head: &Head) -> Result<(), Violation> {
        if head.first & 0x80 == 0 {
            return malformed("a control frame is in fragments");
        }
        if head.payload > CONTROL_BYTES_MAX as u64 {
            return malformed("a control frame holds more than 125 octets");
        }
        self.frame = Frame::Control(control);
        self.payload_of(head);
        Ok(())
    }

    fn payload_of(&mut self, head: &Head) {
        self.rest = head.payload;
        self.key = head.key;
        self.key_at = 0;
    }

    /// Takes what there is of a message.
    fn piece<'a>(
        &mut self,
        octets: &mut &'a mut [u8],
        is_final: bool,
        begins: bool,
    ) -> Outcome<'a> {
        if octets.is_empty() && self.rest > 0 {
            return Ok(None);
        }
        let piece = self.unmasked(octets);
        if self.message == Message::Text && !self.utf8.take(piece) {
            return Err(Violation::NotUtf8);
        }
        let ends_frame = self.rest == 0;
        let ends = ends_frame && is_final;
        self.frame = match ends_frame {
            true => Frame::None,
            false => Frame::Data {
                is_final,
                begins: false,
            },
        };
        if ends {
            if !self.utf8.is_whole() {
                return Err(Violation::NotUtf8);
            }
            self.message = Message::None;
            self.message_bytes = 0;
            self.heads_bytes = 0;
        } else if piece.is_empty() && !begins {
            // A fragment without octets says nothing.
            return Ok(None);
        }
        Ok(Some(Found::Piece {
            octets: piece,
            begins,
            ends,
        }))
    }

    /// Takes what there is of a control frame.
    fn control<'a>(&mut self, octets: &mut &'a mut [u8], control: Control) -> Outcome<'a> {
        let piece = self.unmasked(octets);
        if self.rest > 0 {
            self.control.extend_from_slice(piece);
            return Ok(None);
        }
        let before = std::mem::take(&mut self.control);
        let joined;
        let payload = if before.is_empty() {
            piece
        } else {
            joined = [&before, piece].concat();
            &joined
        };
        self.frame = Frame::None;
        match control {
            Control::Ping => Ok(Some(Found::Ping(Framed::pong(payload)))),
            Control::Pong => Ok(Some(Found::Pong)),
            Control::Close => match close::code(payload) {
                Some(code) => Ok(Some(Found::Close(code))),
                None => malformed("a close says what may not be said"),
            },
        }
    }

    /// The octets that are there of the payload at hand, unmasked.
    fn unmasked<'a>(&mut self, octets: &mut &'a mut [u8]) -> &'a [u8] {
        let rest = usize::try_from(self.rest).unwrap_or(usize::MAX);
        let piece = cut(octets, rest.min(octets.len()));
        self.key_at = unmask(piece, self.key, self.key_at);
        self.rest -= piece.len() as u64;
        piece
    }
}

/// Reads a head; `None` when there is more of it to come. What is wrong is found as soon as it is
/// there.
fn parse(octets: &[u8]) -> Result<Option<Head>, Violation> {
    let [first, second, after @ ..] = octets else {
        return Ok(None);
    };
    if first & 0x70 != 0 {
        return malformed("a reserved bit is set");
    }
    if second & 0x80 == 0 {
        return malformed("a frame of a client is not masked");
    }
    let (payload, key, bytes) = match (second & 0x7f, after) {
        (126, [a, b, key @ ..]) => {
            let payload = u16::from_be_bytes([*a, *b]).into();
            if payload < 126 {
                return malformed("a length is not as short as it can be");
            }
            (payload, key, 8)
        }
        (127, [a, b, c, d, e, f, g, h, key @ ..]) => {
            let payload = u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
            if payload <= u16::MAX.into() || payload > i64::MAX as u64 {
                return malformed("a length is not as short as it can be");
            }
            (payload, key, 14)
        }
        (126 | 127, _) => return Ok(None),
        (payload, key) => (payload.into(), key, 6),
    };
    Ok(key.first_chunk().map(|key| Head {
        first: *first,
        payload,
        key: *key,
        bytes,
    }))
}

/// Cuts octets off at the front.
fn cut<'a>(octets: &mut &'a mut [u8], count: usize) -> &'a mut [u8] {
    let (cut, rest) = std::mem::take(octets)
        .split_at_mut_checked(count)
        .unwrap_or_default();
    *octets = rest;
    cut
}

fn malformed<T>(words: &'static str) -> Result<T, Violation> {
    Err(Violation::Malformed(words))
}

/// Counts are bounded by the longest message, which is far below this.
fn small(octets: usize) -> u32 {
    u32::try_from(octets).unwrap_or(u32::MAX)
}
