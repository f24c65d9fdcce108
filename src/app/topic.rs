//! `/topic/**`: fan-out, at most once, the body passed through untouched.
//!
//! Not here: who may (`policy::destinations`), how it reaches other nodes (`broker`). Invariant:
//! what one publisher sends to one topic arrives in the order in which it was sent.

use std::future;
use std::sync::Arc;

use super::{App, Live, Pending, refused};
use crate::hub::{Sink, Subscriber};
use crate::model::TopicMessage;
use crate::session::{Reply, Send};

impl App {
    pub(super) async fn topic_send(self: &Arc<Self>, live: &Live, send: Send) -> Pending {
        let remaining = match self.take_message(live).await {
            Ok(remaining) => remaining,
            Err(problem) => return refused(problem),
        };
        let topic = TopicMessage {
            destination: send.destination.to_string().into(),
            headers: send.headers,
            body: send.body,
        };
        let id = self.broker.next_message_id();
        // Awaited here and not in the outcome: the next SEND of this session must come after it.
        self.broker.publish(topic, id).await;
        let mut reply = Reply::default();
        if remaining != u32::MAX {
            reply
                .headers
                .push(("x-rate-remaining", remaining.to_string()));
        }
        Box::pin(future::ready(Ok(reply)))
    }

    pub(super) fn topic_subscribe(
        &self,
        live: &Live,
        topic: Arc<str>,
        id: &str,
        subscriber: Subscriber,
        sink: Sink,
    ) -> Pending {
        self.broker
            .hub
            .topics
            .add(&topic, live.session, id, subscriber, sink);
        let broker = Arc::clone(&self.broker);
        Box::pin(async move {
            broker.want(&topic).await;
            Ok(Reply::default())
        })
    }

    pub(super) fn topic_unsubscribe(&self, live: &Live, topic: &str, id: &str) {
        if self.broker.hub.topics.remove(topic, live.session, id) {
            self.broker.abandon(topic);
        }
    }
}
