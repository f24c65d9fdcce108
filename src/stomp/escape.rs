//! Escaping of header names and values, one rule per version.
//!
//! Not here: which frames are escaped (`command`). Invariant: what is written contains neither LF,
//! nor CR, nor NUL, and in a name no colon; so no value can end its line or its frame.

use super::command::Command;
use super::version::Version;

/// How the headers of a frame are escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escaping {
    /// Not at all: 1.0, and CONNECT, STOMP and CONNECTED in every version.
    Nothing,
    /// `\n`, `\c`, `\\`.
    WithoutCr,
    /// `\n`, `\c`, `\\`, `\r`.
    WithCr,
}

/// Which part of a header: they differ in what stands for a character that cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The name: `_` stands for it.
    Name,
    /// The value: a space stands for it.
    Value,
}

/// A backslash and something after it that the version does not define (or nothing).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UndefinedEscape;

impl Escaping {
    /// The rule for a frame with this command in this version.
    #[must_use]
    pub fn of(command: Command, version: Version) -> Self {
        match version {
            _ if !command.is_escaped() => Self::Nothing,
            Version::V1_0 => Self::Nothing,
            Version::V1_1 => Self::WithoutCr,
            Version::V1_2 => Self::WithCr,
        }
    }

    /// Undoes the escaping.
    ///
    /// # Errors
    /// [`UndefinedEscape`], which the specification makes fatal.
    pub fn unescape(self, text: &str) -> Result<Box<str>, UndefinedEscape> {
        if self == Self::Nothing || memchr::memchr(b'\\', text.as_bytes()).is_none() {
            return Ok(text.into());
        }
        let mut plain = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('\\') {
            plain.push_str(before);
            let mut characters = after.chars();
            plain.push(match characters.next() {
                Some('n') => '\n',
                Some('c') => ':',
                Some('\\') => '\\',
                Some('r') if self == Self::WithCr => '\r',
                _ => return Err(UndefinedEscape),
            });
            rest = characters.as_str();
        }
        plain.push_str(rest);
        Ok(plain.into())
    }

    /// What is written for this octet, unless it is the octet itself.
    fn written(self, part: Part, octet: u8) -> Option<&'static [u8]> {
        let replaced = match part {
            Part::Name => b"_".as_slice(),
            Part::Value => b" ".as_slice(),
        };
        match (octet, self) {
            (b'\0', _) => Some(replaced),
            (b'\n', Self::Nothing) => Some(replaced),
            (b'\n', _) => Some(b"\\n"),
            (b'\r', Self::WithCr) => Some(b"\\r"),
            (b'\r', _) => Some(replaced),
            (b':', Self::Nothing) if part == Part::Name => Some(replaced),
            (b':', Self::WithoutCr | Self::WithCr) => Some(b"\\c"),
            (b'\\', Self::WithoutCr | Self::WithCr) => Some(b"\\\\"),
            _ => None,
        }
    }

    /// How many octets [`Escaping::write`] appends.
    #[must_use]
    pub fn written_len(self, part: Part, text: &str) -> usize {
        if is_plain(text) {
            return text.len();
        }
        let longer = |octet: &u8| self.written(part, *octet).map_or(0, |with| with.len() - 1);
        text.len() + text.as_bytes().iter().map(longer).sum::<usize>()
    }

    /// Appends the escaped text.
    pub fn write(self, part: Part, text: &str, to: &mut Vec<u8>) {
        let octets = text.as_bytes();
        if is_plain(text) {
            return to.extend_from_slice(octets);
        }
        let mut copied = 0;
        for (at, octet) in octets.iter().enumerate() {
            if let Some(with) = self.written(part, *octet) {
                to.extend_from_slice(&octets[copied..at]);
                to.extend_from_slice(with);
                copied = at + 1;
            }
        }
        to.extend_from_slice(&octets[copied..]);
    }
}

/// Whether no version writes any of it differently: nearly always. Without an early end, so that
/// the compiler looks at many octets at once.
pub(super) fn is_plain(text: &str) -> bool {
    text.bytes().fold(true, |plain, octet| {
        plain & !matches!(octet, b'\0' | b'\n' | b'\r' | b':' | b'\\')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_escapes_in_its_own_way() {
        let check = |escaping: Escaping, part, plain: &str, wire: &str| {
            let mut written = Vec::new();
            escaping.write(part, plain, &mut written);
            assert_eq!(written, wire.as_bytes(), "{escaping:?} {plain:?}");
            assert_eq!(written.len(), escaping.written_len(part, plain));
        };
        let all = "a:b\\c\nd\re\0f";
        check(Escaping::Nothing, Part::Value, all, "a:b\\c d e f");
        check(Escaping::Nothing, Part::Name, all, "a_b\\c_d_e_f");
        check(Escaping::WithoutCr, Part::Value, all, "a\\cb\\\\c\\nd e f");
        check(Escaping::WithoutCr, Part::Name, all, "a\\cb\\\\c\\nd_e_f");
        check(Escaping::WithCr, Part::Value, all, "a\\cb\\\\c\\nd\\re f");
        check(Escaping::WithCr, Part::Value, "", "");
    }

    #[test]
    fn an_undefined_escape_is_an_error() {
        let check = |escaping: Escaping, wire: &str, plain: Option<&str>| {
            let found = escaping.unescape(wire).ok();
            assert_eq!(found.as_deref(), plain, "{escaping:?} {wire:?}");
        };
        check(Escaping::Nothing, "\\t\\", Some("\\t\\"));
        check(Escaping::WithoutCr, "\\n\\c\\\\", Some("\n:\\"));
        check(Escaping::WithoutCr, "\\r", None);
        check(Escaping::WithCr, "x\\ry", Some("x\ry"));
        check(Escaping::WithCr, "\\\\n", Some("\\n"));
        for wire in ["\\", "x\\", "\\t", "\\N", "\\ ", "\\é"] {
            check(Escaping::WithoutCr, wire, None);
            check(Escaping::WithCr, wire, None);
        }
    }
}
