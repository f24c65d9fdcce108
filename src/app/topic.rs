//! `/topic/**`: fan-out, at most once, the body passed through untouched.
//!
//! Not here: who may (`policy::destinations`), how it reaches other nodes (`broker`). Invariant:
//! what one publisher sends to one topic arrives in the order in which it was sent.

use std::sync::Arc;

use super::rates::bytes_of;
use super::{App, Live, Pending, handed_over, refused};
use crate::broker::PatternSubscriber;
use crate::hub::{Sink, Subscriber};
use crate::model::{Code, Problem, TopicMessage};
use crate::session::{Reply, Send};

impl App {
    /// Publishes to a topic, or to the reply queue of a session.
    pub(super) async fn topic_send(self: &Arc<Self>, live: &Live, send: Send) -> Pending {
        let remaining = match self.take_message(live, bytes_of(&send)).await {
            Ok(remaining) => remaining,
            Err(problem) => return refused(problem),
        };
        let topic = TopicMessage {
            destination: send.destination.to_string().into(),
            headers: send.headers,
            body: send.body,
            network: Some(live.activity.network()),
        };
        let id = self.broker.next_message_id();
        // Awaited here and not in the outcome: the next SEND of this session must come after it.
        self.broker.publish(topic, id, self.deliveries(live)).await;
        handed_over(remaining)
    }

    pub(super) fn topic_subscribe(
        &self,
        live: &Live,
        topic: Arc<str>,
        id: &str,
        subscriber: Subscriber,
        (sink, pattern): (Sink, Option<PatternSubscriber>),
    ) -> Pending {
        self.broker
            .hub
            .topics
            .add(&topic, live.session, id, subscriber, sink);
        let broker = Arc::clone(&self.broker);
        let (session, id) = (live.session, Box::<str>::from(id));
        Box::pin(async move {
            if let Err(error) = broker.want_with(&topic, pattern).await {
                if broker.hub.topics.remove(&topic, session, &id) {
                    broker.abandon(&topic);
                }
                let words = format!("{topic} is not subscribed: {error}.");
                return Err(Problem::new(Code::LimitExceeded, words));
            }
            Ok(Reply::default())
        })
    }

    pub(super) fn topic_unsubscribe(&self, live: &Live, topic: &str, id: &str) {
        if self.broker.hub.topics.remove(topic, live.session, id) {
            self.broker.abandon(topic);
        }
    }
}
