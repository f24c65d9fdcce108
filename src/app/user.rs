//! `/user/**`: what one user is sent on all his devices, wherever they are (Spring's meaning).
//!
//! SUBSCRIBE `/user/<rest>` is one's own, SEND `/user/{name}/<rest>` is to the user with this name;
//! inside, both are the fan-out key `/user/<user id>/<rest>`. Not here: `/user/queue/messages` and
//! the other queues of the service, which are written by it alone. Invariant: a key is made of the
//! subscriber's own id, or of the id of somebody whom the sender may reach.

use std::sync::Arc;

use super::rates::bytes_of;
use super::{App, Live, Pending, handed_over, refused};
use crate::hub::Subscriber;
use crate::model::{Code, Problem, SessionId, TopicMessage, UserId, UserQueue, is_pattern};
use crate::policy::destinations::own;
use crate::session::{Reply, Send, Subscribe};

impl App {
    /// Sends to a user, or, by its session id, to the sending session itself.
    pub(super) async fn user_send(
        self: &Arc<Self>,
        live: &Live,
        rest: &str,
        send: Send,
    ) -> Pending {
        let remaining = match self.take_message(live, bytes_of(&send)).await {
            Ok(remaining) => remaining,
            Err(problem) => return refused(problem),
        };
        let destination = match self.user_destination(live, rest).await {
            Ok(destination) => destination,
            Err(problem) => return refused(problem),
        };
        let is_this_session = is_session(rest, live.session);
        let message = TopicMessage {
            destination,
            headers: send.headers,
            body: send.body,
            network: Some(live.activity.network()),
        };
        let id = self.broker.next_message_id();
        if is_this_session {
            // It is here by definition: there is nothing to be asked of other nodes.
            let deliveries = self.deliveries(live);
            self.broker.publish_here(&message, id, deliveries).await;
        } else {
            // Awaited here and not in the outcome: the next SEND of this session must come after it.
            self.broker
                .publish(message, id, self.deliveries(live))
                .await;
        }
        handed_over(remaining)
    }

    /// The fan-out key of `{name}/<rest>`, if its sender may reach him who has the name.
    pub(super) async fn user_destination(
        &self,
        live: &Live,
        rest: &str,
    ) -> Result<Box<str>, Problem> {
        let (name, own) = rest.split_once('/').ok_or_else(nobody)?;
        if is_session(rest, live.session) {
            return Ok(session_key(live.session, own));
        }
        user_key(&self.addressee(live, name).await?, own)
    }

    /// The user with this name, if the sender may reach him. It is refused as a direct message is,
    /// so that nothing is learnt here that could not be learnt there. In whose hands the identity is
    /// then holds for this moment only: nothing is stored that could look once more, so whoever takes
    /// over a loose identity before the fan-out gets the message (docs/guarantees.md says so).
    async fn addressee(&self, live: &Live, name: &str) -> Result<UserId, Problem> {
        if name == live.hub.user.as_str() {
            return Ok(live.hub.user.clone());
        }
        let user = name.parse().map_err(|_no_id| nobody())?;
        match self.check_reach(&live.principal(), &user, false).await {
            Ok(recipient) => Ok(recipient.user_id),
            Err(problem) if problem.code == Code::NotFound => Err(nobody()),
            Err(problem) => Err(problem),
        }
    }

    /// Subscribes to one's own `/user/<rest>`. There is nothing to wait for: what other nodes send
    /// finds the user by his location.
    pub(super) fn user_subscribe(
        &self,
        live: &Live,
        rest: &str,
        subscribe: &Subscribe,
        subscriber: &Subscriber,
    ) -> Pending {
        let keys = match keys(live, rest) {
            Ok(keys) => keys,
            Err(problem) => return refused(problem),
        };
        let (id, sink) = (&subscribe.id, self.sink(live, subscribe, subscriber));
        let topics = &self.broker.hub.topics;
        for key in keys {
            topics.add(&key, live.session, id, subscriber.clone(), sink.clone());
        }
        let session = Arc::clone(&live.hub);
        Box::pin(async move {
            session.attached().await;
            Ok(Reply::default())
        })
    }

    pub(super) fn user_unsubscribe(&self, live: &Live, rest: &str, id: &str) {
        for key in keys(live, rest).into_iter().flatten() {
            self.broker.hub.topics.remove(&key, live.session, id);
        }
    }
}

/// What a subscription to `/user/<rest>` listens to: the user's, and the session's own.
fn keys(live: &Live, rest: &str) -> Result<[Box<str>; 2], Problem> {
    let own = own(&live.hub.user, rest);
    if UserQueue::ALL
        .into_iter()
        .any(|queue| *queue.as_str() == format!("/user/{own}"))
    {
        let words =
            "Subscribe to the queues of the service without a name, as /user/queue/messages.";
        return Err(Problem::new(Code::Forbidden, words));
    }
    let user = user_key(&live.hub.user, own)?;
    Ok([user, session_key(live.session, own)])
}

fn user_key(user: &UserId, rest: &str) -> Result<Box<str>, Problem> {
    let key = format!("/user/{user}/{rest}");
    // An id of an external issuer may look like a wildcard, and would then stand for everybody.
    if is_pattern(&key) {
        let words = "This user has no /user destinations: his name has a wildcard in it.";
        return Err(Problem::new(Code::Forbidden, words));
    }
    Ok(key.into())
}

/// Whether `{name}/<rest>` has the id of this session for a name.
fn is_session(rest: &str, session: SessionId) -> bool {
    let name = rest.split('/').next().unwrap_or_default();
    name.parse() == Ok(session)
}

fn session_key(session: SessionId, rest: &str) -> Box<str> {
    format!("/user/{session}/{rest}").into()
}

fn nobody() -> Problem {
    let words = "Nobody has this name. In /user/{name}/... it is the user-name of his CONNECTED.";
    Problem::new(Code::NotFound, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_looks_like_a_wildcard_reaches_nobody_else() {
        for name in ["*", "**", "#", "a.*", "a.#", "*.b"] {
            let user = name.parse().unwrap();
            let refused = user_key(&user, "queue/x").unwrap_err();
            assert_eq!(refused.code, Code::Forbidden, "{name}");
        }
        for name in ["user_0000000000000", "a*b", "auth0|x", "c#", "a.b"] {
            let user: UserId = name.parse().unwrap();
            let key = user_key(&user, "queue/x").unwrap();
            assert_eq!(*key, *format!("/user/{name}/queue/x"));
        }
    }
}
