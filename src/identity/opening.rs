//! One opening: from what a client presents to the identity that it gets, races included.
//!
//! Not here: which identity that should be (`decision`). Invariant: each turn either opens an
//! identity, or has learned that a fact was no longer true and decides again without it.

use std::time::Duration;

use futures_util::future::join;

use super::Opened;
use super::decision::{Candidate, Cookie, Decision, Facts, Header, Mode, Source, decide};
use super::handshake::Handshake;
use super::names::visitor_name;
use super::problem::{location_away, no_random, store_away, switched_off, try_later};
use super::random::random;
use super::secret::{NEW, Secret};
use super::visitors::Visitors;
use crate::model::{
    ClientIdentifier, Kind, Principal, Problem, Proof, Standing, UnixMillis, UserId,
};
use crate::store::{NewVisitor, TakeOver, TokenHash, UserRecord};

/// How often a client that loses races is decided upon.
const TURNS: usize = 4;

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

/// A presented secret, as the store knows it, and the identity that it opens.
pub(super) type Presented = (TokenHash, Option<UserRecord>);

/// An opening in progress: what is known so far.
pub(super) struct Opening<'a> {
    visitors: &'a Visitors,
    ask: Ask<'a>,
    header: Option<Presented>,
    /// The secret of the cookie, which becomes that of an identity without one.
    cookie_secret: Option<Secret>,
    cookie: Option<Presented>,
    /// The loose identities with the client's fingerprint; `None` before they were looked up. A
    /// take-over that was lost leaves none.
    candidates: Option<Vec<(Candidate, UserRecord)>>,
    is_minted: bool,
}

impl<'a> Opening<'a> {
    /// Looks up what the client presented.
    pub(super) async fn begin(visitors: &'a Visitors, ask: Ask<'a>) -> Result<Self, Problem> {
        let presented = match ask.header {
            Some(text) => visitors.token_of(text).await?,
            None => None,
        };
        let header = visitors.look_up(presented).await?;
        // The cookie is looked at only when no header beats it, and only from a page.
        let counts = ask.header.is_none() && ask.handshake.from_page;
        let value = ask.handshake.cookie.as_deref().filter(|_| counts);
        let cookie_secret = value.and_then(|value| visitors.cookies().secret_in(value));
        let presented = cookie_secret.as_ref().map(Secret::hash);
        let cookie = visitors.look_up(presented).await?;
        Ok(Self {
            visitors,
            ask,
            header,
            cookie_secret,
            cookie,
            candidates: None,
            is_minted: false,
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
                Decision::Open(source) => self.open_known(source).await?,
                Decision::TakeOver {
                    user_id,
                    bind_cookie,
                } => self.take_over(&user_id, bind_cookie, now).await?,
                Decision::Create { loose, bind_cookie } => {
                    self.create(loose, bind_cookie, now).await?
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
        let header = match (self.ask.header, &self.header) {
            (None, _) => Header::Absent,
            (Some(NEW), _) => Header::New,
            (Some(_), Some((_, Some(_)))) => Header::Known,
            (Some(_), _) => Header::Unknown,
        };
        let cookie = match &self.cookie {
            None => Cookie::Absent,
            Some((_, None)) => Cookie::Unbound,
            Some((_, Some(_))) => Cookie::Known,
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
    async fn open_known(&mut self, source: Source) -> Result<Option<Opened>, Problem> {
        let presented = match source {
            Source::Header => &mut self.header,
            Source::Cookie => &mut self.cookie,
        };
        let Some((token, known)) = presented else {
            return Ok(None);
        };
        let Some(record) = known.take() else {
            return Ok(None);
        };
        let record = self.visitors.confirm(token, record).await?;
        Ok(record.map(|record| self.opened(record, Proof::Token, None)))
    }

    /// The loose identities with the client's fingerprint.
    async fn look_around(&self, now: UnixMillis) -> Result<Vec<(Candidate, UserRecord)>, Problem> {
        let location = self.visitors.location();
        let touched = location.touched(&self.ask.client).await;
        if !touched.map_err(location_away)? {
            return Ok(Vec::new());
        }
        let seen_after = now.before(self.visitors.settings().hint_ttl);
        let store = self.visitors.store();
        let records = store.loose_visitors(&self.ask.client, seen_after).await;
        let records = records.map_err(store_away)?;
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let users: Vec<UserId> = records.iter().map(|r| r.user_id.clone()).collect();
        let located = location.locate(&users, &[]).await;
        let mut located = located.map_err(location_away)?.users.into_iter();
        let with_sessions = |record: UserRecord| {
            let candidate = Candidate {
                user_id: record.user_id.clone(),
                opened_at: record.standing.taken_at().unwrap_or(record.created_at),
                last_seen: record.last_seen,
                // A user whom the answer leaves out is not known to be gone.
                has_live_session: located.next().is_none_or(|s| !s.is_empty()),
            };
            (candidate, record)
        };
        Ok(records.into_iter().map(with_sessions).collect())
    }

    /// Takes a loose identity over; `None` when somebody else was faster.
    async fn take_over(
        &mut self,
        user_id: &UserId,
        bind_cookie: bool,
        now: UnixMillis,
    ) -> Result<Option<Opened>, Problem> {
        // Whatever comes of it, there is no second try: the loser gets a new identity.
        let candidates = self.candidates.replace(Vec::new()).unwrap_or_default();
        let chosen = candidates.into_iter().find(|(c, _)| c.user_id == *user_id);
        let Some((_, mut record)) = chosen else {
            return Ok(None);
        };
        let secret = self.secret(bind_cookie)?;
        // Later than everything that the former holder wrote, even within this millisecond, and on
        // a node with another clock, which also said when he ended.
        let taken_at = now.max(record.last_seen).after(Duration::from_millis(1));
        let take_over = TakeOver {
            user_id: user_id.clone(),
            taken_at_before: record.standing.taken_at(),
            last_seen_before: record.last_seen,
            token: secret.hash(),
            token_expires_at: now.after(self.visitors.settings().token_ttl),
            now: taken_at,
        };
        let taken = self.visitors.store().take_over(take_over).await;
        // Also when it failed: it may have been committed all the same.
        self.visitors.recipients().forget(user_id);
        if !taken.map_err(store_away)? {
            return Ok(None);
        }
        // A session that was registered while the identity changed hands has the better right.
        let location = self.visitors.location();
        let located = location.locate(std::slice::from_ref(user_id), &[]).await;
        let located = located.map_err(location_away)?;
        if located.users.iter().any(|sessions| !sessions.is_empty()) {
            return Ok(None);
        }
        self.touch().await?;
        record.standing = Standing::Loose {
            taken_at: Some(taken_at),
        };
        Ok(Some(self.opened(record, Proof::Hint, Some(&secret))))
    }

    /// Creates a visitor; `None` when the cookie's secret belongs to somebody already.
    async fn create(
        &mut self,
        loose: bool,
        bind_cookie: bool,
        now: UnixMillis,
    ) -> Result<Option<Opened>, Problem> {
        if !self.is_minted {
            self.visitors.mint(&self.ask.network, now).await?;
            self.is_minted = true;
        }
        let secret = self.secret(bind_cookie)?;
        let user_id = UserId::from_random(random().map_err(no_random)?);
        let may_return = loose && !self.ask.handshake.opted_out;
        let touching = async {
            match may_return {
                true => self.touch().await,
                false => Ok(()),
            }
        };
        // Whoever cannot be registered is not created; this asks before a row is written.
        let asking = self
            .visitors
            .location()
            .locate(std::slice::from_ref(&user_id), &[]);
        let (touched, located) = join(touching, asking).await;
        touched?;
        located.map_err(location_away)?;
        let visitor = NewVisitor {
            name: visitor_name(&user_id, self.ask.accept_language),
            user_id,
            loose,
            client_identifier: self.ask.client.clone(),
            token: secret.hash(),
            token_expires_at: now.after(self.visitors.settings().token_ttl),
            now,
        };
        let record = record_of(&visitor);
        let created = self.visitors.store().create_visitor(visitor).await;
        if created.map_err(store_away)? {
            return Ok(Some(self.opened(record, Proof::New, Some(&secret))));
        }
        if bind_cookie {
            // Two connections of one page at once: the other one has bound it. If it still opens
            // nothing it has expired and cannot be bound again.
            let bound = self.visitors.look_up(Some(secret.hash())).await?;
            self.cookie = bound.filter(|(_, record)| record.is_some());
            self.cookie_secret = self.cookie_secret.take().filter(|_| self.cookie.is_some());
        }
        Ok(None)
    }

    /// The fingerprint leaves a trace for an hour, only where it may be looked up.
    async fn touch(&self) -> Result<(), Problem> {
        if self.visitors.settings().decision_mode() != Mode::Hint {
            return Ok(());
        }
        let location = self.visitors.location();
        location
            .touch(&self.ask.client)
            .await
            .map_err(location_away)
    }

    /// The secret that the identity gets: the cookie's, or a new one.
    fn secret(&self, bind_cookie: bool) -> Result<Secret, Problem> {
        match &self.cookie_secret {
            Some(secret) if bind_cookie => Ok(secret.clone()),
            _ => Secret::random().map_err(no_random),
        }
    }

    fn opened(&self, record: UserRecord, proof: Proof, secret: Option<&Secret>) -> Opened {
        Opened {
            principal: principal(record, &self.ask),
            proof,
            secret_to_tell: secret.map(Secret::tell),
            status: None,
            expires_in_s: self.visitors.settings().token_ttl.as_secs(),
        }
    }
}

/// The owner of a record, on the connection of whoever asks.
pub(super) fn principal(record: UserRecord, ask: &Ask<'_>) -> Principal {
    Principal {
        user_id: record.user_id,
        kind: record.kind,
        standing: record.standing,
        name: record.name,
        client_identifier: ask.client.clone(),
        network: ask.network.clone(),
        sign_in: None,
        expires_at: None,
    }
}

/// The record that the store makes of a new visitor.
fn record_of(visitor: &NewVisitor) -> UserRecord {
    UserRecord {
        user_id: visitor.user_id.clone(),
        kind: Kind::Anonymous,
        standing: if visitor.loose {
            Standing::Loose { taken_at: None }
        } else {
            Standing::FIRM
        },
        name: visitor.name.clone(),
        client_identifier: visitor.client_identifier.clone(),
        created_at: visitor.now,
        last_seen: visitor.now,
    }
}
