//! The windows of one session: which of them an ACK or a NACK means.
//!
//! Not here: what settling does to a window (`window`). Invariant: whoever answers a message that he
//! was sent is never told that there was none; whoever answers one that he was not sent is.
//!
//! | version | an answer names | by |
//! |---|---|---|
//! | 1.2 | one message of one window | the header `ack`: `<window number>.<n>` |
//! | 1.1 | the first outstanding one that fits, of the subscription | `message-id`, `subscription` |
//! | 1.0 | the first outstanding one that fits | `message-id`, perhaps `subscription` |

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use super::outbox::Outbox;
use super::window::{Kept, Opening, Settled, Window};
use crate::model::{AckMode, SessionId, Verdict};
use crate::session::Delivered;
use crate::stomp::Version;

/// How many ids of settled messages are remembered, of those that are named by `message-id`: an
/// answer that comes twice is no error.
const RECENT_MAX: usize = 1_024;

/// The windows of one session. They are made when the first one is needed.
#[derive(Debug)]
pub(super) struct Windows {
    /// The number of the youngest.
    last: u64,
    open: Vec<Arc<Window>>,
    kept: Arc<Kept>,
    /// Hashes of message ids, the oldest first.
    recent: VecDeque<u64>,
}

/// An answer to a message that was never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such message was sent")]
pub struct NeverIssued;

/// What an answer means.
enum Meant<'a> {
    /// This message of this window.
    Outstanding(&'a Arc<Window>, u64),
    /// One that was settled before, or went with its subscription.
    Past,
}

impl Windows {
    /// None yet, of the session with this outbox.
    pub(super) fn new(outbox: &Arc<Outbox>) -> Self {
        Self {
            last: 0,
            open: Vec::new(),
            kept: Kept::new(outbox),
            recent: VecDeque::new(),
        }
    }

    /// Gives back what is covered for the next burst.
    pub(super) fn rest(&self) {
        self.kept.relax(true);
    }

    /// Makes a window with the next number.
    pub(super) fn open(
        &mut self,
        session: SessionId,
        outbox: &Arc<Outbox>,
        opening: Opening<'_>,
    ) -> Arc<Window> {
        self.last += 1;
        let (outbox, kept) = (Arc::clone(outbox), Arc::clone(&self.kept));
        let window = Window::new(self.last, session, outbox, kept, opening);
        self.open.push(Arc::clone(&window));
        window
    }

    /// Takes the windows out for which this holds; the caller closes them.
    pub(super) fn take(&mut self, mut which: impl FnMut(&Window) -> bool) -> Vec<Arc<Window>> {
        self.open.extract_if(.., |window| which(window)).collect()
    }

    /// Closes a window that was taken out. What its queue gave it goes back.
    pub(super) fn closed(&mut self, window: &Window) {
        for message_id in window.close() {
            self.remember(window.subscriber.version, &message_id);
        }
    }

    /// Whether a message that is named so was sent.
    pub(super) fn is_issued(&self, of: &Delivered) -> bool {
        self.meant(of).is_ok()
    }

    /// Settles what is named so.
    pub(super) fn settle(
        &mut self,
        of: &Delivered,
        verdict: Verdict,
    ) -> Result<Settled, NeverIssued> {
        let (mut settled, version) = match self.meant(of)? {
            Meant::Outstanding(window, n) => (window.settle(n, verdict), window.subscriber.version),
            Meant::Past => (Settled::default(), Version::V1_2),
        };
        for message_id in std::mem::take(&mut settled.message_ids) {
            self.remember(version, &message_id);
        }
        settled.is_expected = self.kept.answered() || settled.is_effective;
        Ok(settled)
    }

    fn meant(&self, of: &Delivered) -> Result<Meant<'_>, NeverIssued> {
        match of {
            Delivered::Ack(ack) => {
                let (number, n) = read(ack).ok_or(NeverIssued)?;
                match self.open.iter().find(|window| window.number == number) {
                    Some(window) if window.has_issued(n) => Ok(Meant::Outstanding(window, n)),
                    Some(_) => Err(NeverIssued),
                    None if (1..=self.last).contains(&number) => Ok(Meant::Past),
                    None => Err(NeverIssued),
                }
            }
            Delivered::Message {
                message_id,
                subscription,
            } => {
                let fits = |window: &&Arc<Window>| {
                    window.mode != AckMode::Auto
                        && subscription.as_deref().is_none_or(|id| *id == *window.id)
                };
                let found = self.open.iter().filter(fits).find_map(|window| {
                    let n = window.outstanding(message_id)?;
                    Some(Meant::Outstanding(window, n))
                });
                match found {
                    Some(found) => Ok(found),
                    None if self.recent.contains(&hash(message_id)) => Ok(Meant::Past),
                    None => Err(NeverIssued),
                }
            }
        }
    }

    fn remember(&mut self, version: Version, message_id: &str) {
        if version >= Version::V1_2 {
            return;
        }
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(hash(message_id));
    }
}

/// Reads `<window number>.<n>` as it is written, and in no other spelling.
fn read(ack: &str) -> Option<(u64, u64)> {
    let number = |text: &str| {
        let is_written_so = text.bytes().all(|octet| octet.is_ascii_digit())
            && !text.starts_with('0')
            && !text.is_empty();
        is_written_so.then(|| text.parse().ok()).flatten()
    };
    let (window, n) = ack.split_once('.')?;
    Some((number(window)?, number(n)?))
}

/// A hash that is the same for the life of the process; two ids that share one only make an error
/// pass unnoticed.
fn hash(message_id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    message_id.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ack_is_read_as_it_was_written_only() {
        for (ack, expected) in [
            ("1.1", Some((1, 1))),
            ("12.345", Some((12, 345))),
            ("", None),
            ("1", None),
            ("1.", None),
            (".1", None),
            ("0.1", None),
            ("1.0", None),
            ("01.1", None),
            ("+1.1", None),
            ("1.1.1", None),
            (" 1.1", None),
            ("1.18446744073709551616", None),
        ] {
            assert_eq!(read(ack), expected, "{ack:?}");
        }
    }
}
