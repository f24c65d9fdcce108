//! What goes on with a sign-in: its refresh tokens, the list of devices, its end.
//!
//! Not here: how one begins (`entering`). Invariant: a refresh token is good once. Whoever brings it
//! again within ten seconds gets the same successor, so that a lost answer locks nobody out; later it
//! ends the sign-in, because then two have it.

use super::tokens::{Opaque, Use};
use super::{Accounts, GRACE, Holder, Pair, RefreshRefused, no_random, random, store_away};
use crate::identity::handshake::Handshake;
use crate::model::{Code, Kind, Principal, Problem, SignInId, UserId};
use crate::policy::bucket::{Rate, Verdict};
use crate::store::accounts::{Exchange, Exchanged, SignIn};

/// How often a sign-in may be refreshed at once, and in the time that an access token lives, but once in ten minutes at
/// least. Each window of a browser refreshes when it opens, and when most of that time is over: this is for ten of them.
const REFRESHES_AT_ONCE: u32 = 30;
const REFRESHES_OF_A_LIFE: u32 = 20;

/// After so many steps the rest of a merge waits for the next minute.
const GATHER_STEPS_MAX: u32 = 1_000;

impl Accounts {
    /// Exchanges a refresh token for its successor and another access token.
    ///
    /// # Errors
    /// `unauthorized` for what is none, has expired or has ended; `token_reused`, and then `ended`
    /// names whose sessions are to be looked at; `banned`, `store_unavailable`.
    pub async fn refresh(&self, from: &Handshake, token: &str) -> Result<Pair, RefreshRefused> {
        let token = Opaque::parse(Use::Refresh, token).ok_or_else(no_refresh)?;
        let successor = token.successor(self.jwt.refresh_key());
        let now = self.now();
        self.may_refresh(&token).await?;
        let exchange = Exchange {
            token: token.hash(),
            successor: successor.hash(),
            successor_expires_at: now.after(self.settings.refresh_ttl),
            grace_ms: u64::try_from(GRACE.as_millis()).unwrap_or(u64::MAX),
            now,
        };
        let exchanged = self.store.exchange(exchange).await.map_err(store_away)?;
        let (user_id, sign_in) = match exchanged {
            Exchanged::Done { user_id, sign_in } => (user_id, sign_in),
            Exchanged::Reused { user_id, sign_in } => {
                tracing::warn!(%user_id, %sign_in, "a refresh token was used twice");
                let who = user_id.as_str();
                self.note(who, "token_reused", who, sign_in.to_string())
                    .await;
                let words = "This refresh token was used before, so the sign-in has ended; sign in \
                             again, and change the password if that was not you.";
                return Err(RefreshRefused {
                    problem: Problem::new(Code::TokenReused, words),
                    ended: Some(user_id),
                });
            }
            Exchanged::Unknown => return Err(no_refresh().into()),
        };
        let standing = self.store.standing(user_id.clone(), Some(sign_in)).await;
        let standing = standing.map_err(store_away)?;
        let standing = standing
            .filter(|it| it.is_signed_in)
            .ok_or_else(no_refresh)?;
        let holder = Holder {
            user_id: &user_id,
            kind: standing.kind,
            name: &standing.name,
            taken_at: standing.taken_at,
        };
        self.admit(&self.principal(from, &holder, Some(sign_in), None))?;
        Ok(self.pair(&holder, sign_in, &successor, now)?)
    }

    /// Takes one of what a sign-in may refresh. Each exchange leaves a row for as long as a refresh token lives, so that a
    /// token that is used twice is found.
    async fn may_refresh(&self, token: &Opaque) -> Result<(), Problem> {
        let sign_in = self.store.sign_in_of(token.hash()).await;
        let sign_in = sign_in.map_err(store_away)?.ok_or_else(no_refresh)?;
        let life = u32::try_from(self.jwt.access_ttl().as_secs()).unwrap_or(u32::MAX);
        let rate = Rate {
            capacity: REFRESHES_AT_ONCE,
            per_10_min: (REFRESHES_OF_A_LIFE * 600).div_ceil(life.max(1)),
        };
        let key = format!("refresh:{sign_in}");
        match self.visitors.quota().take(&key, rate).await {
            Verdict::Allowed { .. } => Ok(()),
            Verdict::Refused { retry_after_ms } => Err(Problem::new(
                Code::RateLimited,
                "This sign-in was refreshed too often; use the access token that you have until it expires.",
            )
            .retry_after_ms(retry_after_ms)),
        }
    }

    /// Signs out: this sign-in, or every one. A visitor's secrets end.
    ///
    /// # Errors
    /// When the store is away; `unauthorized` for a site's user, who signs out there.
    pub async fn logout(&self, principal: &Principal, all: bool) -> Result<(), Problem> {
        let (user, now) = (principal.user_id.clone(), self.now());
        if principal.made_at.is_some() {
            // Nothing is kept of this visitor, so all that ends is the secret.
            return self.visitors.erase(&user).await;
        }
        if principal.kind == Kind::Anonymous {
            // A secret that nobody knows takes the place of those that he had.
            let token = random().map_err(no_random)?;
            let replaced = self.store.replace_secret(user, token, now).await;
            return replaced.map(drop).map_err(store_away);
        }
        let Some(sign_in) = principal.sign_in else {
            return Err(Problem::new(
                Code::Forbidden,
                "You were signed in by another service; sign out there.",
            ));
        };
        match all {
            true => self.store.end_all(user, now).await.map(drop),
            false => self.store.end_sign_in(user, sign_in, now).await.map(drop),
        }
        .map_err(store_away)
    }

    /// The sign-ins of a user, the latest first.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn sign_ins(&self, user: &UserId) -> Result<Vec<SignIn>, Problem> {
        self.store.sign_ins(user.clone()).await.map_err(store_away)
    }

    /// Removes what has expired: sign-ins, one-use tokens, bans, kept answers.
    pub async fn purge(&self) {
        let mut removed = 0;
        loop {
            match self.store.purge_accounts(self.now()).await {
                Ok(0) => break,
                Ok(rows) => removed += rows,
                Err(error) => {
                    tracing::warn!(%error, "what has expired of accounts is removed later");
                    break;
                }
            }
        }
        if removed > 0 {
            tracing::info!(rows = removed, "what had expired of accounts was removed");
        }
    }

    /// Has messages follow visitors who became parts of accounts: what a merge left behind, and what was on its way. In
    /// steps, between which other messages are stored.
    pub async fn gather(&self) {
        for steps in 0..GATHER_STEPS_MAX {
            match self.store.gather(self.now()).await {
                Ok(0) if steps == 0 => return,
                Ok(0) => return tracing::info!(steps, "messages followed whom they were for"),
                Ok(_) => {}
                Err(error) => return tracing::debug!(%error, "messages follow later"),
            }
        }
    }

    /// Ends one of a user's own sign-ins.
    ///
    /// # Errors
    /// `not_found` when he has no such one; `store_unavailable`.
    pub async fn end_sign_in(&self, user: &UserId, sign_in: SignInId) -> Result<(), Problem> {
        let ended = self.store.end_sign_in(user.clone(), sign_in, self.now());
        match ended.await.map_err(store_away)? {
            true => Ok(()),
            false => Err(Problem::new(
                Code::NotFound,
                "You have no such sign-in; it may have ended already.",
            )),
        }
    }
}

/// One answer for everything that is no living refresh token.
fn no_refresh() -> Problem {
    Problem::new(
        Code::Unauthorized,
        "This refresh token is not valid any more; sign in again.",
    )
}
