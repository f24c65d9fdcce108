//! The beginning and the end of a session.
//!
//! Not here: which identity a CONNECT gets (`identity`). Invariant: the location of a session is
//! acknowledged, or its acknowledgement is being waited for, before the client sees CONNECTED.

use std::sync::Arc;

use super::rates::Activity;
use super::{App, Live};
use crate::hub::{HubSession, Outbox};
use crate::identity::{Handshake, Token, is_ticket, is_visitor_token};
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
        let token = visitor_token(handshake, connect)?;
        let language = connect.accept_language.as_deref();
        let opened = self.visitors.connect(handshake, token, language).await?;
        let user = opened.principal.user_id.clone();
        let outbox = Arc::new(Outbox::new(self.settings.outbox));
        let hub = HubSession::new(
            SessionId(rand::random()),
            user.clone(),
            device(connect),
            (self.clock)(),
            Arc::clone(&outbox),
        );
        let is_attached = self.broker.attach(Arc::clone(&hub)).await;
        let principal = Arc::new(opened.principal);
        if !is_attached {
            self.check_holder_later(&hub, &principal);
        } else if opened.proof != Proof::New {
            // A new identity has no other session: nobody knows its secret yet.
            self.make_room(&user, principal.kind).await;
        }
        let mut headers = Vec::new();
        if let Some(secret) = opened.secret_to_tell {
            headers.push(("visitor-token", secret));
        }
        if let Some(status) = opened.status {
            headers.push(("visitor-token-status", status.to_owned()));
        }
        headers.push(("token-expires-in", opened.expires_in_s.to_string()));
        let accepted = Accepted {
            session: hub.id,
            user_id: user,
            kind: principal.kind,
            proof: opened.proof,
            node: self.broker.here.clone(),
            limits: self.settings.limits_json.clone(),
            headers,
        };
        let live = Live {
            session: hub.id,
            principal,
            outbox,
            hub,
            activity: Arc::new(Activity::default()),
        };
        Ok((live, accepted))
    }

    /// The connection is gone, in whatever way: everything of the session is forgotten.
    pub async fn disconnect(self: &Arc<Self>, live: &Live) {
        // The location goes first: who comes back by his fingerprint must not find himself.
        self.broker.detach(live.session).await;
        self.replies.forget(live.session);
        self.shares.forget(live.session);
        if let Err(problem) = self.visitors.disconnected(&live.principal).await {
            tracing::debug!(
                code = problem.code.as_str(),
                "the end of a visit was not noted"
            );
        }
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

    /// Forgets a visitor for good: his sessions are closed, on every node, and his rows go.
    ///
    /// # Errors
    /// When the store does not do it; the sessions are closed all the same.
    pub async fn erase(self: &Arc<Self>, user: &UserId) -> Result<(), Problem> {
        let signed_out = self.broker.sign_out(user).await;
        if let Err(error) = signed_out {
            tracing::debug!(%error, "sessions on other nodes end when their users are looked up");
        }
        self.visitors.erase(user).await
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

/// The visitor's secret: of CONNECT, else what came with the handshake. Any other kind of secret
/// there is an account's.
fn visitor_token<'a>(
    handshake: &'a Handshake,
    connect: &'a Connect,
) -> Result<Option<&'a str>, Problem> {
    if let Some(token) = token_of_connect(connect)? {
        return Ok(Some(token));
    }
    match handshake.presented.as_ref().map(Token::reveal) {
        Some(token) if !is_visitor_token(token) && !is_ticket(token) => Err(no_accounts()),
        presented => Ok(presented),
    }
}

/// The visitor's secret, wherever CONNECT has it: its own header, `authorization` (`Visitor <secret>`
/// or `Bearer <secret>`), or `passcode`, for clients that can set nothing else.
fn token_of_connect(connect: &Connect) -> Result<Option<&str>, Problem> {
    let given = |value: &'_ Option<String>| value.as_deref().is_some_and(|text| !text.is_empty());
    if let Some(token) = connect.visitor_token.as_deref() {
        return no_account(connect, given).map(|()| Some(token));
    }
    let credentials = connect.authorization.as_deref().unwrap_or_default();
    let (scheme, token) = credentials.split_once(' ').unwrap_or_default();
    let is_scheme = ["visitor", "bearer"].contains(&scheme.to_ascii_lowercase().as_str());
    if is_scheme && is_visitor_token(token.trim()) {
        return Ok(Some(token.trim()));
    }
    match connect.passcode.as_deref() {
        Some(token) if is_visitor_token(token) => Ok(Some(token)),
        _ => no_account(connect, given).map(|()| None),
    }
}

/// Accounts are not served yet; whoever comes with a password must not become a visitor unawares.
/// `guest` with `guest` is what RabbitMQ's clients say when they have none.
fn no_account(connect: &Connect, given: impl Fn(&Option<String>) -> bool) -> Result<(), Problem> {
    let is_guest = [&connect.login, &connect.passcode]
        .iter()
        .all(|value| value.as_deref() == Some("guest"));
    let has_login = given(&connect.login) || given(&connect.passcode);
    if !given(&connect.authorization) && (is_guest || !has_login) {
        return Ok(());
    }
    Err(no_accounts())
}

fn no_accounts() -> Problem {
    let words = "This server has no accounts. Connect without login, passcode and authorization; \
                 a visitor comes back with `visitor-token`.";
    Problem::new(Code::Unauthorized, words)
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
