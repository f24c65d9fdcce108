//! Queues for `/queue/**`, declared on channels that are thrown away.
//!
//! Not here: which are known (`known`). Invariant: a declaration that the broker refuses closes a
//! channel that nobody else uses, and nothing but the one who asked is told.

use std::time::Duration;

use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, ErrorKind};

use crate::bus::queue::{Made, QueueError, QueueSettings};
use crate::bus::rabbitmq::topology;
use crate::model::{Kind, QueueArguments};

/// With how many combinations of arguments that nobody has named a queue is tried.
const ATTEMPTS: usize = 6;

/// The arguments of a queue in RabbitMQ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Declared {
    pub(super) made: Made,
    pub(super) octets_max: u64,
    /// Of dead letters the oldest makes room; other queues refuse what is too much.
    pub(super) drops_oldest: bool,
}

/// Why a declaration or a consumer did not come about.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The queue exists with other arguments.
    Other(String),
    /// There is no such queue.
    Missing,
    /// Anything else.
    Down(String),
}

impl From<lapin::Error> for Refusal {
    fn from(error: lapin::Error) -> Self {
        let ErrorKind::ProtocolError(reply) = error.kind() else {
            return Self::Down(error.to_string());
        };
        match reply.kind() {
            AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => {
                Self::Other(reply.get_message().to_string())
            }
            AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => Self::Missing,
            AMQPErrorKind::Soft(_) | AMQPErrorKind::Hard(_) => {
                Self::Down(format!("{} ({})", reply.get_message(), reply.get_id()))
            }
        }
    }
}

impl From<Refusal> for QueueError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Other(words) => Self::OtherArguments(words),
            Refusal::Missing => Self::Unavailable("RabbitMQ: the queue is gone".to_owned()),
            Refusal::Down(words) => Self::Unavailable(format!("RabbitMQ: {words}")),
        }
    }
}

/// Where channels for one declaration each come from.
pub(super) trait Channels {
    async fn fresh(&self) -> Result<Channel, Refusal>;
}

/// Makes sure of a queue. The answer says its arguments, as far as they are known: whoever names
/// none takes the queue that is there, and of a foreign one (known to have others than the defaults)
/// it is only asked whether it is there.
pub(super) async fn declare(
    channels: &impl Channels,
    destination: &str,
    named: &QueueArguments,
    mut wanted: Declared,
    mut is_foreign: bool,
) -> Result<Option<Declared>, QueueError> {
    let mut has_adopted = false;
    for _ in 0..ATTEMPTS {
        if is_foreign && *named == QueueArguments::default() {
            // To look at it counts as use, which a refused declaration does not.
            match ask(channels, destination, &wanted, true).await {
                Ok(_) => return Ok(None),
                // It went away, perhaps between two questions.
                Err(Refusal::Missing) => {}
                Err(refusal) => return Err(refusal.into()),
            }
        }
        let words = match ask(channels, destination, &wanted, false).await {
            Ok(_) => return Ok(Some(wanted)),
            Err(Refusal::Other(words)) => words,
            Err(refusal) => return Err(refusal.into()),
        };
        let is_plain = *named == QueueArguments::default();
        // Queues of visitors and of others have two defaults, so that one difference is common.
        if is_plain && !has_adopted && wanted.adopt(&words, named).is_some() {
            has_adopted = true;
            continue;
        }
        is_foreign = true;
        if is_plain {
            continue;
        }
        if wanted.adopt(&words, named).is_none() {
            return Err(QueueError::OtherArguments(words_for_clients(&words)));
        }
    }
    Err(QueueError::Unavailable(
        "RabbitMQ: no arguments fit".to_owned(),
    ))
}

/// Makes a queue with these arguments of one that was made with a shorter life, if it is empty and has no
/// consumer anywhere. Says whether it was.
pub(super) async fn replace(
    channels: &impl Channels,
    destination: &str,
    wanted: &Declared,
) -> Result<bool, Refusal> {
    if !remove_unused(channels, destination).await? {
        return Ok(false);
    }
    match ask(channels, destination, wanted, false).await {
        Ok(_) => Ok(true),
        // Another node was quicker.
        Err(Refusal::Other(_)) => Ok(false),
        Err(refusal) => Err(refusal),
    }
}

/// Removes a queue, if it is empty and has no consumer anywhere. Says whether it is gone.
pub(super) async fn remove_unused(
    channels: &impl Channels,
    destination: &str,
) -> Result<bool, Refusal> {
    let channel = channels.fresh().await?;
    let options = QueueDeleteOptions {
        if_unused: true,
        if_empty: true,
        ..QueueDeleteOptions::default()
    };
    let name = ShortString::from(topology::stomp_queue_of(destination));
    match channel
        .queue_delete(name, options)
        .await
        .map_err(Refusal::from)
    {
        Ok(_) => {
            let _ = channel.close(200, "removed".into()).await;
            Ok(true)
        }
        Err(Refusal::Other(_)) => Ok(false),
        Err(Refusal::Missing) => Ok(true),
        Err(down @ Refusal::Down(_)) => Err(down),
    }
}

/// How many messages wait in a queue. To be asked counts as use of the queue.
pub(super) async fn count(
    channels: &impl Channels,
    destination: &str,
    declared: &Declared,
) -> Result<u32, Refusal> {
    ask(channels, destination, declared, true).await
}

async fn ask(
    channels: &impl Channels,
    destination: &str,
    declared: &Declared,
    passive: bool,
) -> Result<u32, Refusal> {
    let channel = channels.fresh().await?;
    let options = QueueDeclareOptions {
        passive,
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let name = ShortString::from(topology::stomp_queue_of(destination));
    let asked = channel.queue_declare(name, options, declared.table()).await;
    if asked.is_ok() {
        // A channel that answered is closed in order; one that failed is closed by the broker.
        let _ = channel.close(200, "declared".into()).await;
    }
    asked
        .map(|queue| queue.message_count())
        .map_err(Refusal::from)
}

impl Declared {
    /// Whether a visitor made the queue, and RabbitMQ keeps it for minutes.
    pub(super) fn is_of_visitors(&self, settings: &QueueSettings) -> bool {
        let minutes = settings.expires_of(Kind::Anonymous);
        minutes < settings.expires && self.made.expires == minutes
    }

    /// Whether it was made by a member or a bot who named nothing: when it is gone, the next use makes
    /// the same queue again.
    pub(super) fn is_plain(&self, settings: &QueueSettings) -> bool {
        Made::of(&QueueArguments::default(), Kind::Member, settings).as_ref() == Ok(&self.made)
    }

    /// The same with the life of a queue of members and bots.
    pub(super) fn for_accounts(self, settings: &QueueSettings) -> Self {
        let expires = settings.expires;
        Self {
            made: Made {
                expires,
                ..self.made
            },
            ..self
        }
    }

    fn table(&self) -> FieldTable {
        let mut table = FieldTable::default();
        let mut put = |name: &str, value: u64| {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            table.insert(name.into(), AMQPValue::LongLongInt(value));
        };
        put("x-expires", millis(self.made.expires));
        put("x-max-length", self.made.length_max.into());
        put("x-max-length-bytes", self.octets_max);
        if let Some(ttl) = self.made.message_ttl {
            put("x-message-ttl", millis(ttl));
        }
        let overflow = match self.drops_oldest {
            true => "drop-head",
            false => "reject-publish",
        };
        let overflow = AMQPValue::LongString(overflow.into());
        table.insert("x-overflow".into(), overflow);
        table
    }

    /// Takes over the argument that the broker named, if nobody asked for another: defaults may have
    /// been others when the queue was made. `None` when somebody did, or the words are not clear.
    fn adopt(&mut self, words: &str, named: &QueueArguments) -> Option<()> {
        let (_, rest) = words.split_once("inequivalent arg '")?;
        let (argument, rest) = rest.split_once('\'')?;
        let (_, current) = rest.split_once("but current is ")?;
        let value = || current.split('\'').nth(1)?.parse::<u64>().ok();
        match argument {
            "x-expires" if named.expires.is_none() => {
                self.made.expires = Duration::from_millis(value()?);
            }
            "x-max-length" if named.length_max.is_none() => {
                self.made.length_max = u32::try_from(value()?).ok()?;
            }
            "x-max-length-bytes" => self.octets_max = value()?,
            "x-message-ttl" if named.message_ttl.is_none() => {
                self.made.message_ttl = match current.starts_with("none") {
                    true => None,
                    false => Some(Duration::from_millis(value()?)),
                };
            }
            _ => return None,
        }
        Some(())
    }
}

/// The broker's words without the name of its queue, which says nothing to a client:
/// `inequivalent arg 'x' for queue 'y' in vhost 'z': received a but current is b`.
fn words_for_clients(words: &str) -> String {
    let clear = || {
        let (_, rest) = words.split_once("inequivalent arg '")?;
        let (argument, rest) = rest.split_once('\'')?;
        let (received, current) = rest.rsplit_once("but current is ")?;
        let received = received.rsplit_once("received ")?.1;
        let show = |value: &str| match value.split('\'').nth(1) {
            Some(value) => value.to_owned(),
            None => "not given".to_owned(),
        };
        Some(format!(
            "{argument} is {}, not {}",
            show(current),
            show(received)
        ))
    };
    clear().unwrap_or_else(|| "RabbitMQ does not say which".to_owned())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &str = "PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue \
                         'stomp.queue.1' in vhost '/': received the value '7' of type 'long' \
                         but current is the value '5' of type 'long'";

    fn wanted() -> Declared {
        Declared {
            made: Made {
                message_ttl: Some(Duration::from_millis(7)),
                expires: Duration::from_millis(9),
                length_max: 3,
            },
            octets_max: 100,
            drops_oldest: false,
        }
    }

    #[test]
    fn an_argument_that_nobody_named_is_taken_over_and_one_that_somebody_did_is_not() {
        let mut declared = wanted();
        let named = QueueArguments::default();
        assert_eq!(declared.adopt(WORDS, &named), Some(()));
        assert_eq!(declared.made.message_ttl, Some(Duration::from_millis(5)));
        let none = WORDS.replace("the value '5' of type 'long'", "none");
        assert_eq!(declared.adopt(&none, &named), Some(()));
        assert_eq!(declared.made.message_ttl, None);
        let named = QueueArguments {
            message_ttl: Some(Duration::from_millis(7)),
            ..named
        };
        assert_eq!(wanted().adopt(WORDS, &named), None);
        assert_eq!(wanted().adopt("something else", &named), None);
    }

    #[test]
    fn a_client_is_told_the_argument_and_never_the_name_of_the_queue() {
        let check = |words: &str, expected: &str| {
            assert_eq!(words_for_clients(words), expected);
        };
        check(WORDS, "x-message-ttl is 5, not 7");
        let none = WORDS.replace("the value '5' of type 'long'", "none");
        check(&none, "x-message-ttl is not given, not 7");
        check("anything", "RabbitMQ does not say which");
    }
}
