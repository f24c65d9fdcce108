//! What the service has to say of a session itself, on its `/user/queue/notifications`.
//!
//! Not here: what there is to say (`review`, `expiry`). Invariant: it goes to this one session, on
//! whatever node somebody else of the same user is, and to nobody who subscribes with wildcards.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{App, Live, Pending};
use crate::hub::{Shown, Subscriber};
use crate::model::{Destination, Problem, SessionId, TopicMessage};
use crate::session::{Reply, Subscribe};

/// So long after a SUBSCRIBE its RECEIPT has been queued.
const MOMENT: Duration = Duration::from_millis(100);

impl App {
    /// Tells a session that one of its subscriptions was taken away; whether it subscribes to notifications.
    pub(super) fn notify_unsubscribed(
        &self,
        session: SessionId,
        destination: &Destination,
        id: &str,
        problem: &Problem,
    ) -> bool {
        let told = json!({
            "type": "SYSTEM",
            "event": "unsubscribed",
            "destination": destination.to_string(),
            "subscription": id,
            "reason": problem.code.as_str(),
        });
        self.notify(session, &told)
    }

    /// Subscribes a session to what is said of it.
    pub(super) fn notifications_subscribe(
        self: &Arc<Self>,
        live: &Live,
        subscribe: &Subscribe,
    ) -> Pending {
        let subscriber = Subscriber {
            version: subscribe.version,
            id: subscribe.named.then(|| Arc::from(&*subscribe.id)),
            shown: Shown::As(subscribe.written.as_ref().into()),
        };
        let sink = self.sink(live, subscribe, &subscriber);
        let topics = &self.broker.hub.topics;
        topics.add(
            &key(live.session),
            live.session,
            &subscribe.id,
            subscriber,
            sink,
        );
        self.say_again(live);
        Box::pin(std::future::ready(Ok(Reply::default())))
    }

    /// What was said before anybody listened is said again, behind the RECEIPT: that the token of the
    /// session is about to end.
    fn say_again(self: &Arc<Self>, live: &Live) {
        let (app, live) = (Arc::clone(self), live.clone());
        if live.principal().expires_at.is_some() {
            self.broker.spawn(async move {
                tokio::time::sleep(MOMENT).await;
                app.expiries
                    .watch(live.session, live.principal().expires_at);
            });
        }
    }

    pub(super) fn notifications_unsubscribe(&self, live: &Live, id: &str) {
        let topics = &self.broker.hub.topics;
        topics.remove(&key(live.session), live.session, id);
    }

    /// Says something to one session, if it subscribes to its notifications. Returns whether it does.
    pub(super) fn notify(&self, session: SessionId, body: &Value) -> bool {
        let message = TopicMessage {
            destination: key(session),
            headers: vec![(
                "content-type".into(),
                "application/json;charset=utf-8".into(),
            )],
            body: Bytes::from(body.to_string()),
            network: None,
        };
        let id = self.broker.next_message_id();
        self.broker.hub.topics.fan_out(&message, id).finish() > 0
    }
}

/// No destination that a client can write is called so.
fn key(session: SessionId) -> Box<str> {
    format!("/session/{session}/notifications").into()
}
