//! One opening: from what a client presents to the identity that it gets, races included.
//!
//! Not here: which identity that should be (`decision`). Invariant: each turn either opens an
//! identity, or has learned that a fact was no longer true and decides again without it.

use std::sync::Arc;
use std::time::Duration;

use super::Opened;
use super::decision::{Candidate, Cookie, Decision, Facts, Header, Mode, Source, decide};
use super::handshake::Handshake;
use super::names::{prefers_korean, visitor_name};
use super::presented::{Known, Presented};
use super::problem::{location_away, no_random, store_away, switched_off, try_later};
use super::secret::{NEW, Visit};
use super::visitors::{Visitors, unkept};
use crate::model::{
    ClientIdentifier, Kind, Principal, Problem, Proof, Standing, UnixMillis, Unkept, UserId,
};
use crate::store::{NewVisitor, StoreError, TakeOver, UserRecord, VISIT_LIFE};

/// How often a client that loses races is decided upon.
const TURNS: usize = 4;

/// A secret is told anew when it was told longer ago than this, so that it goes on without a row.
const TELL_AGAIN: Duration = Duration::from_secs(600);

/// Who asks for an identity, and how.
#[derive(Clone)]
pub(super) struct Ask<'a> {
    pub(super) handshake: &'a Handshake,
    /// The secret that the client presented itself, or [`NEW`].
    pub(super) header: Option<&'a str>,
    pub(super) accept_language: Option<&'a str>,
    /// By a request of its own, rather than by a handshake.
    pub(super) requested: bool,
    pub(super) client: ClientIdentifier,
    pub(super) network: ClientIdentifier,
}

/// A loose identity that may be meant; its row, if it has one.
type Found = (Candidate, Option<UserRecord>);

/// An opening in progress: what is known so far.
pub(super) struct Opening<'a> {
    visitors: &'a Visitors,
    ask: Ask<'a>,
    header: Option<Presented>,
    /// What the cookie opens, or the visitor that it stands for when it opens nothing yet.
    cookie: Option<Presented>,
    /// The loose identities with the client's fingerprint; `None` before they were looked up. A
    /// take-over that was lost leaves none.
    candidates: Option<Vec<Found>>,
    is_counted: bool,
}

impl<'a> Opening<'a> {
    /// Looks up what the client presented.
    pub(super) async fn begin(visitors: &'a Visitors, ask: Ask<'a>) -> Result<Self, Problem> {
        let claim = match ask.header {
            Some(text) => visitors.claim_of(text).await?,
            None => None,
        };
        let header = match claim {
            Some(claim) => Some(visitors.look_up(claim).await?),
            None => None,
        };
        // The cookie is looked at only when no header beats it, and only from a page.
        let counts = ask.header.is_none() && ask.handshake.from_page;
        let value = ask.handshake.cookie.as_deref().filter(|_| counts);
        let cookie = match value.and_then(|value| visitors.cookies().claim_in(value)) {
            // Given just now: nobody has used it.
            Some((claim, visit)) if !ask.handshake.cookie_presented => {
                Some(Presented::fresh(claim, visit))
            }
            Some(claim) => Some(visitors.look_up_cookie(claim).await?),
            None => None,
        };
        Ok(Self {
            visitors,
            ask,
            header,
            cookie,
            candidates: None,
            is_counted: false,
        })
    }

    /// Decides, does it, and decides again with what a lost race has taught.
    pub(super) async fn finish(mut self) -> Result<Opened, Problem> {
        for _ in 0..TURNS {
            let now = self.visitors.now();
            if self.candidates.is_none() && self.facts(now, &[]).may_be_recognised() {
                self.candidates = Some(self.look_around(now).await?);
            }
            let found = self.candidates.iter().flatten();
            let candidates: Vec<Candidate> = found.map(|(c, _)| c.clone()).collect();
            let verdict = decide(&self.facts(now, &candidates));
            let opened = match verdict.decision {
                Decision::Refuse => return Err(switched_off(false)),
                Decision::Open(source) => self.open_known(source, now).await?,
                Decision::TakeOver {
                    user_id,
                    bind_cookie,
                } => self.take_over(&user_id, bind_cookie, now).await?,
                Decision::Create { loose, bind_cookie } => {
                    Some(self.create(loose, bind_cookie, now).await?)
                }
            };
            if let Some(mut opened) = opened {
                opened.status = verdict.status;
                return Ok(opened);
            }
        }
        Err(try_later(
            1_000,
            "Too many connections of one visitor at once.",
        ))
    }

    fn facts<'f>(&self, now: UnixMillis, candidates: &'f [Candidate]) -> Facts<'f> {
        let settings = self.visitors.settings();
        let opens = |presented: &Presented| presented.known.is_some();
        let header = match (self.ask.header, &self.header) {
            (None, _) => Header::Absent,
            (Some(NEW), _) => Header::New,
            (Some(_), Some(presented)) if opens(presented) => Header::Known,
            (Some(_), _) => Header::Unknown,
        };
        let cookie = match &self.cookie {
            None => Cookie::Absent,
            Some(presented) if opens(presented) => Cookie::Known,
            Some(_) => Cookie::Unbound,
        };
        Facts {
            mode: settings.decision_mode(),
            header,
            cookie,
            from_page: self.ask.handshake.from_page,
            opted_out: self.ask.handshake.opted_out,
            requested: self.ask.requested,
            candidates,
            now,
            hint_ttl: settings.hint_ttl,
        }
    }

    /// Opens the identity of a presented secret. When the secret has ended since it was looked up
    /// it is an unknown one from now on.
    async fn open_known(
        &mut self,
        source: Source,
        now: UnixMillis,
    ) -> Result<Option<Opened>, Problem> {
        let presented = match source {
            Source::Header => &mut self.header,
            Source::Cookie => &mut self.cookie,
        };
        let Some(presented) = presented else {
            return Ok(None);
        };
        let confirmed = self.visitors.confirm(presented, &self.ask.client).await?;
        let Some(known) = confirmed else {
            return Ok(None);
        };
        let mut opened = self.opened(&known, Proof::Token);
        if let (Source::Header, Known::Visit(mut visit)) = (source, known) {
            let is_old = now.since(visit.used_at) >= TELL_AGAIN;
            visit.used_at = now;
            opened.secret_to_tell = is_old.then(|| visit.tell(self.visitors.key()));
        }
        Ok(Some(opened))
    }

    /// The loose identities with the client's fingerprint.
    async fn look_around(&self, now: UnixMillis) -> Result<Vec<Found>, Problem> {
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
        let store = self.visitors.store();
        let records = store.loose_visitors(&self.ask.client, seen_after).await;
        let mut found: Vec<Found> = records
            .map_err(store_away)?
            .into_iter()
            .map(|record| (stored_as(&record), Some(record)))
            .collect();
        if found
            .iter()
            .all(|(candidate, _)| candidate.user_id != *user)
        {
            // It has a row that is not loose any more, or none.
            let record = store.user(user).await.map_err(store_away)?;
            match record {
                Some(record) if record.standing.is_loose() && record.last_seen >= seen_after => {
                    found.push((stored_as(&record), Some(record)));
                }
                Some(_) => {}
                None => found.push((noted_as(user, visitor), None)),
            }
        }
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

    /// Takes a loose identity over; `None` when somebody else was faster, or the store cannot write:
    /// then the client gets an identity of its own, which needs no store.
    ///
    /// This is one of the few changes of an identity that must be kept before CONNECTED: from now on
    /// the former holder's secret opens nothing, and what is meant for them is not delivered.
    async fn take_over(
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
        let secret = Visit {
            used_at: now,
            ..bound.unwrap_or(Visit {
                made_at: taken_at,
                is_loose: true,
                is_korean: self.is_korean(),
                ..Visit::of_address(user_id)
            })
        };
        let taken = self.write_take_over((user_id, record.as_ref()), &secret, taken_at);
        let taken = taken.await;
        // Also when it failed: it may have been committed all the same.
        self.visitors.recipients().forget(user_id);
        match taken {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) => {
                tracing::warn!(%error, "a visitor was not recognised: the store does not write");
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

    /// A new visitor, of whom nothing is stored: their secret is all that there is, so that two
    /// connections with one cookie are one visitor without a race.
    async fn create(
        &mut self,
        loose: bool,
        bind_cookie: bool,
        now: UnixMillis,
    ) -> Result<Opened, Problem> {
        self.count().await?;
        // Who asked not to be recognised, and who cannot be, is opened by the secret only.
        let may_return =
            !self.ask.handshake.opted_out && self.visitors.settings().decision_mode() == Mode::Hint;
        let visit = match self.bound(bind_cookie) {
            Some(visit) => visit,
            None => Visit {
                made_at: now,
                ..Visit::random().map_err(no_random)?
            },
        };
        let visit = Visit {
            used_at: now,
            is_loose: loose && may_return,
            is_korean: self.is_korean(),
            ..visit
        };
        let mut opened = self.opened(&Known::Visit(visit), Proof::New);
        opened.secret_to_tell = Some(visit.tell(self.visitors.key()));
        self.introduce(&opened.principal, visit.made_at, now)
            .await?;
        Ok(opened)
    }

    /// The visitor whom the cookie stands for and does not open yet.
    fn bound(&self, bind_cookie: bool) -> Option<Visit> {
        self.cookie.as_ref().filter(|_| bind_cookie)?.visit
    }

    /// Whoever cannot be found by the other nodes is not let in.
    async fn introduce(
        &self,
        principal: &Principal,
        made_at: UnixMillis,
        last_seen: UnixMillis,
    ) -> Result<(), Problem> {
        let visitor = Arc::new(unkept(principal, made_at, last_seen));
        let location = self.visitors.location();
        let introduced = location.introduce(&principal.user_id, &visitor).await;
        introduced.map_err(location_away)
    }

    /// Counts a new visitor, once for each opening.
    async fn count(&mut self) -> Result<(), Problem> {
        if !self.is_counted {
            let address = self.ask.handshake.address;
            self.visitors.count(address, &self.ask.network).await?;
            self.is_counted = true;
        }
        Ok(())
    }

    fn is_korean(&self) -> bool {
        prefers_korean(self.ask.accept_language.unwrap_or_default())
    }

    fn opened(&self, known: &Known, proof: Proof) -> Opened {
        let life = match known {
            Known::Row(..) => self.visitors.settings().token_ttl,
            Known::Visit(_) => VISIT_LIFE.min(self.visitors.settings().token_ttl),
        };
        Opened {
            principal: principal(known, &self.ask),
            proof,
            secret_to_tell: None,
            status: None,
            expires_in_s: life.as_secs(),
        }
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

/// The owner of what was presented, on the connection of whoever asks.
pub(super) fn principal(known: &Known, ask: &Ask<'_>) -> Principal {
    let (client_identifier, network) = (ask.client.clone(), ask.network.clone());
    match known {
        Known::Row(record, made_at) => Principal {
            user_id: record.user_id.clone(),
            kind: record.kind,
            standing: record.standing,
            name: record.name.clone(),
            client_identifier,
            network,
            sign_in: None,
            expires_at: None,
            made_at: made_at.filter(|_| !record.is_kept),
        },
        Known::Visit(visit) => {
            let user_id = visit.user_id();
            let is_korean = ask.accept_language.map_or(visit.is_korean, prefers_korean);
            Principal {
                kind: Kind::Anonymous,
                standing: match visit.is_loose {
                    true => Standing::Loose { taken_at: None },
                    false => Standing::FIRM,
                },
                name: visitor_name(&user_id, is_korean),
                user_id,
                client_identifier,
                network,
                sign_in: None,
                expires_at: None,
                made_at: Some(visit.made_at),
            }
        }
    }
}
