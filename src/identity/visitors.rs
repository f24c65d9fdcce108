//! The visitors of a cluster: puts the decision which identity a client gets to work on store,
//! location and quota, and settles the races between clients that ask at once.
//!
//! Not here: the decision (`decision`), sessions (`hub`), what a visitor may do (`policy`).
//! Invariant: an identity has one holder at a time. Whoever loses a race gets another identity,
//! never a share of this one.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::fingerprint::FingerprintKey;
use super::handshake::Handshake;
use super::minting::Minting;
use super::opening::{Ask, Opening, Presented, principal};
use super::problem::{location_away, no_random, store_away, switched_off, try_later};
use super::recipients::Recipients;
use super::secret::{NEW, Secret, VisitorCookies};
use super::settings::VisitorSettings;
use super::ticket::{ONCE, Ticket, is_ticket};
use super::{Clock, Opened};
use crate::location::Location;
use crate::model::{
    ClientIdentifier, Code, MessageId, Principal, Problem, StoredMessage, UnixMillis, UserId,
};
use crate::policy::bucket::{Rate, Verdict};
use crate::quota::{Networks, Quota};
use crate::store::{AccountStore, Store, TokenHash, UserRecord};

/// How long a page of somebody's own copy may be, in messages.
const EXPORT_PAGE: u32 = 250;

/// The same in bytes of text.
const EXPORT_BYTES: u64 = 64 << 10;

/// The visitors. One value per node, shared.
pub struct Visitors {
    store: Arc<dyn Store>,
    location: Arc<dyn Location>,
    quota: Arc<dyn Quota>,
    settings: VisitorSettings,
    key: FingerprintKey,
    cookies: VisitorCookies,
    clock: Clock,
    /// A std mutex: it guards one number and is never held across an await.
    minting: Mutex<Minting>,
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
        let minting = Mutex::new(Minting::per_hour(settings.mint_per_node_hour));
        Self {
            store,
            location,
            quota,
            settings,
            key,
            cookies,
            clock,
            minting,
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

    /// The client's network and the wider ones, as limits count them.
    pub(crate) fn networks(&self, address: IpAddr) -> Networks {
        self.key
            .networks(address, self.settings.multiples.of(address))
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
        let token = Secret::parse(secret).map(|secret| secret.hash());
        if let Some((token, Some(record))) = self.look_up(token).await?
            && let Some(record) = self.confirm(&token, record).await?
        {
            return Ok(principal(record, &ask));
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
        let Some(secret) = Secret::parse(secret) else {
            return Err(Problem::new(Code::Internal, "A ticket was not written."));
        };
        Ticket::tell(&self.key, &secret.hash(), self.now()).map_err(no_random)
    }

    /// The session of this principal has ended. Call it after the session is gone from location.
    ///
    /// # Errors
    /// When the store or location is away; the visitor is then recognised a little less long.
    pub async fn disconnected(&self, principal: &Principal) -> Result<(), Problem> {
        let mut now = self.now();
        if principal.standing.is_loose() {
            // The identity may have passed to somebody else by now: it is his time that counts.
            let record = self.store.user(&principal.user_id).await;
            let Some(record) = record
                .map_err(store_away)?
                .filter(|r| is_held(r, principal))
            else {
                return Ok(());
            };
            // An end is later than its beginning, so that the two are never taken for one.
            now = now.max(record.last_seen.after(Duration::from_millis(1)));
            let touched = self.location.touch(&principal.client_identifier).await;
            touched.map_err(location_away)?;
        }
        let seen = self.store.seen(&principal.user_id, now).await;
        seen.map_err(store_away)
    }

    /// Whether the principal's identity is still in the hands that it was in when he connected.
    /// Ask for each loose principal after this node was cut off from location for longer than its
    /// lease: others saw his session gone, so a neighbour may have taken the identity over. End the
    /// session when the answer is no.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn is_holder(&self, principal: &Principal) -> Result<bool, Problem> {
        let record = self.store.user(&principal.user_id).await;
        let record = record.map_err(store_away)?;
        Ok(record.is_some_and(|record| is_held(&record, principal)))
    }

    /// The next page of everything that the visitor wrote or received and the store still has,
    /// oldest first; an empty page is the end. Of a taken-over identity only what is its present
    /// holder's. A page has at most `EXPORT_PAGE` messages, and its texts less than
    /// `EXPORT_BYTES` and one message more.
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
            let user_id = &principal.user_id;
            let page = self.store.export(user_id, after, EXPORT_PAGE, EXPORT_BYTES);
            let mut page = page.await.map_err(store_away)?;
            let is_last = page.is_empty();
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

    /// Forgets the visitor: his row, his secrets, the words of his messages.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn erase(&self, user_id: &UserId) -> Result<(), Problem> {
        self.store.erase(user_id).await.map_err(store_away)?;
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

    /// What a presented text stands for as the store knows it: a secret, or a ticket, which is used
    /// up by this. Nothing for a text that is neither.
    pub(super) async fn token_of(&self, text: &str) -> Result<Option<TokenHash>, Problem> {
        if !is_ticket(text) {
            return Ok(Secret::parse(text).map(|secret| secret.hash()));
        }
        let used = || {
            let words = "This ticket has expired or was used before; ask for another one.";
            Problem::new(Code::Unauthorized, words)
        };
        let ticket = Ticket::read(&self.key, text, self.now()).ok_or_else(used)?;
        match self.quota.take(&ticket.key(), ONCE).await {
            Verdict::Allowed { .. } => Ok(Some(ticket.token)),
            Verdict::Refused { .. } => Err(used()),
        }
    }

    /// What a presented secret opens.
    pub(super) async fn look_up(
        &self,
        token: Option<TokenHash>,
    ) -> Result<Option<Presented>, Problem> {
        let Some(token) = token else {
            return Ok(None);
        };
        let record = self.store.visitor_by_token(token, self.now()).await;
        Ok(Some((token, record.map_err(store_away)?)))
    }

    /// Makes the owner of a presented secret firm. A loose identity may pass to a neighbour between
    /// the look-up and this, which ends the secret; so that is asked again, now that nobody can
    /// take it over any more. `None` when the secret has ended.
    pub(super) async fn confirm(
        &self,
        token: &TokenHash,
        record: UserRecord,
    ) -> Result<Option<UserRecord>, Problem> {
        let now = self.now();
        let expires_at = now.after(self.settings.token_ttl);
        let confirmed = self.store.confirm_token(*token, expires_at, now);
        confirmed.await.map_err(store_away)?;
        self.recipients().forget(&record.user_id);
        if !record.standing.is_loose() {
            return Ok(Some(record));
        }
        let again = self.store.visitor_by_token(*token, now).await;
        let is_his =
            |again: &UserRecord| again.user_id == record.user_id && !again.standing.is_loose();
        Ok(again.map_err(store_away)?.filter(is_his))
    }

    /// Takes one new visitor from the network's share, and from this node's.
    pub(super) async fn mint(
        &self,
        network: &ClientIdentifier,
        now: UnixMillis,
    ) -> Result<(), Problem> {
        const DETAIL: &str = "Too many new visitors; try again later.";
        let per_net = self.settings.mint_per_net;
        if per_net > 0 {
            let rate = Rate {
                capacity: per_net,
                per_10_min: per_net,
            };
            let verdict = self.quota.take(&format!("mint:{network}"), rate).await;
            if let Verdict::Refused { retry_after_ms } = verdict {
                return Err(try_later(retry_after_ms, DETAIL));
            }
        }
        let mut minting = self.minting.lock().unwrap_or_else(PoisonError::into_inner);
        minting
            .take(now)
            .map_err(|millis| try_later(millis, DETAIL))
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
