//! How many lines the log may have, and what becomes of one that cannot be written.
//!
//! Not here: which lines there are (`telemetry`). Invariants: whatever clients do, each place in the code adds a bounded
//! number of lines; a line that cannot be written is lost and counted, and the task that logs it goes on.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Event, Subscriber};
use tracing_appender::non_blocking::ErrorCounter;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// So many lines of one place in the code are written in each window.
const LINES_MAX: u32 = 100;
const WINDOW: Duration = Duration::from_secs(10);

/// Lines that were left out, and lines that could not be written, since they were reported last.
static LEFT_OUT: AtomicU64 = AtomicU64::new(0);
static UNWRITTEN: AtomicU64 = AtomicU64::new(0);

/// Lines that were lost while the reader of the log was too slow, since the node started, and how many were reported.
static LOST: OnceLock<ErrorCounter> = OnceLock::new();
static LOST_REPORTED: AtomicU64 = AtomicU64::new(0);

/// From now on the lines that this counts are reported.
pub(super) fn count_lost(lost: ErrorCounter) {
    let _counted_already = LOST.set(lost);
}

/// Says how many lines are missing, if any are. Call it every minute.
pub(in crate::node) fn report_missing() {
    let lost = LOST.get().map_or(0, |lost| lost.dropped_lines() as u64);
    let unread = lost.saturating_sub(LOST_REPORTED.swap(lost, Relaxed));
    metrics::counter!("log_lines_lost_total", "why" => "unread").increment(unread);
    let (left_out, unwritten) = (
        LEFT_OUT.swap(0, Relaxed),
        UNWRITTEN.swap(0, Relaxed) + unread,
    );
    if left_out > 0 || unwritten > 0 {
        tracing::warn!(
            left_out,
            unwritten,
            "lines of the log are missing: more than {LINES_MAX} of one kind came in {} s, or they could not be written, or not as fast as they came",
            WINDOW.as_secs()
        );
    }
}

/// Leaves out what one place in the code says too often: a client who is refused thousands of times a second would fill the
/// disk.
#[derive(Debug, Default)]
pub(super) struct LineLimit {
    /// As many as there are places in the code that log. A std mutex: held for one look-up.
    windows: Mutex<HashMap<Identifier, Window>>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    lines: u32,
}

impl LineLimit {
    /// Whether a line of this place is written.
    fn takes(&self, place: Identifier, now: Instant) -> bool {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let window = windows.entry(place).or_insert(Window {
            began: now,
            lines: 0,
        });
        if now.saturating_duration_since(window.began) >= WINDOW {
            *window = Window {
                began: now,
                lines: 0,
            };
        }
        window.lines = window.lines.saturating_add(1);
        window.lines <= LINES_MAX
    }
}

// A layer for all, not a `Filter` of one: those of tracing-subscriber 0.3.23 mark the next event too when they leave one out.
impl<S: Subscriber> Layer<S> for LineLimit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let is_taken = self.takes(event.metadata().callsite(), Instant::now());
        if !is_taken {
            LEFT_OUT.fetch_add(1, Relaxed);
            metrics::counter!("log_lines_lost_total", "why" => "too_many").increment(1);
        }
        is_taken
    }
}

/// The standard error, whose failures end nobody: with its disk full or its reader gone the node goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if io::stderr().write_all(line).is_err() {
            UNWRITTEN.fetch_add(1, Relaxed);
            metrics::counter!("log_lines_lost_total", "why" => "unwritten").increment(1);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tracing::Callsite as _;
    use tracing::metadata::Kind;

    use super::*;

    fn places() -> [Identifier; 2] {
        let one = tracing::callsite! { name: "one", kind: Kind::EVENT, fields: };
        let other = tracing::callsite! { name: "other", kind: Kind::EVENT, fields: };
        [one.metadata().callsite(), other.metadata().callsite()]
    }

    #[test]
    fn one_place_adds_a_bounded_number_of_lines() {
        let (limit, began) = (LineLimit::default(), Instant::now());
        let [one, other] = places();
        let taken = |place: &Identifier, at: Instant| {
            (0..1_000)
                .filter(|_| limit.takes(place.clone(), at))
                .count()
        };
        assert_eq!(taken(&one, began), 100);
        assert_eq!(taken(&one, began + WINDOW / 2), 0);
        assert_eq!(taken(&other, began + WINDOW / 2), 100, "each for itself");
        assert_eq!(taken(&one, began + WINDOW), 100);
    }
}
