//! What a SEND must say, and which of its headers travel on.
//!
//! Not here: what it does (`app`). Invariant: no header that the server itself writes on a MESSAGE
//! or RECEIPT passes from a client to another.

use super::problems::Fatal;
use crate::model::Destination;
use crate::stomp::Headers;

/// Headers of the protocol, and those by which the server says something about a message.
const CONTROL: [&str; 9] = [
    "destination",
    "receipt",
    "transaction",
    "subscription",
    "message-id",
    "ack",
    "content-length",
    "user-name",
    "sender",
];
/// Names that begin so are the server's.
const OWN_PREFIX: &str = "x-sb-";

/// Whether a header may travel on to subscribers. Many clients trim the names that they read, so a
/// name with something invisible at an end stays here: to them it would be the name without it.
pub(super) fn may_travel(name: &str) -> bool {
    let is_visible = |c: char| !c.is_whitespace() && !c.is_control() && c != '\u{feff}';
    let ends = [name.chars().next(), name.chars().next_back()];
    ends.iter().all(|end| end.is_some_and(is_visible))
        && !CONTROL.contains(&name)
        && !name.starts_with(OWN_PREFIX)
}

/// The header `destination`, which SEND and SUBSCRIBE need.
pub(super) fn destination(headers: &Headers) -> Result<Destination, Fatal> {
    let text = headers.get("destination").ok_or_else(|| {
        Fatal::protocol(
            "Missing destination",
            "The frame needs the header destination.\n",
        )
    })?;
    Destination::parse(text)
        .map_err(|error| Fatal::protocol("Invalid destination", format!("{error}\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_headers_stay_and_others_travel() {
        for name in CONTROL.into_iter().chain(["x-sb-", "x-sb-trace"]) {
            assert!(!may_travel(name), "{name}");
        }
        for name in [
            "",
            " sender",
            "sender ",
            "user-name\t",
            "\u{feff}x-sb-trace",
            "x\r",
        ] {
            assert!(!may_travel(name), "{name:?}");
        }
        for name in [
            "content-type",
            "correlation-id",
            "x-mine",
            "x-sb",
            "Receipt",
        ] {
            assert!(may_travel(name), "{name}");
        }
    }
}
