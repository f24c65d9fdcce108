//! A message of a queue as it lies in RabbitMQ: a head before the body, in the body of the AMQP
//! message.
//!
//! AMQP headers are a table without order and without repeated names, and their names have 255
//! octets at most; STOMP's have neither limit. Not here: queues. Invariant: whatever was put in comes
//! out; octets that are no letter are an error and never a panic.
//!
//! ```text
//! version u8 | nacks u8 | flags u8 | ttl ms u64 | expires at, Unix ms u64 |
//! id text | count u16 | (name text, value text) * count | body
//! text: length u32, UTF-8.    All numbers are big endian.
//! ```

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::bus::queue::QueueMessage;

const VERSION: u8 = 1;
const PERSISTENT: u8 = 1;
const WITH_TTL: u8 = 2;

/// Where the count of refusals stands.
const NACKS_AT: usize = 1;

/// The longest time that RabbitMQ understands, in milliseconds; longer is for ever.
const EXPIRATION_MAX: u64 = u32::MAX as u64;

/// The octets, and what RabbitMQ must know of them.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    pub(super) octets: Bytes,
    pub(super) is_persistent: bool,
    /// The time left, for a message that does not live for ever.
    pub(super) expiration_ms: Option<u32>,
}

/// The octets are no letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a letter of this version")]
pub(super) struct NoLetter;

impl Letter {
    /// Writes a message. `None` when it has more headers than can be counted.
    pub(super) fn write(message: &QueueMessage) -> Option<Self> {
        let count = u16::try_from(message.headers.len()).ok()?;
        let ttl_ms = message.ttl.map(|ttl| u64::try_from(ttl.as_millis()));
        let ttl_ms = ttl_ms.map(|ttl_ms| ttl_ms.unwrap_or(u64::MAX));
        let mut octets = BytesMut::with_capacity(64 + message.headers.len() * 8);
        octets.put_u8(VERSION);
        octets.put_u8(message.nacks);
        let persistent = if message.persistent { PERSISTENT } else { 0 };
        let with_ttl = if ttl_ms.is_some() { WITH_TTL } else { 0 };
        octets.put_u8(persistent | with_ttl);
        octets.put_u64(ttl_ms.unwrap_or_default());
        octets.put_u64(unix_ms().saturating_add(ttl_ms.unwrap_or_default()));
        put_text(&mut octets, &message.id)?;
        octets.put_u16(count);
        for (name, value) in &message.headers {
            put_text(&mut octets, name)?;
            put_text(&mut octets, value)?;
        }
        octets.extend_from_slice(&message.body);
        Some(Self {
            octets: octets.freeze(),
            is_persistent: message.persistent,
            expiration_ms: ttl_ms.and_then(expiration),
        })
    }

    /// Reads a message; its body shares the octets.
    pub(super) fn read(octets: &Bytes) -> Result<QueueMessage, NoLetter> {
        let mut rest = octets.clone();
        let head = Head::take(&mut rest)?;
        let id = take_text(&mut rest)?;
        let count = rest.try_get_u16().map_err(|_| NoLetter)?;
        let mut headers = Vec::new();
        for _ in 0..count {
            headers.push((take_text(&mut rest)?, take_text(&mut rest)?));
        }
        Ok(QueueMessage {
            id,
            headers,
            body: rest,
            persistent: head.flags & PERSISTENT != 0,
            ttl: (head.flags & WITH_TTL != 0).then(|| Duration::from_millis(head.ttl_ms)),
            nacks: head.nacks,
        })
    }

    /// The same letter with another count of refusals and the time that is left of it; `None` when
    /// no time is left.
    pub(super) fn again(octets: &Bytes, nacks: u8) -> Option<Self> {
        let head = Head::take(&mut octets.clone()).ok()?;
        let expiration_ms = match head.flags & WITH_TTL != 0 {
            true => {
                // The clock of another node may be behind; nothing lives longer for that.
                let left_ms = head.expires_at_ms.saturating_sub(unix_ms());
                let left_ms = left_ms.min(head.ttl_ms);
                if left_ms == 0 {
                    return None;
                }
                expiration(left_ms)
            }
            false => None,
        };
        let mut copy = BytesMut::from(&octets[..]);
        copy[NACKS_AT] = nacks;
        Some(Self {
            octets: copy.freeze(),
            is_persistent: head.flags & PERSISTENT != 0,
            expiration_ms,
        })
    }
}

/// What stands at fixed places.
struct Head {
    nacks: u8,
    flags: u8,
    ttl_ms: u64,
    expires_at_ms: u64,
}

impl Head {
    fn take(rest: &mut Bytes) -> Result<Self, NoLetter> {
        let mut take = || {
            (rest.try_get_u8()? == VERSION)
                .then(|| {
                    Ok::<_, bytes::TryGetError>(Self {
                        nacks: rest.try_get_u8()?,
                        flags: rest.try_get_u8()?,
                        ttl_ms: rest.try_get_u64()?,
                        expires_at_ms: rest.try_get_u64()?,
                    })
                })
                .transpose()
        };
        take().ok().flatten().ok_or(NoLetter)
    }
}

fn expiration(ms: u64) -> Option<u32> {
    u32::try_from(ms).ok().filter(|_| ms <= EXPIRATION_MAX)
}

fn put_text(octets: &mut BytesMut, text: &str) -> Option<()> {
    octets.put_u32(u32::try_from(text.len()).ok()?);
    octets.extend_from_slice(text.as_bytes());
    Some(())
}

fn take_text(rest: &mut Bytes) -> Result<Box<str>, NoLetter> {
    let length = rest.try_get_u32().map_err(|_| NoLetter)?;
    let length = usize::try_from(length).map_err(|_| NoLetter)?;
    if length > rest.len() {
        return Err(NoLetter);
    }
    let text = rest.split_to(length);
    std::str::from_utf8(&text)
        .map(Box::from)
        .map_err(|_| NoLetter)
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message() -> QueueMessage {
        QueueMessage {
            id: "n-1-2".into(),
            headers: vec![
                ("a".into(), "1".into()),
                ("a".into(), "2".into()),
                ("ü:\n".into(), String::new().into()),
            ],
            body: Bytes::from_static(b"\0\xff body"),
            persistent: true,
            ttl: Some(Duration::from_secs(60)),
            nacks: 1,
        }
    }

    #[test]
    fn a_letter_says_what_rabbitmq_must_know() {
        let letter = Letter::write(&message()).unwrap();
        assert!(letter.is_persistent);
        assert_eq!(letter.expiration_ms, Some(60_000));
        let again = Letter::again(&letter.octets, 2).unwrap();
        assert!(again.is_persistent);
        assert!((50_000..=60_000).contains(&again.expiration_ms.unwrap()));
        let mut expected = message();
        expected.nacks = 2;
        assert_eq!(Letter::read(&again.octets), Ok(expected));
    }

    #[test]
    fn what_has_no_time_left_is_not_sent_again_and_what_lasts_for_ever_has_no_expiration() {
        let check = |ttl: Option<Duration>, expiration: Option<u32>, is_alive: bool| {
            let letter = Letter::write(&QueueMessage { ttl, ..message() }).unwrap();
            assert_eq!(letter.expiration_ms, expiration, "{ttl:?}");
            let again = Letter::again(&letter.octets, 1);
            assert_eq!(again.is_some(), is_alive, "{ttl:?}");
        };
        check(None, None, true);
        check(Some(Duration::ZERO), Some(0), false);
        check(
            Some(Duration::from_millis(EXPIRATION_MAX)),
            Some(u32::MAX),
            true,
        );
        check(Some(Duration::from_millis(EXPIRATION_MAX + 1)), None, true);
        check(Some(Duration::MAX), None, true);
    }

    proptest! {
        #[test]
        fn whatever_is_put_in_comes_out(
            id in any::<String>(),
            headers in prop::collection::vec((any::<String>(), any::<String>()), 0..8),
            body in prop::collection::vec(any::<u8>(), 0..200),
            persistent in any::<bool>(),
            ttl_ms in prop::option::of(any::<u64>()),
            nacks in any::<u8>(),
        ) {
            let headers = headers.into_iter();
            let message = QueueMessage {
                id: id.into(),
                headers: headers.map(|(name, value)| (name.into(), value.into())).collect(),
                body: body.into(),
                persistent,
                ttl: ttl_ms.map(Duration::from_millis),
                nacks,
            };
            let letter = Letter::write(&message).unwrap();
            prop_assert_eq!(Letter::read(&letter.octets), Ok(message));
        }

        #[test]
        fn octets_that_are_no_letter_are_refused(octets in prop::collection::vec(any::<u8>(), 0..80)) {
            let octets = Bytes::from(octets);
            let _ = Letter::read(&octets);
            let _ = Letter::again(&octets, 1);
        }

        #[test]
        fn a_letter_cut_within_its_head_is_refused(at in 0_usize..40) {
            let letter = Letter::write(&message()).unwrap();
            prop_assert_eq!(Letter::read(&letter.octets.slice(..at)), Err(NoLetter));
        }
    }
}
