//! One line on the terminal that says how far it is.
//!
//! Not here: results. Invariant: nothing is written when stderr is no terminal, and the line is gone
//! when the run ends.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// How often the line changes.
const EVERY: Duration = Duration::from_millis(250);

/// The line.
#[derive(Debug)]
pub(super) struct Progress {
    is_shown: bool,
    written: Option<Instant>,
}

impl Progress {
    /// A line, if it is wanted and somebody looks.
    pub(super) fn new(is_wanted: bool) -> Self {
        Self {
            is_shown: is_wanted && io::stderr().is_terminal(),
            written: None,
        }
    }

    /// Writes these words instead of the last ones, if it is time.
    pub(super) fn show(&mut self, words: impl FnOnce() -> String) {
        let is_fresh = self.written.is_some_and(|when| when.elapsed() < EVERY);
        if self.is_shown && !is_fresh {
            self.written = Some(Instant::now());
            // Who does not read the line does not miss it.
            let _unread = write!(io::stderr(), "\r\x1b[K{}", words());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.written.is_some() {
            let _unread = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
