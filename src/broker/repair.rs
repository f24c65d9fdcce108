//! What was missed is found in the store.
//!
//! Repair is one batched question, one at a time: the heads of the conversations that have a member
//! with a session here, changed since what was compared last. It is asked by user, never from this
//! node's own list of conversations, which lacks the one whose first message was lost. A trigger
//! during a repair runs it once more. Not here: the order of what is found (`routing::inbox`).
//! Invariant: the backstop alone, without any trigger, keeps every promise; the triggers buy time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{Broker, lock};
use crate::hub::Delivery;
use crate::model::{RoomId, UserId};
use crate::routing::Hole;
use crate::store::Position;

/// How many users one question is for.
const USERS_MAX: usize = 1_000;

/// How many messages are fetched at once.
const ROWS_MAX: u32 = 200;

/// The shortest time between two repairs: triggers come in swarms.
const SPACING: Duration = Duration::from_millis(20);

/// How long to wait when everybody who misses something is still reading what he has.
const ROOM_WAIT: Duration = Duration::from_millis(20);

/// How long to wait when the store did not answer.
const STORE_RETRY: Duration = Duration::from_millis(200);

/// Up to this the wait doubles when the store knows nothing of what was announced.
const UNKNOWN_WAIT_MAX: Duration = Duration::from_secs(5);

impl Broker {
    /// Asks for a repair soon.
    pub fn repair(&self) {
        self.repair_wanted.notify_one();
    }

    pub(super) async fn repair_loop(self: Arc<Self>) {
        loop {
            let backstop = self.jitter(self.settings.backstop);
            tokio::select! {
                biased;
                () = self.repair_wanted.notified() => {}
                () = tokio::time::sleep(backstop) => {
                    if !self.settings.rules.backstop {
                        continue;
                    }
                }
            }
            metrics::counter!("broker_repairs_total").increment(1);
            if let Err(error) = self.repair_once().await {
                tracing::debug!(%error, "repair waits for the store");
                tokio::time::sleep(STORE_RETRY).await;
                self.repair();
            }
            tokio::time::sleep(SPACING).await;
        }
    }

    async fn repair_once(self: &Arc<Self>) -> Result<(), crate::store::StoreError> {
        for chunk in self.hub.repairable().chunks(USERS_MAX) {
            let since = chunk.iter().map(|(_, position)| *position).min();
            let users: Vec<UserId> = chunk.iter().map(|(user, _)| user.clone()).collect();
            let answer = self
                .store
                .heads(&users, since.unwrap_or(Position::START))
                .await?;
            for head in answer.heads {
                if self.hub.raise(&head.user, head.room, head.seq) {
                    self.fetch(head.room, head.user);
                }
            }
            for user in &users {
                self.hub.compared(user, answer.position);
            }
        }
        Ok(())
    }

    /// Has the missing messages of a conversation fetched for this user's sessions. One task
    /// fetches a conversation, for everybody who misses something in it.
    pub(super) fn fetch(self: &Arc<Self>, room: RoomId, user: UserId) {
        let is_new = {
            let mut fetches = lock(&self.fetches);
            let is_new = !fetches.contains_key(&room);
            fetches.entry(room).or_default().insert(user);
            is_new
        };
        if is_new {
            let broker = Arc::clone(self);
            self.spawn(async move { broker.fetch_room(room).await });
        }
    }

    async fn fetch_room(self: Arc<Self>, room: RoomId) {
        // Most holes come from plain reordering between nodes and close by themselves.
        tokio::time::sleep(self.jitter(self.settings.hole_wait)).await;
        let mut unknown_wait = STORE_RETRY;
        while let Some((users, widest)) = self.widest_hole(room) {
            let Some(hole) = widest else {
                tokio::time::sleep(ROOM_WAIT).await;
                continue;
            };
            match self
                .store
                .range(room, hole.after, hole.through, ROWS_MAX)
                .await
            {
                Ok(range) => {
                    let count = range.messages.len() as u64;
                    let rows: Vec<_> = range.messages.into_iter().map(Delivery::new).collect();
                    // The store may know less than was asked for only when it was cut by the limit.
                    let answered = Hole {
                        after: hole.after,
                        through: range.through,
                    };
                    for session in self.hub.sessions_of_all(&users) {
                        session.fetched(room, answered, &rows, &self.hub.trace);
                    }
                    metrics::counter!("chat_messages_total", "path" => "repaired").increment(count);
                    if range.through <= hole.after {
                        tracing::warn!(%room, ?hole, "the store does not know of these messages");
                        tokio::time::sleep(unknown_wait).await;
                        unknown_wait = UNKNOWN_WAIT_MAX.min(unknown_wait * 2);
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, %room, "fetching waits for the store");
                    tokio::time::sleep(STORE_RETRY).await;
                }
            }
        }
    }

    /// What is missing in a conversation on this node, and for whom; no hole while those who miss
    /// something have no room for it. `None` ends the fetch.
    fn widest_hole(&self, room: RoomId) -> Option<(BTreeSet<UserId>, Option<Hole>)> {
        let mut fetches = lock(&self.fetches);
        let users = fetches.get(&room)?.clone();
        let sessions = self.hub.sessions_of_all(&users);
        let mut is_behind = false;
        let mut widest: Option<Hole> = None;
        for session in &sessions {
            let Some(hole) = session.hole(room) else {
                continue;
            };
            is_behind = true;
            if session.has_room_for(room) {
                widest = Some(widest.map_or(hole, |other| Hole {
                    after: other.after.min(hole.after),
                    through: other.through.max(hole.through),
                }));
            }
        }
        if !is_behind {
            fetches.remove(&room);
            return None;
        }
        Some((users, widest))
    }
}
