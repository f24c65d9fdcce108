//! What a SEND must say, and which of its headers travel on.
//!
//! Not here: what it does (`app`). Invariant: no header that the server itself writes on a MESSAGE
//! or RECEIPT passes from a client to another.

use super::fatal::{Fatal, Violation};
use crate::model::{Destination, Prefixes};

/// What `reply-to` begins with when it asks for a place of the session's own.
pub(super) const TEMP_QUEUE: &str = "/temp-queue/";

/// The longest name after it, in octets.
const TEMP_NAME_BYTES_MAX: usize = 100;

/// Headers of the protocol, and those by which the server says something about a message.
const CONTROL: [&str; 11] = [
    "destination",
    "receipt",
    "receipt-id",
    "transaction",
    "subscription",
    "message-id",
    "ack",
    "redelivered",
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

/// The headers of a SEND that do not travel on, for documentation; nor do names that begin with
/// `x-sb-`, or whose first or last character is invisible.
#[must_use]
pub fn stripped_headers() -> &'static [&'static str] {
    &CONTROL
}

/// What SEND and SUBSCRIBE name as their destination.
pub(super) fn destination(written: &str, prefixes: &Prefixes) -> Result<Destination, Fatal> {
    if written.starts_with(TEMP_QUEUE) {
        let shown: String = written.chars().filter(|c| !c.is_control()).collect();
        let shown: String = shown.chars().take(64).collect();
        return Err(Fatal::about(Violation::NoPlace, shown));
    }
    prefixes.parse(written).map_err(|error| {
        let violation = match error.family {
            Some(_) => Violation::InvalidDestination,
            None => Violation::UnknownDestination,
        };
        Fatal::about(violation, error)
    })
}

/// The `reply-to` of a SEND, if it asks for a place of the session's own.
pub(super) fn temp_queue(reply_to: Option<&str>) -> Result<Option<&str>, Fatal> {
    let Some(reply_to) = reply_to else {
        return Ok(None);
    };
    let Some(name) = reply_to.strip_prefix(TEMP_QUEUE) else {
        return Ok(None);
    };
    let is_name = (1..=TEMP_NAME_BYTES_MAX).contains(&name.len())
        && !name
            .chars()
            .any(|c| c.is_control() || matches!(c, '/' | '\\'));
    if !is_name {
        return Err(Fatal::about(Violation::BadReplyTo, TEMP_NAME_BYTES_MAX));
    }
    Ok(Some(reply_to))
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
            "reply-to",
            "persistent",
            "priority",
            "expires",
            "x-mine",
            "x-sb",
            "Receipt",
        ] {
            assert!(may_travel(name), "{name}");
        }
    }

    #[test]
    fn a_destination_is_refused_in_the_words_that_clients_know() {
        let check = |written: &str, message: &str, begins: &str| {
            let frame = destination(written, &Prefixes::default()).err().unwrap();
            let frame = frame.frame();
            assert_eq!(frame.headers.get("message"), Some(message), "{written}");
            let body = String::from_utf8(frame.body.to_vec()).unwrap();
            assert!(body.starts_with(begins), "{body}");
        };
        let invalid = "Invalid destination";
        let words = "'/topic/' is not a valid topic destination\n";
        check("/topic/", invalid, words);
        check(
            "/queue",
            invalid,
            "'/queue' is not a valid queue destination\n",
        );
        check(
            "/sub/a//b",
            invalid,
            "'/sub/a//b' is not a valid topic destination\n",
        );
        let unknown = "Unknown destination";
        check(
            "/nowhere/x",
            unknown,
            "'/nowhere/x' is not a valid destination\n",
        );
        check(
            "/exchange/x/y",
            invalid,
            "'/exchange/x/y' is not a valid exchange destination\n",
        );
        check(
            "/amq/queue/x",
            invalid,
            "'/amq/queue/x' is not a valid queue destination\n",
        );
        check("topic/x", unknown, "'topic/x' is not a valid destination\n");
        check(
            "/topics/x",
            unknown,
            "'/topics/x' is not a valid destination\n",
        );
        check(
            "/temp-queue/x",
            invalid,
            "'/temp-queue/x' is no destination",
        );
    }

    #[test]
    fn a_reply_to_that_asks_for_a_place_names_it() {
        let long = format!("/temp-queue/{}", "x".repeat(TEMP_NAME_BYTES_MAX));
        for reply_to in ["/temp-queue/a", "/temp-queue/a.b-c d", &long] {
            assert_eq!(temp_queue(Some(reply_to)), Ok(Some(reply_to)));
        }
        for other in [None, Some("/queue/a"), Some("/temp-queue"), Some("")] {
            assert_eq!(temp_queue(other), Ok(None));
        }
        let longer = format!("{long}x");
        for wrong in [
            "/temp-queue/",
            "/temp-queue/a/b",
            "/temp-queue/a\n",
            &longer,
        ] {
            assert!(temp_queue(Some(wrong)).is_err(), "{wrong:?}");
        }
    }
}
