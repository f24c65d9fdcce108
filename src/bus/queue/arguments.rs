//! The arguments that a queue is made with, and how those that somebody names compare with them.
//!
//! Not here: who may name them. Invariant: both engines refuse the same arguments; an argument that
//! is not named is that of the queue that exists, or else the default of the settings.

use std::time::Duration;

use super::{QueueError, QueueSettings};
use crate::budget::Claimant;
use crate::model::{Kind, QueueArguments};

/// The longest time that an argument or a message may name, in milliseconds: RabbitMQ's.
const MILLIS_MAX: u128 = u32::MAX as u128;

/// The arguments of a queue, complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// How long a message is kept at most.
    pub message_ttl: Option<Duration>,
    /// How long the queue is kept without a consumer and without use.
    pub expires: Duration,
    /// How many messages wait in it at most.
    pub length_max: u32,
}

/// The arguments that count of those that a client of this kind names: a visitor's `x-expires` only when it
/// is not longer than the queue of a visitor is kept.
fn effective(named: &QueueArguments, kind: Kind, settings: &QueueSettings) -> QueueArguments {
    let is_too_long = |expires: &Duration| {
        !kind.has_account() && *expires > settings.expires_of(kind) && *expires <= settings.expires
    };
    QueueArguments {
        expires: named.expires.filter(|expires| !is_too_long(expires)),
        ..*named
    }
}

/// What a client wants of a queue.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The arguments that the queue must have.
    pub named: QueueArguments,
    /// What it is made with, if there is none.
    pub made: Made,
    /// Who wants it.
    pub by: Claimant,
}

impl Wish {
    /// What this client wants by naming these.
    ///
    /// # Errors
    /// As [`Made::of`].
    pub fn new(
        named: &QueueArguments,
        by: &Claimant,
        settings: &QueueSettings,
    ) -> Result<Self, QueueError> {
        let named = effective(named, by.kind, settings);
        Ok(Self {
            named,
            made: Made::of(&named, by.kind, settings)?,
            by: by.clone(),
        })
    }

    /// What this client wants by naming nothing.
    ///
    /// # Errors
    /// As [`Made::of`].
    pub fn plain(by: &Claimant, settings: &QueueSettings) -> Result<Self, QueueError> {
        Self::new(&QueueArguments::default(), by, settings)
    }
}

impl Made {
    /// What a queue is made with for which a client of this kind names these.
    ///
    /// # Errors
    /// [`QueueError::OtherArguments`] for one that no queue can have here.
    pub fn of(
        named: &QueueArguments,
        kind: Kind,
        settings: &QueueSettings,
    ) -> Result<Self, QueueError> {
        let refuse = |words: String| Err(QueueError::OtherArguments(words));
        if named
            .message_ttl
            .is_some_and(|ttl| millis(ttl) > MILLIS_MAX)
        {
            return refuse(format!("x-message-ttl is at most {MILLIS_MAX} ms"));
        }
        let expires_max = millis(settings.expires);
        let expires = named.expires.unwrap_or(settings.expires_of(kind));
        if !(1..=expires_max).contains(&millis(expires)) {
            return refuse(format!("x-expires is 1 to {expires_max} ms here"));
        }
        let length_max = named.length_max.unwrap_or(settings.length_max);
        if !(1..=settings.length_max).contains(&length_max) {
            return refuse(format!("x-max-length is 1 to {} here", settings.length_max));
        }
        Ok(Self {
            message_ttl: named.message_ttl,
            expires,
            length_max,
        })
    }

    /// Whether a queue made with these is the one that is meant.
    ///
    /// # Errors
    /// [`QueueError::OtherArguments`] for the first that is named and is another.
    pub fn fits(&self, named: &QueueArguments) -> Result<(), QueueError> {
        let other = |name, has: String, named: u128| {
            let words = format!("{name} is {has}, not {named}");
            Err(QueueError::OtherArguments(words))
        };
        match named.message_ttl.map(millis) {
            Some(named) if self.message_ttl.map(millis) != Some(named) => {
                let has = self.message_ttl.map(|ttl| millis(ttl).to_string());
                return other(
                    "x-message-ttl",
                    has.unwrap_or_else(|| "not given".into()),
                    named,
                );
            }
            Some(_) | None => {}
        }
        match named.expires.map(millis) {
            Some(named) if millis(self.expires) != named => {
                return other("x-expires", millis(self.expires).to_string(), named);
            }
            Some(_) | None => {}
        }
        match named.length_max {
            Some(named) if self.length_max != named => {
                other("x-max-length", self.length_max.to_string(), named.into())
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Arguments are told in whole milliseconds.
fn millis(duration: Duration) -> u128 {
    duration.as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(ttl_ms: Option<u64>, expires_ms: Option<u64>, length: Option<u32>) -> QueueArguments {
        QueueArguments {
            message_ttl: ttl_ms.map(Duration::from_millis),
            expires: expires_ms.map(Duration::from_millis),
            length_max: length,
        }
    }

    #[test]
    fn an_argument_beyond_what_may_be_given_is_refused_with_words() {
        let settings = QueueSettings::default();
        let check = |arguments: QueueArguments, expected: &str| {
            let words = match Made::of(&arguments, Kind::Member, &settings) {
                Ok(_) => String::new(),
                Err(error) => error.to_string(),
            };
            assert!(words.contains(expected), "{words}");
            assert_eq!(words.is_empty(), expected.is_empty(), "{words}");
        };
        check(named(None, None, None), "");
        check(named(Some(0), Some(1), Some(1)), "");
        check(named(Some(u64::from(u32::MAX)), None, Some(10_000)), "");
        check(named(None, Some(86_400_000), None), "");
        check(named(Some(1 << 32), None, None), "x-message-ttl is at most");
        check(named(None, Some(0), None), "x-expires is 1 to 86400000 ms");
        check(named(None, Some(86_400_001), None), "x-expires is 1 to");
        check(named(None, None, Some(0)), "x-max-length is 1 to 10000");
        check(named(None, None, Some(10_001)), "x-max-length is 1 to");
    }

    #[test]
    fn the_queue_of_a_visitor_is_kept_for_minutes_and_a_longer_time_counts_as_not_given() {
        let settings = QueueSettings::default();
        let kept = |expires_ms, kind| {
            let named = effective(&named(None, expires_ms, None), kind, &settings);
            Made::of(&named, kind, &settings).map(|made| made.expires.as_secs())
        };
        assert_eq!(kept(None, Kind::Anonymous), Ok(300));
        assert_eq!(kept(Some(60_000), Kind::Anonymous), Ok(60));
        assert_eq!(kept(Some(3_600_000), Kind::Anonymous), Ok(300));
        assert!(kept(Some(86_400_001), Kind::Anonymous).is_err());
        assert_eq!(kept(None, Kind::Bot), Ok(86_400));
        assert_eq!(kept(Some(3_600_000), Kind::Member), Ok(3_600));
    }

    #[test]
    fn what_is_named_must_be_what_the_queue_has_and_the_rest_may_be_anything() {
        let settings = QueueSettings::default();
        let made = Made::of(&named(Some(5), None, Some(7)), Kind::Member, &settings).unwrap();
        let plain = Made::of(&named(None, None, None), Kind::Member, &settings).unwrap();
        let check = |made: Made, arguments: QueueArguments, expected: &str| {
            let words = match made.fits(&arguments) {
                Ok(()) => String::new(),
                Err(error) => error.to_string(),
            };
            assert!(words.ends_with(expected), "{words}");
            assert_eq!(words.is_empty(), expected.is_empty(), "{words}");
        };
        check(made, named(None, None, None), "");
        check(made, named(Some(5), None, None), "");
        check(made, named(Some(5), Some(86_400_000), Some(7)), "");
        check(
            made,
            named(Some(6), None, None),
            "x-message-ttl is 5, not 6",
        );
        check(
            made,
            named(None, Some(1), None),
            "x-expires is 86400000, not 1",
        );
        check(made, named(None, None, Some(8)), "x-max-length is 7, not 8");
        check(
            plain,
            named(Some(5), None, None),
            "x-message-ttl is not given, not 5",
        );
    }
}
