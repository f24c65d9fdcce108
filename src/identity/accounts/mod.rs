//! Accounts: who signs in with what, what his tokens are, and what the service knows of him.
//!
//! Decides, and calls the store; knows nothing of live sessions. After a change of somebody (an end
//! of a sign-in, a password, a role, a ban, an upgrade, a merge, a token used twice) the caller has
//! his sessions looked at on every node. Not here: REST and STOMP (`edge`, `app`), SQL (`store`).
//! Invariant: no answer tells whether an e-mail has an account, but that of a registration, which is
//! limited; a secret leaves this room only to whom it was made for.

mod access;
mod admin;
mod bans;
mod email;
mod entering;
mod failures;
mod fetch;
mod hashes;
mod issuers;
pub mod jwt;
mod letters;
mod links;
mod own;
mod passwords;
mod settings;
mod sign_ins;
mod strength;
mod tokens;
mod types;
mod worker_threads;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

pub use issuers::{
    InvalidIssuer, IssuerSettings, IssuerSpec, Issuers, KeyPlace, KeySource, read_issuers,
};
pub use jwt::{Jwt, JwtSettings, KeyError, KeyMaterial};
pub use passwords::HashLimit;
pub use settings::AccountSettings;
pub use types::{Banned, LoggedIn, Login, Pair, RefreshRefused, Registration, Upgrade};

use self::bans::BanTable;
use self::failures::{Counter, Failures};
use self::issuers::Admitted;
use self::passwords::Passwords;
use self::tokens::{Opaque, Use};
use super::handshake::Handshake;
use super::problem::{no_random, store_away};
use super::random::random;
use super::visitors::Visitors;
use crate::mail::Mail;
use crate::model::{
    Code, Kind, MessageId, NamedNetworks, Network, Principal, Problem, SignInId, Standing,
    UnixMillis, UserId,
};
use crate::policy::bucket::{Rate, Verdict};
use crate::quota::Networks;
use crate::quota::refused::NETWORK_SIGN_INS;
use crate::store::AccountStore;
use crate::store::accounts::{Audit, NewSignIn};

/// How many letters are on their way at a time.
const LETTERS_MAX: usize = 16;

/// How many times as often all networks together may be wrong about one account as one of them.
const MANY_NETWORKS: u32 = 10;

/// What accounts are made of.
#[derive(Debug)]
pub struct Parts {
    /// Where they are kept.
    pub store: Arc<dyn AccountStore>,
    /// The visitors, whose clock, key and quota accounts share.
    pub visitors: Arc<Visitors>,
    /// What sends letters.
    pub mail: Arc<dyn Mail>,
    /// The tokens.
    pub jwt: Jwt,
    /// Whose tokens are taken besides.
    pub issuers: Issuers,
    /// On which what nobody waits for is done.
    pub work: TaskTracker,
}

/// The accounts. One value per node, shared.
pub struct Accounts {
    store: Arc<dyn AccountStore>,
    visitors: Arc<Visitors>,
    mail: Arc<dyn Mail>,
    jwt: Jwt,
    issuers: Issuers,
    work: TaskTracker,
    settings: AccountSettings,
    passwords: Passwords,
    failures: Failures,
    bans: BanTable,
    admitted: Admitted,
    letters: Arc<Semaphore>,
}

impl std::fmt::Debug for Accounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accounts")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// Whom tokens are made for.
struct Holder<'a> {
    user_id: &'a UserId,
    kind: Kind,
    name: &'a str,
    /// When he had taken the address over, while he was a visitor.
    taken_at: Option<UnixMillis>,
}

impl Accounts {
    /// Accounts on these parts. Call [`Accounts::reload_bans`] before anybody is let in.
    #[must_use]
    pub fn new(parts: Parts, settings: AccountSettings) -> Self {
        Self {
            store: parts.store,
            visitors: parts.visitors,
            mail: parts.mail,
            jwt: parts.jwt,
            issuers: parts.issuers,
            work: parts.work,
            passwords: Passwords::new(settings.hashes),
            settings,
            failures: Failures::new(),
            bans: BanTable::default(),
            admitted: Admitted::new(),
            letters: Arc::new(Semaphore::new(LETTERS_MAX)),
        }
    }

    /// How accounts are treated.
    #[must_use]
    pub fn settings(&self) -> &AccountSettings {
        &self.settings
    }

    fn now(&self) -> UnixMillis {
        self.visitors.now()
    }

    /// Whoever has presented himself over this connection.
    fn principal(
        &self,
        from: &Handshake,
        holder: &Holder<'_>,
        sign_in: Option<SignInId>,
        expires_at: Option<UnixMillis>,
    ) -> Principal {
        let key = self.visitors.key();
        Principal {
            user_id: holder.user_id.clone(),
            kind: holder.kind,
            standing: Standing::Firm {
                taken_at: holder.taken_at,
            },
            name: holder.name.to_owned(),
            client_identifier: key.client(from.address, &from.user_agent),
            network: key.network(from.address),
            sign_in,
            expires_at,
            made_at: None,
        }
    }

    /// Refuses who is banned.
    fn admit(&self, principal: &Principal) -> Result<(), Problem> {
        match self.bans.verdict(principal, self.now()).ban {
            None => Ok(()),
            Some(ban) => {
                let words = "You may not connect here; ask whoever looks after the service.";
                Err(Problem::new(Code::Banned, words).until(ban.until))
            }
        }
    }

    /// A new sign-in, and the refresh token that opens it.
    fn new_sign_in(
        &self,
        user_id: &UserId,
        device: &str,
        now: UnixMillis,
    ) -> Result<(NewSignIn, Opaque), Problem> {
        let refresh = Opaque::random(Use::Refresh)?;
        let id = SignInId(u128::from_be_bytes(random().map_err(no_random)?));
        let sign_in = NewSignIn {
            id,
            user_id: user_id.clone(),
            device: email::read_device(device),
            refresh: refresh.hash(),
            refresh_expires_at: now.after(self.settings.refresh_ttl),
            now,
        };
        Ok((sign_in, refresh))
    }

    fn pair(
        &self,
        holder: &Holder<'_>,
        sign_in: SignInId,
        refresh: &Opaque,
        now: UnixMillis,
    ) -> Result<Pair, Problem> {
        let life = self.jwt.access_ttl();
        let access = self
            .jwt
            .sign(holder.user_id, holder.kind, sign_in, now, life);
        Ok(Pair {
            user_id: holder.user_id.clone(),
            kind: holder.kind,
            name: holder.name.to_owned(),
            access_token: access?,
            expires_in: life.as_secs(),
            refresh_token: refresh.tell(),
            refresh_expires_in: self.settings.refresh_ttl.as_secs(),
            sign_in,
        })
    }

    /// Takes one from what a network may do in ten minutes.
    async fn take(&self, what: &str, from: &Handshake, per_10_min: u32) -> Result<(), Problem> {
        if per_10_min == 0 {
            return Ok(());
        }
        let rate = Rate {
            capacity: per_10_min,
            per_10_min,
        };
        let networks = self.visitors.networks(from.address);
        match networks.take(self.visitors.quota(), what, rate).await {
            Verdict::Allowed { .. } => Ok(()),
            Verdict::Refused { retry_after_ms } => {
                NETWORK_SIGN_INS.note(Network::of(from.address));
                let detail = "Too many of these from your network; wait a little.";
                Err(Problem::new(Code::RateLimited, detail).retry_after_ms(retry_after_ms))
            }
        }
    }

    /// The networks around a client, as the queue of hashes shares itself out.
    fn networks(&self, from: &Handshake) -> NamedNetworks {
        self.visitors.networks(from.address).names().clone()
    }

    /// What counts wrong passwords: the account, by a keyed hash of its name, together with each network
    /// around the client, so that a stranger elsewhere locks nobody out, not even one with an IPv6 /48; and each for
    /// itself, with more room, against one who tries many accounts, and many who try one.
    fn counters(&self, from: &Handshake, login: &str) -> Vec<Counter> {
        let key = self.visitors.key();
        let (account, max) = (key.account(login), self.settings.failures);
        let networks = self.visitors.networks(from.address);
        let each = |networks: &Networks, what: &str, max: u32| {
            let buckets = networks.buckets(what);
            let counters = buckets.limits(max).map(|(key, max)| Counter {
                key: key.to_owned(),
                max,
            });
            counters.collect::<Vec<_>>()
        };
        let mut counters = each(
            &networks.clone().unnamed(),
            &format!("login:pair:{account}"),
            max,
        );
        counters.push(Counter {
            key: format!("login:acct:{account}"),
            max: max.saturating_mul(MANY_NETWORKS),
        });
        counters.extend(each(&networks, "login:net", self.settings.failures_per_net));
        counters
    }

    /// Notes what somebody did. What was done stays done when this fails.
    async fn note(&self, actor: &str, act: &str, subject: &str, detail: String) {
        let now = self.now();
        let Ok(bits) = random::<10>() else {
            tracing::error!(act, "an act was not noted: no random octets");
            return;
        };
        let mut wide = [0; 16];
        wide[6..].copy_from_slice(&bits);
        let audit = Audit {
            id: MessageId::from_parts(now.0, u128::from_be_bytes(wide)),
            at: now,
            actor: actor.to_owned(),
            act: act.to_owned(),
            subject: subject.to_owned(),
            detail,
        };
        if let Err(error) = self.store.note(audit).await {
            tracing::error!(%error, act, "an act was not noted");
        }
    }
}

/// The words for every refusal of a password: which of the two was wrong is nobody's business.
fn wrong() -> Problem {
    Problem::new(
        Code::Unauthorized,
        "The e-mail or the password is not right.",
    )
}

/// Only for holders of accounts that are kept here.
fn only_for_accounts() -> Problem {
    Problem::new(
        Code::AnonymousNotAllowed,
        "Only the holder of an account has this. Register, or sign in.",
    )
}

/// What is looked up by this does not exist.
fn no_account() -> Problem {
    Problem::new(Code::NotFound, "There is no such account.")
}

/// How soon the same refresh token may come again and gets the same successor.
const GRACE: Duration = Duration::from_secs(10);
