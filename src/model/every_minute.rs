//! What is logged once a minute, however often it happens.
//!
//! Not here: the log. Invariant: what clients can make happen without end writes a bounded number of lines, and each line
//! says for how many it stands.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

/// Counts one kind of event.
#[derive(Debug, Default)]
pub struct EveryMinute(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    number: u64,
    logged_at: Option<Instant>,
}

impl EveryMinute {
    /// Of which nothing has happened yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(Counted {
            number: 0,
            logged_at: None,
        }))
    }

    /// It has happened. If a line is due, how often since the last one.
    pub fn due(&self, now: Instant) -> Option<u64> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.number += 1;
        let is_due = (counted.logged_at).is_none_or(|at| now.duration_since(at) >= MINUTE);
        is_due.then(|| {
            counted.logged_at = Some(now);
            std::mem::take(&mut counted.number)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_logged_at_once_and_then_one_line_a_minute_says_how_many_there_were() {
        let (events, began) = (EveryMinute::new(), Instant::now());
        let at = |seconds| events.due(began + Duration::from_secs(seconds));
        assert_eq!(
            [at(0), at(1), at(59), at(60), at(61)],
            [Some(1), None, None, Some(3), None]
        );
    }
}
