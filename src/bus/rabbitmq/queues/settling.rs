//! What a consumer has taken and not settled, and how it settles.
//!
//! Not here: the channel's life (`consuming`). A refusal counts, which a broker does not do for us:
//! the message is published again with one more, and the original is acknowledged when the copy is
//! confirmed, so it moves to the end of its queue. A queue that is full takes no copy; the original
//! then goes back as it is, and the refusal counts here. Invariant: nothing is acknowledged whose copy
//! is not confirmed; a copy and its original may both live, never neither.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use lapin::Acker;
use lapin::options::{BasicAckOptions, BasicNackOptions};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::letter::Letter;
use super::{Core, Handed};
use crate::budget::{Chunks, Claimant, Evict, Lease, Memory, granted};
use crate::bus::queue::{DeadReason, NACKS_MAX, QueueError, Settler, Tag, Wish, dead_letters_of};
use crate::model::Verdict;

/// How long it may take to write an acknowledgement to the broker.
const WRITE_WITHIN: Duration = Duration::from_secs(2);

/// Of how many messages a consumer counts the refusals itself; the oldest is forgotten. More than
/// it has unsettled, unless `PREFETCH_MAX` was raised.
const UNCOPIED_MAX: usize = 4_096;

/// How much of what a consumer has taken is covered at once.
const CHUNKS: Chunks = Chunks {
    bytes: 16 << 10,
    slack: 64 << 10,
};

/// What a message that is taken costs besides its bytes.
const TAKEN_BYTES: u64 = 256;

/// What a consumer has taken.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    /// A std mutex: held for a few map operations and a turn of the byte account.
    state: Mutex<State>,
    /// Cancelled when the byte account does not grant what was taken, or takes it away.
    pub(super) refused: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    tags: u64,
    taken: BTreeMap<u64, TakenMessage>,
    uncopied: Uncopied,
    /// What the messages above occupy, and what covers it.
    bytes: u64,
    lease: Option<Lease>,
}

/// The refusals of which the queue had no room to keep count: how many, by the hash of the message.
/// Two messages that share one only die a little earlier.
#[derive(Debug, Default)]
struct Uncopied(VecDeque<(u64, u8)>);

impl Uncopied {
    fn of(&self, octets: &[u8]) -> u8 {
        let hash = hash(octets);
        let known = self.0.iter().find(|(other, _)| *other == hash);
        known.map_or(0, |(_, count)| *count)
    }

    fn count(&mut self, octets: &[u8]) {
        let hash = hash(octets);
        if let Some((_, count)) = self.0.iter_mut().find(|(other, _)| *other == hash) {
            *count = count.saturating_add(1);
            return;
        }
        if self.0.len() == UNCOPIED_MAX {
            self.0.pop_front();
        }
        self.0.push_back((hash, 1));
    }

    fn forget(&mut self, octets: &[u8]) {
        if !self.0.is_empty() {
            let hash = hash(octets);
            self.0.retain(|(other, _)| *other != hash);
        }
    }
}

fn hash(octets: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    octets.hash(&mut hasher);
    hasher.finish()
}

/// A message that a consumer has taken and not settled.
#[derive(Clone, Debug)]
pub(super) struct TakenMessage {
    acker: Acker,
    bytes: Bytes,
    nacks: u8,
    /// It is being settled: an acknowledgement of several must not speak for it. Settlements of one
    /// consumer run beside each other.
    is_busy: bool,
}

impl TakenMessage {
    pub(super) fn new(acker: Acker, bytes: Bytes, nacks: u8) -> Self {
        Self {
            acker,
            bytes,
            nacks,
            is_busy: false,
        }
    }
}

impl Evict for Unsettled {
    fn evict(&self) {
        self.refused.cancel();
    }
}

impl Unsettled {
    /// Keeps a message until it is settled, if the byte account grants it; without an account it always does. When
    /// that is refused the consumer has to end, so that its messages go to others.
    pub(super) fn take(
        self: &Arc<Self>,
        memory: Option<&Memory>,
        by: &Claimant,
        taken: &TakenMessage,
    ) -> Option<Tag> {
        let cost = cost(&taken.bytes);
        // One critical section: between the cover and the message a settlement would take the cover away.
        let kept = granted(|| {
            let mut state = self.lock();
            if let Some(memory) = memory {
                let wanted = state.bytes.saturating_add(cost);
                let lease = state.lease.get_or_insert_with(|| {
                    let mut lease = memory.lease_in(by, CHUNKS);
                    let whose: Weak<Self> = Arc::downgrade(self);
                    lease.set_evictable(whose);
                    lease
                });
                lease.try_cover(wanted, 0)?;
            }
            Ok(state.keep(cost, taken.clone()))
        });
        if kept.is_err() {
            self.refused.cancel();
        }
        kept.ok()
    }

    /// Lets go of everything: its channel is gone.
    pub(super) fn clear(&self) {
        let mut state = self.lock();
        state.taken.clear();
        state.bytes = 0;
        state.lease = None;
    }

    /// Marks what is outstanding of these as being settled.
    fn begin(&self, tags: &[Tag]) -> BTreeMap<u64, TakenMessage> {
        self.lock().begin(tags)
    }

    /// The same for an acknowledgement. The flag says whether the last of them may acknowledge all: nothing
    /// before it is outstanding or being settled by another task, whose acknowledgement would then name a tag that
    /// the broker does not know any more; it would close the channel.
    fn begin_ack(&self, tags: &[Tag]) -> (BTreeMap<u64, TakenMessage>, bool) {
        let mut state = self.lock();
        let begun = state.begin(tags);
        let may_join = begun.keys().next_back().is_none_or(|last| {
            let mut before = state.taken.range(..last);
            before.all(|(tag, _)| begun.contains_key(tag))
        });
        (begun, may_join)
    }

    /// Counts a refusal whose copy found no room in the queue, and forgets what was replaced.
    fn note(&self, octets: &[u8], replaced: &Result<(), QueueError>) {
        let uncopied = &mut self.lock().uncopied;
        match replaced {
            Ok(()) => uncopied.forget(octets),
            Err(QueueError::Full) => uncopied.count(octets),
            Err(_) => {}
        }
    }

    fn end<'a>(&self, tags: impl IntoIterator<Item = &'a u64>) {
        let mut state = self.lock();
        for tag in tags {
            if let Some(settled) = state.taken.remove(tag) {
                state.bytes = state.bytes.saturating_sub(cost(&settled.bytes));
            }
        }
        let bytes = state.bytes;
        if let Some(lease) = &mut state.lease {
            // Less is never refused. The slack stays covered for the next messages.
            let _less = lease.try_cover(bytes, 0);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn keep(&mut self, cost: u64, message: TakenMessage) -> Tag {
        self.tags += 1;
        self.bytes = self.bytes.saturating_add(cost);
        self.taken.insert(self.tags, message);
        Tag(self.tags)
    }

    fn begin(&mut self, tags: &[Tag]) -> BTreeMap<u64, TakenMessage> {
        let mut begun = BTreeMap::new();
        for tag in tags {
            if let Some(held) = self.taken.get_mut(&tag.0).filter(|held| !held.is_busy) {
                held.is_busy = true;
                begun.insert(tag.0, held.clone());
            }
        }
        begun
    }
}

/// The settling half of a consumer; the consumer lives as long as this.
pub(super) struct RabbitSettler {
    pub(super) core: Arc<Core>,
    pub(super) queue: Box<str>,
    /// Who consumes: the queue of dead letters counts to their share.
    pub(super) by: Claimant,
    pub(super) unsettled: Arc<Unsettled>,
    pub(super) _end: DropGuard,
}

fn cost(bytes: &Bytes) -> u64 {
    bytes.len() as u64 + TAKEN_BYTES
}

#[async_trait]
impl Settler for RabbitSettler {
    fn refused(&self) -> Option<CancellationToken> {
        Some(self.unsettled.refused.clone())
    }

    async fn settle(&self, tags: &[Tag], verdict: Verdict) {
        match verdict {
            Verdict::Ack => {
                let (begun, may_join) = self.unsettled.begin_ack(tags);
                acknowledge(&begun, may_join).await;
                self.unsettled.end(begun.keys());
            }
            Verdict::Requeue | Verdict::Reject => {
                let begun = self.unsettled.begin(tags);
                self.refuse(begun, verdict).await;
            }
        }
    }
}

impl RabbitSettler {
    /// Hands over whatever takes the place of the messages, in their order; then lets each of them
    /// go, or gives it back when nothing has taken its place.
    async fn refuse(&self, begun: BTreeMap<u64, TakenMessage>, verdict: Verdict) {
        let mut handed = Vec::with_capacity(begun.len());
        for held in begun.values() {
            handed.push(self.replace(held, verdict).await);
        }
        let replaced = join_all(handed.into_iter().map(async |handed| match handed {
            Ok(Some(handed)) => handed.await,
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        }));
        for ((tag, held), replaced) in begun.into_iter().zip(replaced.await) {
            self.unsettled.note(&held.bytes, &replaced);
            match replaced {
                Ok(()) => write(held.acker.ack(BasicAckOptions::default())).await,
                Err(_) => {
                    let options = BasicNackOptions {
                        requeue: true,
                        multiple: false,
                    };
                    write(held.acker.nack(options)).await;
                }
            }
            self.unsettled.end([&tag]);
        }
    }

    /// What takes the place of a message: its copy, a dead letter, or nothing.
    async fn replace(
        &self,
        held: &TakenMessage,
        verdict: Verdict,
    ) -> Result<Option<Handed>, QueueError> {
        let uncopied = self.unsettled.lock().uncopied.of(&held.bytes);
        let nacks = held.nacks.saturating_add(1).saturating_add(uncopied);
        let dead_letters = dead_letters_of(&self.queue);
        let reason = match (verdict, &dead_letters) {
            (Verdict::Ack, _) | (Verdict::Reject, None) => return Ok(None),
            (Verdict::Reject, Some(_)) => DeadReason::Rejected,
            (Verdict::Requeue, Some(_)) if nacks >= NACKS_MAX => DeadReason::Nacked,
            (Verdict::Requeue, _) => {
                let Some(copy) = Letter::again(&held.bytes, nacks) else {
                    return Ok(None);
                };
                let (queue, wish) = (self.queue.clone(), self.wish()?);
                return self.core.hand(queue, wish, copy, None).await.map(Some);
            }
        };
        let (Some(dead_letters), Ok(message)) = (dead_letters, Letter::read(&held.bytes)) else {
            return Ok(None);
        };
        let Some(letter) = Letter::write(&message.into_dead(&self.queue, reason)) else {
            return Ok(None);
        };
        metrics::counter!("queue_dead_letters_total", "reason" => reason.as_str()).increment(1);
        let wish = self.wish()?;
        // Of a member or a bot also beyond their share, of a visitor only within it.
        let beyond = self.by.kind.has_account();
        match self.core.reach(&dead_letters, &wish, beyond).await {
            Err(QueueError::Share { .. }) => {
                tracing::warn!("there is no room for a dead letter; it is dropped");
                Ok(None)
            }
            Err(error) => Err(error),
            Ok(()) => {
                let handed = self.core.hand(dead_letters.into(), wish, letter, None);
                handed.await.map(Some)
            }
        }
    }

    fn wish(&self) -> Result<Wish, QueueError> {
        Wish::plain(&self.by, &self.core.settings)
    }
}

async fn acknowledge(begun: &BTreeMap<u64, TakenMessage>, may_join: bool) {
    if may_join && let Some(last) = begun.values().next_back() {
        write(last.acker.ack(BasicAckOptions { multiple: true })).await;
        return;
    }
    for held in begun.values() {
        write(held.acker.ack(BasicAckOptions::default())).await;
    }
}

/// A channel that does not take it is lost, and with it what it said: the message comes again.
async fn write(writing: impl Future<Output = lapin::Result<bool>>) {
    let _ = tokio::time::timeout(WRITE_WITHIN, writing).await;
}

impl fmt::Debug for RabbitSettler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitSettler")
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
