//! Who sends a request: what he presents, and whom that stands for.
//!
//! Not here: how a secret or a token is judged (`identity`), how often he may ask (`limits`).
//! Invariant: one request has one caller; what a route does not ask for is not looked at, and of two
//! `Authorization` headers none counts.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT_LANGUAGE, AUTHORIZATION};
use axum::http::request::Parts;

use super::csrf;
use super::route::{Route, Who};
use crate::edge::Edge;
use crate::edge::charges::SocketCharge;
use crate::edge::peer::{Peer, Requester};
use crate::identity::{Handshake, Token};
use crate::model::{ClientIdentifier, Code, Principal, Problem};
use crate::policy::permission::permit;
use crate::quota::Networks;

/// What was presented.
#[derive(Clone, Debug)]
pub(super) enum Credential {
    /// Nothing that the route looks at.
    Nothing,
    /// A visitor's secret, in the header `Authorization` or in the cookie.
    Visitor(Token),
    /// An access token.
    Bearer(Token),
}

/// Who sends a request, taken from it at once: the request itself is not kept across a wait.
#[derive(Debug)]
pub(super) struct Caller {
    /// What his connection tells.
    pub(super) handshake: Handshake,
    /// What its socket is charged with; the socket ends when the memory of the request is taken away.
    pub(super) socket: Arc<SocketCharge>,
    /// Whether he came by TLS.
    pub(super) secure: bool,
    /// The language that he likes to read.
    pub(super) language: Option<String>,
    /// His browser, keyed.
    pub(super) client: ClientIdentifier,
    /// The network and the wider ones, keyed.
    pub(super) networks: Networks,
    /// The origin of the page that asks, where that is this server's own.
    pub(super) own_page: Option<String>,
    /// What he presents.
    pub(super) credential: Credential,
    /// The secret in his cookie, whether or not it counts.
    cookie: Option<Token>,
    /// Why the cookie does not count, where it is all that he presents.
    cookie_refused: Option<Problem>,
    /// Whom that stands for, once it is authenticated.
    principal: Option<Principal>,
}

impl Caller {
    /// Reads what a request presents to this route. Nothing is judged yet.
    pub(super) fn read(edge: &Edge, peer: &Peer, parts: &Parts, who: Who) -> Self {
        let headers = &parts.headers;
        let requester = Requester::new(edge, peer, headers);
        let handshake = requester.without_cookie();
        let cookie = csrf::visitor_of(edge.visitors.cookies(), headers);
        let cookie = cookie.map(|secret| Token::new(&secret));
        let (mut credential, mut cookie_refused) = (authorization(headers, who), None);
        if let (Credential::Nothing, Some(secret), true, false) = (
            &credential,
            &cookie,
            who.takes_visitors(),
            headers.contains_key(AUTHORIZATION),
        ) {
            let is_enabled = edge.settings.csrf_enabled;
            match csrf::check(&requester, &parts.method, headers, is_enabled) {
                Ok(()) => credential = Credential::Visitor(secret.clone()),
                Err(problem) => cookie_refused = Some(problem),
            }
        }
        let language = headers.get(ACCEPT_LANGUAGE);
        Self {
            client: edge.visitors.client(&handshake),
            networks: edge.visitors.networks(handshake.address),
            own_page: requester.own_page().map(str::to_owned),
            socket: Arc::clone(&peer.charge),
            secure: requester.secure,
            language: language
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned),
            handshake,
            credential,
            cookie,
            cookie_refused,
            principal: None,
        }
    }

    /// Finds out whom it stands for, and whether he may ask this.
    pub(super) async fn authenticate(&mut self, edge: &Edge, route: &Route) -> Result<(), Problem> {
        let principal = match &self.credential {
            Credential::Nothing => {
                return match route.who.is_closed() {
                    true => Err(self.missing(route.who)),
                    false => Ok(()),
                };
            }
            // Whoever may come without one is not sent away because of one; its use judges it.
            Credential::Visitor(_) if !route.who.is_closed() => return Ok(()),
            Credential::Visitor(secret) => {
                let accounts = edge.app.accounts()?;
                accounts.visitor(&self.handshake, secret.reveal()).await?
            }
            Credential::Bearer(token) => {
                let accounts = edge.app.accounts()?;
                accounts
                    .authenticate(&self.handshake, token.reveal())
                    .await?
            }
        };
        if let Who::Permitted(action) = route.who {
            permit(principal.kind, action)?;
        }
        self.principal = Some(principal);
        Ok(())
    }

    /// Whom it stands for.
    pub(super) fn principal(&self) -> Result<&Principal, Problem> {
        self.principal
            .as_ref()
            .ok_or_else(|| self.missing(Who::Anybody))
    }

    /// The same where it may be nobody.
    pub(super) fn known(&self) -> Option<&Principal> {
        self.principal.as_ref()
    }

    /// The visitor's secret.
    pub(super) fn secret(&self) -> Result<&str, Problem> {
        match &self.credential {
            Credential::Visitor(secret) => Ok(secret.reveal()),
            Credential::Nothing | Credential::Bearer(_) => Err(self.missing(Who::Visitor)),
        }
    }

    /// Whether the cookie holds the secret that was presented: when that ends, the cookie goes too.
    pub(super) fn came_by_cookie(&self) -> bool {
        match &self.credential {
            Credential::Visitor(secret) => self.cookie.as_ref() == Some(secret),
            Credential::Nothing | Credential::Bearer(_) => false,
        }
    }

    /// What to say to somebody who presents nothing that counts.
    fn missing(&self, who: Who) -> Problem {
        if let Some(problem) = &self.cookie_refused {
            return problem.clone();
        }
        let words = match (who.takes_visitors(), who.takes_accounts()) {
            (true, false) => "Send the header 'Authorization: Visitor <visitor-token>'.",
            (false, true) => "Send the header 'Authorization: Bearer <access-token>'.",
            (true, true) | (false, false) => {
                "Send the header 'Authorization: Bearer <access-token>', or 'Visitor <visitor-token>'."
            }
        };
        Problem::new(Code::Unauthorized, words)
    }
}

/// What the header `Authorization` holds of what the route looks at.
fn authorization(headers: &HeaderMap, who: Who) -> Credential {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Credential::Nothing;
    };
    let Some((scheme, text)) = line.to_str().ok().and_then(|line| line.split_once(' ')) else {
        return Credential::Nothing;
    };
    let token = Token::new(text.trim());
    match scheme.to_ascii_lowercase().as_str() {
        "visitor" if who.takes_visitors() => Credential::Visitor(token),
        "bearer" if who.takes_accounts() => Credential::Bearer(token),
        _ => Credential::Nothing,
    }
}

/// The peer of a request.
pub(super) fn peer(extensions: &axum::http::Extensions) -> Result<Arc<Peer>, Problem> {
    let peer = extensions.get::<Arc<Peer>>().cloned();
    peer.ok_or_else(|| Problem::new(Code::Internal, "The peer is not known."))
}
