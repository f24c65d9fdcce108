//! What is handed to the store, until it is committed and delivered.
//!
//! One task waits for all of it: a group commit answers many messages at once, and wakes it once.
//! Not here: how a message reaches anybody (`mod`, `router`). Invariant: what is committed is
//! delivered whether its sender still waits or not, and messages of one conversation in the order of their
//! commits, as the store answers them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::{AppendError, Broker, lock};
use crate::budget::Reservation;
use crate::hub::Delivery;
use crate::model::SessionId;
use crate::store::{Append, Appended, Commit, StoreError, StoredSlot};

/// A message that is committed, and on its way to the sessions of its members.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The message.
    pub delivery: Arc<Delivery>,
    /// Whether it is a repetition: same writer, conversation and `client_id`.
    pub duplicate: bool,
}

/// What was handed to the store and nobody waits for yet. Bounded by what the store takes.
#[derive(Debug, Default)]
pub(super) struct Commits {
    /// A std mutex: held for a push, or for taking everything.
    fresh: Mutex<Vec<OnItsWay>>,
    fresh_now: Notify,
}

/// A message on its way to be committed.
struct OnItsWay {
    commit: Commit,
    started: Instant,
    without_echo: Option<SessionId>,
    /// The writer's share of what is stored. It stays with the message: the writer may be gone before the commit.
    reserved: Option<Reservation>,
    told: oneshot::Sender<Result<Committed, AppendError>>,
}

impl std::fmt::Debug for OnItsWay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnItsWay").finish_non_exhaustive()
    }
}

impl OnItsWay {
    async fn committed(mut self) -> (Self, Result<Appended, StoreError>) {
        let appended = self.commit.as_mut().await;
        (self, appended)
    }
}

impl Broker {
    /// Appends a message and delivers it. The place in the conversation is taken when this
    /// returns; the future resolves at the commit, which is when a RECEIPT is due, and dropping it
    /// undoes nothing. `without_echo` names the session that wants no copy of what it wrote. `reserved`
    /// is kept with the commit, and given back when nothing was stored.
    pub fn append(
        &self,
        append: Append,
        without_echo: Option<SessionId>,
        reserved: Option<Reservation>,
    ) -> impl Future<Output = Result<Committed, AppendError>> + Send + 'static {
        let outcome = (!self.is_fenced()).then(|| {
            let (told, outcome) = oneshot::channel();
            let on_its_way = OnItsWay {
                commit: self.store.append(append),
                started: Instant::now(),
                without_echo,
                reserved,
                told,
            };
            lock(&self.commits.fresh).push(on_its_way);
            self.commits.fresh_now.notify_one();
            outcome
        });
        async move {
            match outcome {
                None => Err(AppendError::Fenced),
                Some(outcome) => outcome.await.unwrap_or(Err(AppendError::Ending)),
            }
        }
    }

    /// What visitors have stored, by slots of so many milliseconds in which it ends.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn stored_by_visitors(
        &self,
        slot_ms: u64,
        rows_keep: Duration,
    ) -> Result<Vec<StoredSlot>, StoreError> {
        self.store.stored_by_visitors(slot_ms, rows_keep).await
    }

    pub(super) async fn commit_loop(self: Arc<Self>) {
        let mut waiting = FuturesUnordered::new();
        loop {
            tokio::select! {
                // What is answered goes first. It leaves a turn to the rest, since only what was polled
                // can be answered.
                biased;
                Some((sent, appended)) = waiting.next(), if !waiting.is_empty() => {
                    self.answered(sent, appended);
                }
                () = self.commits.fresh_now.notified() => {
                    let fresh = std::mem::take(&mut *lock(&self.commits.fresh));
                    waiting.extend(fresh.into_iter().map(OnItsWay::committed));
                }
            }
        }
    }

    /// The store has answered.
    fn answered(self: &Arc<Self>, mut sent: OnItsWay, appended: Result<Appended, StoreError>) {
        // A refusal drops it, which gives it back. A lost connection to the store may leave a few messages
        // in doubt; they are not counted, because a client that tries again would be counted twice.
        if let (Some(reserved), Ok(appended)) = (sent.reserved.take(), &appended) {
            match (appended.duplicate, appended.message.seq) {
                // What was stored before counts already.
                (true, _) => {}
                (false, 1) => reserved.keep_with_conversation(),
                (false, _) => reserved.keep(),
            }
        }
        let outcome = appended.map_err(AppendError::from).and_then(|appended| {
            let seconds = sent.started.elapsed().as_secs_f64();
            self.meters.commit_seconds.record(seconds);
            // Committed, but perhaps after the others have swept this node up: no RECEIPT then. The
            // client tries again with the same client_id, and the message is published all the same.
            let is_fenced = self.is_fenced();
            let duplicate = appended.duplicate;
            let delivery = Delivery::new(appended.message);
            if !duplicate || self.settings.rules.republish_duplicates {
                self.deliver(Arc::clone(&delivery), sent.without_echo);
            }
            let seconds = sent.started.elapsed().as_secs_f64();
            self.meters.broadcast_seconds.record(seconds);
            if is_fenced {
                return Err(AppendError::Fenced);
            }
            Ok(Committed {
                delivery,
                duplicate,
            })
        });
        // The sender may have gone; it is delivered all the same.
        let _gone = sent.told.send(outcome);
    }
}
