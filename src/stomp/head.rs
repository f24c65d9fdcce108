//! The head of a frame: command and headers, once all of it is there.
//!
//! Not here: finding its end (`decode`), which is where the limits are kept.

use nom::character::complete::char;
use nom::combinator::rest;
use nom::error::{Error, ErrorKind};
use nom::sequence::{separated_pair, terminated};
use nom::{IResult, Parser};

use super::command::Command;
use super::error::DecodeError;
use super::escape::Escaping;
use super::frame::Headers;
use super::version::Version;

/// Command and headers of a frame.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) command: Command,
    pub(super) headers: Headers,
    /// `content-length`, if there is one.
    pub(super) length: Option<usize>,
}

/// Parses `octets`, which are `lines` whole lines without the blank one.
pub(super) fn parse(octets: &[u8], lines: usize, version: Version) -> Result<Head, DecodeError> {
    let text = std::str::from_utf8(octets).map_err(|_| DecodeError::NotUtf8)?;
    let (word, mut text) = next_line(text, version)?;
    let command =
        Command::parse(word).ok_or_else(|| DecodeError::UnknownCommand(shown(word).into()))?;
    let escaping = Escaping::of(command, version);
    let mut headers = Headers::with_capacity(lines.saturating_sub(1));
    while !text.is_empty() {
        let (header, after) = next_line(text, version)?;
        let (name, value) = divided(header)?;
        let value = trimmed(value, version);
        let unescape = |text| {
            let plain = escaping.unescape(text);
            plain.map_err(|_| DecodeError::UndefinedEscape)
        };
        headers.push(unescape(name)?, unescape(value)?);
        text = after;
    }
    let length = headers.get("content-length").map(octet_count).transpose()?;
    Ok(Head {
        command,
        headers,
        length,
    })
}

/// `receipt` among the whole lines of a head that is wrong elsewhere, or incomplete.
pub(super) fn receipt(octets: &[u8], version: Version) -> Option<Box<str>> {
    let mut lines =
        octets
            .split(|octet| *octet == b'\n')
            .map(|line| match line.strip_suffix(b"\r") {
                Some(line) if version == Version::V1_2 => line,
                _ => line,
            });
    let word = std::str::from_utf8(lines.next()?).ok();
    let command = word.and_then(Command::parse).unwrap_or(Command::Send);
    let value = lines.find_map(|line| line.strip_prefix(b"receipt:"))?;
    let value = trimmed(std::str::from_utf8(value).ok()?, version);
    Escaping::of(command, version).unescape(value).ok()
}

/// Clients of 1.0 write `name: value`, as its specification does.
fn trimmed(value: &str, version: Version) -> &str {
    match value.strip_prefix(' ') {
        Some(trimmed) if version == Version::V1_0 => trimmed,
        _ => value,
    }
}

/// One line without its end, and what follows.
fn next_line(text: &str, version: Version) -> Result<(&str, &str), DecodeError> {
    let parsed: IResult<&str, &str> = terminated(until(b'\n'), char('\n')).parse(text);
    // The caller passes whole lines; were one cut, it would be no header either.
    let (after, line) = parsed.map_err(|_| DecodeError::NoColon)?;
    if version != Version::V1_2 {
        return Ok((line, after));
    }
    let line = line.strip_suffix('\r').unwrap_or(line);
    if memchr::memchr(b'\r', line.as_bytes()).is_some() {
        return Err(DecodeError::StrayCarriageReturn);
    }
    Ok((line, after))
}

/// Name and value of a header line.
fn divided(line: &str) -> Result<(&str, &str), DecodeError> {
    let parsed: IResult<&str, (&str, &str)> =
        separated_pair(until(b':'), char(':'), rest).parse(line);
    match parsed {
        Ok((_, ("", _))) => Err(DecodeError::EmptyName),
        Ok((_, header)) => Ok(header),
        Err(_) => Err(DecodeError::NoColon),
    }
}

/// What stands before the first `end`, an ASCII character. As nom's `take_until`, which prepares a search for a text of any
/// length each time: that was a tenth of the instructions of a SEND.
fn until(end: u8) -> impl Fn(&str) -> IResult<&str, &str> {
    move |text| {
        let at = memchr::memchr(end, text.as_bytes());
        let (before, after) = at
            .and_then(|at| text.split_at_checked(at))
            .ok_or_else(|| nom::Err::Error(Error::new(text, ErrorKind::TakeUntil)))?;
        Ok((after, before))
    }
}

/// Digits only; a number that does not fit is no less wrong than a word.
fn octet_count(text: &str) -> Result<usize, DecodeError> {
    if text.is_empty() || !text.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err(DecodeError::ContentLength);
    }
    text.parse().map_err(|_| DecodeError::ContentLength)
}

/// What of an unknown command is repeated to its writer.
fn shown(word: &str) -> String {
    word.chars().filter(|c| !c.is_control()).collect()
}
