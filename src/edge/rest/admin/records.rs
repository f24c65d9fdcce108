//! What was done, and what each kind of user may do.
//!
//! Invariant: nothing here changes anything.

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{CLASS, MODERATOR};
use crate::edge::rest::call::{Call, Reply, page_length};
use crate::edge::rest::cursor::List;
use crate::edge::rest::route::{CURSOR, LIMIT, Route};
use crate::model::{Kind, MessageId, Problem};
use crate::policy::permission::{Action, grant};
use crate::store::accounts::Audit;

/// The routes.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/admin/audit", audit)
            .about("What was done, the latest first.")
            .by(MODERATOR, CLASS)
            .queries(&[CURSOR, LIMIT])
            .gives::<Acts>(StatusCode::OK),
        Route::get("/api/v1/admin/policy", policy)
            .about("What each kind of user may do.")
            .by(MODERATOR, CLASS)
            .gives::<Policy>(StatusCode::OK),
    ]
}

/// A page of what was done.
#[derive(Serialize, ToSchema)]
#[schema(as = Audit)]
struct Acts {
    /// The acts.
    items: Vec<Act>,
    /// Where it goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    /// Whether there is another page.
    has_more: bool,
}

/// One act.
#[derive(Serialize, ToSchema)]
struct Act {
    /// Its id.
    id: String,
    /// When.
    at: String,
    /// Who.
    actor: String,
    /// What.
    act: String,
    /// To whom.
    subject: String,
    /// More about it.
    detail: String,
}

/// The permission table.
#[derive(Serialize, ToSchema)]
struct Policy {
    /// The kinds of users, in the order of the grants.
    kinds: Vec<&'static str>,
    /// The actions.
    actions: Vec<ActionRow>,
}

/// One action of the permission table.
#[derive(Serialize, ToSchema)]
struct ActionRow {
    /// Its word.
    action: &'static str,
    /// What it is.
    about: &'static str,
    /// For each kind `yes`, `limited` or `no`.
    grants: Vec<&'static str>,
}

#[derive(Deserialize)]
struct Page {
    cursor: Option<String>,
    limit: Option<String>,
}

impl Act {
    fn of(audit: Audit) -> Self {
        Self {
            id: audit.id.to_string(),
            at: audit.at.to_string(),
            actor: audit.actor,
            act: audit.act,
            subject: audit.subject,
            detail: audit.detail,
        }
    }
}

async fn audit(call: Call) -> Result<Reply, Problem> {
    let page: Page = call.query()?;
    let limit = page_length(page.limit.as_deref())?;
    let (edge, actor) = (&call.edge, call.caller.principal()?);
    let (key, now) = (&edge.rest.key, edge.visitors.now());
    let list = List {
        name: "audit",
        of: actor.user_id.as_str(),
    };
    let before: Option<MessageId> = list.place(key, now, page.cursor.as_deref())?;
    let mut acts = edge.app.accounts()?.audit(before, limit + 1).await?;
    let has_more = acts.len() > limit as usize;
    acts.truncate(limit as usize);
    let last = acts.last().filter(|_| has_more);
    let body = Acts {
        next_cursor: last.map(|last| list.cursor(key, now, &last.id.to_string())),
        has_more,
        items: acts.into_iter().map(Act::of).collect(),
    };
    Reply::json(StatusCode::OK, &body)
}

async fn policy(_: Call) -> Result<Reply, Problem> {
    let actions = Action::ALL.iter().map(|action| ActionRow {
        action: action.as_str(),
        about: action.about(),
        grants: Kind::ALL.map(|kind| grant(kind, *action).as_str()).to_vec(),
    });
    let body = Policy {
        kinds: Kind::ALL.map(Kind::as_str).to_vec(),
        actions: actions.collect(),
    };
    Reply::json(StatusCode::OK, &body)
}
