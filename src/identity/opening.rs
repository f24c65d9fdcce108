//! One opening: from what a client presents to the identity that it gets, races included.
//!
//! Not here: which identity that should be (`decision`), how a loose one is found and taken over
//! (`recognition`). Invariant: each turn either opens an
//! identity, or has learned that a fact was no longer true and decides again without it.

use std::sync::Arc;
use std::time::Duration;

use super::Opened;
use super::decision::{Candidate, Cookie, Decision, Facts, Header, Mode, Source, decide};
use super::handshake::Handshake;
use super::keeping::unkept;
use super::names::{prefers_korean, visitor_name};
use super::presented::{Known, Presented};
use super::problem::{location_away, no_random, switched_off, try_later};
use super::secret::{NEW, Visit};
use super::visitors::Visitors;
use crate::model::{ClientIdentifier, Kind, Principal, Problem, Proof, Standing, UnixMillis};
use crate::quota::Networks;
use crate::store::{UserRecord, VISIT_LIFE};

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
    pub(super) networks: Networks,
}

/// A loose identity that may be meant; its row, if it has one.
pub(super) type Found = (Candidate, Option<UserRecord>);

/// An opening in progress: what is known so far.
pub(super) struct Opening<'a> {
    pub(super) visitors: &'a Visitors,
    pub(super) ask: Ask<'a>,
    header: Option<Presented>,
    /// What the cookie opens, or the visitor that it stands for when it opens nothing yet.
    cookie: Option<Presented>,
    /// The loose identities with the client's fingerprint; `None` before they were looked up. A
    /// take-over that was lost leaves none.
    pub(super) candidates: Option<Vec<Found>>,
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
            Some(claim) if !ask.handshake.cookie_presented => Some(Presented::fresh(claim)),
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
        if let (Source::Header, Known::Visit(visit)) = (source, known) {
            let is_due = visit.is_cookie || now.since(visit.used_at) >= TELL_AGAIN;
            let told = is_due.then(|| visit.told_at(now).tell(self.visitors.key()));
            opened.secret_to_tell = told;
        }
        Ok(Some(opened))
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
            is_loose: loose && may_return,
            is_korean: self.is_korean(),
            ..visit.told_at(now)
        };
        let mut opened = self.opened(&Known::Visit(visit), Proof::New);
        opened.secret_to_tell = Some(visit.tell(self.visitors.key()));
        self.introduce(&opened.principal, visit.made_at, now)
            .await?;
        Ok(opened)
    }

    /// The visitor whom the cookie stands for and does not open yet; nobody once that visitor is gone.
    pub(super) fn bound(&self, bind_cookie: bool) -> Option<Visit> {
        self.cookie.as_ref().filter(|_| bind_cookie)?.visit
    }

    /// Tells the other nodes of a visitor; one whom they could not find is not let in.
    pub(super) async fn introduce(
        &self,
        principal: &Principal,
        made_at: UnixMillis,
        last_seen: UnixMillis,
    ) -> Result<(), Problem> {
        let visitor = Arc::new(unkept(principal, made_at, last_seen));
        let location = self.visitors.location();
        let from = self.ask.networks.names();
        let introduced = location.introduce(&principal.user_id, &visitor, from).await;
        introduced.map_err(location_away)
    }

    /// Counts a new visitor, once for each opening.
    pub(super) async fn count(&mut self) -> Result<(), Problem> {
        if !self.is_counted {
            let client = self.ask.handshake.address;
            self.visitors.count(&self.ask.networks, client).await?;
            self.is_counted = true;
        }
        Ok(())
    }

    pub(super) fn is_korean(&self) -> bool {
        prefers_korean(self.ask.accept_language.unwrap_or_default())
    }

    pub(super) fn opened(&self, known: &Known, proof: Proof) -> Opened {
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

/// The owner of what was presented, on the connection of the client that presents it.
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
