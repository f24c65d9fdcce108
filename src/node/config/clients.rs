//! Kinds of value about clients: which pages, which proxies, how often they beat.
//!
//! Not here: what is done with them (`edge`, `session`). Invariant: an origin is exact, as a browser
//! would send it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::kinds::{Kind, Rule, bounded, within};
use super::units::read_number;
use crate::edge::is_origin;

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

/// An origin as a browser would send it, or `*`. What one is the edge knows, which compares them.
fn origin(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    (text == "*" || is_origin(&text)).then_some(text)
}

/// The networks whose `X-Forwarded-For` is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(pub Vec<IpNet>);

/// A network, or one address. One with an address of a host in it was meant otherwise.
fn network(text: &str) -> Option<IpNet> {
    let address = |text: &str| text.parse::<IpAddr>().map(IpNet::from);
    let network: IpNet = text.parse().or_else(|_| address(text)).ok()?;
    (network == network.trunc()).then_some(network)
}

/// Networks whose limits are multiplied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkLimits(pub Vec<(IpNet, u32)>);

impl Kind for NetworkLimits {
    fn read(text: &str, _: Rule) -> Option<Self> {
        let limit = |text: &str| {
            let (name, multiple) = text.rsplit_once('=')?;
            let range = Rule::Between("1", "10000");
            let multiple = within(multiple.trim(), range, read_number)?;
            Some((network(name.trim())?, u32::try_from(multiple).ok()?))
        };
        let limits: Vec<_> = list(text).map(limit).collect::<Option<_>>()?;
        let names: BTreeSet<_> = limits.iter().map(|(net, _)| net).collect();
        (names.len() == limits.len()).then_some(Self(limits))
    }
    fn allowed(_: Rule) -> String {
        "networks, each once and with a number from 1 to 10000, separated by commas, such as \
         10.0.0.0/8=20,2001:db8::/32=5"
            .to_owned()
    }
    fn shown(&self) -> String {
        let shown = |(net, multiple): &(IpNet, u32)| format!("{net}={multiple}");
        self.0.iter().map(shown).collect::<Vec<_>>().join(",")
    }
}

impl Kind for Networks {
    fn read(text: &str, _: Rule) -> Option<Self> {
        list(text).map(network).collect::<Option<_>>().map(Self)
    }
    fn allowed(_: Rule) -> String {
        "addresses and networks (10.0.0.0/8, not 10.0.0.1/8) separated by commas, such as 127.0.0.1,10.0.0.0/8"
            .to_owned()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::config::kinds::tests::check;

    #[test]
    fn proxies_and_beats_are_read_and_shown() {
        check::<Networks>(
            Rule::Any,
            &[
                ("127.0.0.1, 10.0.0.0/8", "127.0.0.1/32,10.0.0.0/8"),
                ("", ""),
            ],
            &["example.com", "10.0.0.0/33", "10.0.0.1/8"],
        );
        check::<NetworkLimits>(
            Rule::Any,
            &[
                (
                    "10.0.0.0/8=20, 2001:db8::/32 = 5",
                    "10.0.0.0/8=20,2001:db8::/32=5",
                ),
                ("192.0.2.1=3", "192.0.2.1/32=3"),
                ("", ""),
            ],
            &[
                "10.0.0.0/8",
                "10.0.0.0/8=0",
                "office=2",
                "10.0.0.0/8=10001",
                "10.0.0.1/8=2",
                "10.0.0.0/8=2,10.0.0.0/8=5",
            ],
        );
        check::<HeartBeat>(
            Rule::Between("100", "600000"),
            &[("5000,25000", "5000,25000"), ("0, 0", "0,0")],
            &["5000", "5000,99", "x,1000", "600001,0"],
        );
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
}
