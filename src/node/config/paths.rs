//! Kinds of value about paths and destinations: prefixes, endpoints, and the tables of rules and
//! relays.
//!
//! Not here: what happens there, and what a table means (`valid` has it read by those who obey it,
//! so that a mistake names its part). Invariant: a path begins with a slash, ends without one, and
//! has no empty segment.

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

macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident $allowed:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(pub String);

        impl Kind for $name {
            fn read(text: &str, _: Rule) -> Option<Self> {
                Some(Self(text.to_owned()))
            }
            fn allowed(_: Rule) -> String {
                $allowed.to_owned()
            }
            fn shown(&self) -> String {
                self.0.clone()
            }
        }
    )*};
}

tables! {
    /// The text of a rule table, as it was written.
    RuleTable "rules separated by `;`, each `send`, `subscribe` or `all`, a destination, and \
        `anyone`, `nobody` or kinds such as `member+admin`";
    /// The text of a table of relays, as it was written.
    RelayTable "entries such as /app/a=/topic/b/{field} separated by commas, or none";
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
