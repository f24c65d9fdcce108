//! REST for visitors: a secret for the asking, and a ticket for one WebSocket.
//!
//! Not here: what an identity is (`identity`). Invariant: a secret is told once, to whoever it was made
//! for, and never to a cache.

use std::time::Duration;

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::call::{Call, Reply};
use super::route::{Class, Route, Who};
use crate::edge::Edge;
use crate::identity::{Opened, TICKET_LIFE};
use crate::model::{Code, Problem};

/// The routes.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post("/api/v1/auth/anonymous", anonymous)
            .about("A new visitor and his secret.")
            .more(
                "Needs no body. `Accept-Language` chooses the language of the name. The secret is \
                 shown this once; each use makes it last longer.",
            )
            .by(Who::Nobody, Class::Open)
            .gives::<Visitor>(StatusCode::CREATED)
            .refuses(&[Code::TryLater, Code::Unauthorized]),
        Route::post("/api/v1/auth/ticket", ticket)
            .about("A ticket for one WebSocket in the visitor's name.")
            .more(
                "A browser cannot set headers on a WebSocket: `wss://<host>/ws-chat?ticket=<ticket>` \
                 opens the same visitor, once, within half a minute.",
            )
            .by(Who::Visitor, Class::Token)
            .gives::<Ticket>(StatusCode::CREATED),
    ]
}

/// A visitor, and the secret that opens his identity.
#[derive(Serialize, ToSchema)]
pub(super) struct Visitor {
    /// His address.
    #[schema(example = "user_0123456789abc")]
    user_id: String,
    /// `anonymous`.
    kind: &'static str,
    /// The name that is shown.
    name: String,
    /// The secret. It is told this once.
    visitor_token: Option<String>,
    /// When the secret ends unless it is presented before.
    #[schema(example = "2026-01-31T00:00:00.000Z")]
    expires_at: String,
    /// How the identity was opened: `new`, or `token`.
    proof: &'static str,
}

impl Visitor {
    /// What there is to tell of an identity that was opened.
    pub(super) fn of(edge: &Edge, opened: Opened) -> Self {
        let life = Duration::from_secs(opened.expires_in_s);
        Self {
            user_id: opened.principal.user_id.to_string(),
            kind: opened.principal.kind.as_str(),
            name: opened.principal.name,
            visitor_token: opened.secret_to_tell,
            expires_at: edge.visitors.now().after(life).to_string(),
            proof: opened.proof.as_str(),
        }
    }
}

/// What a page puts into the address of one WebSocket.
#[derive(Serialize, ToSchema)]
struct Ticket {
    /// The ticket.
    ticket: String,
    /// In how many seconds it ends.
    expires_in: u64,
}

async fn anonymous(call: Call) -> Result<Reply, Problem> {
    let (edge, caller) = (&call.edge, &call.caller);
    let language = caller.language.as_deref();
    let opened = edge.visitors.anonymous(&caller.handshake, language).await?;
    Reply::json(StatusCode::CREATED, &Visitor::of(edge, opened))
}

async fn ticket(call: Call) -> Result<Reply, Problem> {
    let secret = call.caller.secret()?;
    let ticket = call
        .edge
        .visitors
        .ticket(&call.caller.handshake, secret)
        .await?;
    let expires_in = TICKET_LIFE.as_secs();
    Reply::json(StatusCode::CREATED, &Ticket { ticket, expires_in })
}
