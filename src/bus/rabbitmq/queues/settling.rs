//! What a consumer has taken and not settled, and how it settles.
//!
//! Not here: the channel's life (`consuming`). A refusal counts, which a broker does not do for us:
//! the message is published again with one more, and the original is acknowledged when the copy is
//! confirmed, so it moves to the end of its queue. Invariant: nothing is acknowledged whose copy is
//! not confirmed; a copy and its original may both live, never neither.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use lapin::Acker;
use lapin::options::{BasicAckOptions, BasicNackOptions};
use tokio_util::sync::DropGuard;

use super::letter::Letter;
use super::{Core, Handed};
use crate::bus::queue::{DeadReason, NACKS_MAX, QueueError, Settler, Tag, dead_letters_of};
use crate::model::{QueueArguments, Verdict};

/// How long it may take to write an acknowledgement to the broker.
const WRITE_WITHIN: Duration = Duration::from_secs(2);

/// What a consumer has taken.
#[derive(Debug, Default)]
pub(super) struct Unsettled(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    tags: u64,
    held: BTreeMap<u64, Held>,
}

#[derive(Clone, Debug)]
struct Held {
    acker: Acker,
    octets: Bytes,
    nacks: u8,
    /// It is being settled: an acknowledgement of several must not speak for it.
    is_busy: bool,
}

impl Unsettled {
    pub(super) fn add(&self, acker: Acker, octets: Bytes, nacks: u8) -> Tag {
        let mut state = self.lock();
        state.tags += 1;
        let tag = state.tags;
        let held = Held {
            acker,
            octets,
            nacks,
            is_busy: false,
        };
        state.held.insert(tag, held);
        Tag(tag)
    }

    /// Lets go of everything: its channel is gone.
    pub(super) fn clear(&self) {
        self.lock().held.clear();
    }

    /// Takes out what is outstanding of these, to be acknowledged. The flag says that the last of
    /// them may speak for all.
    fn take(&self, tags: &[Tag]) -> (Vec<Held>, bool) {
        let mut state = self.lock();
        let mut taken: BTreeMap<u64, Held> = BTreeMap::new();
        for tag in tags {
            if state.held.get(&tag.0).is_some_and(|held| !held.is_busy)
                && let Some(held) = state.held.remove(&tag.0)
            {
                taken.insert(tag.0, held);
            }
        }
        let last = taken.keys().next_back();
        let none_before = last.is_none_or(|last| state.held.range(..last).next().is_none());
        (taken.into_values().collect(), none_before)
    }

    /// Marks what is outstanding of these as being settled.
    fn begin(&self, tags: &[Tag]) -> Vec<(u64, Held)> {
        let mut state = self.lock();
        let mut begun = Vec::with_capacity(tags.len());
        for tag in tags {
            if let Some(held) = state.held.get_mut(&tag.0).filter(|held| !held.is_busy) {
                held.is_busy = true;
                begun.push((tag.0, held.clone()));
            }
        }
        begun
    }

    fn end(&self, tag: u64) {
        self.lock().held.remove(&tag);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The settling half of a consumer; the consumer lives as long as this.
pub(super) struct RabbitSettler {
    pub(super) core: Arc<Core>,
    pub(super) queue: Box<str>,
    pub(super) unsettled: Arc<Unsettled>,
    pub(super) _end: DropGuard,
}

#[async_trait]
impl Settler for RabbitSettler {
    async fn settle(&self, tags: &[Tag], verdict: Verdict) {
        match verdict {
            Verdict::Ack => {
                let (held, may_join) = self.unsettled.take(tags);
                acknowledge(held, may_join).await;
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
    async fn refuse(&self, begun: Vec<(u64, Held)>, verdict: Verdict) {
        let mut handed = Vec::with_capacity(begun.len());
        for (_, held) in &begun {
            handed.push(self.replace(held, verdict).await);
        }
        let replaced = join_all(handed.into_iter().map(async |handed| match handed {
            Ok(Some(handed)) => handed.await.is_ok(),
            Ok(None) => true,
            Err(_) => false,
        }));
        for ((tag, held), is_replaced) in begun.into_iter().zip(replaced.await) {
            match is_replaced {
                true => write(held.acker.ack(BasicAckOptions::default())).await,
                false => {
                    let options = BasicNackOptions {
                        requeue: true,
                        multiple: false,
                    };
                    write(held.acker.nack(options)).await;
                }
            }
            self.unsettled.end(tag);
        }
    }

    /// What takes the place of a message: its copy, a dead letter, or nothing.
    async fn replace(&self, held: &Held, verdict: Verdict) -> Result<Option<Handed>, QueueError> {
        let nacks = held.nacks.saturating_add(1);
        let dead_letters = dead_letters_of(&self.queue);
        let reason = match (verdict, &dead_letters) {
            (Verdict::Ack, _) | (Verdict::Reject, None) => return Ok(None),
            (Verdict::Reject, Some(_)) => DeadReason::Rejected,
            (Verdict::Requeue, Some(_)) if nacks >= NACKS_MAX => DeadReason::Nacked,
            (Verdict::Requeue, _) => {
                let Some(copy) = Letter::again(&held.octets, nacks) else {
                    return Ok(None);
                };
                let queue = self.queue.clone();
                let named = QueueArguments::default();
                return self.core.hand(queue, named, copy).await.map(Some);
            }
        };
        let (Some(dead_letters), Ok(message)) = (dead_letters, Letter::read(&held.octets)) else {
            return Ok(None);
        };
        let Some(letter) = Letter::write(&message.into_dead(&self.queue, reason)) else {
            return Ok(None);
        };
        metrics::counter!("queue_dead_letters_total", "reason" => reason.as_str()).increment(1);
        let named = QueueArguments::default();
        self.core.reach(&dead_letters, &named, false).await?;
        self.core
            .hand(dead_letters.into(), named, letter)
            .await
            .map(Some)
    }
}

async fn acknowledge(held: Vec<Held>, may_join: bool) {
    if may_join && let Some(last) = held.last() {
        write(last.acker.ack(BasicAckOptions { multiple: true })).await;
        return;
    }
    for held in held {
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
