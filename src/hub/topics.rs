//! Who subscribes to which `/topic/**` on this node.
//!
//! Not here: which other nodes want a topic (`location`). Invariant: a subscription stands in the
//! index of its topic exactly as long as it stands in that of its session.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::delivery::{Subscriber, TopicDelivery};
use super::outbox::Outbox;
use super::window::Window;
use crate::model::{SessionId, TopicMessage};

/// The index of topic subscriptions.
#[derive(Debug, Default)]
pub struct Topics {
    index: RwLock<Index>,
}

#[derive(Debug, Default)]
struct Index {
    topics: BTreeMap<Box<str>, Vec<Subscription>>,
    /// For the removal of a session: the topics in which it stands.
    sessions: BTreeMap<SessionId, BTreeSet<Box<str>>>,
}

#[derive(Debug)]
struct Subscription {
    session: SessionId,
    id: Box<str>,
    subscriber: Subscriber,
    sink: Sink,
}

/// Where the messages of a subscription go.
#[derive(Clone, Debug)]
pub enum Sink {
    /// To the client.
    Outbox(Arc<Outbox>),
    /// Through a window, because it acknowledges.
    Window(Arc<Window>),
}

impl Topics {
    /// Adds a subscription.
    pub fn add(
        &self,
        topic: &str,
        session: SessionId,
        id: &str,
        subscriber: Subscriber,
        sink: Sink,
    ) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        index
            .sessions
            .entry(session)
            .or_default()
            .insert(topic.into());
        let subscription = Subscription {
            session,
            id: id.into(),
            subscriber,
            sink,
        };
        index
            .topics
            .entry(topic.into())
            .or_default()
            .push(subscription);
    }

    /// Removes a subscription. Returns whether nobody here wants the topic any more.
    pub fn remove(&self, topic: &str, session: SessionId, id: &str) -> bool {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let Some(subscriptions) = index.topics.get_mut(topic) else {
            return false;
        };
        subscriptions.retain(|s| s.session != session || &*s.id != id);
        let is_abandoned = subscriptions.is_empty();
        let has_others = subscriptions.iter().any(|s| s.session == session);
        if is_abandoned {
            index.topics.remove(topic);
        }
        if !has_others && let Some(topics) = index.sessions.get_mut(&session) {
            topics.remove(topic);
        }
        is_abandoned
    }

    /// Removes every subscription of a session. Returns the topics that nobody here wants now.
    pub fn remove_session(&self, session: SessionId) -> Vec<Box<str>> {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let topics = index.sessions.remove(&session).unwrap_or_default();
        let mut abandoned = Vec::new();
        for topic in topics {
            let Some(subscriptions) = index.topics.get_mut(&topic) else {
                continue;
            };
            subscriptions.retain(|s| s.session != session);
            if subscriptions.is_empty() {
                index.topics.remove(&topic);
                abandoned.push(topic);
            }
        }
        abandoned
    }

    /// Whether somebody here wants the topic.
    #[must_use]
    pub fn is_wanted(&self, topic: &str) -> bool {
        self.index
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .topics
            .contains_key(topic)
    }

    /// How many topics have a subscriber here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .topics
            .len()
    }

    /// Whether nobody here wants any topic.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Queues a message for every subscriber here, encoded once per form. Returns how many there
    /// were.
    pub fn fan_out(&self, message: &TopicMessage, message_id: String) -> usize {
        let delivery = TopicDelivery {
            topic: message,
            message_id,
            encoded: Mutex::new(Vec::with_capacity(1)),
        };
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let Some(subscriptions) = index.topics.get(&message.destination) else {
            return 0;
        };
        for subscription in subscriptions {
            match &subscription.sink {
                Sink::Outbox(outbox) => {
                    outbox.push(delivery.frame(&subscription.subscriber));
                }
                Sink::Window(window) => window.offer(delivery.content(&subscription.subscriber)),
            }
        }
        subscriptions.len()
    }
}
