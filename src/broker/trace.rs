//! The operator's questions: what became of a message, asked of every node.
//!
//! Not here: what is noted (`hub::trace`). Invariant: a question is answered in bounded time, and says
//! which nodes have not answered; what is kept for it is gone afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::outbound::Outbound;
use super::{Broker, lock};
use crate::hub::trace::{Event, Step};
use crate::model::{Control, MessageId, NodeId, TraceAsk};

/// How long the other nodes have.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);

/// How many answers one question may get; more than there are nodes.
const ANSWERS_MAX: usize = 1_024;

/// The questions of this node that are not answered yet.
#[derive(Debug, Default)]
pub(super) struct Questions {
    number: AtomicU64,
    waiting: Mutex<BTreeMap<u64, mpsc::Sender<(NodeId, Bytes)>>>,
}

impl Questions {
    /// An answer has come. One that comes too late, or twice too often, is dropped.
    pub(super) fn answered(&self, question: u64, node: &NodeId, body: &Bytes) {
        if let Some(asker) = lock(&self.waiting).get(&question) {
            let _dropped = asker.try_send((node.clone(), body.clone()));
        }
    }
}

impl Broker {
    /// What every node knows of a message: for each, what happened there in order, and which nodes did
    /// not answer within a second.
    pub async fn trace(self: &Arc<Self>, message: MessageId) -> Value {
        let question = self.questions.number.fetch_add(1, Ordering::Relaxed);
        let (answer, mut answers) = mpsc::channel(ANSWERS_MAX);
        lock(&self.questions.waiting).insert(question, answer);
        // Asked now: a node that has just come may have had the message.
        let mut missing: BTreeSet<NodeId> = self.known_nodes().into_iter().collect();
        if let Ok(peers) = self.location.peers().await {
            missing.extend(peers.into_iter().map(|peer| peer.node));
        }
        missing.remove(&self.here);
        let ask = TraceAsk {
            question,
            asker: self.here.clone(),
            message,
        };
        let mut nodes = vec![self.trace_here(message)];
        let gather = async {
            self.tell_everybody(Control::TraceAsk(ask)).await;
            while !missing.is_empty() {
                let Some((node, body)) = answers.recv().await else {
                    return;
                };
                if missing.remove(&node) {
                    nodes.push(serde_json::from_slice(&body).unwrap_or(Value::Null));
                }
            }
        };
        // Whoever has not answered by then is named.
        let _late = tokio::time::timeout(ANSWERED_WITHIN, gather).await;
        lock(&self.questions.waiting).remove(&question);
        let silent: Vec<&str> = missing.iter().map(NodeId::as_str).collect();
        json!({
            "message_id": message.to_string(),
            "nodes": nodes,
            "unanswered": silent,
        })
    }

    /// Another node asks.
    pub(super) fn answer_trace(self: &Arc<Self>, ask: &TraceAsk) {
        let body = self.trace_here(ask.message).to_string().into();
        let answer = Control::TraceAnswer {
            question: ask.question,
            node: self.here.clone(),
            body,
        };
        self.route_control(ask.asker.clone(), answer);
    }

    /// The bus has taken what goes to these nodes.
    pub(super) fn note_published(&self, targets: &BTreeSet<NodeId>, outbound: &[Outbound]) {
        for it in outbound {
            let Outbound::Message { delivery, .. } = it else {
                continue;
            };
            for node in targets {
                let published = Step::Published(node.clone());
                self.hub.trace.note(delivery.message.id, published);
            }
        }
    }

    fn trace_here(&self, message: MessageId) -> Value {
        let events = self.hub.trace.of(message);
        let told: Vec<Value> = events.iter().map(|event| self.told(event)).collect();
        json!({ "node": self.here.as_str(), "events": told })
    }

    fn told(&self, event: &Event) -> Value {
        let at = event.at.to_string();
        match &event.what {
            Step::Stored(seq) => json!({ "at": at, "event": "stored", "seq": seq }),
            Step::Published(to) => json!({ "at": at, "event": "published", "to": to.as_str() }),
            Step::Received(from) => json!({ "at": at, "event": "received", "from": from.as_str() }),
            Step::Queued(id, place) => {
                let session = self.hub.session(*id);
                let has_gone_out = session.as_ref().map(|it| it.outbox.has_gone_out(*place));
                json!({
                    "at": at,
                    "event": "queued",
                    "session": id.to_string(),
                    "user_id": session.as_ref().map(|it| it.user.as_str().to_owned()),
                    "device": session.as_ref().map(|it| it.device.to_string()),
                    // Nobody knows it of a session that has ended.
                    "flushed": has_gone_out,
                })
            }
            Step::Windowed(id) => json!({
                "at": at,
                "event": "queued",
                "session": id.to_string(),
                "until": "acknowledged",
            }),
        }
    }
}
