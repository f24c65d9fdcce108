//! Who an access token or a secret speaks for, and whether he still may.
//!
//! Not here: reading tokens (`jwt`, `issuers`). Invariant: a token alone opens nothing: its sign-in
//! must stand, and nobody who is banned is let in by it.

use super::issuers::SiteUser;
use super::jwt::{Spoken, refused};
use super::{Accounts, Banned, Holder, store_away};
use crate::identity::handshake::Handshake;
use crate::identity::secret::Claim;
use crate::model::{Code, Kind, Principal, Problem, SignInId, UserId};
use crate::store::accounts::{Account, Admitted, External, UserState};

impl Accounts {
    /// Who an access token speaks for: one of ours, or of a site.
    ///
    /// # Errors
    /// `unauthorized`, `token_expired`, `banned`, `store_unavailable`.
    pub async fn authenticate(&self, from: &Handshake, token: &str) -> Result<Principal, Problem> {
        if !self.jwt.claims_to_be_ours(token) {
            return self.site_user(from, token).await;
        }
        let now = self.now();
        match self.jwt.read(token, now)? {
            Spoken::System { expires_at } => {
                let user_id = "system".parse().map_err(|_| refused())?;
                let holder = Holder {
                    user_id: &user_id,
                    kind: Kind::Admin,
                    name: "system",
                    taken_at: None,
                };
                Ok(self.principal(from, &holder, None, Some(expires_at)))
            }
            Spoken::Account {
                user_id,
                sign_in,
                expires_at,
            } => {
                let standing = self.store.standing(user_id.clone(), Some(sign_in)).await;
                let standing = standing.map_err(store_away)?;
                let standing = standing.filter(|it| it.is_signed_in && it.kind.has_account());
                let standing = standing.ok_or_else(signed_out)?;
                let holder = Holder {
                    user_id: &user_id,
                    kind: standing.kind,
                    name: &standing.name,
                    taken_at: standing.taken_at,
                };
                let principal = self.principal(from, &holder, Some(sign_in), Some(expires_at));
                self.admit(&principal)?;
                Ok(principal)
            }
        }
    }

    /// Who a token of a site speaks for.
    pub(super) async fn site_user(
        &self,
        from: &Handshake,
        token: &str,
    ) -> Result<Principal, Problem> {
        let now = self.now();
        let SiteUser {
            user_id,
            name,
            kind,
            expires_at,
        } = self.issuers.read(token, now).await?;
        let holder = Holder {
            user_id: &user_id,
            kind,
            name: &name,
            taken_at: None,
        };
        let principal = self.principal(from, &holder, None, Some(expires_at));
        self.admit(&principal)?;
        if !self.admitted.knows(&user_id, &name) {
            let external = External {
                user_id: user_id.clone(),
                name: name.clone(),
                now,
            };
            let admitted = self.store.admit_external(external).await;
            match admitted.map_err(store_away)? {
                Admitted::New | Admitted::Known => {}
                Admitted::Taken => return Err(refused()),
            }
            self.admitted.note(&user_id, &name);
        }
        Ok(principal)
    }

    /// The visitor of `Authorization: Visitor <secret>`.
    ///
    /// # Errors
    /// As [`Visitors::authenticate`](crate::identity::Visitors::authenticate); `identity_moved` for
    /// one who became a part of an account; `banned`.
    pub async fn visitor(&self, from: &Handshake, secret: &str) -> Result<Principal, Problem> {
        match self.visitors.authenticate(from, secret).await {
            Ok(principal) => {
                self.admit(&principal)?;
                Ok(principal)
            }
            Err(problem) if problem.code == Code::Unauthorized => {
                let Some(claim) = Claim::read(self.visitors.key(), secret) else {
                    return Err(problem);
                };
                match self.store.moved(claim.token).await.map_err(store_away)? {
                    None => Err(problem),
                    Some(_) => Err(Problem::new(
                        Code::IdentityMoved,
                        "This visitor is a part of an account now; sign in there.",
                    )),
                }
            }
            Err(problem) => Err(problem),
        }
    }

    /// The account of a user; none of a visitor and of a site's user.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn profile(&self, user: &UserId) -> Result<Option<Account>, Problem> {
        self.store.account(user.clone()).await.map_err(store_away)
    }

    /// What a review needs to know of somebody. Of a site's user the kind in his token counts, which
    /// no store knows.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn standing(
        &self,
        user: &UserId,
        sign_in: Option<SignInId>,
    ) -> Result<Option<UserState>, Problem> {
        let standing = self.store.standing(user.clone(), sign_in).await;
        standing.map_err(store_away)
    }

    /// The public keys of access tokens, as a JWK set.
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        self.jwt.jwks()
    }

    /// What keeps this principal out or from writing now, from memory.
    #[must_use]
    pub fn verdict(&self, principal: &Principal) -> Banned {
        self.bans.verdict(principal, self.now())
    }

    /// Reads the bans anew: at the start, after a change, and when another node tells of one.
    ///
    /// # Errors
    /// When the store is away; what was known before stays.
    pub async fn reload_bans(&self) -> Result<(), Problem> {
        let bans = self.store.bans(self.now()).await.map_err(store_away)?;
        self.bans.replace(bans);
        Ok(())
    }
}

fn signed_out() -> Problem {
    Problem::new(Code::Unauthorized, "This sign-in has ended; sign in again.")
}
