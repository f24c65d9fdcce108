//! Heart-beats in both directions: what was agreed, when to beat, when the client is lost.
//!
//! Not here: WebSocket pings (`edge` sends them; their pongs are told here). Invariant: whatever
//! goes out or comes in counts as a beat; a 1.0 session has none. A client that has promised no
//! beats may be silent for as long as the node allows, unless it answers pings.

use std::time::{Duration, Instant};

use crate::stomp::Version;

/// A pong that is younger than this excuses silence: the timers of a background tab are throttled,
/// the WebSocket of its browser is not.
const PONG_EXCUSES: Duration = Duration::from_secs(45);
/// What is added to twice the interval, for the way.
const MARGIN: Duration = Duration::from_secs(1);
/// A beat goes out earlier than agreed by this much, or by a fifth of a short interval: the timers
/// of a node are coarse, and the client counts the way too.
const EARLY: Duration = Duration::from_millis(200);
/// Longer intervals are as good as this one.
const INTERVAL_MAX: Duration = Duration::from_secs(24 * 3600);

/// What both sides agreed on; `None` for no beats in that direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Agreed {
    /// How often this server beats.
    pub(super) out: Option<Duration>,
    /// How often the client beats.
    pub(super) incoming: Option<Duration>,
}

/// The header `heart-beat` is not two non-negative integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl Agreed {
    /// Agrees with the header of CONNECT. `out` and `incoming` are this server's offer.
    pub(super) fn negotiate(
        header: Option<&str>,
        version: Version,
        out: Duration,
        incoming: Duration,
    ) -> Result<Self, Malformed> {
        let Some(header) = header.filter(|_| version != Version::V1_0) else {
            return Ok(Self::default());
        };
        let (theirs, wanted) = header.split_once(',').ok_or(Malformed)?;
        let (theirs, wanted) = (millis(theirs)?, millis(wanted)?);
        let both = |one: Duration, other: Duration| {
            let wanted = !one.is_zero() && !other.is_zero();
            wanted.then(|| one.max(other).min(INTERVAL_MAX))
        };
        Ok(Self {
            out: both(out, wanted),
            incoming: both(incoming, theirs),
        })
    }
}

fn millis(text: &str) -> Result<Duration, Malformed> {
    if text.is_empty() || !text.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err(Malformed);
    }
    let millis = text.parse().map_err(|_| Malformed)?;
    Ok(Duration::from_millis(millis))
}

/// The beats of a connected session.
#[derive(Debug)]
pub(super) struct HeartBeat {
    /// What was agreed, in milliseconds, packed because every idle session has it; zero for no beats.
    out_ms: u32,
    incoming_ms: u32,
    heard: Instant,
    sent: Instant,
    ponged: Option<Instant>,
}

/// What the clock asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing yet.
    Nothing,
    /// A beat.
    Beat,
    /// The client was silent for too long.
    Lost,
}

impl HeartBeat {
    pub(super) fn new(now: Instant, agreed: Agreed) -> Self {
        let ms = |interval: Option<Duration>| {
            let ms = interval.map_or(0, |interval| interval.as_millis());
            u32::try_from(ms).unwrap_or(u32::MAX)
        };
        Self {
            out_ms: ms(agreed.out),
            incoming_ms: ms(agreed.incoming),
            heard: now,
            sent: now,
            ponged: None,
        }
    }

    /// Octets came.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// Octets went out, perhaps a while ago.
    pub(super) fn sent(&mut self, at: Instant) {
        self.sent = self.sent.max(at);
    }

    /// A pong came.
    pub(super) fn ponged(&mut self, now: Instant) {
        self.ponged = Some(now);
    }

    /// When the last pong came.
    pub(super) fn last_pong(&self) -> Option<Instant> {
        self.ponged
    }

    /// What was agreed.
    pub(super) fn agreed(&self) -> Agreed {
        let interval = |ms: u32| (ms > 0).then(|| Duration::from_millis(ms.into()));
        Agreed {
            out: interval(self.out_ms),
            incoming: interval(self.incoming_ms),
        }
    }

    /// Nothing more is expected of the client.
    pub(super) fn expect_nothing(&mut self) {
        self.incoming_ms = 0;
    }

    /// What is due. `idle` is how long a client may be silent that promised no beats; zero for ever.
    pub(super) fn due(&self, now: Instant, idle: Duration) -> Due {
        if self.lost_at(idle).is_some_and(|at| at <= now) {
            Due::Lost
        } else if self.beat_at().is_some_and(|at| at <= now) {
            Due::Beat
        } else {
            Due::Nothing
        }
    }

    /// When to look again.
    pub(super) fn deadline(&self, idle: Duration) -> Option<Instant> {
        let both = [self.beat_at(), self.lost_at(idle)];
        both.into_iter().flatten().min()
    }

    /// When the next beat of this server goes out.
    pub(super) fn beat_at(&self) -> Option<Instant> {
        let early = |interval: Duration| interval - EARLY.min(interval / 5);
        self.agreed()
            .out
            .map(|interval| self.sent + early(interval))
    }

    fn lost_at(&self, idle: Duration) -> Option<Instant> {
        match self.agreed().incoming {
            Some(interval) => {
                let excused = self.ponged.map(|at| at + PONG_EXCUSES);
                excused.max(Some(self.heard + interval * 2 + MARGIN))
            }
            None if idle.is_zero() => None,
            None => self.ponged.max(Some(self.heard)).map(|at| at + idle),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUT: Duration = Duration::from_secs(5);
    const IN: Duration = Duration::from_secs(25);

    fn agree(header: &str) -> Result<Agreed, Malformed> {
        Agreed::negotiate(Some(header), Version::V1_2, OUT, IN)
    }

    #[test]
    fn each_direction_takes_the_longer_interval_or_none() {
        let check = |header, out: Option<u64>, incoming: Option<u64>| {
            let expected = Agreed {
                out: out.map(Duration::from_millis),
                incoming: incoming.map(Duration::from_millis),
            };
            assert_eq!(agree(header), Ok(expected), "{header}");
        };
        check("0,0", None, None);
        check("10000,10000", Some(10_000), Some(25_000));
        check("30000,1000", Some(5_000), Some(30_000));
        check("0,20000", Some(20_000), None);
        check("1,0", None, Some(25_000));
        let day = INTERVAL_MAX.as_millis().try_into().unwrap();
        check("18446744073709551615,0", None, Some(day));
        let never = Agreed::negotiate(Some("1,1"), Version::V1_1, Duration::ZERO, Duration::ZERO);
        assert_eq!(never, Ok(Agreed::default()));
        let old = Agreed::negotiate(Some("1,1"), Version::V1_0, OUT, IN);
        assert_eq!(old, Ok(Agreed::default()));
        let silent = Agreed::negotiate(None, Version::V1_2, OUT, IN);
        assert_eq!(silent, Ok(Agreed::default()));
    }

    #[test]
    fn a_malformed_header_is_refused() {
        for header in [
            "",
            "1",
            "1,",
            ",1",
            "1,2,3",
            "-1,0",
            "a,b",
            "1, 2",
            "+1,0",
            "1.5,0",
            "18446744073709551616,0",
        ] {
            assert_eq!(agree(header), Err(Malformed), "{header:?}");
        }
    }

    const NEVER: Duration = Duration::ZERO;

    #[test]
    fn a_beat_goes_out_a_little_before_the_interval_ends() {
        let start = Instant::now();
        let mut beat = HeartBeat::new(start, agree("0,5000").unwrap());
        let early = OUT - EARLY;
        assert_eq!(beat.deadline(NEVER), Some(start + early));
        beat.sent(start + OUT / 2);
        assert_eq!(beat.due(start + OUT, NEVER), Due::Nothing);
        assert_eq!(beat.deadline(NEVER), Some(start + OUT / 2 + early));
        assert_eq!(beat.due(start + OUT / 2 + early, NEVER), Due::Beat);
        let short = Duration::from_millis(100);
        let agreed = Agreed::negotiate(Some("0,100"), Version::V1_2, short, IN);
        let beat = HeartBeat::new(start, agreed.unwrap());
        assert_eq!(beat.deadline(NEVER), Some(start + short * 4 / 5));
    }

    #[test]
    fn a_client_is_lost_after_twice_its_interval_and_a_second() {
        let start = Instant::now();
        let mut beat = HeartBeat::new(start, agree("25000,0").unwrap());
        let limit = Duration::from_secs(51);
        for idle in [NEVER, Duration::from_secs(1)] {
            let before = start + limit - Duration::from_millis(1);
            assert_eq!(beat.due(before, idle), Due::Nothing);
            assert_eq!(beat.due(start + limit, idle), Due::Lost);
        }
        beat.ponged(start + Duration::from_secs(40));
        assert_eq!(beat.due(start + limit, NEVER), Due::Nothing);
        let excused = start + Duration::from_secs(85);
        assert_eq!(beat.deadline(NEVER), Some(excused));
        assert_eq!(beat.due(excused, NEVER), Due::Lost);
        beat.heard(start + Duration::from_secs(60));
        assert_eq!(beat.due(excused, NEVER), Due::Nothing);
        beat.expect_nothing();
        assert_eq!(beat.deadline(NEVER), None);
    }

    #[test]
    fn a_client_without_beats_may_be_silent_for_a_while() {
        let start = Instant::now();
        let idle = Duration::from_secs(90);
        let mut beat = HeartBeat::new(start, Agreed::default());
        assert_eq!(beat.deadline(NEVER), None);
        assert_eq!(beat.deadline(idle), Some(start + idle));
        beat.sent(start + Duration::from_secs(30));
        assert_eq!(beat.deadline(idle), Some(start + idle), "it says nothing");
        beat.ponged(start + Duration::from_secs(40));
        assert_eq!(beat.deadline(idle), Some(start + Duration::from_secs(130)));
        beat.heard(start + Duration::from_secs(50));
        assert_eq!(beat.deadline(idle), Some(start + Duration::from_secs(140)));
        assert_eq!(beat.due(start + Duration::from_secs(140), idle), Due::Lost);
    }
}
