//! Loose identities: found by a fingerprint, and taken over.
//!
//! Not here: whether that may be (`decision`). Invariant: a take-over is one conditional change in the
//! store, of a row or by writing it, so that of two takers, a holder with the secret and a message the one
//! that comes first decides.

use std::time::{Duration, Instant};

use super::Opened;
use super::decision::Candidate;
use super::names::visitor_name;
use super::opening::{Found, Opening};
use super::presented::Known;
use super::problem::location_away;
use super::secret::Visit;
use crate::model::{EveryMinute, Problem, Proof, Standing, UnixMillis, Unkept, UserId};
use crate::store::{NewVisitor, StoreError, TakeOver, UserRecord};

/// A store that is away refuses this to every newcomer, which is logged once a minute.
static UNRECOGNISED: EveryMinute = EveryMinute::new();

impl Opening<'_> {
    /// The loose identities with the client's fingerprint.
    pub(super) async fn look_around(&self, now: UnixMillis) -> Result<Vec<Found>, Problem> {
        let location = self.visitors.location();
        let noted = location.loose(&self.ask.client).await;
        let mut noted = noted.map_err(location_away)?;
        let seen_after = now.before(self.visitors.settings().hint_ttl);
        noted.retain(|(_, visitor)| visitor.last_seen >= seen_after);
        let [(user, visitor)] = noted.as_slice() else {
            // None, or more than one: none of them is opened, so nothing more need be known.
            let found = noted.iter().map(|(user, it)| (noted_as(user, it), None));
            return Ok(found.collect());
        };
        let mut found = match self.stored_around((user, visitor), seen_after).await {
            Ok(found) => found,
            Err(error) => {
                if let Some(number) = UNRECOGNISED.due(Instant::now()) {
                    tracing::warn!(%error, number, "visitors are not recognised: the store does not answer");
                }
                return Ok(Vec::new());
            }
        };
        let users: Vec<UserId> = found.iter().map(|(c, _)| c.user_id.clone()).collect();
        if users.is_empty() {
            return Ok(found);
        }
        let located = location.locate(&users, &[]).await;
        let mut located = located.map_err(location_away)?.users.into_iter();
        for (candidate, _) in &mut found {
            // A user whom the answer leaves out is not known to be gone.
            candidate.has_live_session = located.next().is_none_or(|s| !s.is_empty());
        }
        Ok(found)
    }

    /// The same as far as the store says, where one visitor is noted under the fingerprint.
    async fn stored_around(
        &self,
        (user, visitor): (&UserId, &Unkept),
        seen_after: UnixMillis,
    ) -> Result<Vec<Found>, StoreError> {
        let store = self.visitors.store();
        let records = store.loose_visitors(&self.ask.client, seen_after).await?;
        let records = records.into_iter();
        let mut found: Vec<Found> = records
            .map(|record| (stored_as(&record), Some(record)))
            .collect();
        if found.iter().any(|(known, _)| known.user_id == *user) {
            return Ok(found);
        }
        // It has a row that is not loose any more, or none.
        match store.user(user).await? {
            Some(record) if record.standing.is_loose() && record.last_seen >= seen_after => {
                found.push((stored_as(&record), Some(record)));
            }
            None if visitor.standing.is_loose() => {
                found.push((noted_as(user, visitor), None));
            }
            Some(_) | None => {}
        }
        Ok(found)
    }

    /// Takes a loose identity over; `None` when somebody else was faster, or the store cannot write:
    /// then the client gets an identity of its own, which needs no store.
    ///
    /// This is one of the few changes of an identity that must be kept before CONNECTED: from now on
    /// the former holder's secret opens nothing, and what is meant for them is not delivered.
    pub(super) async fn take_over(
        &mut self,
        user_id: &UserId,
        bind_cookie: bool,
        now: UnixMillis,
    ) -> Result<Option<Opened>, Problem> {
        // Whatever comes of it, there is no second try: the loser gets a new identity.
        let candidates = self.candidates.replace(Vec::new()).unwrap_or_default();
        let chosen = candidates.into_iter().find(|(c, _)| c.user_id == *user_id);
        let Some((candidate, record)) = chosen else {
            return Ok(None);
        };
        if record.is_none() {
            self.count().await?;
        }
        // Later than everything that the former holder wrote, even within this millisecond, and on
        // a node with another clock, which also said when they ended.
        let taken_at = now.max(candidate.last_seen).after(Duration::from_millis(1));
        let bound = self.bound(bind_cookie);
        let secret = bound.unwrap_or(Visit {
            made_at: taken_at,
            is_loose: true,
            is_korean: self.is_korean(),
            ..Visit::of_address(user_id)
        });
        let secret = secret.told_at(now);
        let taken = self.write_take_over((user_id, record.as_ref()), &secret, taken_at);
        let taken = taken.await;
        // Also when it failed: it may have been committed all the same.
        self.visitors.recipients().forget(user_id);
        match taken {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) => {
                if let Some(number) = UNRECOGNISED.due(Instant::now()) {
                    tracing::warn!(%error, number, "visitors are not recognised: the store does not write");
                }
                return Ok(None);
            }
        }
        // A session that was registered while the identity changed hands has the better right.
        let location = self.visitors.location();
        let located = location.locate(std::slice::from_ref(user_id), &[]).await;
        let located = located.map_err(location_away)?;
        if located.users.iter().any(|sessions| !sessions.is_empty()) {
            return Ok(None);
        }
        let standing = Standing::Loose {
            taken_at: Some(taken_at),
        };
        let is_kept = record.as_ref().is_some_and(|record| record.is_kept);
        let mut opened = self.opened(&Known::Visit(secret), Proof::Hint);
        if is_kept {
            opened.expires_in_s = self.visitors.settings().token_ttl.as_secs();
        }
        opened.secret_to_tell = Some(secret.tell(self.visitors.key()));
        let principal = &mut opened.principal;
        principal.user_id = user_id.clone();
        principal.standing = standing;
        principal.made_at = Some(taken_at).filter(|_| !is_kept);
        principal.name = match record {
            Some(record) => record.name,
            None => visitor_name(user_id, secret.is_korean),
        };
        self.introduce(&opened.principal, taken_at, taken_at)
            .await?;
        Ok(Some(opened))
    }

    async fn write_take_over(
        &self,
        (user_id, record): (&UserId, Option<&UserRecord>),
        secret: &Visit,
        taken_at: UnixMillis,
    ) -> Result<bool, StoreError> {
        let store = self.visitors.store();
        let token_expires_at = secret.used_at.after(self.visitors.settings().token_ttl);
        let Some(record) = record else {
            // The one who writes the row has it; there was none to be changed.
            let row = NewVisitor {
                user_id: user_id.clone(),
                name: visitor_name(user_id, secret.is_korean),
                loose: true,
                taken_at: Some(taken_at),
                client_identifier: self.ask.client.clone(),
                token: secret.token(),
                token_expires_at,
                is_kept: false,
                now: taken_at,
            };
            return store.create_visitor(row).await;
        };
        let take_over = TakeOver {
            user_id: user_id.clone(),
            taken_at_before: record.standing.taken_at(),
            last_seen_before: record.last_seen,
            token: secret.token(),
            token_expires_at,
            now: taken_at,
        };
        store.take_over(take_over).await
    }
}

/// A loose identity as it was noted when it was opened or its session ended.
fn noted_as(user: &UserId, visitor: &Unkept) -> Candidate {
    Candidate {
        user_id: user.clone(),
        opened_at: visitor.standing.taken_at().unwrap_or(visitor.made_at),
        last_seen: visitor.last_seen,
        has_live_session: true,
    }
}

fn stored_as(record: &UserRecord) -> Candidate {
    Candidate {
        user_id: record.user_id.clone(),
        opened_at: record.standing.taken_at().unwrap_or(record.created_at),
        last_seen: record.last_seen,
        has_live_session: true,
    }
}
