//! The kinds of value that a setting can have: how each is read, shown and described.
//!
//! Not here: which setting is of which kind (`settings`). Invariant: whatever a kind reads is valid
//! for itself, and what it shows holds no secret.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use super::secret::{Endpoint, Secret};
use super::units::{Size, read_duration, read_number, read_size, show_duration};
use crate::model::NodeId;

/// What is allowed beyond the kind itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Everything that the kind can read.
    Any,
    /// From the first to the second, both included, written as the setting is.
    Between(&'static str, &'static str),
    /// A URL with one of these beginnings.
    Schemes(&'static [&'static str]),
    /// At least so many characters.
    Length(usize),
}

/// A kind of value.
pub trait Kind: Sized {
    /// Whether the value may never be shown.
    const SECRET: bool = false;

    /// Reads what was written; `None` when that is not allowed.
    fn read(text: &str, rule: Rule) -> Option<Self>;

    /// What is allowed, in words that follow "allowed:".
    fn allowed(rule: Rule) -> String;

    /// The value as it could be written again; of a secret, only that it is there.
    fn shown(&self) -> String;
}

/// Reads a value that can be compared, and holds it against the rule.
pub(super) fn within<T: PartialOrd>(
    text: &str,
    rule: Rule,
    read: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    let value = read(text)?;
    let Rule::Between(low, high) = rule else {
        return Some(value);
    };
    let fits = read(low).is_none_or(|low| low <= value) && read(high).is_none_or(|h| value <= h);
    fits.then_some(value)
}

pub(super) fn bounded(what: &str, rule: Rule) -> String {
    match rule {
        Rule::Between(low, high) => format!("{what} from {low} to {high}"),
        Rule::Any | Rule::Schemes(_) | Rule::Length(_) => what.to_owned(),
    }
}

impl Kind for u32 {
    fn read(text: &str, rule: Rule) -> Option<Self> {
        within(text, rule, |text| Self::try_from(read_number(text)?).ok())
    }
    fn allowed(rule: Rule) -> String {
        bounded("a number", rule)
    }
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Kind for u16 {
    fn read(text: &str, rule: Rule) -> Option<Self> {
        within(text, rule, |text| Self::try_from(read_number(text)?).ok())
    }
    fn allowed(rule: Rule) -> String {
        bounded("a number", rule)
    }
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Kind for Size {
    fn read(text: &str, rule: Rule) -> Option<Self> {
        within(text, rule, read_size)
    }
    fn allowed(rule: Rule) -> String {
        bounded("a size such as 64KiB", rule)
    }
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Kind for Duration {
    fn read(text: &str, rule: Rule) -> Option<Self> {
        within(text, rule, read_duration)
    }
    fn allowed(rule: Rule) -> String {
        bounded("a duration such as 500ms, 10s, 5m, 24h or 30d", rule)
    }
    fn shown(&self) -> String {
        show_duration(*self)
    }
}

impl Kind for bool {
    fn read(text: &str, _: Rule) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some(true),
            "false" | "no" | "off" | "0" => Some(false),
            _ => None,
        }
    }
    fn allowed(_: Rule) -> String {
        "true or false".to_owned()
    }
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Kind for IpAddr {
    fn read(text: &str, _: Rule) -> Option<Self> {
        if text.eq_ignore_ascii_case("localhost") {
            return Some(Self::V4(Ipv4Addr::LOCALHOST));
        }
        text.trim_matches(['[', ']']).parse().ok()
    }
    fn allowed(_: Rule) -> String {
        "an IP address of this machine, such as 127.0.0.1, 0.0.0.0 or ::".to_owned()
    }
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Kind for PathBuf {
    fn read(text: &str, _: Rule) -> Option<Self> {
        (!text.contains('\0')).then(|| Self::from(text))
    }
    fn allowed(_: Rule) -> String {
        "a path".to_owned()
    }
    fn shown(&self) -> String {
        self.display().to_string()
    }
}

impl Kind for NodeId {
    fn read(text: &str, _: Rule) -> Option<Self> {
        text.parse().ok()
    }
    fn allowed(_: Rule) -> String {
        "1 to 32 of a-z, 0-9 and -, but not the word all".to_owned()
    }
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Kind for Secret {
    const SECRET: bool = true;

    fn read(text: &str, rule: Rule) -> Option<Self> {
        let long_enough = match rule {
            Rule::Length(min) => text.chars().count() >= min,
            Rule::Any | Rule::Between(..) | Rule::Schemes(_) => true,
        };
        long_enough.then(|| Self::new(text.to_owned()))
    }
    fn allowed(rule: Rule) -> String {
        match rule {
            Rule::Length(min) => {
                format!("at least {min} characters, such as `openssl rand -base64 32` gives")
            }
            Rule::Any | Rule::Between(..) | Rule::Schemes(_) => "a text".to_owned(),
        }
    }
    fn shown(&self) -> String {
        "(hidden)".to_owned()
    }
}

impl Kind for Endpoint {
    const SECRET: bool = true;

    fn read(text: &str, rule: Rule) -> Option<Self> {
        let (_, rest) = text.split_once("://")?;
        let known = match rule {
            Rule::Schemes(schemes) => schemes.iter().any(|scheme| text.starts_with(scheme)),
            Rule::Any | Rule::Between(..) | Rule::Length(_) => true,
        };
        let clean = !text.contains(|c: char| c.is_whitespace() || c.is_control());
        (known && clean && !rest.is_empty()).then(|| Self::new(text.to_owned()))
    }
    fn allowed(rule: Rule) -> String {
        match rule {
            Rule::Schemes(schemes) => {
                let schemes: Vec<_> = schemes.iter().map(|s| format!("{s}...")).collect();
                format!("a URL: {}", schemes.join(" or "))
            }
            Rule::Any | Rule::Between(..) | Rule::Length(_) => "a URL".to_owned(),
        }
    }
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl<T: Kind> Kind for Option<T> {
    const SECRET: bool = T::SECRET;

    fn read(text: &str, rule: Rule) -> Option<Self> {
        if text.is_empty() {
            return Some(None);
        }
        T::read(text, rule).map(Some)
    }
    fn allowed(rule: Rule) -> String {
        T::allowed(rule)
    }
    fn shown(&self) -> String {
        self.as_ref().map_or_else(String::new, T::shown)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::node::config) fn check<T: Kind>(rule: Rule, good: &[(&str, &str)], bad: &[&str]) {
        for (text, shown) in good {
            let value = T::read(text, rule).unwrap_or_else(|| panic!("{text} is refused"));
            assert_eq!(value.shown(), *shown, "{text}");
        }
        for text in bad {
            assert!(T::read(text, rule).is_none(), "{text} is taken");
        }
    }

    #[test]
    fn each_kind_takes_what_it_says_and_nothing_else() {
        check::<u32>(
            Rule::Between("1", "10"),
            &[("1", "1"), ("10", "10"), ("1_0", "10")],
            &["0", "11", "", "x", "-1", "1.5"],
        );
        check::<u16>(Rule::Any, &[("0", "0"), ("65535", "65535")], &["65536"]);
        check::<Size>(
            Rule::Between("1KiB", "2KiB"),
            &[("1024", "1KiB"), ("2KiB", "2KiB")],
            &["1023", "2049", "3KiB"],
        );
        check::<Duration>(
            Rule::Between("1s", "1m"),
            &[("1000ms", "1s"), ("60s", "1m")],
            &["999ms", "61s", "5"],
        );
        check::<bool>(Rule::Any, &[("yes", "true"), ("0", "false")], &["", "ja"]);
        check::<IpAddr>(
            Rule::Any,
            &[("localhost", "127.0.0.1"), ("[::1]", "::1"), ("::", "::")],
            &["example.com", "127.0.0.1:80"],
        );
        check::<NodeId>(Rule::Any, &[("node-1", "node-1")], &["all", "A", "a b"]);
    }

    #[test]
    fn a_url_has_one_of_the_schemes_and_hides_its_password() {
        check::<Option<Endpoint>>(
            Rule::Schemes(&["redis://"]),
            &[("", ""), ("redis://:pw@h:1", "redis://:***@h:1")],
            &["rediss://h", "redis://", "redis:h", "redis://a b"],
        );
        check::<Option<Secret>>(Rule::Length(3), &[("abc", "(hidden)")], &["ab"]);
    }
}
