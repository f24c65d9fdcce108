//! REST of somebody about himself: his own copy, and being forgotten.
//!
//! Invariant: nothing of somebody is shown or changed without his own proof.

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::call::{Call, Reply};
use super::cursor::List;
use super::route::{CURSOR, Class, Route, Who};
use crate::model::{MessageId, Problem};

/// The routes.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::delete("/api/v1/me", erase)
            .about("Forget me: the row, the secrets, the words of the messages.")
            .by(Who::Anybody, Class::General)
            .gives_nothing(),
        Route::get("/api/v1/me/export", export)
            .about("Everything that is stored of me, oldest first, in pages.")
            .more("Ask again with `cursor` until `has_more` is false.")
            .by(Who::Anybody, Class::General)
            .queries(&[CURSOR])
            .gives::<Export>(StatusCode::OK),
    ]
}

/// A page of somebody's own copy.
#[derive(Debug, ToSchema)]
#[expect(
    dead_code,
    reason = "the items are rendered as they were sent, so the page is put together by hand"
)]
struct Export {
    /// His address.
    user_id: String,
    /// `anonymous`, `member`, `bot`, `admin`.
    kind: String,
    /// The name that is shown.
    name: String,
    /// Whether there may be another page.
    has_more: bool,
    /// Where it goes on.
    next_cursor: Option<String>,
    /// The messages, as he received or wrote them.
    #[schema(value_type = Vec<Object>)]
    items: Vec<serde_json::Value>,
}

/// What may be asked of an export.
#[derive(Debug, Deserialize)]
struct Page {
    cursor: Option<String>,
}

async fn export(call: Call) -> Result<Reply, Problem> {
    let (edge, principal) = (&call.edge, call.caller.principal()?);
    let (key, now) = (&edge.rest.key, edge.visitors.now());
    let list = List {
        name: "export",
        of: principal.user_id.as_str(),
    };
    let page: Page = call.query()?;
    let after: Option<MessageId> = list.place(key, now, page.cursor.as_deref())?;
    let messages = edge.visitors.export(principal, after).await?;
    let last = messages.last().map(|message| message.id.to_string());
    let head = json!({
        "user_id": principal.user_id.as_str(),
        "kind": principal.kind.as_str(),
        "name": principal.name,
        "has_more": !messages.is_empty(),
        "next_cursor": last.map(|id| list.cursor(key, now, &id)),
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
    Ok(Reply::raw(StatusCode::OK, body.into()))
}

async fn erase(call: Call) -> Result<Reply, Problem> {
    let (edge, principal) = (&call.edge, call.caller.principal()?);
    let user_id = &principal.user_id;
    edge.app.erase(user_id).await?;
    tracing::info!(%user_id, "somebody was forgotten at his own wish");
    let cookie = edge.visitors.cookies().clear_cookie(call.caller.secure);
    Ok(Reply::nothing().with_cookie(&cookie))
}
