//! Kinds of value about paths and destinations: prefixes and endpoints.
//!
//! Not here: what happens there. Invariant: a path begins with a slash, ends without one, and has
//! no empty segment.

use super::kinds::{Kind, Rule};

/// Paths such as `/topic,/sub`; the first is the canonical one. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths(pub Vec<Box<str>>);

impl Kind for Paths {
    fn read(text: &str, _: Rule) -> Option<Self> {
        let paths: Option<Vec<_>> = text.split(',').map(|path| read(path.trim())).collect();
        paths.map(Self)
    }
    fn allowed(_: Rule) -> String {
        "paths separated by commas, such as /topic,/sub: letters, digits, `-`, `_`, `.` between slashes"
            .to_owned()
    }
    fn shown(&self) -> String {
        self.0.join(",")
    }
}

fn read(path: &str) -> Option<Box<str>> {
    let is_word = |part: &str| {
        let known = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet);
        !part.is_empty() && !part.bytes().all(|o| o == b'.') && part.bytes().all(known)
    };
    let rest = path.strip_prefix('/')?;
    rest.split('/').all(is_word).then(|| path.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::config::kinds::tests::check;

    #[test]
    fn paths_are_read_and_shown() {
        check::<Paths>(
            Rule::Any,
            &[("/topic, /sub", "/topic,/sub"), ("/a/b.c", "/a/b.c")],
            &["", "topic", "/", "/topic/", "//a", "/a/../b", "/a b", "/a,"],
        );
    }
}
