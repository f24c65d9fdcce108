//! Who a direct message is for, as the sender's node needs to know it.
//!
//! Not here: where he is (`location`). Invariant: only what cannot change hands is remembered. A
//! loose identity is read fresh each time: one that was taken over a moment ago on another node
//! must not be reached by what was meant for its former holder.

use std::time::Duration;

use quick_cache::sync::Cache;

use super::problem::store_away;
use super::visitors::Visitors;
use crate::model::{Kind, Principal, Problem, RoomId, Standing, UnixMillis, UserId};
use crate::policy::may_reach;
use crate::store::UserRecord;

/// How many firm users are remembered.
const USERS_MAX: usize = 10_000;

/// How long: after this an erased user is seen as gone on every node.
const LIFE: Duration = Duration::from_secs(30);

/// Somebody who can be written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// His address.
    pub user_id: UserId,
    /// Loose or firm, and since when in the present hands.
    pub standing: Standing,
    /// Visitor or member.
    pub kind: Kind,
}

/// The firm users that were written to lately.
#[derive(Debug)]
pub(super) struct Recipients(Cache<UserId, (Recipient, UnixMillis)>);

impl Recipients {
    pub(super) fn new() -> Self {
        Self(Cache::new(USERS_MAX))
    }

    pub(super) fn forget(&self, user_id: &UserId) {
        self.0.remove(user_id);
    }

    fn get(&self, user_id: &UserId, now: UnixMillis) -> Option<Recipient> {
        let (recipient, read_at) = self.0.get(user_id)?;
        (now.since(read_at) < LIFE).then_some(recipient)
    }

    fn note(&self, recipient: &Recipient, now: UnixMillis) {
        if !recipient.standing.is_loose() {
            self.0
                .insert(recipient.user_id.clone(), (recipient.clone(), now));
        }
    }
}

impl Visitors {
    /// The user with this address, visitor or member; `None` when there is none.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn recipient(&self, user_id: &UserId) -> Result<Option<Recipient>, Problem> {
        let now = self.now();
        if let Some(recipient) = self.recipients().get(user_id, now) {
            return Ok(Some(recipient));
        }
        let record = self.store().user(user_id).await.map_err(store_away)?;
        let recipient = record.map(Recipient::from);
        if let Some(recipient) = &recipient {
            self.recipients().note(recipient, now);
        }
        Ok(recipient)
    }

    /// Whether a message of `sender` may go to the recipient now (`policy::may_reach`), asking the
    /// store only where the answer depends on it.
    ///
    /// What the recipient wrote to a former holder of the sender's own address was not written to
    /// the sender, so it counts only since both have been in their present hands.
    ///
    /// # Errors
    /// `recipient_offline`, or that the store is away.
    pub async fn check_reach(
        &self,
        sender: &Principal,
        recipient: &Recipient,
        has_live_session: bool,
    ) -> Result<(), Problem> {
        let holder_wrote_since = match recipient.standing.taken_at() {
            Some(taken_at) if sender.user_id != recipient.user_id => {
                let room = RoomId::direct(&sender.user_id, &recipient.user_id);
                let since = taken_at.max(sender.standing.taken_at().unwrap_or_default());
                let wrote = self.store().wrote_since(room, &recipient.user_id, since);
                wrote.await.map_err(store_away)?
            }
            _ => false,
        };
        may_reach(
            &sender.user_id,
            &recipient.user_id,
            recipient.standing,
            holder_wrote_since,
            has_live_session,
        )
    }
}

impl From<UserRecord> for Recipient {
    fn from(record: UserRecord) -> Self {
        Self {
            user_id: record.user_id,
            standing: record.standing,
            kind: record.kind,
        }
    }
}
