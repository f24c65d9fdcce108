//! Who subscribes to what is fanned out on this node: `/topic/**` by name and by pattern, and the
//! keys of users and of sessions.
//!
//! Not here: how a message goes through the lists (`fan_out`), which other nodes want a topic (`location`).
//! Invariants: a subscription stands in the index of its topic exactly as long as it stands in that of its session;
//! as long as nobody subscribes with wildcards, nothing is compared with a pattern.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::cursors::{Cursors, InList};
use super::delivery::{FORMS_MAX, Subscriber};
use super::fan_out::FanOut;
use super::outbox::Outbox;
use super::window::Window;
use crate::model::{Pattern, SessionId, TopicMessage, is_pattern};

/// The index of topic subscriptions.
#[derive(Debug, Default)]
pub struct Topics {
    index: RwLock<Index>,
}

#[derive(Debug, Default)]
pub(super) struct Index {
    /// Asked by name only, never gone through. Names are long and alike at the beginning, so that a
    /// hash costs less than a search that compares them.
    pub(super) topics: HashMap<Arc<str>, Vec<Subscription>>,
    /// The subscriptions with wildcards. A list in the order of their texts: a message is compared
    /// with each, and there are few.
    pub(super) patterns: BTreeMap<Pattern, Vec<Subscription>>,
    /// For the removal of a session: the topics and patterns in which it stands, each once. Lists,
    /// because most sessions have one or two, and the names are those of the index.
    sessions: BTreeMap<SessionId, Vec<Arc<str>>>,
    /// How far messages that are delivered in pieces have come.
    pub(super) cursors: Cursors,
}

#[derive(Debug)]
pub(super) struct Subscription {
    session: SessionId,
    /// The same text as in the subscriber, where that one has it.
    id: Arc<str>,
    /// Shared by those of the topic that are alike, so that a fan-out need not compare texts.
    pub(super) subscriber: Arc<Subscriber>,
    pub(super) sink: Sink,
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
    /// Adds a subscription. A text with wildcards stands for every destination that it matches.
    pub fn add(
        &self,
        topic: &str,
        session: SessionId,
        id: &str,
        subscriber: Subscriber,
        sink: Sink,
    ) {
        let mut index = self.write();
        let (subscriptions, name) = index.of(topic);
        let subscriber = shared(subscriptions, subscriber);
        let id = match &subscriber.id {
            Some(known) if **known == *id => Arc::clone(known),
            _ => id.into(),
        };
        if subscriptions.is_empty() {
            // A list that grows by itself has places for four, and most topics have one.
            subscriptions.reserve_exact(1);
        }
        subscriptions.push(Subscription {
            session,
            id,
            subscriber,
            sink,
        });
        let names = index.sessions.entry(session).or_default();
        if !names.contains(&name) {
            names.reserve_exact(1);
            names.push(name);
        }
    }

    /// Removes a subscription. Returns whether nobody here wants the topic any more.
    pub fn remove(&self, topic: &str, session: SessionId, id: &str) -> bool {
        let mut index = self.write();
        let mut has_others = false;
        let is_abandoned = index.retain(topic, |s| {
            let stays = s.session != session || &*s.id != id;
            has_others |= stays && s.session == session;
            stays
        });
        if !has_others && let Some(topics) = index.sessions.get_mut(&session) {
            topics.retain(|other| **other != *topic);
        }
        is_abandoned
    }

    /// Removes every subscription of a session. Returns the topics that nobody here wants now.
    pub fn remove_session(&self, session: SessionId) -> Vec<Box<str>> {
        let mut index = self.write();
        let mut topics = index.sessions.remove(&session).unwrap_or_default();
        topics.retain(|topic| index.retain(topic, |s| s.session != session));
        topics.into_iter().map(|topic| Box::from(&*topic)).collect()
    }

    /// The subscriptions of a session: topics and patterns, each with its subscription's id.
    #[must_use]
    pub fn of_session(&self, session: SessionId) -> Vec<(Arc<str>, Box<str>)> {
        let index = self.read();
        let names = index.sessions.get(&session).into_iter().flatten();
        let mut found = Vec::new();
        for name in names {
            let subscriptions = match pattern(name) {
                Some(pattern) => index.patterns.get(&pattern),
                None => index.topics.get(name),
            };
            let own = subscriptions.into_iter().flatten();
            let own = own.filter(|one| one.session == session);
            found.extend(own.map(|one| (Arc::clone(name), Box::from(&*one.id))));
        }
        found
    }

    /// Whether somebody here wants the topic; of a pattern, whether somebody wants that pattern.
    #[must_use]
    pub fn is_wanted(&self, topic: &str) -> bool {
        let index = self.read();
        match pattern(topic) {
            Some(pattern) => index.patterns.contains_key(&pattern),
            None => index.topics.contains_key(topic),
        }
    }

    /// How many topics and patterns have a subscriber here.
    #[must_use]
    pub fn len(&self) -> usize {
        let index = self.read();
        index.topics.len() + index.patterns.len()
    }

    /// Whether nobody here wants any topic.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many patterns have a subscriber here: with so many a message may be compared.
    #[must_use]
    pub fn patterns(&self) -> usize {
        self.read().patterns.len()
    }

    /// Begins to queue a message for every subscription here that its destination is, or that matches it,
    /// encoded once per form.
    pub fn fan_out<'a>(&'a self, message: &'a TopicMessage, message_id: String) -> FanOut<'a> {
        FanOut::new(self, message, message_id)
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    /// The subscriptions to a topic, and its name. A text with wildcards is a pattern.
    fn of(&mut self, topic: &str) -> (&mut Vec<Subscription>, Arc<str>) {
        if let Some(pattern) = pattern(topic) {
            return (self.patterns.entry(pattern).or_default(), topic.into());
        }
        let known = self.topics.get_key_value(topic);
        let name = known.map_or_else(|| topic.into(), |(name, _)| Arc::clone(name));
        let subscriptions = self.topics.entry(Arc::clone(&name)).or_default();
        (subscriptions, name)
    }

    /// Keeps some of the subscriptions of a topic. Returns whether none are left, and the topic has
    /// gone with the last.
    fn retain(&mut self, topic: &str, keep: impl FnMut(&Subscription) -> bool) -> bool {
        if let Some(pattern) = pattern(topic) {
            let subscriptions = self.patterns.get_mut(&pattern);
            let is_abandoned =
                retained(subscriptions, &self.cursors.in_list(pattern.as_str()), keep);
            if is_abandoned {
                self.patterns.remove(&pattern);
            }
            return is_abandoned;
        }
        let subscriptions = self.topics.get_mut(topic);
        let is_abandoned = retained(subscriptions, &self.cursors.in_list(topic), keep);
        if is_abandoned {
            self.topics.remove(topic);
        }
        is_abandoned
    }
}

/// Keeps some of the subscriptions. Returns whether none are left.
fn retained(
    subscriptions: Option<&mut Vec<Subscription>>,
    cursors: &InList<'_>,
    mut keep: impl FnMut(&Subscription) -> bool,
) -> bool {
    let Some(subscriptions) = subscriptions else {
        return false;
    };
    let mut kept = 0;
    subscriptions.retain(|subscription| {
        let stays = keep(subscription);
        match stays {
            true => kept += 1,
            false => cursors.removed(kept),
        }
        stays
    });
    subscriptions.is_empty()
}

/// One with the same text from among the youngest, or a new one. Alike ones that do not meet here
/// only cost a fan-out the comparison.
fn shared(subscriptions: &[Subscription], subscriber: Subscriber) -> Arc<Subscriber> {
    let known = subscriptions.iter().rev().take(FORMS_MAX);
    let mut known = known.map(|subscription| &subscription.subscriber);
    match known.find(|known| ***known == subscriber) {
        Some(known) => Arc::clone(known),
        None => Arc::new(subscriber),
    }
}

/// The pattern that a text is, if it has wildcards. What follows a rest can never match; it stands
/// for itself, as a name that nobody publishes to.
fn pattern(topic: &str) -> Option<Pattern> {
    is_pattern(topic).then(|| Pattern::parse(topic).ok())?
}
