//! A message that a sender writes again and again, with only its number and its mark changing.
//!
//! Not here: to whom and when. Invariant: what the letter has in common is made once; a message costs
//! its octets.

use super::body::{MARK_BYTES, Mark};
use super::order::Dialect;

/// What changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hole {
    /// The number, counted from so many.
    Number(u64),
    /// The mark of the body.
    Mark,
}

/// What one sender writes.
#[derive(Debug)]
pub(super) struct Letter {
    /// What stands before each hole.
    pieces: Vec<(Box<[u8]>, Hole)>,
    /// What stands behind the last one.
    end: Box<[u8]>,
}

/// What a letter is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wording<'a> {
    /// What the server speaks.
    pub(super) dialect: Dialect,
    /// Where to; of Socket.IO, rooms with commas between them.
    pub(super) destination: &'a str,
    /// Octets of the text.
    pub(super) body_bytes: usize,
    /// Whether it asks for a receipt.
    pub(super) is_receipted: bool,
    /// The user whom a chat message is for; none for a plain body.
    pub(super) recipient: Option<&'a str>,
    /// Who sends.
    pub(super) sender: u32,
}

impl Letter {
    /// A letter with these words.
    pub(super) fn new(words: &Wording<'_>) -> Self {
        let padding = "x".repeat(words.body_bytes.saturating_sub(MARK_BYTES));
        match words.dialect {
            Dialect::Stomp => Self::stomp(words, &padding),
            Dialect::SocketIo => Self::socket_io(words, &padding),
        }
    }

    fn stomp(words: &Wording<'_>, padding: &str) -> Self {
        let mut writer = Writer::default();
        writer.text(&format!("SEND\ndestination:{}\n", words.destination));
        if words.is_receipted {
            writer.text("receipt:");
            writer.hole(Hole::Number(0));
            writer.text("\n");
        }
        match words.recipient {
            Some(recipient) => {
                writer.text("content-type:application/json\n\n");
                writer.text(&format!(
                    "{{\"to\":\"{recipient}\",\"client_id\":\"b{}-",
                    words.sender
                ));
                writer.hole(Hole::Number(0));
                writer.text(&format!("\",\"message\":\"{padding}"));
                writer.hole(Hole::Mark);
                writer.text("\"}\0");
            }
            None => {
                writer.text(&format!("content-length:{}\n\n{padding}", words.body_bytes));
                writer.hole(Hole::Mark);
                writer.text("\0");
            }
        }
        writer.done()
    }

    fn socket_io(words: &Wording<'_>, padding: &str) -> Self {
        let mut writer = Writer::default();
        writer.text("42");
        if words.is_receipted {
            // The first acknowledgement was that of the subscription.
            writer.hole(Hole::Number(1));
        }
        let rooms: Vec<String> = words
            .destination
            .split(',')
            .map(|room| format!("\"{room}\""))
            .collect();
        let rooms = match rooms.as_slice() {
            [room] => room.clone(),
            rooms => format!("[{}]", rooms.join(",")),
        };
        writer.text(&format!("[\"pub\",{rooms},\"{padding}"));
        writer.hole(Hole::Mark);
        writer.text("\"]");
        writer.done()
    }

    /// Appends the message with this mark.
    pub(super) fn put(&self, mark: &Mark, out: &mut Vec<u8>) {
        for (before, hole) in &self.pieces {
            out.extend_from_slice(before);
            match hole {
                Hole::Number(first) => put_decimal(first + mark.number, out),
                Hole::Mark => mark.put(out),
            }
        }
        out.extend_from_slice(&self.end);
    }
}

/// Puts a letter together.
#[derive(Debug, Default)]
struct Writer {
    pieces: Vec<(Box<[u8]>, Hole)>,
    text: Vec<u8>,
}

impl Writer {
    fn text(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
    }

    fn hole(&mut self, hole: Hole) {
        let before = std::mem::take(&mut self.text);
        self.pieces.push((before.into(), hole));
    }

    fn done(self) -> Letter {
        Letter {
            pieces: self.pieces,
            end: self.text.into(),
        }
    }
}

fn put_decimal(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        // A remainder of ten fits.
        digits[at] = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(words: &Wording<'_>) -> String {
        let mark = Mark {
            sender: 7,
            number: 120,
            due_ns: 1,
        };
        let mut out = Vec::new();
        Letter::new(words).put(&mark, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_letter_is_written_in_each_dialect() {
        let mark = "=B=000000070000000000780000000000000001";
        let mut words = Wording {
            dialect: Dialect::Stomp,
            destination: "/topic/a",
            body_bytes: MARK_BYTES + 2,
            is_receipted: false,
            recipient: None,
            sender: 7,
        };
        let plain = format!("SEND\ndestination:/topic/a\ncontent-length:41\n\nxx{mark}\0");
        assert_eq!(written(&words), plain);
        words.is_receipted = true;
        words.recipient = Some("user_1");
        let chat = format!(
            "SEND\ndestination:/topic/a\nreceipt:120\ncontent-type:application/json\n\n\
             {{\"to\":\"user_1\",\"client_id\":\"b7-120\",\"message\":\"xx{mark}\"}}\0"
        );
        assert_eq!(written(&words), chat);
        words.dialect = Dialect::SocketIo;
        words.destination = "a,b";
        assert_eq!(
            written(&words),
            format!("42121[\"pub\",[\"a\",\"b\"],\"xx{mark}\"]")
        );
    }
}
