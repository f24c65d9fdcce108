//! What an ACK or a NACK does to its window, and the end of a window.
//!
//! Not here: which window an answer means (`windows`), what is delivered (`window`). Invariant: a message is settled
//! once, and an answer costs in proportion to the messages that it settles, not to those that are unsettled.

use std::sync::Arc;

use super::{Entry, State, Window};
use crate::bus::queue::{NACKS_MAX, Settler, Tag};
use crate::model::{AckMode, Verdict};

/// What an ACK or a NACK has settled, and what is left to do about it.
#[derive(Debug, Default)]
pub struct Settled {
    /// How many messages were outstanding and are settled now.
    pub count: usize,
    /// Whether a message had gone out that was not answered yet. An answer that is not expected and
    /// has no effect may be counted against its client.
    pub is_expected: bool,
    /// What the engine of the queue is to be told.
    pub told: Option<(Arc<dyn Settler>, Vec<Tag>)>,
    /// A window that goes on when the outbox has room ([`Window::release_later`]).
    pub waiting: Option<Arc<Window>>,
    /// The ids of the messages.
    pub(in crate::hub) message_ids: Vec<Box<str>>,
}

impl Settled {
    /// Whether anything was outstanding.
    #[must_use]
    pub fn is_effective(&self) -> bool {
        self.count > 0
    }
}

impl Window {
    /// Whether a message with this number went out.
    pub(in crate::hub) fn has_issued(&self, n: u64) -> bool {
        (1..=self.lock().issued).contains(&n)
    }

    /// Whether message `n` is unsettled and has this id.
    pub(in crate::hub) fn is_outstanding(&self, n: u64, message_id: &str) -> bool {
        let state = self.lock();
        let entry = state.unsettled.get(&n);
        entry.is_some_and(|entry| &*entry.content.message_id == message_id)
    }

    /// Settles the message with this number, and in the mode `client` those before it.
    pub(in crate::hub) fn settle(self: &Arc<Self>, n: u64, verdict: Verdict) -> Settled {
        let mut state = self.lock();
        let these = self.take(&mut state, n);
        let mut settled = Settled {
            count: these.len(),
            ..Settled::default()
        };
        if these.is_empty() {
            return settled;
        }
        let mut tags = Vec::new();
        let mut again = Vec::new();
        for mut entry in these {
            self.kept.settled(&entry);
            settled.message_ids.push(entry.content.message_id.clone());
            if let Some(tag) = entry.content.tag {
                tags.push(tag);
                continue;
            }
            entry.nacks += 1;
            if verdict == Verdict::Requeue && entry.nacks < NACKS_MAX {
                entry.content.redelivered = true;
                again.push(entry);
            }
        }
        for entry in again.into_iter().rev() {
            self.kept.wait(&entry);
            state.backlog.push_front(entry);
        }
        if !tags.is_empty() {
            settled.told = state.settler.clone().map(|settler| (settler, tags));
        }
        settled.waiting = self.release(&mut state).then(|| Arc::clone(self));
        self.kept.relax(false);
        if let Some(fed) = &self.fed {
            fed.freed.notify_waiters();
        }
        settled
    }

    /// Takes out what an answer to message `n` settles; nothing when that is not outstanding.
    fn take(&self, state: &mut State, n: u64) -> Vec<Entry> {
        let mut these = Vec::new();
        if !state.unsettled.contains_key(&n) {
            return these;
        }
        let is_cumulative = self.mode != AckMode::ClientIndividual;
        // One by one from the front: to split the map would count what stays in it.
        while is_cumulative
            && let Some(first) = state.unsettled.first_entry()
            && *first.key() < n
        {
            let (number, entry) = first.remove_entry();
            self.forget_id(number, &entry);
            these.push(entry);
        }
        if let Some(entry) = state.unsettled.remove(&n) {
            self.forget_id(n, &entry);
            these.push(entry);
        }
        these
    }

    /// Nothing of it is queued any more; what its queue gave it goes back. Returns the ids of what
    /// was not settled.
    pub(in crate::hub) fn close(&self) -> Vec<Box<str>> {
        let (unsettled, backlog, settler) = {
            let mut state = self.lock();
            state.is_closed = true;
            (
                std::mem::take(&mut state.unsettled),
                std::mem::take(&mut state.backlog),
                state.settler.take(),
            )
        };
        for entry in &backlog {
            self.kept.waits_no_more(entry);
        }
        if let Some(fed) = &self.fed {
            fed.closed.cancel();
        }
        drop(settler);
        let ids = unsettled.into_iter().map(|(n, entry)| {
            self.kept.settled(&entry);
            self.forget_id(n, &entry);
            entry.content.message_id
        });
        let ids = ids.collect();
        self.kept.relax(false);
        ids
    }

    fn forget_id(&self, n: u64, entry: &Entry) {
        if let Some(ids) = &self.ids {
            ids.remove(&entry.content.message_id, self.number, n);
        }
    }
}

impl Drop for Window {
    /// A window that nobody closed: what it counted is given back.
    fn drop(&mut self) {
        let _ids = self.close();
    }
}
