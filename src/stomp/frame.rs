//! A frame as a value, its headers unescaped.
//!
//! Not here: octets (`decode`, `encode`).

use std::fmt;

use bytes::Bytes;

use super::command::Command;

/// A frame. Its `Debug` shows neither values nor body.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it asks or tells.
    pub command: Command,
    /// Its headers, unescaped, in order.
    pub headers: Headers,
    /// Its body, any octets.
    pub body: Bytes,
}

impl Frame {
    /// A frame without headers and body.
    #[must_use]
    pub fn new(command: Command) -> Self {
        Self {
            command,
            headers: Headers::default(),
            body: Bytes::new(),
        }
    }

    /// The same with one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push(name, value);
        self
    }

    /// The same with this body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("command", &self.command)
            .field("headers", &self.headers)
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

/// The headers of a frame. Of a repeated name the first counts; the others are kept, but
/// [`Headers::get`] never gives them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(Box<str>, Box<str>)>);

impl Headers {
    /// Room for this many headers.
    #[must_use]
    pub(super) fn with_capacity(count: usize) -> Self {
        Self(Vec::with_capacity(count))
    }

    /// The value of the first header with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(other, _)| other.as_ref() == name);
        found.map(|(_, value)| value.as_ref())
    }

    /// The value of the first header with this name, moved out: it is empty afterwards.
    pub fn take(&mut self, name: &str) -> Option<Box<str>> {
        let mut headers = self.0.iter_mut();
        let (_, value) = headers.find(|(other, _)| other.as_ref() == name)?;
        Some(std::mem::take(value))
    }

    /// Adds a header at the end.
    pub fn push(&mut self, name: impl Into<Box<str>>, value: impl Into<Box<str>>) {
        self.0.push((name.into(), value.into()));
    }

    /// Every header in order, repeated ones too.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.0
            .iter()
            .map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    /// How many there are, repeated ones too.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The headers whose names are wanted, in order, of a repeated name the first.
    #[must_use]
    pub fn into_firsts(self, wanted: impl Fn(&str) -> bool) -> Vec<(Box<str>, Box<str>)> {
        let mut firsts: Vec<(Box<str>, Box<str>)> = Vec::with_capacity(self.0.len());
        for (name, value) in self.0 {
            // Quadratic in the number of headers, which is limited and small.
            if wanted(&name) && firsts.iter().all(|(first, _)| *first != name) {
                firsts.push((name, value));
            }
        }
        firsts
    }
}

impl fmt::Debug for Headers {
    /// The names only: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_repeated_header_the_first_counts_and_the_rest_is_kept() {
        let frame = Frame::new(Command::Send)
            .header("a", "1")
            .header("b", "2")
            .header("a", "3");
        assert_eq!(frame.headers.get("a"), Some("1"));
        assert_eq!(frame.headers.len(), 3);
        let mut taken = frame.headers.clone();
        assert_eq!(taken.take("a").as_deref(), Some("1"));
        assert_eq!(taken.get("a"), Some(""), "the second never takes its place");
        assert_eq!(taken.take("c"), None);
        let firsts = frame.headers.into_firsts(|name| name != "b");
        assert_eq!(firsts, [("a".into(), "1".into())]);
    }

    #[test]
    fn a_frame_shows_no_secret_in_debug() {
        let frame = Frame::new(Command::Connect)
            .header("passcode", "secret")
            .body("secret");
        assert!(!format!("{frame:?}").contains("secret"));
    }
}
