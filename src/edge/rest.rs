//! REST for visitors: a secret for the asking, one's own copy, and being forgotten.
//!
//! Not here: what an identity is (`identity`). Invariant: nothing of a visitor is shown or changed
//! without his secret; cookies do not count here.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::header::{ACCEPT_LANGUAGE, AUTHORIZATION, CONTENT_TYPE, HeaderValue, SET_COOKIE};
use axum::http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::peer::{Peer, Requester};
use super::{Edge, reply};
use crate::identity::{Handshake, TICKET_LIFE};
use crate::model::{Code, MessageId, Principal, Problem, UserId};

/// `POST /api/v1/auth/anonymous`: a new visitor and his secret.
pub(super) async fn anonymous(State(edge): State<Arc<Edge>>, request: Request) -> Response<Body> {
    let language = request.headers().get(ACCEPT_LANGUAGE).cloned();
    let caller = Caller::of(&edge, &request);
    let asked = async {
        let language = language.as_ref().and_then(|value| value.to_str().ok());
        edge.visitors.anonymous(&caller?.handshake, language).await
    };
    let opened = match asked.await {
        Ok(opened) => opened,
        Err(problem) => return reply::problem(&problem),
    };
    let life = std::time::Duration::from_secs(opened.expires_in_s);
    let body = json!({
        "user_id": opened.principal.user_id.as_str(),
        "kind": opened.principal.kind.as_str(),
        "name": opened.principal.name,
        "visitor_token": opened.secret_to_tell,
        "expires_at": edge.visitors.now().after(life).to_string(),
        "proof": opened.proof.as_str(),
    });
    reply::json(StatusCode::CREATED, &body)
}

/// `POST /api/v1/auth/ticket`: what the visitor's page puts into the address of one WebSocket.
pub(super) async fn ticket(State(edge): State<Arc<Edge>>, request: Request) -> Response<Body> {
    let caller = Caller::of(&edge, &request);
    let asked = async {
        let caller = caller?;
        let secret = caller.secret()?;
        edge.visitors.ticket(&caller.handshake, secret).await
    };
    match asked.await {
        Ok(ticket) => {
            let body = json!({ "ticket": ticket, "expires_in": TICKET_LIFE.as_secs() });
            reply::json(StatusCode::CREATED, &body)
        }
        Err(problem) => reply::problem(&problem),
    }
}

/// What may be asked of an export.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// `GET /api/v1/me/export`: everything that is stored of the visitor, oldest first, in pages.
pub(super) async fn export(
    State(edge): State<Arc<Edge>>,
    Query(page): Query<Page>,
    request: Request,
) -> Response<Body> {
    let caller = Caller::of(&edge, &request);
    let asked = async {
        let principal = caller?.visitor(&edge).await?;
        let after = page.cursor.as_deref().map(cursor).transpose()?;
        let messages = edge.visitors.export(&principal, after).await?;
        Ok::<_, Problem>((principal, messages))
    };
    let (principal, messages) = match asked.await {
        Ok(found) => found,
        Err(problem) => return reply::problem(&problem),
    };
    let head = json!({
        "user_id": principal.user_id.as_str(),
        "kind": principal.kind.as_str(),
        "name": principal.name,
        "has_more": !messages.is_empty(),
        "next_cursor": messages.last().map(|message| message.id.to_string()),
    });
    // The messages are put in as they are rendered, so that their fields keep their order.
    let mut body = head.to_string().into_bytes();
    body.pop();
    body.extend_from_slice(b",\"items\":[");
    for (index, message) in messages.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(&message.render(&principal.user_id));
    }
    body.extend_from_slice(b"]}");
    let mut response = reply::json(StatusCode::OK, &json!(null));
    *response.body_mut() = Body::from(body);
    response
}

/// `DELETE /api/v1/me`: the visitor is forgotten, his secret opens nothing any more.
pub(super) async fn erase(State(edge): State<Arc<Edge>>, request: Request) -> Response<Body> {
    let caller = Caller::of(&edge, &request);
    let asked = async {
        let caller = caller?;
        let principal = caller.visitor(&edge).await?;
        edge.app.erase(&principal.user_id).await?;
        Ok::<_, Problem>((principal.user_id, caller.secure))
    };
    let (user_id, secure): (UserId, bool) = match asked.await {
        Ok(erased) => erased,
        Err(problem) => return reply::problem(&problem),
    };
    tracing::info!(%user_id, "a visitor was forgotten at his own wish");
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let cookie = edge.visitors.cookies().clear_cookie(secure);
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response.headers_mut().remove(CONTENT_TYPE);
    response
}

/// Who sends a request, taken from it at once: the request itself is not kept across a wait.
struct Caller {
    handshake: Handshake,
    /// Whether he came by TLS.
    secure: bool,
    /// The secret of `Authorization: Visitor <secret>`.
    secret: Option<String>,
}

impl Caller {
    fn of(edge: &Edge, request: &Request) -> Result<Self, Problem> {
        let Some(peer) = request.extensions().get::<Arc<Peer>>() else {
            return Err(Problem::new(Code::Internal, "The peer is not known."));
        };
        let requester = Requester::new(edge, peer, request.headers());
        let header = request
            .headers()
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let secret = header
            .and_then(|value| value.split_once(' '))
            .and_then(|(scheme, secret)| {
                scheme
                    .eq_ignore_ascii_case("visitor")
                    .then(|| secret.trim().to_owned())
            });
        Ok(Self {
            handshake: requester.without_cookie(),
            secure: requester.secure,
            secret,
        })
    }

    async fn visitor(&self, edge: &Edge) -> Result<Principal, Problem> {
        let secret = self.secret()?;
        edge.visitors.authenticate(&self.handshake, secret).await
    }

    fn secret(&self) -> Result<&str, Problem> {
        self.secret.as_deref().ok_or_else(|| {
            let words = "Send the header 'Authorization: Visitor <visitor-token>'.";
            Problem::new(Code::Unauthorized, words)
        })
    }
}

fn cursor(text: &str) -> Result<MessageId, Problem> {
    text.parse().map_err(|_| {
        Problem::new(
            Code::ValidationFailed,
            "Take the next_cursor of the page before.",
        )
        .in_field("cursor")
    })
}
