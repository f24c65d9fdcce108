//! The operator's questions: where somebody is, which way a message to him would take, and what became
//! of a message.
//!
//! Not here: who may ask (`edge`), what is noted (`hub::trace`). Invariant: an answer has no words of
//! people in it, only ids, nodes and times.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::App;
use crate::model::{Code, MessageId, Problem, UserId};

impl App {
    /// What every node knows of a message.
    pub async fn trace(self: &Arc<Self>, message: MessageId) -> Value {
        self.broker.trace(message).await
    }

    /// Where a user is, and the way that a message to him would take now.
    ///
    /// # Errors
    /// `not_found` when there is no such user; `store_unavailable`, or `broker_unavailable` when
    /// location does not answer.
    pub async fn routing(self: &Arc<Self>, user: &UserId) -> Result<Value, Problem> {
        let Some(recipient) = self.visitors.recipient(user).await? else {
            let words = "Nobody has this address; ids are written `user_...`.";
            return Err(Problem::new(Code::NotFound, words));
        };
        let address = recipient.user_id.clone();
        let located = self
            .broker
            .location
            .locate(std::slice::from_ref(&address), &[])
            .await;
        let located = located.map_err(|error| {
            tracing::debug!(%error, "a route is not known");
            let words = "Location does not answer: messages go to every node for now.";
            Problem::new(Code::BrokerUnavailable, words).retry_after_ms(1_000)
        })?;
        let now = (self.clock)();
        let entries: Vec<_> = located.users.into_iter().flatten().collect();
        let here = &self.broker.here;
        let is_here = entries.iter().any(|entry| entry.node == *here);
        let remote: BTreeSet<&str> = entries
            .iter()
            .filter(|entry| entry.node != *here)
            .map(|entry| entry.node.as_str())
            .collect();
        let keeps_mailbox = !recipient.standing.is_loose();
        let sessions: Vec<Value> = entries
            .iter()
            .map(|entry| {
                json!({
                    "session": entry.session.to_string(),
                    "node": entry.node.as_str(),
                    "incarnation": entry.incarnation.to_string(),
                    "device": entry.device,
                    "since": entry.since.to_string(),
                    "age_s": now.since(entry.since).as_secs(),
                })
            })
            .collect();
        Ok(json!({
            "user_id": address.as_str(),
            "asked_for": user.as_str(),
            "asked_at": here.as_str(),
            "kind": recipient.kind.as_str(),
            "sessions": sessions,
            "path": {
                "stored": keeps_mailbox || !entries.is_empty(),
                "local": is_here,
                "remote": remote.iter().map(|node| json!({
                    "node": node,
                    "routing_key": format!("chat.{node}"),
                })).collect::<Vec<_>>(),
                "offline": entries.is_empty(),
            },
        }))
    }
}
