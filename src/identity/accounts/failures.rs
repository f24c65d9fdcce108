//! How often somebody may be wrong: five wrong passwords in 15 minutes for an account from a network,
//! and more from all networks, and for all accounts of a network.
//!
//! Counted twice. This node remembers when somebody failed, and refuses the next try before any work
//! is done; and each failure takes a token from a bucket that the nodes share, so that one who goes
//! from node to node is refused too (each node lets him fail once more and then knows). A success
//! takes nothing. Not here: what is hashed (`passwords`). Invariants: what is remembered is bounded,
//! and holds no e-mail and no address, only keyed hashes; when there is no room, what refuses nobody is forgotten before
//! what refuses the next try, so that failures with many accounts open none that is locked.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::model::{Code, Problem, UnixMillis};
use crate::policy::bucket::{Rate, Verdict};
use crate::quota::{Quota, Recent, Worth};

/// In what time failures count.
const WINDOW: Duration = Duration::from_secs(15 * 60);

/// How many accounts and networks are remembered.
const KEYS_MAX: usize = 20_000;

/// What refuses the next try is worth more than any number of failures.
const REFUSES: u64 = 1 << 40;

/// When a password was wrong, and until when another node's word counts.
#[derive(Clone, Debug, Default)]
struct Wrong {
    max: u32,
    at: Vec<UnixMillis>,
    refused_until: UnixMillis,
}

/// The failures that this node knows of.
#[derive(Debug)]
pub(super) struct Failures {
    /// A std mutex: it guards a look-up and is never held across an await.
    known: Mutex<Recent<Wrong>>,
}

/// What is counted together: an account or a network, and how often it may be wrong.
#[derive(Clone, Debug)]
pub(super) struct Counter {
    pub(super) key: String,
    pub(super) max: u32,
}

impl Failures {
    pub(super) fn new() -> Self {
        Self {
            known: Mutex::new(Recent::new(KEYS_MAX)),
        }
    }

    /// Whether another try may be made.
    ///
    /// # Errors
    /// `rate_limited`, with when.
    pub(super) fn check(&self, counters: &[Counter], now: UnixMillis) -> Result<(), Problem> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = |counter: &Counter| known.get(&counter.key)?.wait(counter.max, now);
        match counters.iter().filter_map(wait).max() {
            None => Ok(()),
            Some(retry_after_ms) => Err(refusal(retry_after_ms)),
        }
    }

    /// Somebody was wrong.
    pub(super) async fn note(&self, counters: &[Counter], quota: &dyn Quota, now: UnixMillis) {
        for counter in counters.iter().filter(|counter| counter.max > 0) {
            let rate = Rate {
                capacity: counter.max,
                // Five in 15 minutes are three and a third in ten.
                per_10_min: (counter.max * 2 / 3).max(1),
            };
            let verdict = quota.take(&counter.key, rate).await;
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.with(&counter.key, now.0, Wrong::default, |wrong| {
                wrong.note(counter.max, verdict, now);
            });
        }
    }
}

impl Worth for Wrong {
    fn worth(&self, now_ms: u64) -> u64 {
        let now = UnixMillis(now_ms);
        match self.wait(self.max, now) {
            Some(wait_ms) => REFUSES + wait_ms,
            None => self.recent(now).count() as u64,
        }
    }
}

impl Wrong {
    fn note(&mut self, max: u32, verdict: Verdict, now: UnixMillis) {
        self.max = max;
        self.at.retain(|at| now.since(*at) < WINDOW);
        self.at.push(now);
        // The latest are enough.
        let spare = self.at.len().saturating_sub(max as usize);
        self.at.drain(..spare);
        if let Verdict::Refused { retry_after_ms } = verdict {
            let until = now.after(Duration::from_millis(retry_after_ms));
            self.refused_until = self.refused_until.max(until);
        }
    }

    /// The failures that count.
    fn recent(&self, now: UnixMillis) -> impl Iterator<Item = UnixMillis> {
        let times = self.at.iter().copied();
        times.filter(move |at| now.since(*at) < WINDOW)
    }

    /// In how many milliseconds another try may be made; `None` for now.
    fn wait(&self, max: u32, now: UnixMillis) -> Option<u64> {
        if max == 0 {
            return None;
        }
        let mut recent: Vec<UnixMillis> = self.recent(now).collect();
        recent.sort_unstable();
        let over = recent.len().checked_sub(max as usize);
        // The oldest of the last `max` must be out of the window first.
        let by_window = over
            .and_then(|over| recent.get(over))
            .map(|at| at.after(WINDOW));
        let until = by_window.unwrap_or_default().max(self.refused_until);
        let wait = until.0.saturating_sub(now.0);
        (wait > 0).then_some(wait)
    }
}

fn refusal(retry_after_ms: u64) -> Problem {
    Problem::new(
        Code::RateLimited,
        "The password was wrong too often; wait, or set a new one by e-mail.",
    )
    .retry_after_ms(retry_after_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::{MemoryQuota, QuotaSettings};

    const START: UnixMillis = UnixMillis(1_000_000_000);

    fn counter(key: &str) -> Vec<Counter> {
        vec![Counter {
            key: key.to_owned(),
            max: 5,
        }]
    }

    #[tokio::test]
    async fn five_failures_in_fifteen_minutes_and_then_the_oldest_must_pass() {
        let quota = MemoryQuota::new(QuotaSettings::default());
        let (failures, kim) = (Failures::new(), counter("login:acct:kim"));
        for minute in 0..5 {
            let now = START.after(Duration::from_secs(60 * minute));
            assert!(failures.check(&kim, now).is_ok(), "{minute}");
            failures.note(&kim, &quota, now).await;
        }
        let now = START.after(Duration::from_secs(300));
        let problem = failures.check(&kim, now).unwrap_err();
        assert_eq!(problem.code, Code::RateLimited);
        assert_eq!(problem.retry_after_ms, Some(600_000));
        assert!(failures.check(&counter("login:acct:lee"), now).is_ok());
        assert!(failures.check(&kim, START.after(WINDOW)).is_ok());
        failures.note(&kim, &quota, START.after(WINDOW)).await;
        let next = failures.check(&kim, START.after(WINDOW)).unwrap_err();
        assert!(next.retry_after_ms.is_some_and(|wait| wait >= 60_000));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_with_many_accounts_open_none_that_is_locked() {
        let quota = MemoryQuota::new(QuotaSettings::default());
        let failures = Failures::new();
        for number in 0..100 {
            let locked = counter(&format!("login:acct:locked{number}"));
            for _ in 0..5 {
                failures.note(&locked, &quota, START).await;
            }
        }
        for number in 0..2 * KEYS_MAX {
            let other = counter(&format!("login:acct:{number}"));
            let now = START.after(Duration::from_millis(number as u64));
            failures.note(&other, &quota, now).await;
        }
        let now = START.after(Duration::from_secs(60));
        assert_eq!(failures.known.lock().unwrap().len(), KEYS_MAX);
        for number in 0..100 {
            let locked = counter(&format!("login:acct:locked{number}"));
            assert!(failures.check(&locked, now).is_err(), "{number}");
        }
        // A quarter of an hour later there is nothing that says anything.
        let later = START.after(2 * WINDOW);
        for step in 0..200 {
            let now = later.after(Duration::from_millis(step * 100));
            failures.note(&counter("login:acct:kim"), &quota, now).await;
        }
        assert_eq!(failures.known.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn what_other_nodes_have_seen_counts_after_one_more_failure() {
        let quota = MemoryQuota::new(QuotaSettings::default());
        let kim = counter("login:acct:kim");
        let (here, there) = (Failures::new(), Failures::new());
        for _ in 0..5 {
            here.note(&kim, &quota, START).await;
        }
        assert!(here.check(&kim, START).is_err());
        assert!(there.check(&kim, START).is_ok());
        there.note(&kim, &quota, START).await;
        assert!(there.check(&kim, START).is_err());
    }

    #[tokio::test]
    async fn remembered_failures_are_bounded() {
        let quota = MemoryQuota::new(QuotaSettings::default());
        let failures = Failures::new();
        for number in 0..2 * KEYS_MAX {
            failures
                .note(&counter(&number.to_string()), &quota, START)
                .await;
        }
        assert!(failures.known.lock().unwrap().len() <= KEYS_MAX);
    }
}
