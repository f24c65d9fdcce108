//! What a SUBSCRIBE says, and what it must not say.
//!
//! Not here: which ids are taken (`subscriptions`), who may subscribe where (`app` asks `policy`).
//! Invariant: a client that asks for something which is not kept is refused; it never gets less
//! than it believes.

use std::time::Duration;

use super::contract::SessionConfig;
use super::fatal::{Fatal, Violation};
use super::send::{self, TEMP_QUEUE};
use crate::model::{AckMode, Destination, QueueArguments, UserQueue};
use crate::stomp::{Command, Headers, Version};

/// The longest id of a subscription or a transaction, in octets: many of them are kept.
pub(super) const ID_BYTES_MAX: usize = 128;

/// A SUBSCRIBE that is valid as STOMP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// Its id; of a 1.0 client that gave none, the destination.
    pub(super) id: Box<str>,
    /// Whether the client gave an id.
    pub(super) named: bool,
    /// Where from.
    pub(super) destination: Destination,
    /// The destination as the client wrote it.
    pub(super) written: Box<str>,
    /// How it acknowledges.
    pub(super) ack: AckMode,
    /// How many messages may be unacknowledged.
    pub(super) prefetch: u32,
    /// What it says of its queue.
    pub(super) arguments: QueueArguments,
}

/// Reads a SUBSCRIBE that has the headers which it needs.
pub(super) fn read(
    headers: &Headers,
    version: Version,
    config: &SessionConfig,
) -> Result<Asked, Fatal> {
    let id = given_id(headers, version, Command::Subscribe)?;
    if id.is_some_and(|id| id.len() > ID_BYTES_MAX || id.starts_with(TEMP_QUEUE)) {
        return Err(Fatal::about(Violation::BadSubscriptionId, ID_BYTES_MAX));
    }
    let ack = ack_mode(headers)?;
    let prefetch = prefetch(headers, config)?;
    let arguments = queue_arguments(|name| headers.get(name))
        .map_err(|words| Fatal::about(Violation::BadQueueArgument, words))?;
    let written = headers.get("destination").unwrap_or_default();
    let destination = send::destination(written, &config.prefixes)?;
    refuse_what_is_not_kept(headers, &destination)?;
    Ok(Asked {
        id: id.map_or_else(|| destination.to_string().into(), Into::into),
        named: id.is_some(),
        written: written.into(),
        // What the session writes itself it writes once: nothing is kept that an ACK could end.
        ack: if is_own(&destination) {
            AckMode::Auto
        } else {
            ack
        },
        prefetch,
        arguments,
        destination,
    })
}

/// The subscription that a SEND with this `reply-to` (`/temp-queue/<name>`) asks for.
pub(super) fn of_reply_to(reply_to: &str, config: &SessionConfig) -> Asked {
    let name = reply_to.strip_prefix(TEMP_QUEUE).unwrap_or(reply_to);
    Asked {
        id: reply_to.into(),
        named: true,
        destination: Destination::TempQueue(name.into()),
        written: reply_to.into(),
        ack: AckMode::Auto,
        prefetch: config.prefetch_default,
        arguments: QueueArguments::default(),
    }
}

/// Whether the session answers for this destination itself.
pub(super) fn is_own(destination: &Destination) -> bool {
    matches!(
        destination,
        Destination::UserQueue(UserQueue::Errors | UserQueue::Replies)
    )
}

/// The header `id`. Only 1.0 may leave it out.
pub(super) fn given_id(
    headers: &Headers,
    version: Version,
    command: Command,
) -> Result<Option<&str>, Fatal> {
    match headers.get("id") {
        None if version == Version::V1_0 => Ok(None),
        None | Some("") => Err(Fatal::missing(command, "id")),
        id => Ok(id),
    }
}

fn ack_mode(headers: &Headers) -> Result<AckMode, Fatal> {
    let Some(written) = headers.get("ack") else {
        return Ok(AckMode::Auto);
    };
    let mut modes = AckMode::ALL.into_iter();
    let mode = modes.find(|mode| mode.as_str() == written);
    mode.ok_or_else(|| Fatal::of(Violation::BadAck))
}

/// More than the server allows is what the server allows.
fn prefetch(headers: &Headers, config: &SessionConfig) -> Result<u32, Fatal> {
    let Some(written) = headers.get("prefetch-count") else {
        return Ok(config.prefetch_default);
    };
    match digits(written) {
        None | Some(0) => Err(Fatal::of(Violation::BadPrefetch)),
        Some(count) => Ok(u32::try_from(count)
            .map_or(config.prefetch_max, |count| count.min(config.prefetch_max))),
    }
}

fn refuse_what_is_not_kept(headers: &Headers, destination: &Destination) -> Result<(), Fatal> {
    let says = |name: &str| headers.get(name) == Some("true");
    // A queue is kept while nobody listens, whatever is asked for.
    let is_kept = matches!(destination, Destination::Queue(_));
    let has = |name: &str| headers.get(name).is_some() && !is_kept;
    let unsupported = [
        ("selector", headers.get("selector").is_some()),
        ("browser:true", says("browser")),
        ("durable:true", says("durable") && !is_kept),
        // Artemis and ActiveMQ.
        ("a durable name", has("durable-subscription-name")),
        ("a durable name", has("durable-subscriber-name")),
        ("a durable name", has("activemq.subscriptionName")),
    ];
    match unsupported.iter().find(|(_, is_asked_for)| *is_asked_for) {
        Some((what, _)) => Err(Fatal::about(Violation::Unsupported, what)),
        None => Ok(()),
    }
}

/// Reads what a SUBSCRIBE or a SEND says of a queue: `x-message-ttl` and `x-expires` in milliseconds,
/// `x-max-length` (RabbitMQ's queue arguments). `get` gives the value of a header.
///
/// # Errors
/// Words for the client, when one of them is no number, or larger than RabbitMQ takes.
pub fn queue_arguments<'a>(
    get: impl Fn(&str) -> Option<&'a str>,
) -> Result<QueueArguments, String> {
    let number = |name: &str, least: u32| {
        let Some(written) = get(name) else {
            return Ok(None);
        };
        let number = digits(written).and_then(|number| u32::try_from(number).ok());
        match number.filter(|number| *number >= least) {
            None => Err(format!("{name} is a number from {least} to {}.", u32::MAX)),
            number => Ok(number),
        }
    };
    let millis = |number: u32| Duration::from_millis(number.into());
    Ok(QueueArguments {
        message_ttl: number("x-message-ttl", 0)?.map(millis),
        expires: number("x-expires", 1)?.map(millis),
        length_max: number("x-max-length", 1)?,
    })
}

/// A number of digits and nothing else. One that no integer holds is the largest.
fn digits(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::tests::subscribing;

    fn read(version: Version, pairs: &[(&str, &str)]) -> Result<Asked, String> {
        super::read(&subscribing(pairs), version, &SessionConfig::default()).map_err(|fatal| {
            let headers = fatal.frame().headers;
            headers.get("message").unwrap_or_default().to_owned()
        })
    }

    const A: (&str, &str) = ("destination", "/topic/a");
    const Q: (&str, &str) = ("destination", "/queue/a");

    #[test]
    fn a_subscribe_is_refused_for_what_it_says() {
        let check = |version, pairs: &[(&str, &str)], expected: &str| {
            let found = read(version, pairs).map_or_else(|message| message, |_| "ok".to_owned());
            assert_eq!(found, expected, "{version} {pairs:?}");
        };
        let id = ("id", "1");
        let long = "x".repeat(ID_BYTES_MAX + 1);
        for version in Version::ALL {
            check(version, &[id, A], "ok");
            check(version, &[("id", &long[1..]), A], "ok");
            check(version, &[("id", &long), A], "Bad subscription identifier");
            let given = ("id", "/temp-queue/x");
            check(version, &[given, A], "Bad subscription identifier");
            check(version, &[("id", ""), A], "Missing id");
            let nowhere = ("destination", "/nowhere/a");
            check(version, &[id, nowhere], "Unknown destination");
            let dots = ("destination", "/topic/../a");
            check(version, &[id, dots], "Invalid destination");
            let temp = ("destination", "/temp-queue/a");
            check(version, &[id, temp], "Invalid destination");
            for mode in AckMode::ALL {
                check(version, &[id, A, ("ack", mode.as_str())], "ok");
            }
            for wrong in ["", "never", "Auto", "auto "] {
                check(version, &[id, A, ("ack", wrong)], "Bad ack");
            }
            for wrong in ["", "0", "-1", "+1", " 1", "1.5", "many"] {
                check(
                    version,
                    &[id, A, ("prefetch-count", wrong)],
                    "Bad prefetch-count",
                );
            }
            for name in ["x-message-ttl", "x-expires", "x-max-length"] {
                check(version, &[id, Q, (name, "1")], "ok");
                check(version, &[id, Q, (name, "4294967295")], "ok");
                for wrong in ["", "-1", "x", "4294967296", "99999999999999999999"] {
                    check(version, &[id, Q, (name, wrong)], "Bad queue argument");
                }
            }
            check(version, &[id, Q, ("x-expires", "0")], "Bad queue argument");
            check(version, &[id, A, ("selector", "x = 1")], "Not supported");
            check(version, &[id, Q, ("selector", "")], "Not supported");
            check(version, &[id, A, ("browser", "true")], "Not supported");
            check(version, &[id, A, ("browser", "false")], "ok");
            check(version, &[id, A, ("durable", "true")], "Not supported");
            check(version, &[id, A, ("durable", "false")], "ok");
            check(version, &[id, Q, ("durable", "true")], "ok");
            for name in [
                "durable-subscription-name",
                "durable-subscriber-name",
                "activemq.subscriptionName",
            ] {
                check(version, &[id, A, (name, "me")], "Not supported");
                check(version, &[id, Q, (name, "me")], "ok");
            }
        }
        check(Version::V1_0, &[A], "ok");
        check(Version::V1_1, &[A], "Missing id");
        check(Version::V1_2, &[A], "Missing id");
    }

    #[test]
    fn a_subscribe_says_how_much_it_takes_and_what_its_queue_is() {
        let prefetch = |count| {
            let pairs = [("id", "1"), A, ("prefetch-count", count)];
            read(Version::V1_2, &pairs).unwrap().prefetch
        };
        assert_eq!(
            read(Version::V1_2, &[("id", "1"), A]).unwrap().prefetch,
            100
        );
        assert_eq!(prefetch("1"), 1);
        assert_eq!(prefetch("007"), 7);
        assert_eq!(prefetch("1000"), 1_000);
        assert_eq!(prefetch("1001"), 1_000);
        assert_eq!(prefetch("99999999999999999999"), 1_000);
        let asked = read(
            Version::V1_2,
            &[
                ("id", "1"),
                Q,
                ("ack", "client"),
                ("x-message-ttl", "1500"),
                ("x-expires", "60000"),
                ("x-max-length", "10"),
            ],
        );
        let asked = asked.unwrap();
        assert_eq!(asked.ack, AckMode::Client);
        let expected = QueueArguments {
            message_ttl: Some(Duration::from_millis(1_500)),
            expires: Some(Duration::from_secs(60)),
            length_max: Some(10),
        };
        assert_eq!(asked.arguments, expected);
    }

    #[test]
    fn what_only_this_session_writes_is_never_acknowledged() {
        for queue in ["/user/queue/errors", "/user/queue/replies"] {
            let pairs = [("id", "1"), ("destination", queue), ("ack", "client")];
            assert_eq!(read(Version::V1_2, &pairs).unwrap().ack, AckMode::Auto);
        }
        let messages = ("destination", "/user/queue/messages");
        let asked = read(Version::V1_2, &[("id", "1"), messages, ("ack", "client")]);
        assert_eq!(asked.unwrap().ack, AckMode::Client);
    }

    #[test]
    fn a_subscription_without_id_is_named_by_its_destination() {
        let asked = read(Version::V1_0, &[A]).unwrap();
        assert_eq!((&*asked.id, asked.named), ("/topic/a", false));
        assert_eq!(&*asked.written, "/topic/a");
    }
}
