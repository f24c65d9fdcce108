//! What stands in a body: who sent it, its number, and when it was due.
//!
//! Invariant: a mark that was put is read again whatever a server puts around it, as long as it leaves
//! the text itself alone.

use memchr::memmem;

/// What a mark begins with.
const SIGN: &[u8] = b"=B=";
/// Digits of the sender, of the number, of the time.
const DIGITS: [usize; 3] = [8, 12, 16];
/// The octets of a mark.
pub(super) const MARK_BYTES: usize = 3 + 8 + 12 + 16;

/// One message, as its sender marked it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The connection that sent it.
    pub(super) sender: u32,
    /// The how-manieth of that sender it is, from 0.
    pub(super) number: u64,
    /// When it was due, in nanoseconds of the run.
    pub(super) due_ns: u64,
}

impl Mark {
    /// Appends it.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(SIGN);
        let values = [u64::from(self.sender), self.number, self.due_ns];
        for (value, digits) in values.into_iter().zip(DIGITS) {
            for place in (0..digits).rev() {
                let digit = (value >> (4 * place)) & 0xf;
                out.push(b"0123456789abcdef"[digit as usize]);
            }
        }
    }

    fn read(octets: &[u8]) -> Option<Self> {
        let mut rest = octets.strip_prefix(SIGN)?;
        let mut values = [0; 3];
        for (value, digits) in values.iter_mut().zip(DIGITS) {
            let (text, after) = rest.split_at_checked(digits)?;
            rest = after;
            for octet in text {
                let digit = match octet {
                    b'0'..=b'9' => octet - b'0',
                    b'a'..=b'f' => octet - b'a' + 10,
                    _ => return None,
                };
                *value = *value << 4 | u64::from(digit);
            }
        }
        let [sender, number, due_ns] = values;
        Some(Self {
            sender: u32::try_from(sender).ok()?,
            number,
            due_ns,
        })
    }
}

/// Looks for marks. Most stand as far from the end as the one before, where it looks first.
#[derive(Debug)]
pub(super) struct Finder {
    from_end: usize,
    sign: memmem::Finder<'static>,
}

impl Finder {
    /// A finder that knows nothing yet.
    pub(super) fn new() -> Self {
        Self {
            from_end: MARK_BYTES,
            sign: memmem::Finder::new(SIGN),
        }
    }

    /// The mark in this text, and where it ends.
    pub(super) fn find(&mut self, text: &[u8]) -> Option<(Mark, usize)> {
        if let Some(at) = text.len().checked_sub(self.from_end)
            && let Some(mark) = Mark::read(&text[at..])
        {
            return Some((mark, at + MARK_BYTES));
        }
        let at = self.sign.find(text)?;
        let mark = Mark::read(&text[at..])?;
        self.from_end = text.len() - at;
        Some((mark, at + MARK_BYTES))
    }
}

/// The number after `"seq":`, which Stompbox gives every message of a conversation.
pub(super) fn seq(text: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"\"seq\":";
    let at = memmem::find(text, NAME)? + NAME.len();
    let digits = text[at..].iter().take_while(|octet| octet.is_ascii_digit());
    let add = |sum: u64, digit: &u8| sum.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
    Some(digits.fold(0, add))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_at_the_end_and_in_the_middle() {
        let mark = Mark {
            sender: 77,
            number: 123_456_789,
            due_ns: u64::MAX,
        };
        let mut text = b"MESSAGE\n\nxxx".to_vec();
        mark.put(&mut text);
        assert_eq!(text.len(), 12 + MARK_BYTES);
        let mut finder = Finder::new();
        assert_eq!(finder.find(&text), Some((mark, text.len())));
        let end = text.len();
        text.extend_from_slice(b"\",\"seq\":41,");
        // Twice: the second time where the first one was.
        for _ in 0..2 {
            assert_eq!(finder.find(&text), Some((mark, end)));
        }
        assert_eq!(seq(&text[end..]), Some(41));
        assert_eq!(finder.find(b"nothing"), None);
        assert_eq!(finder.find(b"=B=0"), None);
    }
}
