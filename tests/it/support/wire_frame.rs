//! Frames of the server, read by a few lines of the tests' own.
//!
//! Not the crate's decoder: a mistake of it cannot hide here. It is strict, since the server must
//! be: one LF ends a line, MESSAGE and ERROR say their `content-length`, a NUL ends the frame.

use std::fmt;

/// A frame of the server. Header values are as they were written, escapes and all.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The command.
    pub(crate) command: String,
    /// The headers, in order.
    pub(crate) headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Frame {
    /// A header, the first of its name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// A header that must be there.
    pub(crate) fn header(&self, name: &str) -> &str {
        match self.get(name) {
            Some(value) => value,
            None => panic!("the header {name} is missing: {self:?}"),
        }
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("no JSON ({error}): {self:?}"),
        }
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}", self.command)?;
        for (name, value) in &self.headers {
            write!(f, " {name}:{value:?}")?;
        }
        let shown: String = self.text().chars().take(200).collect();
        write!(f, " | {shown:?}]")
    }
}

/// Takes one frame, or one EOL (`None`), off the front. `Ok(None)` when more has to come.
///
/// # Errors
/// What is wrong with what the server wrote.
pub(crate) fn take(octets: &[u8]) -> Result<Option<(Option<Frame>, usize)>, String> {
    match octets.first() {
        None => return Ok(None),
        Some(b'\n') => return Ok(Some((None, 1))),
        Some(_) => {}
    }
    let Some(end) = octets.windows(2).position(|pair| pair == b"\n\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&octets[..end]).map_err(|_| "a head is not UTF-8")?;
    let mut lines = head.split('\n');
    let command = lines.next().unwrap_or_default().to_owned();
    let mut headers = Vec::new();
    for line in lines {
        let (name, value) = line
            .split_once(':')
            .ok_or(format!("a header without a colon: {line:?}"))?;
        headers.push((name.to_owned(), value.to_owned()));
    }
    if command.contains('\0') {
        return Err(format!("a NUL in a command: {command:?}"));
    }
    let rest = &octets[end + 2..];
    let mut lengths = headers.iter().filter(|(name, _)| name == "content-length");
    let length = match lengths.next() {
        Some((_, text)) => text
            .parse::<usize>()
            .map_err(|_| format!("content-length:{text}"))?,
        None if matches!(command.as_str(), "MESSAGE" | "ERROR") => {
            return Err(format!("{command} without content-length: {head:?}"));
        }
        None => match rest.iter().position(|octet| *octet == 0) {
            Some(length) => length,
            None => return Ok(None),
        },
    };
    match rest.get(length) {
        None => Ok(None),
        Some(0) => {
            let frame = Frame {
                command,
                headers,
                body: rest[..length].to_vec(),
            };
            Ok(Some((Some(frame), end + 2 + length + 1)))
        }
        Some(other) => Err(format!("{other} where a NUL ends {head:?}")),
    }
}

#[test]
fn a_frame_is_taken_when_it_is_whole_and_not_before() {
    let octets = b"MESSAGE\na:b:c\ncontent-length:3\n\nx\0y\0\n";
    for cut in 0..octets.len() - 2 {
        assert_eq!(take(&octets[..cut]), Ok(None), "{cut}");
    }
    let (frame, taken) = take(octets).unwrap().unwrap();
    let frame = frame.unwrap();
    assert_eq!(
        (frame.header("a"), frame.body.as_slice()),
        ("b:c", &b"x\0y"[..])
    );
    assert_eq!(take(&octets[taken..]), Ok(Some((None, 1))));
    assert!(take(b"MESSAGE\n\n\0").is_err());
    assert!(take(b"RECEIPT\nx\n\n\0").is_err());
}
