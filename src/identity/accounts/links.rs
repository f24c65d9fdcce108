//! A link that carries a visitor to another browser: for one use, within ten minutes.
//!
//! Invariant: whoever opens the link first gets a new secret, and every older one ends; so the
//! visitor is in one place again, and sees at once when somebody else was faster.

use std::time::Duration;

use super::tokens::{Opaque, Use};
use super::types::LINK_SECONDS;
use super::{Accounts, Handshake, no_random, store_away};
use crate::identity::Opened;
use crate::identity::random::random;
use crate::identity::secret::Visit;
use crate::model::{Code, Kind, Principal, Problem, Proof, Standing};
use crate::store::accounts::{Once, Purpose};

impl Accounts {
    /// How long a link can be used, in seconds.
    pub const LINK_SECONDS: u64 = LINK_SECONDS;

    /// A link token for the visitor of this secret.
    ///
    /// # Errors
    /// As [`Accounts::visitor`].
    pub async fn link(&self, from: &Handshake, secret: &str) -> Result<String, Problem> {
        let visitor = self.visitor(from, secret).await?;
        self.visitors.keep(&visitor).await?;
        let token = Opaque::random(Use::Link)?;
        let once = Once {
            token: token.hash(),
            purpose: Purpose::Link,
            user_id: visitor.user_id,
            expires_at: self.now().after(Duration::from_secs(LINK_SECONDS)),
        };
        self.store.put_once(once).await.map_err(store_away)?;
        Ok(token.tell())
    }

    /// Opens the visitor of a link for this browser.
    ///
    /// # Errors
    /// `expired` when it is none, was used or has ended; `banned`, `rate_limited`,
    /// `store_unavailable`.
    pub async fn redeem(&self, from: &Handshake, link: &str) -> Result<Opened, Problem> {
        self.take("login", from, self.settings.logins_per_net)
            .await?;
        let token = Opaque::parse(Use::Link, link).ok_or_else(used)?;
        let now = self.now();
        let user = self.store.use_once(token.hash(), Purpose::Link, now).await;
        let user_id = user.map_err(store_away)?.ok_or_else(used)?;
        let record = self.visitors.store().user(&user_id).await;
        let record = record.map_err(store_away)?.ok_or_else(used)?;
        if record.kind != Kind::Anonymous {
            return Err(used());
        }
        let key = self.visitors.key();
        let principal = Principal {
            user_id: user_id.clone(),
            kind: record.kind,
            standing: Standing::Firm {
                taken_at: record.standing.taken_at(),
            },
            name: record.name,
            client_identifier: key.client(from.address, &from.user_agent),
            network: key.network(from.address),
            sign_in: None,
            expires_at: None,
            made_at: None,
        };
        self.admit(&principal)?;
        // A secret is named by its address and the time of its making: two of one moment differ.
        let spread = u16::from_be_bytes(random().map_err(no_random)?);
        let secret = Visit {
            made_at: now.before(Duration::from_millis(spread.into())),
            used_at: now,
            ..Visit::of_address(&user_id)
        };
        let expires_at = now.after(self.settings.visitor_token_ttl);
        let replaced = self
            .store
            .replace_secret(user_id.clone(), secret.token(), expires_at);
        if !replaced.await.map_err(store_away)? {
            return Err(used());
        }
        self.visitors.recipients().forget(&user_id);
        Ok(Opened {
            principal,
            proof: Proof::Token,
            secret_to_tell: Some(secret.tell(key)),
            status: None,
            expires_in_s: self.settings.visitor_token_ttl.as_secs(),
        })
    }
}

fn used() -> Problem {
    Problem::new(
        Code::Expired,
        "This link has expired or was used before; make another one where you are known.",
    )
}
