//! Who a direct message is for, as the sender's node needs to know it.
//!
//! Not here: where he is (`location`). Invariant: what is remembered of a loose identity lets nobody
//! reach who took it over. A yes that rests on it is either looked at once more by the store when it
//! commits, or younger than a moment, or in a process through which every change of hands goes; and a
//! no is never said without reading the identity anew.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quick_cache::sync::Cache;

use super::problem::{location_away, store_away};
use super::visitors::Visitors;
use crate::model::{Code, Kind, Principal, Problem, RoomId, Standing, UnixMillis, UserId};
use crate::policy::{DmPolicy, may_reach, may_write};
use crate::store::{Keep, StoreError, UserRecord};

/// How many users are remembered.
const USERS_MAX: usize = 10_000;

/// How long: after this an erased user is seen as gone on every node.
pub const RECIPIENT_LIFE: Duration = Duration::from_secs(30);

/// Somebody who can be written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// His address.
    pub user_id: UserId,
    /// Loose or firm, and since when in the present hands.
    pub standing: Standing,
    /// Visitor or member.
    pub kind: Kind,
    /// Who may begin to write to him; everybody to a visitor.
    pub dm_policy: DmPolicy,
    /// What a message to a visitor writes first, while nothing is kept of them.
    pub keep: Option<Box<Keep>>,
}

/// The users that were written to lately.
#[derive(Debug)]
pub(super) struct Recipients {
    known: Cache<UserId, (Recipient, UnixMillis)>,
    /// How often somebody was forgotten.
    forgotten: AtomicU64,
}

/// What was forgotten before a user was read: what was read before somebody is forgotten is not
/// remembered after it.
pub(super) struct Before(u64);

impl Recipients {
    pub(super) fn new() -> Self {
        Self {
            known: Cache::new(USERS_MAX),
            forgotten: AtomicU64::new(0),
        }
    }

    /// Something of this identity has changed, by this node.
    pub(super) fn forget(&self, user_id: &UserId) {
        self.forgotten.fetch_add(1, Ordering::AcqRel);
        self.known.remove(user_id);
    }

    fn before(&self) -> Before {
        Before(self.forgotten.load(Ordering::Acquire))
    }

    fn get(&self, user_id: &UserId, now: UnixMillis, life: Duration) -> Option<Recipient> {
        let (recipient, read_at) = self.known.get(user_id)?;
        (now.since(read_at) < life).then_some(recipient)
    }

    /// Remembers who was found at this address: himself, or the account that he is a part of now.
    fn note(&self, address: &UserId, recipient: &Recipient, now: UnixMillis, before: &Before) {
        let known = (recipient.clone(), now);
        self.known.insert(address.clone(), known);
        if self.before().0 != before.0 {
            self.known.remove(address);
        }
    }
}

/// How soon a message is worth another try whose recipient may be about to come back.
const RETURNING_RETRY_MS: u64 = 1_000;

impl Visitors {
    /// What was read of a user within `life`, which may have been overtaken on another node since.
    #[must_use]
    pub fn remembered(&self, user_id: &UserId, life: Duration) -> Option<Recipient> {
        self.recipients().get(user_id, self.now(), life)
    }

    /// The user with this address, visitor or member, as he is now; `None` when there is none. For
    /// the address of a visitor who became a part of an account that is the account, with its own
    /// address.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn recipient(&self, user_id: &UserId) -> Result<Option<Recipient>, Problem> {
        let now = self.now();
        let firm = self.recipients().get(user_id, now, RECIPIENT_LIFE);
        if let Some(recipient) = firm.filter(|it| !it.standing.is_loose()) {
            return Ok(Some(recipient));
        }
        let before = self.recipients().before();
        let recipient = match self.found_user(user_id).await.map_err(store_away)? {
            Some(recipient) => Some(recipient),
            None => self.introduced(user_id).await?,
        };
        if let Some(recipient) = &recipient {
            self.recipients().note(user_id, recipient, now, &before);
        }
        Ok(recipient)
    }

    /// Why a message to an address that nobody has is refused. Just after a restart that is for the moment
    /// only: the visitor may be about to come back.
    #[must_use]
    pub fn unknown_recipient(&self) -> Problem {
        let left_ms = self
            .settings()
            .returning_until
            .0
            .saturating_sub(self.now().0);
        if left_ms > 0 {
            let words = "This server has just restarted, and nobody with this address is back yet.";
            return Problem::new(Code::TryLater, words)
                .retry_after_ms(left_ms.min(RETURNING_RETRY_MS));
        }
        let words = "Nobody has this address. Check `to`; ids are written `user_...`.";
        Problem::new(Code::NotFound, words).in_field("to")
    }

    /// A visitor of whom nothing is stored, but whom some node has seen within the hour.
    async fn introduced(&self, user_id: &UserId) -> Result<Option<Recipient>, Problem> {
        let visitor = self.location().introduced(user_id).await;
        let Some(visitor) = visitor.map_err(location_away)? else {
            return Ok(None);
        };
        let ended = self.has_ended(user_id, visitor.made_at).await;
        if ended.map_err(store_away)? {
            return Ok(None);
        }
        Ok(Some(Recipient {
            user_id: user_id.clone(),
            standing: visitor.standing,
            kind: Kind::Anonymous,
            dm_policy: DmPolicy::default(),
            keep: Some(Box::new(self.row_of(user_id, &visitor))),
        }))
    }

    async fn found_user(&self, user_id: &UserId) -> Result<Option<Recipient>, StoreError> {
        let record = self.store().user(user_id).await?;
        let Some(accounts) = self.accounts() else {
            return Ok(record.map(Recipient::from));
        };
        let record = match record {
            Some(record) => Some(record),
            None => {
                let account = accounts.follow(user_id.clone()).await?;
                match account == *user_id {
                    true => None,
                    false => self.store().user(&account).await?,
                }
            }
        };
        let Some(mut recipient) = record.map(Recipient::from) else {
            return Ok(None);
        };
        if recipient.kind.has_account() {
            let standing = accounts.standing(recipient.user_id.clone(), None).await?;
            let Some(standing) = standing else {
                return Ok(None);
            };
            recipient.kind = standing.kind;
            recipient.dm_policy = standing.dm_policy;
        }
        Ok(Some(recipient))
    }

    /// Something of this user has changed, perhaps by another node: he is read anew.
    pub fn forget(&self, user_id: &UserId) {
        self.recipients().forget(user_id);
    }

    /// Whether the recipient lets this sender write to him (`policy::may_write`), asking the store
    /// only when that depends on what he wrote.
    ///
    /// # Errors
    /// `forbidden`, or that the store is away.
    async fn check_write(&self, sender: &Principal, recipient: &Recipient) -> Result<(), Problem> {
        if recipient.lets_write(sender) {
            return Ok(());
        }
        let room = RoomId::direct(&sender.user_id, &recipient.user_id);
        // What was written to a former holder of the sender's address was not written to him.
        let since = sender.standing.taken_at().unwrap_or_default();
        let wrote = self.store().wrote_since(room, &recipient.user_id, since);
        let wrote = wrote.await.map_err(store_away)?;
        may_write(recipient.dm_policy, sender.kind, wrote)
    }

    /// Whether a message of `sender` may go to the recipient now (`policy::may_reach`), asking the
    /// store only where the answer depends on it.
    ///
    /// What the recipient wrote to a former holder of the sender's own address was not written to
    /// the sender, so it counts only since both have been in their present hands.
    ///
    /// # Errors
    /// `forbidden` when he does not let this sender write to him, `recipient_offline`, or that the
    /// store is away.
    pub async fn check_reach(
        &self,
        sender: &Principal,
        recipient: &Recipient,
        has_live_session: bool,
    ) -> Result<(), Problem> {
        self.check_write(sender, recipient).await?;
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

impl Recipient {
    /// Whether he lets this sender write to him, whatever he has written himself.
    #[must_use]
    pub fn lets_write(&self, sender: &Principal) -> bool {
        let is_own = sender.user_id == self.user_id;
        is_own || may_write(self.dm_policy, sender.kind, false).is_ok()
    }
}

impl From<UserRecord> for Recipient {
    fn from(record: UserRecord) -> Self {
        let known = || Box::new(Keep::Known(record.user_id.clone()));
        let keep = (!record.is_kept).then(known);
        Self {
            user_id: record.user_id,
            standing: record.standing,
            kind: record.kind,
            dm_policy: DmPolicy::default(),
            keep,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembered_recipients_are_bounded() {
        let recipients = Recipients::new();
        let before = recipients.before();
        for number in 0..2 * USERS_MAX {
            let user_id: UserId = format!("user_{number}").parse().unwrap();
            let recipient = Recipient {
                user_id: user_id.clone(),
                standing: Standing::Firm { taken_at: None },
                kind: Kind::Member,
                dm_policy: DmPolicy::default(),
                keep: None,
            };
            recipients.note(&user_id, &recipient, UnixMillis(1), &before);
        }
        assert!(recipients.known.len() <= USERS_MAX);
    }
}
