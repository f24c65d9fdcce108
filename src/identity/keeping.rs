//! What is kept of a visitor, what the nodes tell each other while nothing is, and the end of a session.
//!
//! Not here: the transaction that writes a row (`store`). Invariant: of a visitor of whom something is kept
//! there is a row before its effect is seen.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::problem::{location_away, store_away};
use super::secret::token_of;
use super::visitors::Visitors;
use crate::model::{Principal, Problem, UnixMillis, Unkept, UserId};
use crate::store::{Keep, NewVisitor, UserRecord};

impl Visitors {
    /// The session of this principal at this address has ended. Call it after the session is gone from location.
    ///
    /// A firm visitor with a row leaves no trace by going. One without a row can come back for an hour, a
    /// loose one by the fingerprint, too.
    ///
    /// # Errors
    /// When the store or location is away; the visitor is then recognised a little less long.
    pub async fn disconnected(
        &self,
        principal: &Principal,
        address: IpAddr,
    ) -> Result<(), Problem> {
        let user = &principal.user_id;
        if principal.kind.has_account() {
            return self
                .store()
                .seen(user, self.now())
                .await
                .map_err(store_away);
        }
        if principal.made_at.is_none() && !principal.standing.is_loose() {
            return Ok(());
        }
        let record = self.store().user(user).await.map_err(store_away)?;
        let mut now = self.now();
        match (&record, principal.made_at) {
            // The identity may have passed to another holder by now: it is their time that counts.
            (Some(record), _) if !is_held(record, principal) => return Ok(()),
            // An end is later than its beginning, so that the two are never taken for one.
            (Some(record), _) => now = now.max(record.last_seen.after(Duration::from_millis(1))),
            (None, Some(made_at)) => {
                if self.has_ended(user, made_at).await.map_err(store_away)? {
                    return Ok(());
                }
                now = now.max(made_at.after(Duration::from_millis(1)));
            }
            (None, None) => return Ok(()),
        }
        let visitor = unkept(principal, principal.made_at.unwrap_or_default(), now);
        let visitor = Arc::new(visitor);
        let networks = self.networks_known(&principal.network, address);
        let location = self.location();
        let introduced = location.introduce(user, &visitor, networks.names()).await;
        introduced.map_err(location_away)?;
        match record {
            Some(_) => self.store().seen(user, now).await.map_err(store_away),
            None => Ok(()),
        }
    }

    /// Whether the principal's identity is still in the hands that it was in when they connected.
    /// Ask for each loose principal after this node was cut off from location for longer than its
    /// lease: others saw the session gone, so a neighbour may have taken the identity over, which writes
    /// a row. End the session when the answer is no.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn is_holder(&self, principal: &Principal) -> Result<bool, Problem> {
        let record = self.store().user(&principal.user_id).await;
        match (record.map_err(store_away)?, principal.made_at) {
            (Some(record), _) => Ok(is_held(&record, principal)),
            (None, Some(made_at)) => {
                let ended = self.has_ended(&principal.user_id, made_at).await;
                Ok(!ended.map_err(store_away)?)
            }
            (None, None) => Ok(false),
        }
    }

    /// What the other nodes are told of this principal while nothing is kept of them.
    #[must_use]
    pub fn introduction(&self, principal: &Principal) -> Option<Arc<Unkept>> {
        let made_at = principal.made_at?;
        Some(Arc::new(unkept(principal, made_at, self.now())))
    }

    /// The row of a visitor of whom nothing is kept yet, to be written with the first thing that is.
    #[must_use]
    pub fn row_of(&self, user: &UserId, visitor: &Unkept) -> Keep {
        let now = self.now();
        Keep::New(NewVisitor {
            user_id: user.clone(),
            name: visitor.name.to_string(),
            loose: visitor.standing.is_loose(),
            taken_at: visitor.standing.taken_at(),
            client_identifier: visitor.client_identifier.clone(),
            token: token_of(user, visitor.made_at),
            token_expires_at: now.after(self.settings().token_ttl),
            is_kept: true,
            now,
        })
    }

    /// The same of a principal; `None` of one of whom something is kept already.
    #[must_use]
    pub fn row_of_principal(&self, principal: &Principal) -> Option<Keep> {
        let visitor = self.introduction(principal)?;
        Some(self.row_of(&principal.user_id, &visitor))
    }

    /// Something of this principal is kept from now on, so a row is written if there is none.
    ///
    /// # Errors
    /// When the store is away.
    pub(super) async fn keep(&self, principal: &Principal) -> Result<(), Problem> {
        let Some(keep) = self.row_of_principal(principal) else {
            return Ok(());
        };
        self.store().keep_visitor(keep).await.map_err(store_away)?;
        self.recipients().forget(&principal.user_id);
        Ok(())
    }
}

/// What the nodes tell each other of a visitor.
pub(super) fn unkept(principal: &Principal, made_at: UnixMillis, last_seen: UnixMillis) -> Unkept {
    Unkept {
        made_at,
        standing: principal.standing,
        name: principal.name.as_str().into(),
        client_identifier: principal.client_identifier.clone(),
        last_seen,
    }
}

/// Whether the identity is in the hands that it was in when this principal connected.
fn is_held(record: &UserRecord, principal: &Principal) -> bool {
    record.standing.taken_at() == principal.standing.taken_at()
}
