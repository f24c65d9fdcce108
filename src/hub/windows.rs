//! The windows of one session: which of them an ACK or a NACK means.
//!
//! Not here: what settling does to a window (`window`). Invariant: a client that answers a message
//! it was sent is never told that there was none; one that answers a message it was not sent is.
//!
//! | version | an answer names | by |
//! |---|---|---|
//! | 1.2 | one message of one window | the header `ack`: `<window number>.<n>` |
//! | 1.1 | the first outstanding one that fits, of the subscription | `message-id`, `subscription` |
//! | 1.0 | the first outstanding one that fits | `message-id`, perhaps `subscription` |

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::outbox::Outbox;
use super::window::{self, Kept, Opening, Settled, UnsettledIds, Window, hash};
use crate::model::{SessionId, Verdict};
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
    /// In the order of their numbers.
    open: Vec<Arc<Window>>,
    /// The hash of a subscription id and the number of its window, where answers name the subscription.
    subscriptions: BTreeSet<(u64, u64)>,
    kept: Arc<Kept>,
    /// Made with the first window whose messages are named by their ids.
    ids: Option<Arc<UnsettledIds>>,
    /// Hashes of message ids, the oldest first. Two ids that share one only make an error pass unnoticed.
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
            subscriptions: BTreeSet::new(),
            ids: None,
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
        let ids = (opening.subscriber.version < Version::V1_2).then(|| {
            self.subscriptions.insert((hash(opening.id), self.last));
            Arc::clone(self.ids.get_or_insert_default())
        });
        let (outbox, kept) = (Arc::clone(outbox), Arc::clone(&self.kept));
        let window = Window::new(self.last, session, outbox, (kept, ids), opening);
        self.open.push(Arc::clone(&window));
        window
    }

    /// Takes the windows out for which this holds; the caller closes them.
    pub(super) fn take(&mut self, mut which: impl FnMut(&Window) -> bool) -> Vec<Arc<Window>> {
        let taken: Vec<_> = self.open.extract_if(.., |window| which(window)).collect();
        for window in &taken {
            self.subscriptions
                .remove(&(hash(&window.id), window.number));
        }
        taken
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
        settled.is_expected = self.kept.answered() || settled.is_effective();
        Ok(settled)
    }

    fn meant(&self, of: &Delivered) -> Result<Meant<'_>, NeverIssued> {
        match of {
            Delivered::Ack(ack) => {
                let (number, n) = read(ack).ok_or(NeverIssued)?;
                match self.window(number) {
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
                let hash = hash(message_id);
                let found = match subscription {
                    None => self.next(hash, message_id, (0, 0), u64::MAX),
                    Some(id) => self.first_of(id, hash, message_id),
                };
                match found {
                    Some((window, n)) => Ok(Meant::Outstanding(window, n)),
                    None if self.recent.contains(&hash) => Ok(Meant::Past),
                    None => Err(NeverIssued),
                }
            }
        }
    }

    /// The open window with this number.
    fn window(&self, number: u64) -> Option<&Arc<Window>> {
        let at = self
            .open
            .binary_search_by_key(&number, |window| window.number);
        self.open.get(at.ok()?)
    }

    /// The first outstanding message with this id of one subscription. It has one window, or for a moment a second
    /// one that is being closed.
    fn first_of(&self, id: &str, hash: u64, message_id: &str) -> Option<(&Arc<Window>, u64)> {
        let same = window::hash(id);
        let mut numbers = self.subscriptions.range((same, 0)..=(same, u64::MAX));
        numbers.find_map(|(_, number)| {
            let found = self.next(hash, message_id, (*number, 0), *number)?;
            (*found.0.id == *id).then_some(found)
        })
    }

    /// The first outstanding message with this id at or after `from`, in windows up to `last`.
    fn next(
        &self,
        hash: u64,
        message_id: &str,
        mut from: (u64, u64),
        last: u64,
    ) -> Option<(&Arc<Window>, u64)> {
        let ids = self.ids.as_ref()?;
        loop {
            let (number, n) = ids.next(hash, from).filter(|(number, _)| *number <= last)?;
            // Another id may have the same hash.
            match self.window(number) {
                Some(window) if window.is_outstanding(n, message_id) => return Some((window, n)),
                Some(_) | None => from = (number, n + 1),
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
