//! From frames to octets.
//!
//! Not here: the rules of escaping (`escape`). Invariant: what is written is exactly one frame,
//! whatever its headers and its body hold, and `content-length` is that of the body.

use std::fmt;

use bytes::Bytes;

use super::command::Command;
use super::escape::{self, Escaping, Part};
use super::frame::Frame;
use super::version::Version;

/// An EOL: a heart-beat.
pub const BEAT: Bytes = Bytes::from_static(b"\n");

const CONTENT_LENGTH: &str = "content-length";

/// Writes a frame. Frames that may have a body always get a `content-length`; one among the
/// headers is not looked at. A header with an empty name, which nobody could read, is left out.
#[must_use]
pub fn encode(frame: &Frame, version: Version) -> Bytes {
    let headers = frame
        .headers
        .iter()
        .filter(|(name, _)| *name != CONTENT_LENGTH);
    write(0, frame.command, version, headers, &frame.body).into()
}

/// The parts of a MESSAGE, borrowed from where they are: the hot path of a fan-out. Its `Debug`
/// does not show what people write.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    /// The version of the subscriber.
    pub version: Version,
    /// The subscription id; none for a 1.0 subscriber that gave none.
    pub subscription: Option<&'a str>,
    /// The destination as the subscriber wrote it.
    pub destination: &'a str,
    /// Unique on the subscriber's session.
    pub message_id: &'a str,
    /// What the body is.
    pub content_type: Option<&'a str>,
    /// Headers that travel with the message. Those with a name of the above are left out.
    pub headers: &'a [(Box<str>, Box<str>)],
    /// Any octets.
    pub body: &'a [u8],
}

impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("version", &self.version)
            .field("subscription", &self.subscription)
            .field("destination", &self.destination)
            .field("message_id", &self.message_id)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Writes a MESSAGE, in one allocation of the exact size.
///
/// ```
/// use stompbox::stomp::{Message, Version, encode};
///
/// let octets = encode::message(&Message {
///     version: Version::V1_2,
///     subscription: Some("sub-0"),
///     destination: "/topic/a",
///     message_id: "m1",
///     content_type: Some("text/plain"),
///     headers: &[],
///     body: b"hello",
/// });
/// let expected = "MESSAGE\nsubscription:sub-0\ndestination:/topic/a\nmessage-id:m1\n\
///                 content-type:text/plain\ncontent-length:5\n\nhello\0";
/// assert_eq!(octets, expected);
/// ```
#[must_use]
pub fn message(message: &Message<'_>) -> Bytes {
    message_behind(0, message).into()
}

/// The same behind so many octets of room, for what carries the frame.
#[must_use]
pub fn message_behind(room: usize, message: &Message<'_>) -> Vec<u8> {
    let content_type = message.content_type;
    let own = [
        message.subscription.map(|id| ("subscription", id)),
        Some(("destination", message.destination)),
        Some(("message-id", message.message_id)),
        content_type.map(|text| ("content-type", text)),
    ];
    let others = message
        .headers
        .iter()
        .map(|(name, value)| (name.as_ref(), value.as_ref()))
        .filter(|(name, _)| match *name {
            "subscription" | "destination" | "message-id" | CONTENT_LENGTH => false,
            "content-type" => content_type.is_none(),
            _ => true,
        });
    let headers = own.into_iter().flatten().chain(others);
    write(
        room,
        Command::Message,
        message.version,
        headers,
        message.body,
    )
}

fn write<'a>(
    room: usize,
    command: Command,
    version: Version,
    headers: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    body: &[u8],
) -> Vec<u8> {
    let escaping = Escaping::of(command, version);
    let headers = headers.filter(|(name, _)| !name.is_empty());
    let mut digits = Digits::default();
    let length = command.may_have_body().then(|| digits.of(body.len()));
    let body = if length.is_some() { body } else { &[] };

    let mut size = room + command.as_str().len() + "\n\n\0".len() + body.len();
    let mut plain = Plain::default();
    for (name, value) in headers.clone() {
        size += plain.measure(escaping, Part::Name, name);
        size += plain.measure(escaping, Part::Value, value);
        size += ":\n".len();
    }
    size += length.map_or(0, |length| {
        CONTENT_LENGTH.len() + length.len() + ":\n".len()
    });

    let mut octets = Vec::with_capacity(size);
    octets.resize(room, 0);
    octets.extend_from_slice(command.as_str().as_bytes());
    octets.push(b'\n');
    for (name, value) in headers {
        plain.write(escaping, Part::Name, name, &mut octets);
        octets.push(b':');
        plain.write(escaping, Part::Value, value, &mut octets);
        octets.push(b'\n');
    }
    if let Some(length) = length {
        octets.extend_from_slice(CONTENT_LENGTH.as_bytes());
        octets.push(b':');
        octets.extend_from_slice(length);
        octets.push(b'\n');
    }
    octets.push(b'\n');
    octets.extend_from_slice(body);
    octets.push(b'\0');
    debug_assert_eq!(octets.len(), size, "one allocation of the exact size");
    octets
}

/// Which of the first 64 names and values need no escaping: noted when they are measured, so that they are not looked
/// through again when they are written.
struct Plain {
    texts: u64,
    /// The text that is measured next, and the one that is written next; none beyond the 64th.
    measured: u64,
    written: u64,
}

impl Default for Plain {
    fn default() -> Self {
        Self {
            texts: 0,
            measured: 1,
            written: 1,
        }
    }
}

impl Plain {
    /// How many bytes will be written for the next text.
    fn measure(&mut self, escaping: Escaping, part: Part, text: &str) -> usize {
        let this = self.measured;
        self.measured <<= 1;
        match escape::is_plain(text) {
            true => {
                self.texts |= this;
                text.len()
            }
            false => escaping.written_len(part, text),
        }
    }

    /// Writes the next text.
    fn write(&mut self, escaping: Escaping, part: Part, text: &str, to: &mut Vec<u8>) {
        let this = self.written;
        self.written <<= 1;
        match self.texts & this {
            0 => escaping.write(part, text, to),
            _ => to.extend_from_slice(text.as_bytes()),
        }
    }
}

/// A number in decimal, without an allocation.
#[derive(Default)]
struct Digits([u8; 20]);

impl Digits {
    fn of(&mut self, mut number: usize) -> &[u8] {
        let mut at = self.0.len();
        loop {
            at -= 1;
            // A remainder of ten fits an octet.
            self.0[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return &self.0[at..];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_written_for_each_version() {
        let headers = [
            ("a:b".into(), "x\nmessage-id:evil\r".into()),
            ("message-id".into(), "evil".into()),
            ("".into(), "nameless".into()),
        ];
        let check = |version, subscription, expected: &str| {
            let octets = message(&Message {
                version,
                subscription,
                destination: "/topic/a",
                message_id: "m1",
                content_type: None,
                headers: &headers,
                body: b"a\0b",
            });
            assert_eq!(octets, expected, "{version}");
        };
        check(
            Version::V1_0,
            None,
            "MESSAGE\ndestination:/topic/a\nmessage-id:m1\na_b:x message-id:evil \n\
             content-length:3\n\na\0b\0",
        );
        check(
            Version::V1_1,
            Some("s:1"),
            "MESSAGE\nsubscription:s\\c1\ndestination:/topic/a\nmessage-id:m1\n\
             a\\cb:x\\nmessage-id\\cevil \ncontent-length:3\n\na\0b\0",
        );
        check(
            Version::V1_2,
            Some("s:1"),
            "MESSAGE\nsubscription:s\\c1\ndestination:/topic/a\nmessage-id:m1\n\
             a\\cb:x\\nmessage-id\\cevil\\r\ncontent-length:3\n\na\0b\0",
        );
    }

    #[test]
    fn headers_beyond_those_that_are_noted_are_escaped_as_well() {
        let texts = (0..100).map(|n| match n % 3 {
            0 => format!("{n}:"),
            _ => n.to_string(),
        });
        let headers: Vec<_> = texts.map(|text| ("h".into(), text.into())).collect();
        let octets = message(&Message {
            version: Version::V1_2,
            subscription: None,
            destination: "/topic/a",
            message_id: "m1",
            content_type: None,
            headers: &headers,
            body: b"",
        });
        let text = std::str::from_utf8(&octets).unwrap();
        let expected: String = (0..100)
            .map(|n| match n % 3 {
                0 => format!("h:{n}\\c\n"),
                _ => format!("h:{n}\n"),
            })
            .collect();
        assert!(text.contains(&expected), "{text}");
    }

    #[test]
    fn connected_is_not_escaped_and_has_no_content_length() {
        let frame = Frame::new(Command::Connected)
            .header("limits", "{\"a\":1}")
            .header("user-name", "x\ny\\z");
        assert_eq!(
            encode(&frame, Version::V1_2),
            "CONNECTED\nlimits:{\"a\":1}\nuser-name:x y\\z\n\n\0"
        );
    }

    #[test]
    fn the_content_length_is_that_of_the_body() {
        let frame = Frame::new(Command::Error)
            .header("content-length", "99")
            .body("0123456789");
        assert_eq!(
            encode(&frame, Version::V1_1),
            "ERROR\ncontent-length:10\n\n0123456789\0"
        );
    }
}
