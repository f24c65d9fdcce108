//! Strings of JSON as SockJS needs them: written so that no browser mangles them, read although
//! they may hold halves of surrogate pairs.
//!
//! Not here: any other JSON. A general reader refuses lone surrogates, and a general writer leaves
//! characters that old browsers and their proxies change. Invariant: what is read is never longer
//! than what it was read from, and reading what was quoted gives the text again.

use std::fmt::Write as _;

/// The most messages in one array: each costs memory of its own, however short it is.
pub const MESSAGES_MAX: usize = 4_096;

/// Why octets are no messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// There is nothing at all. Over WebSocket that is no error.
    #[error("Payload expected.")]
    Empty,
    /// It is neither a string of JSON nor an array of strings.
    #[error("Broken JSON encoding.")]
    Broken,
    /// More than [`MESSAGES_MAX`] messages at once.
    #[error("Too many messages at once.")]
    TooMany,
}

/// Appends a text as a string of JSON. Beside what JSON itself wants, the characters are escaped
/// that browsers lose or change on their way (SockJS-protocol, section JSON Unicode Encoding).
pub fn quote_into(out: &mut String, text: &str) {
    quote(out, text, must_escape);
}

/// The same for a string that stands in a script: nothing in it can be taken for the end of that.
pub(super) fn quote_script_into(out: &mut String, text: &str) {
    quote(out, text, |c| must_escape(c) || matches!(c, '<' | '>'));
}

fn must_escape(c: char) -> bool {
    matches!(c,
        '\0'..='\x1f' | '"' | '\\' | '\x7f'
        | '\u{200c}'..='\u{200f}' | '\u{2028}'..='\u{202f}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff0}'..='\u{ffff}')
}

fn quote(out: &mut String, text: &str, must_escape: fn(char) -> bool) {
    out.reserve(text.len() + 2);
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.find(must_escape) {
        let (plain, from) = rest.split_at(at);
        out.push_str(plain);
        let mut characters = from.chars();
        match characters.next() {
            Some('"') => out.push_str("\\\""),
            Some('\\') => out.push_str("\\\\"),
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            // All of them are below U+10000: one escape is enough. A String takes every write.
            Some(c) => _ = write!(out, "\\u{:04x}", u32::from(c)),
            None => {}
        }
        rest = characters.as_str();
    }
    out.push_str(rest);
    out.push('"');
}

/// Reads one string, or an array of strings.
///
/// # Errors
/// When it is neither, or there are too many.
pub fn read_messages(octets: &[u8]) -> Result<Vec<String>, ReadError> {
    if octets.is_empty() {
        return Err(ReadError::Empty);
    }
    let text = std::str::from_utf8(octets).map_err(|_| ReadError::Broken)?;
    let mut reader = Reader { rest: text };
    let mut messages = Vec::new();
    if reader.takes('[') {
        if !reader.takes(']') {
            loop {
                if messages.len() == MESSAGES_MAX {
                    return Err(ReadError::TooMany);
                }
                messages.push(reader.string()?);
                if reader.takes(']') {
                    break;
                }
                if !reader.takes(',') {
                    return Err(ReadError::Broken);
                }
            }
        }
    } else {
        messages.push(reader.string()?);
    }
    match reader.blank().is_empty() {
        true => Ok(messages),
        false => Err(ReadError::Broken),
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    /// What is left after white space.
    fn blank(&mut self) -> &'a str {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
        self.rest
    }

    /// Whether the next sign is this one; then it is taken.
    fn takes(&mut self, sign: char) -> bool {
        match self.blank().strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn string(&mut self) -> Result<String, ReadError> {
        if !self.takes('"') {
            return Err(ReadError::Broken);
        }
        let mut text = String::new();
        loop {
            let special = |c: char| matches!(c, '"' | '\\' | '\0'..='\x1f');
            let at = self.rest.find(special).ok_or(ReadError::Broken)?;
            text.push_str(&self.rest[..at]);
            let sign = self.rest.as_bytes()[at];
            self.rest = &self.rest[at + 1..];
            match sign {
                b'"' => return Ok(text),
                b'\\' => text.push(self.escape()?),
                _ => return Err(ReadError::Broken),
            }
        }
    }

    fn escape(&mut self) -> Result<char, ReadError> {
        let mut characters = self.rest.chars();
        let sign = characters.next().ok_or(ReadError::Broken)?;
        self.rest = characters.as_str();
        match sign {
            '"' | '\\' | '/' => Ok(sign),
            'b' => Ok('\x08'),
            'f' => Ok('\x0c'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'u' => {
                let unit = self.unit().ok_or(ReadError::Broken)?;
                Ok(self.character(unit))
            }
            _ => Err(ReadError::Broken),
        }
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Option<u32> {
        let digits = self.rest.get(..4)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        self.rest = &self.rest[4..];
        u32::from_str_radix(digits, 16).ok()
    }

    /// A unit of UTF-16 as a character, with the other half if it is one of a pair.
    fn character(&mut self, unit: u32) -> char {
        if (0xd800..0xdc00).contains(&unit) {
            let before = self.rest;
            if let Some(rest) = self.rest.strip_prefix("\\u") {
                self.rest = rest;
                if let Some(low @ 0xdc00..=0xdfff) = self.unit() {
                    let both = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                    return char::from_u32(both).unwrap_or(char::REPLACEMENT_CHARACTER);
                }
            }
            self.rest = before;
        }
        char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(text: &str) -> String {
        let mut out = String::new();
        quote_into(&mut out, text);
        out
    }

    #[test]
    fn what_browsers_mangle_is_escaped_and_nothing_else() {
        assert_eq!(quoted("a"), r#""a""#);
        assert_eq!(quoted("안녕 😀 é/"), "\"안녕 😀 é/\"");
        assert_eq!(quoted("\0\n\r\t\"\\"), r#""\u0000\n\r\t\"\\""#);
        let wanted = |unit: &u32| {
            matches!(unit, 0x00..=0x1f | 0x200c..=0x200f | 0x2028..=0x202f
                | 0x2060..=0x206f | 0xfff0..=0xffff)
        };
        for unit in (0..=0xffff).filter(wanted) {
            let c = char::from_u32(unit).unwrap();
            let quoted = quoted(&c.to_string());
            let short = ["\\n", "\\r", "\\t"].iter().any(|it| quoted[1..3] == **it);
            assert!(
                short || quoted == format!("\"\\u{unit:04x}\""),
                "{unit:x}: {quoted}"
            );
        }
    }

    #[test]
    fn whatever_was_quoted_is_read_again() {
        let every: String = (0..=0x1_ffff).filter_map(char::from_u32).collect();
        assert_eq!(read_messages(quoted(&every).as_bytes()), Ok(vec![every]));
    }

    #[test]
    fn messages_are_a_string_or_an_array_of_strings() {
        let check = |text: &str, expected: &[&str]| {
            let expected: Vec<_> = expected.iter().map(|it| (*it).to_owned()).collect();
            assert_eq!(read_messages(text.as_bytes()), Ok(expected), "{text}");
        };
        check(r#""a""#, &["a"]);
        check("[]", &[]);
        check(" [ ] ", &[]);
        check(r#"["a"]"#, &["a"]);
        check("\n[ \"a\" ,\t\"b\"\r\n] ", &["a", "b"]);
        check(r#"["",""]"#, &["", ""]);
        check(r#""\"\\\/\b\f\n\r\t\u0041""#, &["\"\\/\x08\x0c\n\r\tA"]);
        check(r#"["\ud83d\ude00"]"#, &["😀"]);
        check("[\"\u{ffff}\u{2028}\"]", &["\u{ffff}\u{2028}"]);
        check("\"\\n\"", &["\n"]);
    }

    #[test]
    fn half_of_a_surrogate_pair_is_replaced_and_takes_nothing_with_it() {
        let check = |text: &str, expected: &str| {
            assert_eq!(
                read_messages(text.as_bytes()),
                Ok(vec![expected.to_owned()])
            );
        };
        check(r#""\ud800""#, "\u{fffd}");
        check(r#""\udc00x""#, "\u{fffd}x");
        check(r#""\ud800\ud83d\ude00""#, "\u{fffd}😀");
        check(r#""\ud800\n""#, "\u{fffd}\n");
        check(r#""\ud800\u0041""#, "\u{fffd}A");
    }

    #[test]
    fn what_is_broken_is_refused() {
        let check = |text: &[u8], expected: ReadError| {
            let shown = String::from_utf8_lossy(text);
            assert_eq!(read_messages(text), Err(expected), "{shown}");
        };
        check(b"", ReadError::Empty);
        for text in [
            " ",
            "[",
            "]",
            "[\"x",
            "\"x",
            "x",
            "[x]",
            "[1]",
            "[\"a\",]",
            "[,\"a\"]",
            "[\"a\" \"b\"]",
            "[\"a\"]x",
            "[[\"a\"]]",
            "{}",
            "null",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"\\u+123\"",
            "\"\\",
            "\"\\u\"",
            "\"\\u가\"",
            "\"a\nb\"",
            "'a'",
        ] {
            check(text.as_bytes(), ReadError::Broken);
        }
        check(b"\"\xff\"", ReadError::Broken);
        let many = format!("[{}\"\"]", "\"\",".repeat(MESSAGES_MAX));
        check(many.as_bytes(), ReadError::TooMany);
    }
}
