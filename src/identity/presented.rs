//! What a presented secret opens, and what becomes of it when it is used.
//!
//! Not here: which secret counts (`decision`). Invariant: a secret without a row opens its visitor only
//! while nothing is known of the address, and for an hour after its last use; a store that cannot write
//! still opens every secret.

use std::net::IpAddr;
use std::time::Duration;

use super::names::visitor_name;
use super::problem::{store_away, try_later};
use super::secret::{Claim, Visit, token_of};
use super::ticket::{ONCE, Ticket, is_ticket};
use super::visitors::Visitors;
use crate::model::{ClientIdentifier, Code, Network, Problem, UnixMillis, UserId};
use crate::policy::bucket::{Rate, Verdict};
use crate::quota::Networks;
use crate::quota::refused::NETWORK_VISITORS;
use crate::store::{Found, NewVisitor, StoreError, TokenHash, UserRecord};

/// How often the use of a secret is written: a longer life of the secret can wait.
const SLIDE_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// A network that may have fewer visitors than this may have all of them at once.
const BURST_MIN: u32 = 100;

/// How many visitors in a row a cookie may have stood for that were given up.
const GIVEN_UP_MAX: usize = 8;

/// How far a cookie of which nothing is known is followed.
const AHEAD_MAX: usize = 1;

/// What is known of the visitor whom a secret opens.
#[derive(Clone, Debug)]
pub(super) enum Known {
    /// A row, and when a signed secret was made.
    Row(UserRecord, Option<UnixMillis>),
    /// The secret alone.
    Visit(Visit),
}

/// A presented secret as it was found.
#[derive(Clone, Debug)]
pub(super) struct Presented {
    token: TokenHash,
    /// The visitor whom a signed one stands for; of a cookie nobody once they are gone.
    pub(super) visit: Option<Visit>,
    /// Whom it opens, if anybody.
    pub(super) known: Option<Known>,
    /// When a secret with a row ends.
    expires_at: UnixMillis,
}

impl Presented {
    /// A cookie that was given just now.
    pub(super) fn fresh(claim: Claim) -> Self {
        Self::of(claim.token, claim.visit)
    }

    fn of(token: TokenHash, visit: Option<Visit>) -> Self {
        Self {
            token,
            visit,
            known: None,
            expires_at: UnixMillis(0),
        }
    }
}

impl Visitors {
    /// What a presented text stands for: a secret, or a ticket, which is used up by this. Nothing for a
    /// text that is neither.
    pub(super) async fn claim_of(&self, text: &str) -> Result<Option<Claim>, Problem> {
        if !is_ticket(text) {
            return Ok(Claim::read(self.key(), text));
        }
        let used = || {
            let words = "This ticket has expired or was used before; ask for another one.";
            Problem::new(Code::Unauthorized, words)
        };
        let ticket = Ticket::read(self.key(), text, self.now()).ok_or_else(used)?;
        match self.quota().take(&ticket.key(), ONCE).await {
            Verdict::Allowed { .. } => Ok(Some(ticket.claim)),
            Verdict::Refused { .. } => Err(used()),
        }
    }

    /// What a presented secret opens.
    pub(super) async fn look_up(&self, claim: Claim) -> Result<Presented, Problem> {
        let now = self.now();
        let mut presented = Presented::of(claim.token, claim.visit);
        match self.found(&claim).await? {
            Found::Open { record, expires_at } => {
                let made_at = claim.visit.map(|visit| visit.made_at);
                presented.known = Some(Known::Row(record, made_at));
                presented.expires_at = expires_at;
            }
            Found::Ended => {}
            Found::Nobody => {
                if let Some(visit) = claim.visit
                    && (!visit.is_cookie && visit.is_recent(now) || self.was_here(&visit).await)
                {
                    presented.known = Some(Known::Visit(visit));
                }
            }
        }
        Ok(presented)
    }

    /// What a cookie opens. One of which nothing is kept stands for a visitor for an hour, and for as long
    /// as location remembers them; when the one it stood for was given up, for another. After that it
    /// stands for nobody.
    pub(super) async fn look_up_cookie(&self, claim: Claim) -> Result<Presented, Problem> {
        let now = self.now();
        let mut claim = claim;
        let mut ahead = 0;
        for _ in 0..GIVEN_UP_MAX {
            let mut presented = Presented::of(claim.token, claim.visit);
            match self.found(&claim).await? {
                Found::Open { record, expires_at } => {
                    let made_at = claim.visit.map(|visit| visit.made_at);
                    presented.known = Some(Known::Row(record, made_at));
                    presented.expires_at = expires_at;
                    return Ok(presented);
                }
                Found::Nobody => {
                    let Some(visit) = claim.visit else { break };
                    if self.was_here(&visit).await {
                        presented.known = Some(Known::Visit(visit));
                        return Ok(presented);
                    }
                    if visit.is_recent(now) {
                        return Ok(presented);
                    }
                    // That an address was given up is forgotten in time; the one after it may have a row.
                    if ahead == AHEAD_MAX {
                        break;
                    }
                    ahead += 1;
                }
                Found::Ended => {}
            }
            let Some(visit) = claim.visit else { break };
            claim = Claim::of(visit.next(self.key()));
        }
        Ok(Presented::of(claim.token, None))
    }

    /// Whether the cookie of this header stands for nobody any more, so that the handshake gives another
    /// one. Asks the store only about cookies that are older than an hour; while it does not answer, a
    /// cookie is kept.
    pub async fn is_cookie_over(&self, address: IpAddr, header: &str) -> bool {
        let Some(claim) = self.cookies().old_in(header) else {
            return false;
        };
        // A request can bring an old one without end; the share is that of new visitors.
        let rate = rate_of(self.settings().per_network);
        let networks = self.networks(address);
        let taken = networks.take(self.quota(), "old_cookies", rate).await;
        if matches!(taken, Verdict::Refused { .. }) {
            return false;
        }
        let found = self.look_up_cookie(claim).await;
        found.is_ok_and(|it| it.known.is_none() && it.visit.is_none())
    }

    async fn found(&self, claim: &Claim) -> Result<Found, Problem> {
        let user = claim.visit.map(|visit| visit.user_id());
        let found = self.store().visitor(claim.token, user.as_ref(), self.now());
        found.await.map_err(store_away)
    }

    /// Whether this visitor was on any node within the hour, as far as location says.
    async fn was_here(&self, visit: &Visit) -> bool {
        let noted = self.location().introduced(&visit.user_id()).await;
        matches!(noted, Ok(Some(noted)) if noted.made_at == visit.made_at)
    }

    /// Makes the owner of a presented secret firm, which is written before anything else: afterwards no
    /// fingerprint opens the identity. Yields whose it is now; `None` when the secret has ended, and the
    /// secret opens nothing from now on.
    pub(super) async fn confirm(
        &self,
        presented: &mut Presented,
        client: &ClientIdentifier,
    ) -> Result<Option<Known>, Problem> {
        let token = presented.token;
        match presented.known.take() {
            None => Ok(None),
            Some(Known::Visit(visit)) if !visit.is_loose => Ok(Some(Known::Visit(visit))),
            Some(Known::Visit(visit)) => self.confirm_visit(token, visit, client).await,
            Some(Known::Row(record, made_at)) => {
                let expires_at = presented.expires_at;
                let confirmed = self.confirm_row(token, record, expires_at).await?;
                Ok(confirmed.map(|record| Known::Row(record, made_at)))
            }
        }
    }

    /// A loose identity without a row: it gets one, unless it has one by now. While the store cannot
    /// write it stays loose, as does everything that rests on that; nobody can take it over either.
    async fn confirm_visit(
        &self,
        token: TokenHash,
        visit: Visit,
        client: &ClientIdentifier,
    ) -> Result<Option<Known>, Problem> {
        let user_id = visit.user_id();
        let now = self.now();
        let row = NewVisitor {
            name: visitor_name(&user_id, visit.is_korean),
            loose: false,
            taken_at: None,
            client_identifier: client.clone(),
            token,
            token_expires_at: now.after(self.settings().token_ttl),
            is_kept: false,
            now,
            user_id,
        };
        let created = self.store().create_visitor(row).await;
        self.recipients().forget(&visit.user_id());
        let visit = match created {
            Ok(true) => Visit {
                is_loose: false,
                ..visit
            },
            Ok(false) => {
                let open = self.found(&Claim::of(visit)).await?;
                let Found::Open { record, expires_at } = open else {
                    return Ok(None);
                };
                let confirmed = self.confirm_row(token, record, expires_at).await?;
                return Ok(confirmed.map(|record| Known::Row(record, Some(visit.made_at))));
            }
            Err(error) => {
                note_unwritten(&error);
                visit
            }
        };
        Ok(Some(Known::Visit(visit)))
    }

    /// The use of a secret with a row. A loose identity may pass to a neighbour between the look-up and
    /// this, which ends the secret; so that is asked again, now that nobody can take it over any more.
    async fn confirm_row(
        &self,
        token: TokenHash,
        record: UserRecord,
        expires_at: UnixMillis,
    ) -> Result<Option<UserRecord>, Problem> {
        let now = self.now();
        let ends_at = now.after(self.settings().token_ttl);
        let every = SLIDE_EVERY.min(self.settings().token_ttl / 10);
        let is_fresh = ends_at.since(expires_at) < every;
        if is_fresh && !record.standing.is_loose() {
            return Ok(Some(record));
        }
        let written = self.store().confirm_token(token, ends_at, now).await;
        self.recipients().forget(&record.user_id);
        if let Err(error) = written {
            note_unwritten(&error);
        } else if !record.standing.is_loose() {
            return Ok(Some(record));
        }
        let again = self.store().visitor_by_token(token, now).await;
        let again = again.map_err(store_away)?;
        Ok(again.filter(|again| again.user_id == record.user_id))
    }

    /// Takes one new visitor from the share of each network around a client.
    pub(super) async fn count(&self, networks: &Networks, client: IpAddr) -> Result<(), Problem> {
        let rate = rate_of(self.settings().per_network);
        match networks.take(self.quota(), "visitors", rate).await {
            Verdict::Allowed { .. } => Ok(()),
            Verdict::Refused { retry_after_ms } => {
                NETWORK_VISITORS.note(Network::of(client));
                const DETAIL: &str = "Too many new visitors from your network; try again later.";
                Err(try_later(retry_after_ms, DETAIL))
            }
        }
    }

    /// Whether the address was given to a row, or given up, so that the secret without a row that was
    /// made at this time opens it no more.
    pub(super) async fn has_ended(
        &self,
        user: &UserId,
        made_at: UnixMillis,
    ) -> Result<bool, StoreError> {
        let token = token_of(user, made_at);
        let found = self.store().visitor(token, Some(user), self.now()).await?;
        Ok(found == Found::Ended)
    }
}

/// New visitors of a network: half of what ten minutes may bring at once.
fn rate_of(per_10_min: u32) -> Rate {
    Rate {
        capacity: (per_10_min / 2).max(per_10_min.min(BURST_MIN)),
        per_10_min,
    }
}

fn note_unwritten(error: &StoreError) {
    tracing::warn!(%error, "the use of a visitor's secret is written later");
}
