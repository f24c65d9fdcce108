//! How much a session, a user and a network may send.
//!
//! Not here: the arithmetic (`policy::bucket`), where levels are kept (`quota`). Invariant: a
//! message is taken from the bucket of its writer and from that of his network; a session that does
//! not heed the refusals is closed.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::{App, Live};
use crate::model::{CloseReason, Code, Kind, Principal, Problem};
use crate::policy::bucket::{self, Level, Rate, Verdict};

/// So many refusals within [`REFUSALS_WITHIN`] close the connection with 4429.
const REFUSALS_MAX: u32 = 300;
const REFUSALS_WITHIN: Duration = Duration::from_secs(60);

/// What one session has done lately. It belongs to the connection, so it is kept here and not in
/// the shared quota.
#[derive(Debug)]
pub struct Activity {
    started: Instant,
    /// The buckets of its messages; made for the first of them.
    buckets: OnceLock<Box<Buckets>>,
    /// A std mutex: it is held for some arithmetic.
    state: Mutex<State>,
}

/// The keys of the buckets from which a message is taken.
#[derive(Debug)]
struct Buckets {
    own: Box<str>,
    network: Box<str>,
}

impl Buckets {
    fn of(sender: &Principal) -> Self {
        let own = match sender.kind {
            Kind::Member | Kind::Bot | Kind::Admin => format!("rate:auth:{}", sender.user_id),
            Kind::Anonymous if sender.standing.is_loose() => {
                format!("rate:anon:{}", sender.client_identifier)
            }
            // Without the fingerprint: whoever has a secret could come with another user agent, and
            // with it find a full bucket.
            Kind::Anonymous => format!("rate:anon:{}", sender.user_id),
        };
        Self {
            own: own.into(),
            network: format!("rate:net:{}", sender.network).into(),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    frames: Frames,
    refusals: u32,
    refusals_since: Duration,
}

/// What the bucket of frames holds.
#[derive(Clone, Copy, Debug, Default)]
enum Frames {
    /// Nothing was taken yet: it is full.
    #[default]
    Untouched,
    Level(Level),
    /// Everything that is done was paid for before: a transaction takes what it needs at once.
    Prepaid,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            buckets: OnceLock::new(),
            state: Mutex::default(),
        }
    }
}

impl Activity {
    /// Of a transaction whose messages were taken from the buckets.
    pub(super) fn prepaid() -> Self {
        let activity = Self::default();
        activity.lock().frames = Frames::Prepaid;
        activity
    }

    fn is_prepaid(&self) -> bool {
        matches!(self.lock().frames, Frames::Prepaid)
    }

    /// Counts a frame that is no message. When it is one too many, says when the next may come.
    fn take_frame(&self, rate: Rate) -> Result<(), u64> {
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut state = self.lock();
        let level = match state.frames {
            Frames::Untouched => Level::full(now_ms, rate),
            Frames::Level(level) => level,
            Frames::Prepaid => return Ok(()),
        };
        let (left, verdict) = bucket::take(level, now_ms, rate, 1);
        state.frames = Frames::Level(left);
        match verdict {
            Verdict::Allowed { .. } => Ok(()),
            Verdict::Refused { retry_after_ms } => Err(retry_after_ms),
        }
    }

    /// Counts a refusal; whether it was one too many.
    fn is_abusive(&self) -> bool {
        let now = self.started.elapsed();
        let mut state = self.lock();
        if now.saturating_sub(state.refusals_since) > REFUSALS_WITHIN {
            state.refusals_since = now;
            state.refusals = 0;
        }
        state.refusals += 1;
        state.refusals >= REFUSALS_MAX
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl App {
    /// Takes one message from the buckets of its writer and of his network. Returns how many are
    /// left, as far as is known.
    pub(super) async fn take_message(&self, live: &Live) -> Result<u32, Problem> {
        if live.activity.is_prepaid() {
            return Ok(u32::MAX);
        }
        let sender = &live.principal;
        let rate = match sender.kind {
            Kind::Member | Kind::Bot | Kind::Admin => self.settings.rate_member,
            Kind::Anonymous => self.settings.rate_visitor,
        };
        let made = || Box::new(Buckets::of(sender));
        let buckets = live.activity.buckets.get_or_init(made);
        let own = self.quota.take(&buckets.own, rate).await;
        let shared = match own {
            Verdict::Allowed { .. } => {
                let rate = self.settings.rate_network;
                self.quota.take(&buckets.network, rate).await
            }
            Verdict::Refused { .. } => own,
        };
        match (own, shared) {
            (Verdict::Allowed { remaining }, Verdict::Allowed { .. }) => Ok(remaining),
            (_, Verdict::Refused { retry_after_ms })
            | (Verdict::Refused { retry_after_ms }, Verdict::Allowed { .. }) => {
                Err(too_fast(live, retry_after_ms))
            }
        }
    }

    /// How many messages a session may send at once, if that is limited.
    pub(super) fn burst(&self, live: &Live) -> Option<u32> {
        let own = match live.principal.kind {
            Kind::Member | Kind::Bot | Kind::Admin => self.settings.rate_member,
            Kind::Anonymous => self.settings.rate_visitor,
        };
        let rates = [own, self.settings.rate_network].into_iter();
        let limits = rates.filter(|rate| !rate.is_off());
        limits.map(|rate| rate.capacity).min()
    }

    /// Takes one frame that is no message from the bucket of the connection.
    pub(super) fn take_frame(&self, live: &Live) -> Result<(), Problem> {
        let taken = live.activity.take_frame(self.settings.rate_frames);
        taken.map_err(|retry_after_ms| too_fast(live, retry_after_ms))
    }
}

/// The refusal. A session that does not heed it is cut.
fn too_fast(live: &Live, retry_after_ms: u64) -> Problem {
    if live.activity.is_abusive() {
        let text = format!("rate_limited;retry_after_ms={retry_after_ms}");
        live.outbox.cut(CloseReason {
            code: 4429,
            text: text.into(),
        });
    }
    let words = "Too much in too short a time. Wait for `retry_after_ms` and send again.";
    Problem::new(Code::RateLimited, words).retry_after_ms(retry_after_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_one_connection_are_limited() {
        let activity = Activity::default();
        let rate = Rate {
            capacity: 3,
            per_10_min: 1,
        };
        let taken = (0..5).filter(|_| activity.take_frame(rate).is_ok()).count();
        assert_eq!(taken, 3);
        let off = Rate {
            capacity: 0,
            per_10_min: 0,
        };
        assert!(Activity::default().take_frame(off).is_ok());
        let prepaid = Activity::prepaid();
        assert!((0..5).all(|_| prepaid.take_frame(rate).is_ok()));
    }

    #[test]
    fn three_hundred_refusals_in_a_minute_are_abuse() {
        let activity = Activity::default();
        let verdicts: Vec<bool> = (0..REFUSALS_MAX).map(|_| activity.is_abusive()).collect();
        assert_eq!(verdicts.iter().filter(|abusive| **abusive).count(), 1);
        assert_eq!(verdicts.last(), Some(&true));
    }
}
