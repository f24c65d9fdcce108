//! UTF-8 that comes in pieces (RFC 3629; RFC 6455 section 8.1).
//!
//! Invariant: whatever is cut, the verdict is that of the whole, and it comes with the first piece
//! that no continuation could mend.

/// The unfinished character at the end of what has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Utf8 {
    tail: [u8; 3],
    length: u8,
}

impl Utf8 {
    /// Whether the text may go on like this.
    pub(super) fn take(&mut self, mut octets: &[u8]) -> bool {
        while self.length > 0 {
            let Some((&octet, after)) = octets.split_first() else {
                return true;
            };
            let mut character = [0; 4];
            let length = usize::from(self.length);
            for (place, octet) in character.iter_mut().zip(self.tail.iter().take(length)) {
                *place = *octet;
            }
            if let Some(place) = character.get_mut(length) {
                *place = octet;
            }
            octets = after;
            match std::str::from_utf8(character.get(..=length).unwrap_or_default()) {
                Ok(_) => self.length = 0,
                Err(error) if error.error_len().is_none() && error.valid_up_to() == 0 => {
                    if let Some(place) = self.tail.get_mut(length) {
                        *place = octet;
                    }
                    self.length += 1;
                }
                Err(_) => return false,
            }
        }
        match std::str::from_utf8(octets) {
            Ok(_) => true,
            Err(error) if error.error_len().is_some() => false,
            Err(error) => {
                let tail = octets.get(error.valid_up_to()..).unwrap_or_default();
                for (place, octet) in self.tail.iter_mut().zip(tail) {
                    *place = *octet;
                    self.length += 1;
                }
                true
            }
        }
    }

    /// Whether the text may end here.
    pub(super) fn is_whole(self) -> bool {
        self.length == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether this is a text, in one piece and in pieces of every size.
    fn is_text(octets: &[u8]) -> bool {
        let in_pieces = |size: usize| {
            let mut text = Utf8::default();
            octets.chunks(size).all(|piece| text.take(piece)) && text.is_whole()
        };
        let whole = in_pieces(octets.len().max(1));
        for size in 1..=octets.len() {
            assert_eq!(in_pieces(size), whole, "{octets:x?} in pieces of {size}");
        }
        assert_eq!(whole, std::str::from_utf8(octets).is_ok(), "{octets:x?}");
        whole
    }

    #[test]
    fn text_is_text_however_it_is_cut() {
        for text in ["", "a", "é", "한글", "😀", "a😀é한\u{10ffff}\u{7ff}\u{800}"] {
            assert!(is_text(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_is_no_text_is_found_however_it_is_cut() {
        let cases: [&[u8]; 10] = [
            b"\x80",
            b"\xc0\xaf",
            b"\xed\xa0\x80",
            b"\xf4\x90\x80\x80",
            b"\xf5\x80\x80\x80",
            b"ab\xff",
            b"\xe2\x82",
            b"\xf0\x9f\x98",
            b"\xe2\x28\xa1",
            b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
        ];
        for octets in cases {
            assert!(!is_text(octets), "{octets:x?}");
        }
    }

    #[test]
    fn a_verdict_does_not_wait_for_the_end() {
        let mut text = Utf8::default();
        assert!(text.take(b"\xf4"));
        assert!(
            !text.take(b"\x90"),
            "no continuation makes a character of it"
        );
    }
}
