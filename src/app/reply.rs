//! `/temp-queue/**` and `/reply-queue/**`: answers to a session's own requests.
//!
//! A SEND names a `/temp-queue/<name>` in `reply-to`; whoever receives it reads there a
//! `/reply-queue/<token>` and answers to it, and the answer reaches the session that asked, as a
//! MESSAGE from `/temp-queue/<name>` (RabbitMQ's meaning). Not here: that a SEND subscribes
//! (`session`). Invariant: the token is all that lets others in, so it is random, stands in no log,
//! and ends with the session.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{App, Live, Pending, refused};
use crate::hub::Subscriber;
use crate::model::{Code, Problem, SessionId};
use crate::session::{Reply, Send, Subscribe};

/// The header of a SEND that says where answers go.
const REPLY_TO: &str = "reply-to";

/// What a client writes there, before the name.
const TEMP_QUEUE: &str = "/temp-queue/";

/// How long a SEND waits until the answers to it can find their way. After that it goes all the
/// same: location is away, and what can be delivered is delivered.
const KNOWN_WITHIN: Duration = Duration::from_secs(2);

/// The reply queues of the sessions of this node. One map for all, because few sessions have any.
#[derive(Debug, Default)]
pub(super) struct ReplyQueues {
    /// The fan-out key of each name of each session. As many as a session may have subscriptions.
    /// A std mutex: it is held for a look-up.
    keys: Mutex<BTreeMap<SessionId, BTreeMap<Box<str>, Key>>>,
}

/// `/reply-queue/<token>`. It has no `Debug` of its own words.
#[derive(Clone)]
struct Key(Arc<str>);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

impl ReplyQueues {
    fn open(&self, session: SessionId, name: &str) -> Arc<str> {
        let mut keys = self.lock();
        let names = keys.entry(session).or_default();
        let fresh = || Key(format!("/reply-queue/{:032x}", rand::random::<u128>()).into());
        Arc::clone(&names.entry(name.into()).or_insert_with(fresh).0)
    }

    fn key(&self, session: SessionId, name: &str) -> Option<Arc<str>> {
        let keys = self.lock();
        let key = keys.get(&session)?.get(name)?;
        Some(Arc::clone(&key.0))
    }

    fn close(&self, session: SessionId, name: &str) -> Option<Arc<str>> {
        let mut keys = self.lock();
        let names = keys.get_mut(&session)?;
        let key = names.remove(name);
        if names.is_empty() {
            keys.remove(&session);
        }
        key.map(|key| key.0)
    }

    /// The session is gone. Its subscriptions go with it elsewhere.
    pub(super) fn forget(&self, session: SessionId) {
        self.lock().remove(&session);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SessionId, BTreeMap<Box<str>, Key>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl App {
    /// Subscribes a session to the answers to a name. When this returns, answers find their way.
    pub(super) async fn reply_subscribe(
        &self,
        live: &Live,
        name: &str,
        subscribe: &Subscribe,
        subscriber: Subscriber,
    ) -> Pending {
        if subscribe.id.strip_prefix(TEMP_QUEUE) != Some(name) {
            let words = "A /temp-queue is named in the header reply-to of a SEND, which subscribes \
                         to it; its id is its name.";
            return refused(Problem::new(Code::Forbidden, words));
        }
        let key = self.replies.open(live.session, name);
        let topics = &self.broker.hub.topics;
        let sink = self.sink(live, subscribe, &subscriber);
        topics.add(&key, live.session, &subscribe.id, subscriber, sink);
        // Here and not in the outcome: the SEND that names it comes next, and its answer may be
        // quick.
        let known = tokio::time::timeout(KNOWN_WITHIN, self.broker.want(&key)).await;
        if known.is_err() {
            tracing::debug!("answers from other nodes find their way later");
        }
        Box::pin(std::future::ready(Ok(Reply::default())))
    }

    pub(super) fn reply_unsubscribe(&self, live: &Live, name: &str, id: &str) {
        if let Some(key) = self.replies.close(live.session, name)
            && self.broker.hub.topics.remove(&key, live.session, id)
        {
            self.broker.abandon(&key);
        }
    }

    /// Puts the reply queue of this session in the place of the name that a SEND has in `reply-to`.
    pub(super) fn address_replies(&self, live: &Live, send: &mut Send) -> Result<(), Problem> {
        let header = send
            .headers
            .iter_mut()
            .find(|(name, _)| **name == *REPLY_TO);
        let Some((_, value)) = header else {
            return Ok(());
        };
        let Some(name) = value.strip_prefix(TEMP_QUEUE) else {
            return Ok(());
        };
        let Some(key) = self.replies.key(live.session, name) else {
            let words = "The /temp-queue in reply-to is not subscribed to by this session.";
            return Err(Problem::new(Code::NotFound, words).in_field(REPLY_TO));
        };
        *value = (*key).into();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Destination;

    #[test]
    fn a_name_has_one_key_per_session_until_it_is_closed() {
        let replies = ReplyQueues::default();
        let (one, other) = (SessionId(1), SessionId(2));
        let key = replies.open(one, "a");
        assert_eq!(replies.open(one, "a"), key);
        assert_ne!(replies.open(one, "b"), key);
        assert_ne!(replies.open(other, "a"), key);
        assert_eq!(replies.key(one, "a"), Some(Arc::clone(&key)));
        assert_eq!(replies.key(one, "c"), None);
        assert_eq!(replies.close(one, "a"), Some(Arc::clone(&key)));
        assert_eq!(replies.close(one, "a"), None);
        assert_ne!(replies.open(one, "a"), key);
        replies.forget(one);
        assert_eq!(replies.key(one, "b"), None);
        assert!(replies.key(other, "a").is_some());
        let parsed = Destination::parse(&key).unwrap();
        assert_eq!(parsed, Destination::ReplyQueue(key));
    }

    #[test]
    fn a_token_stands_in_no_log() {
        let replies = ReplyQueues::default();
        let key = replies.open(SessionId(1), "a");
        let token = key.rsplit('/').next().unwrap();
        assert!(!format!("{replies:?}").contains(token));
    }
}
