//! The kinds of value that a setting can have: how each is read, shown and described.
//!
//! Not here: which setting is of which kind (`settings`). Invariant: whatever a kind reads is valid
//! for itself, and what it shows holds no secret.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use tracing_subscriber::EnvFilter;

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
fn within<T: PartialOrd>(text: &str, rule: Rule, read: impl Fn(&str) -> Option<T>) -> Option<T> {
    let value = read(text)?;
    let Rule::Between(low, high) = rule else {
        return Some(value);
    };
    let fits = read(low).is_none_or(|low| low <= value) && read(high).is_none_or(|h| value <= h);
    fits.then_some(value)
}

fn bounded(what: &str, rule: Rule) -> String {
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

/// What the log is filtered by, in the words of `tracing-subscriber`; empty for the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFilter(pub String);

impl Kind for LogFilter {
    fn read(text: &str, _: Rule) -> Option<Self> {
        EnvFilter::builder()
            .parse(text)
            .is_ok()
            .then(|| Self(text.to_owned()))
    }
    fn allowed(_: Rule) -> String {
        "error, warn, info, debug or trace; per module as in info,stompbox::edge=debug".to_owned()
    }
    fn shown(&self) -> String {
        self.0.clone()
    }
}

/// How often this server beats and asks to be beaten to; zero for never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartBeat {
    /// How often the server offers to beat.
    pub beat_out: Duration,
    /// How often it asks the client to beat.
    pub beat_in: Duration,
}

impl Kind for HeartBeat {
    fn read(text: &str, rule: Rule) -> Option<Self> {
        let millis = |text: &str| match text.trim() {
            "0" => Some(Duration::ZERO),
            text => within(text, rule, read_number).map(Duration::from_millis),
        };
        let (beat_out, beat_in) = text.split_once(',')?;
        Some(Self {
            beat_out: millis(beat_out)?,
            beat_in: millis(beat_in)?,
        })
    }
    fn allowed(rule: Rule) -> String {
        format!(
            "two numbers of milliseconds such as 5000,25000, each 0 (never) or {}",
            bounded("", rule).trim_start()
        )
    }
    fn shown(&self) -> String {
        format!("{},{}", self.beat_out.as_millis(), self.beat_in.as_millis())
    }
}

/// The pages that may connect besides those of the same origin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(pub Vec<String>);

impl Origins {
    /// Whether every origin is allowed.
    #[must_use]
    pub fn any(&self) -> bool {
        self.0.iter().any(|origin| origin == "*")
    }
}

impl Kind for Origins {
    fn read(text: &str, _: Rule) -> Option<Self> {
        list(text).map(origin).collect::<Option<_>>().map(Self)
    }
    fn allowed(_: Rule) -> String {
        "exact origins separated by commas, such as https://example.com or \
         http://localhost:3000, without a path; or *"
            .to_owned()
    }
    fn shown(&self) -> String {
        self.0.join(",")
    }
}

/// An origin as a browser would send it (RFC 6454 section 6.2).
fn origin(text: &str) -> Option<String> {
    if text == "*" {
        return Some(text.to_owned());
    }
    let (scheme, host) = text.split_once("://")?;
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | '*' | '@' | '?' | '#' | '\\');
    let scheme_fits = !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric());
    let fits = scheme_fits && !host.is_empty() && host.chars().all(plain);
    fits.then(|| text.to_ascii_lowercase())
}

/// The networks whose `X-Forwarded-For` is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(pub Vec<IpNet>);

impl Kind for Networks {
    fn read(text: &str, _: Rule) -> Option<Self> {
        let network = |text: &str| {
            let address = |text: &str| text.parse::<IpAddr>().map(IpNet::from);
            text.parse().or_else(|_| address(text)).ok()
        };
        list(text).map(network).collect::<Option<_>>().map(Self)
    }
    fn allowed(_: Rule) -> String {
        "addresses and networks separated by commas, such as 127.0.0.1,10.0.0.0/8".to_owned()
    }
    fn shown(&self) -> String {
        let shown: Vec<_> = self.0.iter().map(IpNet::to_string).collect();
        shown.join(",")
    }
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
}

macro_rules! choices {
    ($($(#[$doc:meta])* $name:ident { $($(#[$case_doc:meta])* $case:ident $text:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {$(
            $(#[$case_doc])*
            $case,
        )*}

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {$(Self::$case => $text,)*})
            }
        }

        impl Kind for $name {
            fn read(text: &str, _: Rule) -> Option<Self> {
                match text.to_ascii_lowercase().as_str() {
                    $($text => Some(Self::$case),)*
                    _ => None,
                }
            }
            fn allowed(_: Rule) -> String {
                [$($text),*].join(" or ")
            }
            fn shown(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

choices! {
    /// Where the process runs.
    AppEnv {
        /// On the machine of somebody who works on it.
        Development "development",
        /// In front of people.
        Production "production",
    }
    /// How a log line is written.
    LogFormat {
        /// For people.
        Text "text",
        /// One JSON object per line, for machines.
        Json "json",
    }
    /// How much of a client's address stands in a log line.
    LogIp {
        /// The network only (IPv4 /24, IPv6 /48).
        Truncated "truncated",
        /// All of it.
        Full "full",
        /// Nothing.
        None "none",
    }
    /// How a returning visitor without his secret is treated.
    Recognition {
        /// A fingerprint may recognise him while his identity is loose.
        Hint "hint",
        /// Only the secret opens an identity.
        Token "token",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Kind>(rule: Rule, good: &[(&str, &str)], bad: &[&str]) {
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
        check::<Networks>(
            Rule::Any,
            &[
                ("127.0.0.1, 10.0.0.0/8", "127.0.0.1/32,10.0.0.0/8"),
                ("", ""),
            ],
            &["example.com", "10.0.0.0/33"],
        );
        check::<HeartBeat>(
            Rule::Between("100", "600000"),
            &[("5000,25000", "5000,25000"), ("0, 0", "0,0")],
            &["5000", "5000,99", "x,1000", "600001,0"],
        );
        check::<LogFormat>(Rule::Any, &[("JSON", "json")], &["xml"]);
        check::<LogFilter>(Rule::Any, &[("debug", "debug"), ("", "")], &["a=b=c"]);
    }

    #[test]
    fn an_origin_is_exact() {
        check::<Origins>(
            Rule::Any,
            &[
                ("", ""),
                ("https://Example.com", "https://example.com"),
                (
                    "https://a.b,http://localhost:3000",
                    "https://a.b,http://localhost:3000",
                ),
                ("*", "*"),
            ],
            &[
                "example.com",
                "https://*.example.com",
                "https://a.b/",
                "https://",
                "://a",
            ],
        );
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
