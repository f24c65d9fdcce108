//! The beginning and the end of a session.
//!
//! Not here: which identity a CONNECT gets (`identity`). Invariant: the location of a session is
//! acknowledged, or its acknowledgement is being waited for, before the client sees CONNECTED.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::rates::Activity;
use super::speaker::{Mute, Speaker};
use super::{App, Live};
use crate::broker::Reviews;
use crate::budget::MemoryOwner;
use crate::hub::{HubSession, Outbox};
use crate::identity::{Handshake, Opened, Token, is_ticket, is_visitor_token};
use crate::location::SessionEntry;
use crate::model::{CloseReason, Code, Kind, Principal, Problem, Proof, SessionId, UserId};
use crate::session::{Accepted, Connect};

/// The longest device name that is kept, in octets.
const DEVICE_BYTES_MAX: usize = 64;

impl App {
    /// Opens an identity and attaches a session: location is written when this returns.
    ///
    /// # Errors
    /// The refusal to be told in an ERROR frame.
    pub async fn connect(
        self: &Arc<Self>,
        handshake: &Handshake,
        connect: &Connect,
    ) -> Result<(Live, Accepted), Problem> {
        let opened = self.open(handshake, connect).await?;
        let mute = self.check_bans(&opened).await?;
        let user = opened.principal.user_id.clone();
        let visitor = self.visitors.introduction(&opened.principal);
        let principal = Arc::new(opened.principal);
        let speaker = Speaker::new(Arc::clone(&principal), mute);
        let activity = Arc::new(Activity::new(speaker, handshake.address, &self.settings));
        let owner = Arc::clone(&activity) as Arc<dyn MemoryOwner>;
        let outbox = Arc::new(Outbox::with_owner(self.settings.outbox, owner));
        let hub = HubSession::of_visitor(
            SessionId(rand::random()),
            user.clone(),
            device(connect),
            (self.clock)(),
            Arc::clone(&outbox),
            visitor,
        );
        let live = Live {
            session: hub.id,
            outbox,
            hub: Arc::clone(&hub),
            activity,
        };
        if opened.proof == Proof::Password {
            live.activity.own_its_sign_in();
        }
        // Before it can be found, so that a change that comes now finds it here.
        self.lives().insert(hub.id, live.clone());
        let is_attached = self.broker.attach(Arc::clone(&hub)).await;
        if !is_attached {
            self.check_holder_later(&hub, &principal);
        } else if opened.proof != Proof::New || handshake.cookie.is_some() {
            // A new identity has no other session, since nobody knows its secret yet, unless another
            // connection of the same page has just brought the same cookie.
            self.make_room(&user, principal.kind).await;
        }
        if principal.kind.has_account() {
            // What changed since the token was looked at was told before there was a session.
            self.broker.want_reviews(Reviews::of(&user));
            self.expiries.watch(hub.id, principal.expires_at);
        }
        if opened.proof == Proof::Token && principal.standing.is_loose() {
            self.check_holder_now(&live).await?;
        }
        let mut headers = Vec::new();
        if let Some(secret) = opened.secret_to_tell {
            headers.push(("visitor-token", secret));
        }
        if let Some(status) = opened.status {
            headers.push(("visitor-token-status", status.to_owned()));
        }
        if opened.proof != Proof::Password {
            headers.push(("token-expires-in", opened.expires_in_s.to_string()));
        }
        let accepted = Accepted {
            session: hub.id,
            user_id: user,
            kind: principal.kind,
            proof: opened.proof,
            node: self.broker.here.clone(),
            limits: self.settings.limits_json.clone(),
            headers,
        };
        Ok((live, accepted))
    }

    /// Finds out for whom the client speaks.
    async fn open(&self, handshake: &Handshake, connect: &Connect) -> Result<Opened, Problem> {
        let networks = self.visitors.networks(handshake.address);
        self.take_connect(&networks, handshake.address).await?;
        match credentials(handshake, connect)? {
            Credentials::Visitor(token) => {
                let language = connect.accept_language.as_deref();
                let visitors = &self.visitors;
                visitors
                    .connect_on(networks, handshake, token, language)
                    .await
            }
            Credentials::Token(token) => {
                let principal = self.accounts()?.authenticate(handshake, token).await?;
                Ok(self.opened(principal, Proof::Jwt))
            }
            Credentials::Password(login, password) => {
                let accounts = self.accounts()?;
                let device = device(connect);
                let principal = accounts.password(handshake, login, password, &device);
                Ok(self.opened(principal.await?, Proof::Password))
            }
        }
    }

    fn opened(&self, principal: Principal, proof: Proof) -> Opened {
        let now = (self.clock)();
        let expires_at = principal.expires_at.unwrap_or(now);
        metrics::counter!("identity_opened_total", "proof" => proof.as_str()).increment(1);
        Opened {
            expires_in_s: expires_at.since(now).as_secs(),
            principal,
            proof,
            secret_to_tell: None,
            status: None,
        }
    }

    /// Whether the client is kept out; if not, whether it is kept from writing.
    async fn check_bans(&self, opened: &Opened) -> Result<Option<Mute>, Problem> {
        let Some(accounts) = &self.accounts else {
            return Ok(None);
        };
        let found = accounts.verdict(&opened.principal);
        if let Some(ban) = found.ban {
            if opened.proof == Proof::Password {
                self.end_sign_in(&opened.principal).await;
            }
            let words = format!("You are banned: {}", ban.reason);
            return Err(Problem::new(Code::Banned, words).until(ban.until));
        }
        Ok(found.mute.map(|mute| Mute {
            until: mute.until,
            reason: mute.reason.into(),
        }))
    }

    /// Ends the sign-in that a session has opened for itself alone.
    async fn end_sign_in(&self, principal: &Principal) {
        if let (Some(accounts), Some(sign_in)) = (&self.accounts, principal.sign_in)
            && let Err(problem) = accounts.end_sign_in(&principal.user_id, sign_in).await
        {
            tracing::debug!(code = problem.code.as_str(), "a sign-in is left to expire");
        }
    }

    /// The connection is gone, in whatever way: everything of the session is forgotten.
    pub async fn disconnect(self: &Arc<Self>, live: &Live) {
        // The location goes first: who comes back by his fingerprint must not find himself.
        self.broker.detach(live.session).await;
        self.lives().remove(&live.session);
        self.replies.forget(live.session);
        self.shares.forget(live.session);
        let principal = live.principal();
        self.expiries.forget(live.session, principal.expires_at);
        if live.activity.ends_its_sign_in() {
            self.end_sign_in(&principal).await;
        }
        let address = live.activity.address();
        if let Err(problem) = self.visitors.disconnected(&principal, address).await {
            tracing::debug!(
                code = problem.code.as_str(),
                "the end of a visit was not noted"
            );
        }
    }

    /// The store could not write that this loose identity was opened by its secret. A neighbour may have
    /// taken it over before the session was registered; from now on nobody can.
    async fn check_holder_now(self: &Arc<Self>, live: &Live) -> Result<(), Problem> {
        if matches!(self.visitors.is_holder(&live.principal()).await, Ok(true)) {
            return Ok(());
        }
        self.disconnect(live).await;
        let words = "This identity was claimed by another client. Reconnect to get a new one.";
        Err(Problem::new(Code::TryLater, words).retry_after_ms(1_000))
    }

    /// While location was away nobody could see that this identity has a session. When it answers
    /// again, the identity may have passed to somebody else: then this session is closed.
    fn check_holder_later(self: &Arc<Self>, hub: &Arc<HubSession>, principal: &Arc<Principal>) {
        let (app, hub, principal) = (Arc::clone(self), Arc::clone(hub), Arc::clone(principal));
        self.broker.spawn(async move {
            hub.attached().await;
            if hub.is_attached() && matches!(app.visitors.is_holder(&principal).await, Ok(false)) {
                hub.outbox.cut(CloseReason::IDENTITY_LOST);
            }
        });
    }

    /// Erases a user: the sessions are closed, on every node, and the rows go. Returns once nothing opens the
    /// address any more and that is noted; a long history is removed afterwards. Goes on when it is dropped.
    ///
    /// # Errors
    /// When the store does not do it; the sessions are closed all the same.
    pub async fn erase(self: &Arc<Self>, actor: &Principal, user: &UserId) -> Result<(), Problem> {
        let (app, actor, user) = (Arc::clone(self), actor.clone(), user.clone());
        let (reply, erased) = oneshot::channel();
        self.broker.spawn(async move {
            app.sign_out(&user).await;
            if let Some(accounts) = &app.accounts {
                // What a merge has not moved yet is this user's too, and is found only by way of the account.
                accounts.gather().await;
            }
            let begun = app.visitors.begin_erasure(&user).await;
            let is_rest_left = matches!(begun, Ok(false));
            if begun.is_ok() {
                if let Some(accounts) = &app.accounts {
                    accounts.note_erasure(&actor, &user).await;
                }
                // A session that was opened before the first step was committed.
                app.sign_out(&user).await;
            }
            let _the_client_may_have_gone = reply.send(begun.map(drop));
            if is_rest_left && let Err(problem) = app.visitors.erase(&user).await {
                let code = problem.code.as_str();
                tracing::warn!(code, "the rest of an erasure is done by the next purge");
            }
        });
        erased.await.unwrap_or_else(|_| {
            let detail = "This node is ending. Ask again in a moment.";
            Err(Problem::new(Code::Draining, detail).retry_after_ms(1_000))
        })
    }

    /// Closes every live session of a user: what was presented for them opens nothing any more.
    pub async fn sign_out(self: &Arc<Self>, user: &UserId) {
        if let Err(error) = self.broker.sign_out(user).await {
            tracing::debug!(%error, "sessions on other nodes end when their users are looked up");
        }
    }

    /// Closes the oldest sessions of a user who has too many, wherever they are.
    async fn make_room(self: &Arc<Self>, user: &UserId, kind: Kind) {
        let sessions_max = match kind {
            Kind::Anonymous => self.settings.sessions_visitor_max,
            Kind::Member | Kind::Bot | Kind::Admin => self.settings.sessions_member_max,
        };
        let Ok(located) = self
            .broker
            .location
            .locate(std::slice::from_ref(user), &[])
            .await
        else {
            return;
        };
        let mut sessions: Vec<SessionEntry> = located.users.into_iter().flatten().collect();
        sessions.sort_by_key(|entry| (entry.since, entry.session));
        let excess = sessions.len().saturating_sub(sessions_max);
        for entry in sessions.iter().take(excess) {
            self.broker.replace(&entry.node, entry.session);
        }
    }
}

/// What a client shows of itself.
#[derive(Debug, PartialEq, Eq)]
enum Credentials<'a> {
    /// A visitor's secret, `new`, or nothing.
    Visitor(Option<&'a str>),
    /// An access token.
    Token(&'a str),
    /// An e-mail and a password.
    Password(&'a str, &'a str),
}

/// What counts of what a client shows: of CONNECT, else what came with the handshake.
fn credentials<'a>(
    handshake: &'a Handshake,
    connect: &'a Connect,
) -> Result<Credentials<'a>, Problem> {
    let of_connect = credentials_of_connect(connect)?;
    if of_connect != Credentials::Visitor(None) {
        return Ok(of_connect);
    }
    Ok(match handshake.presented.as_ref().map(Token::reveal) {
        Some(token) if !is_visitor_token(token) && !is_ticket(token) => Credentials::Token(token),
        presented => Credentials::Visitor(presented),
    })
}

/// A token stands in `authorization` (`Visitor <secret>` or `Bearer <token>`), in a header of its own,
/// or in `passcode`, for clients that can set nothing else. An account beats a visitor: who shows both
/// has signed in since. `guest` with `guest` is what RabbitMQ's clients say when they have neither.
fn credentials_of_connect(connect: &Connect) -> Result<Credentials<'_>, Problem> {
    let given = |value: &'_ Option<String>| value.as_deref().is_some_and(|text| !text.is_empty());
    let passcode = connect.passcode.as_deref().unwrap_or_default();
    let login = connect.login.as_deref().unwrap_or_default();
    if given(&connect.authorization) {
        let credentials = connect.authorization.as_deref().unwrap_or_default();
        let (scheme, token) = credentials.split_once(' ').unwrap_or_default();
        let token = token.trim();
        return match scheme.to_ascii_lowercase().as_str() {
            "visitor" | "bearer" if is_visitor_token(token) => {
                Ok(Credentials::Visitor(Some(token)))
            }
            "bearer" if !token.is_empty() => Ok(Credentials::Token(token)),
            _ => {
                let words = "Write the header authorization as `Bearer <token>`.";
                Err(Problem::new(Code::Unauthorized, words))
            }
        };
    }
    if let Some(token) = connect.visitor_token.as_deref() {
        return Ok(Credentials::Visitor(Some(token)));
    }
    if is_visitor_token(passcode) {
        return Ok(Credentials::Visitor(Some(passcode)));
    }
    if is_token(passcode) {
        return Ok(Credentials::Token(passcode));
    }
    if (login.is_empty() && passcode.is_empty()) || (login == "guest" && passcode == "guest") {
        return Ok(Credentials::Visitor(None));
    }
    Ok(Credentials::Password(login, passcode))
}

/// Whether a text has the shape of an access token (RFC 7519: three parts with points between them)
/// rather than that of a password, which may have points too but no such parts.
fn is_token(text: &str) -> bool {
    let is_part = |part: &str| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        !part.is_empty() && part.bytes().all(allowed)
    };
    text.starts_with("eyJ") && text.split('.').count() == 3 && text.split('.').all(is_part)
}

/// What the client calls its device, cut at a character.
fn device(connect: &Connect) -> Box<str> {
    let name = connect
        .device_id
        .as_deref()
        .or(connect.device_name.as_deref())
        .unwrap_or_default();
    let end = name.floor_char_boundary(DEVICE_BYTES_MAX);
    name[..end].into()
}
