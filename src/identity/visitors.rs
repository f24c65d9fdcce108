//! The visitors of a cluster: puts the decision which identity a client gets to work on store,
//! location and quota, and settles the races between clients that ask at once.
//!
//! Not here: the decision (`decision`), sessions (`hub`), what a visitor may do (`policy`).
//! Invariant: an identity has one holder at a time. Whoever loses a race gets another identity,
//! never a share of this one.

use std::net::IpAddr;
use std::sync::Arc;

use super::fingerprint::FingerprintKey;
use super::handshake::Handshake;
use super::opening::{Ask, Opening, principal};
use super::problem::{no_random, store_away, switched_off};
use super::recipients::Recipients;
use super::secret::{Claim, NEW, VisitorCookies};
use super::settings::VisitorSettings;
use super::ticket::Ticket;
use super::{Clock, Opened};
use crate::location::Location;
use crate::model::{
    ClientIdentifier, Code, MessageId, Principal, Problem, StoredMessage, UnixMillis, UserId,
};
use crate::quota::{Networks, Quota};
use crate::store::{AccountStore, ENDED_LIFE, Store};

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
        let cookies = VisitorCookies::new(key.clone(), settings.token_ttl, Arc::clone(&clock));
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

    /// The client's network and the wider ones, as limits count them.
    pub(crate) fn networks(&self, address: IpAddr) -> Networks {
        self.key
            .networks(address, self.settings.multiples.of(address))
    }

    /// The same when the narrowest of them has its name already: an IPv4 address has no other.
    pub(super) fn networks_known(&self, narrowest: &ClientIdentifier, address: IpAddr) -> Networks {
        let multiple = self.settings.multiples.of(address);
        self.key.networks_known(narrowest, address, multiple)
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
        let networks = self.networks(handshake.address);
        self.connect_on(networks, handshake, visitor_token, accept_language)
            .await
    }

    /// The same where the networks of the handshake are known already.
    ///
    /// # Errors
    /// As [`Visitors::connect`].
    pub async fn connect_on(
        &self,
        networks: Networks,
        handshake: &Handshake,
        visitor_token: Option<&str>,
        accept_language: Option<&str>,
    ) -> Result<Opened, Problem> {
        self.open(Ask {
            handshake,
            header: visitor_token,
            accept_language,
            requested: false,
            client: self.client(handshake),
            network: self.name_of(&networks, handshake),
            networks,
        })
        .await
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
        let ask = self.ask(handshake, None, accept_language);
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
        let ask = self.ask(handshake, Some(secret), None);
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

    /// Begins to erase a user: nothing opens the address once this returns. Returns whether nothing is left;
    /// otherwise [`Self::erase`] removes the rest.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn begin_erasure(&self, user_id: &UserId) -> Result<bool, Problem> {
        let ends_at = self.now().after(ENDED_LIFE);
        let begun = self.store.begin_erasure(user_id, ends_at).await;
        let is_done = begun.map_err(store_away)?;
        self.recipients().forget(user_id);
        Ok(is_done)
    }

    /// Erases the user: the row, the secrets, the text of the messages. Without a row it is noted that the
    /// secret has ended.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn erase(&self, user_id: &UserId) -> Result<(), Problem> {
        // For as long as a secret opens a visitor of whom nothing is stored, a cookie included.
        let ends_at = self.now().after(ENDED_LIFE);
        let erased = self.store.erase(user_id, ends_at).await;
        erased.map_err(store_away)?;
        self.recipients().forget(user_id);
        Ok(())
    }

    /// The name of the narrowest network.
    fn name_of(&self, networks: &Networks, handshake: &Handshake) -> ClientIdentifier {
        let narrowest = networks.narrowest().cloned();
        narrowest.unwrap_or_else(|| self.network(handshake))
    }

    /// A request rather than a handshake.
    fn ask<'a>(
        &self,
        handshake: &'a Handshake,
        header: Option<&'a str>,
        accept_language: Option<&'a str>,
    ) -> Ask<'a> {
        let networks = self.networks(handshake.address);
        Ask {
            handshake,
            header,
            accept_language,
            requested: true,
            client: self.client(handshake),
            network: self.name_of(&networks, handshake),
            networks,
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

impl std::fmt::Debug for Visitors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Visitors")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
