//! The ways of messages: where a user is, and what became of a message.
//!
//! Not here: how that is found out (`app::trace`). Invariant: no text of a message is in an answer.

use axum::http::StatusCode;

use super::{ADMIN, CLASS};
use crate::edge::rest::call::{Call, Reply, any_object};
use crate::edge::rest::route::Route;
use crate::model::{Code, MessageId, Problem, UserId};

/// The routes.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/admin/routing/{user_id}", routing)
            .about("Where a user is, and the way that a message to him would take.")
            .by(ADMIN, CLASS)
            .gives::<Routing>(StatusCode::OK)
            .refuses(&[Code::BrokerUnavailable]),
        Route::get("/api/v1/admin/trace/{message_id}", trace)
            .about("What every node knows of a message: where it went and what became of it.")
            .by(ADMIN, CLASS)
            .gives::<Trace>(StatusCode::OK),
    ]
}

any_object! {
    /// The sessions of a user, their nodes, and the way of a message to him.
    Routing
}

any_object! {
    /// What the nodes know of a message.
    Trace
}

async fn routing(call: Call) -> Result<Reply, Problem> {
    let user: UserId = call.id("user_id")?;
    Reply::json(StatusCode::OK, &call.edge.app.routing(&user).await?)
}

async fn trace(call: Call) -> Result<Reply, Problem> {
    let message: MessageId = call.id("message_id")?;
    Reply::json(StatusCode::OK, &call.edge.app.trace(message).await)
}
