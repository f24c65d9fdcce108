//! Kinds of value that are words: one of a few, or the words of the log's filter.
//!
//! Invariant: what is shown is the word that was read, in small letters.

use std::fmt;

use tracing_subscriber::EnvFilter;

use super::kinds::{Kind, Rule};

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
    /// Whether trusted proxies speak the PROXY protocol.
    ProxyProtocol {
        /// They do not; what looks like it is a broken request.
        Off "off",
        /// Some do.
        Accept "accept",
        /// All do.
        Require "require",
    }
    /// How a STOMP frame is put into a WebSocket message.
    WsFrame {
        /// As text when it is UTF-8, else as binary.
        Auto "auto",
        /// As text; what is not UTF-8 as binary all the same.
        Text "text",
        /// As binary.
        Binary "binary",
    }
    /// What `/queue/**` does.
    QueueMode {
        /// Each message goes to one consumer and is acknowledged, as with RabbitMQ.
        Competing "competing",
        /// Each message goes to every subscriber, as with Spring's simple broker.
        FanOut "fan-out",
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
    use crate::node::config::kinds::tests::check;

    #[test]
    fn words_are_read_and_shown() {
        check::<LogFormat>(Rule::Any, &[("JSON", "json")], &["xml"]);
        check::<LogFilter>(Rule::Any, &[("debug", "debug"), ("", "")], &["a=b=c"]);
    }
}
