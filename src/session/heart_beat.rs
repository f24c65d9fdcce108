//! Heart-beats in both directions: what was agreed, when to beat, when the client is lost.
//!
//! Not here: WebSocket pings (`edge` sends them; their pongs are told here). Invariant: whatever
//! goes out or comes in counts as a beat; a 1.0 session has none.

use std::time::{Duration, Instant};

use crate::stomp::Version;

/// A pong that is younger than this excuses silence: the timers of a background tab are throttled,
/// the WebSocket of its browser is not.
const PONG_EXCUSES: Duration = Duration::from_secs(45);
/// What is added to twice the interval, for the way.
const MARGIN: Duration = Duration::from_secs(1);
/// How long a client that does not beat may be silent once it has answered a ping, with nothing
/// going out either. Longer than three pings.
const IDLE_MAX: Duration = Duration::from_secs(90);
/// Longer intervals are as good as this one.
const INTERVAL_MAX: Duration = Duration::from_secs(24 * 3600);

/// What both sides agreed on; `None` for no beats in that direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Agreed {
    /// How often this server beats.
    out: Option<Duration>,
    /// How often the client beats.
    incoming: Option<Duration>,
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
    agreed: Agreed,
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
        Self {
            agreed,
            heard: now,
            sent: now,
            ponged: None,
        }
    }

    /// Octets came.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// Octets went out.
    pub(super) fn sent(&mut self, now: Instant) {
        self.sent = now;
    }

    /// A pong came.
    pub(super) fn ponged(&mut self, now: Instant) {
        self.ponged = Some(now);
    }

    /// When the last pong came.
    pub(super) fn last_pong(&self) -> Option<Instant> {
        self.ponged
    }

    pub(super) fn due(&self, now: Instant) -> Due {
        if self.lost_at().is_some_and(|at| at <= now) {
            Due::Lost
        } else if self.beat_at().is_some_and(|at| at <= now) {
            Due::Beat
        } else {
            Due::Nothing
        }
    }

    /// When to look again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        [self.beat_at(), self.lost_at()].into_iter().flatten().min()
    }

    fn beat_at(&self) -> Option<Instant> {
        self.agreed.out.map(|interval| self.sent + interval)
    }

    fn lost_at(&self) -> Option<Instant> {
        let excused = self.ponged.map(|at| at + PONG_EXCUSES);
        match self.agreed.incoming {
            Some(interval) => excused.max(Some(self.heard + interval * 2 + MARGIN)),
            // Only a client that has answered a ping is known to be pinged.
            None => self
                .ponged
                .map(|at| at.max(self.heard).max(self.sent) + IDLE_MAX),
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

    #[test]
    fn a_beat_is_due_an_interval_after_the_last_octet_out() {
        let start = Instant::now();
        let mut beat = HeartBeat::new(start, agree("0,5000").unwrap());
        assert_eq!(beat.deadline(), Some(start + OUT));
        beat.sent(start + OUT / 2);
        assert_eq!(beat.due(start + OUT), Due::Nothing);
        assert_eq!(beat.deadline(), Some(start + OUT / 2 + OUT));
        assert_eq!(beat.due(start + OUT / 2 + OUT), Due::Beat);
    }

    #[test]
    fn a_client_is_lost_after_twice_its_interval_and_a_second() {
        let start = Instant::now();
        let mut beat = HeartBeat::new(start, agree("25000,0").unwrap());
        let limit = Duration::from_secs(51);
        assert_eq!(
            beat.due(start + limit - Duration::from_millis(1)),
            Due::Nothing
        );
        assert_eq!(beat.due(start + limit), Due::Lost);
        beat.ponged(start + Duration::from_secs(40));
        assert_eq!(beat.due(start + limit), Due::Nothing);
        assert_eq!(beat.deadline(), Some(start + Duration::from_secs(85)));
        assert_eq!(beat.due(start + Duration::from_secs(85)), Due::Lost);
        beat.heard(start + Duration::from_secs(60));
        assert_eq!(beat.due(start + Duration::from_secs(85)), Due::Nothing);
    }

    #[test]
    fn a_client_without_beats_is_lost_when_its_pongs_end() {
        let start = Instant::now();
        let mut beat = HeartBeat::new(start, Agreed::default());
        assert_eq!(beat.deadline(), None, "nobody knows whether it is pinged");
        beat.ponged(start);
        beat.sent(start + Duration::from_secs(30));
        assert_eq!(beat.deadline(), Some(start + Duration::from_secs(120)));
    }
}
