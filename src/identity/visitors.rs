//! The visitors of a cluster: puts the decision which identity a client gets to work on store,
//! location and quota, and settles the races between clients that ask at once.
//!
//! Not here: the decision (`decision`), sessions (`hub`), what a visitor may do (`policy`).
//! Invariant: an identity has one holder at a time. Whoever loses a race gets another identity,
//! never a share of this one.

use std::sync::Arc;
use std::time::Duration;

use super::fingerprint::FingerprintKey;
use super::handshake::Handshake;
use super::opening::{Ask, Opening, principal};
use super::problem::{location_away, no_random, store_away, switched_off};
use super::recipients::Recipients;
use super::secret::{Claim, NEW, VisitorCookies, token_of};
use super::settings::VisitorSettings;
use super::ticket::Ticket;
use super::{Clock, Opened};
use crate::location::Location;
use crate::model::{
    ClientIdentifier, Code, MessageId, Principal, Problem, StoredMessage, UnixMillis, Unkept,
    UserId,
};
use crate::quota::Quota;
use crate::store::{AccountStore, Keep, NewVisitor, Store, UserRecord};

/// How long a page of somebody's own copy may be, in messages.
const EXPORT_PAGE: u32 = 1_000;

/// The visitors. One value per node, shared.
pub struct Visitors {
    store: Arc<dyn Store>,
    location: Arc<dyn Location>,
    quota: Arc<dyn Quota>,
    settings: VisitorSettings,
    key: FingerprintKey,
    cookies: VisitorCookies,
    clock: Clock,
    recipients: Recipients,
    /// Where an address is looked up that was merged into an account, and who may write to one.
    accounts: Option<Arc<dyn AccountStore>>,
}

impl Visitors {
    /// Visitors kept in this store, located there, and limited by this quota.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        location: Arc<dyn Location>,
        quota: Arc<dyn Quota>,
        key: FingerprintKey,
        settings: VisitorSettings,
        clock: Clock,
    ) -> Self {
        let cookies = VisitorCookies::new(key.clone(), settings.token_ttl);
        Self {
            store,
            location,
            quota,
            settings,
            key,
            cookies,
            clock,
            recipients: Recipients::new(),
            accounts: None,
        }
    }

    /// The same, beside accounts: what is written to a visitor who became a part of one goes there.
    #[must_use]
    pub fn with_accounts(mut self, accounts: Arc<dyn AccountStore>) -> Self {
        self.accounts = Some(accounts);
        self
    }

    /// How visitors are treated.
    #[must_use]
    pub fn settings(&self) -> &VisitorSettings {
        &self.settings
    }

    /// The cookie `sb_vid`, for the handshake.
    #[must_use]
    pub fn cookies(&self) -> &VisitorCookies {
        &self.cookies
    }

    /// The time by which secrets and visits are judged.
    #[must_use]
    pub fn now(&self) -> UnixMillis {
        (self.clock)()
    }

    /// The fingerprint of a client.
    #[must_use]
    pub fn client(&self, handshake: &Handshake) -> ClientIdentifier {
        self.key.client(handshake.address, &handshake.user_agent)
    }

    /// The client's network, as limits and bans name it.
    #[must_use]
    pub fn network(&self, handshake: &Handshake) -> ClientIdentifier {
        self.key.network(handshake.address)
    }

    /// The identity for a CONNECT. `visitor_token` is the header of that name: a secret, `new`, or
    /// nothing; `accept_language` names a visitor who is created.
    ///
    /// # Errors
    /// `unauthorized` or `anonymous_not_allowed` when visitors are switched off; `try_later` when
    /// too many are created or location is away; `store_unavailable`.
    pub async fn connect(
        &self,
        handshake: &Handshake,
        visitor_token: Option<&str>,
        accept_language: Option<&str>,
    ) -> Result<Opened, Problem> {
        let ask = self.ask(handshake, visitor_token, accept_language, false);
        self.open(ask).await
    }

    /// The identity for a request that asks for one (`POST /api/v1/auth/anonymous`). It is firm,
    /// because whoever asks for a secret keeps it, and it is never somebody's found by fingerprint.
    ///
    /// # Errors
    /// As [`Visitors::connect`].
    pub async fn anonymous(
        &self,
        handshake: &Handshake,
        accept_language: Option<&str>,
    ) -> Result<Opened, Problem> {
        let ask = self.ask(handshake, None, accept_language, true);
        self.open(ask).await
    }

    /// The visitor of `Authorization: Visitor <secret>`. Presenting the secret makes him firm.
    ///
    /// # Errors
    /// `unauthorized` when the secret opens nothing, `anonymous_not_allowed` when visitors are
    /// switched off, `store_unavailable`.
    pub async fn authenticate(
        &self,
        handshake: &Handshake,
        secret: &str,
    ) -> Result<Principal, Problem> {
        if !self.settings.enabled {
            return Err(switched_off(true));
        }
        let ask = self.ask(handshake, Some(secret), None, true);
        if let Some(claim) = Claim::read(&self.key, secret) {
            let mut presented = self.look_up(claim).await?;
            if let Some(known) = self.confirm(&mut presented, &ask.client).await? {
                return Ok(principal(&known, &ask));
            }
        }
        Err(Problem::new(
            Code::Unauthorized,
            "This visitor token opens nothing: it has expired, or was never given out.",
        ))
    }

    /// A ticket for the visitor of `Authorization: Visitor <secret>`: it opens one WebSocket in his
    /// name within [`TICKET_LIFE`].
    ///
    /// # Errors
    /// As [`Visitors::authenticate`].
    pub async fn ticket(&self, handshake: &Handshake, secret: &str) -> Result<String, Problem> {
        self.authenticate(handshake, secret).await?;
        let Some(claim) = Claim::read(&self.key, secret) else {
            return Err(Problem::new(Code::Internal, "A ticket was not written."));
        };
        Ticket::tell(&self.key, &claim, self.now()).map_err(no_random)
    }

    /// The session of this principal has ended. Call it after the session is gone from location.
    ///
    /// A firm visitor with a row leaves no trace by going. One without a row can come back for an hour, a
    /// loose one by the fingerprint, too.
    ///
    /// # Errors
    /// When the store or location is away; the visitor is then recognised a little less long.
    pub async fn disconnected(&self, principal: &Principal) -> Result<(), Problem> {
        let user = &principal.user_id;
        if principal.kind.has_account() {
            return self.store.seen(user, self.now()).await.map_err(store_away);
        }
        if principal.made_at.is_none() && !principal.standing.is_loose() {
            return Ok(());
        }
        let record = self.store.user(user).await.map_err(store_away)?;
        let mut now = self.now();
        match (&record, principal.made_at) {
            // The identity may have passed to somebody else by now: it is their time that counts.
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
        let introduced = self.location.introduce(user, &Arc::new(visitor)).await;
        introduced.map_err(location_away)?;
        match record {
            Some(_) => self.store.seen(user, now).await.map_err(store_away),
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
        let record = self.store.user(&principal.user_id).await;
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
            token_expires_at: now.after(self.settings.token_ttl),
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
        self.store.keep_visitor(keep).await.map_err(store_away)?;
        self.recipients().forget(&principal.user_id);
        Ok(())
    }

    /// The next page of everything that the visitor wrote or received and the store still has,
    /// oldest first; an empty page is the end. Of a taken-over identity only what is its present
    /// holder's.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn export(
        &self,
        principal: &Principal,
        after: Option<MessageId>,
    ) -> Result<Vec<StoredMessage>, Problem> {
        let mut after = after;
        loop {
            let page = self.store.export(&principal.user_id, after, EXPORT_PAGE);
            let mut page = page.await.map_err(store_away)?;
            let is_last = page.len() < EXPORT_PAGE as usize;
            after = page.last().map(|message| message.id);
            if let Some(taken_at) = principal.standing.taken_at() {
                page.retain(|message| message.timestamp >= taken_at);
            }
            // An empty page means the end, so what is left out must not make one.
            if is_last || !page.is_empty() {
                return Ok(page);
            }
        }
    }

    /// Forgets the visitor: the row, the secrets, the text of the messages. Without a row it is noted that
    /// the secret has ended.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn erase(&self, user_id: &UserId) -> Result<(), Problem> {
        // For as long as any secret of theirs can be presented, a cookie included.
        let ends_at = self.now().after(self.settings.token_ttl);
        let erased = self.store.erase(user_id, ends_at).await;
        erased.map_err(store_away)?;
        self.recipients().forget(user_id);
        Ok(())
    }

    fn ask<'a>(
        &self,
        handshake: &'a Handshake,
        header: Option<&'a str>,
        accept_language: Option<&'a str>,
        requested: bool,
    ) -> Ask<'a> {
        Ask {
            handshake,
            header,
            accept_language,
            requested,
            client: self.key.client(handshake.address, &handshake.user_agent),
            network: self.key.network(handshake.address),
        }
    }

    async fn open(&self, ask: Ask<'_>) -> Result<Opened, Problem> {
        if !self.settings.enabled {
            return Err(switched_off(ask.header.is_some_and(|token| token != NEW)));
        }
        let opened = Opening::begin(self, ask).await?.finish().await?;
        let proof = opened.proof.as_str();
        metrics::counter!("identity_opened_total", "proof" => proof).increment(1);
        Ok(opened)
    }

    pub(super) fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    pub(super) fn location(&self) -> &dyn Location {
        self.location.as_ref()
    }

    pub(super) fn accounts(&self) -> Option<&dyn AccountStore> {
        self.accounts.as_deref()
    }

    pub(super) fn key(&self) -> &FingerprintKey {
        &self.key
    }

    pub(super) fn quota(&self) -> &dyn Quota {
        self.quota.as_ref()
    }

    pub(super) fn recipients(&self) -> &Recipients {
        &self.recipients
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

impl std::fmt::Debug for Visitors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Visitors")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
