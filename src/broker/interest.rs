//! Which topics this node wants from the others.
//!
//! Not here: who subscribes (`hub::topics`). Only the first and the last subscriber of a topic on
//! this node touch location. What is fanned out to a user is not in here: it is found by where his
//! sessions are. Invariant: an interest has a generation, so that a late removal never
//! undoes a new registration; a SUBSCRIBE is settled when its registration is acknowledged, also
//! when somebody else's registration of the same topic is still on the way.

mod place;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::router::user_of;
use super::{Broker, lock};
use crate::location::LocationError;
use crate::model::{Destination, is_pattern};
use place::PatternPlace;
pub use place::PatternSubscriber;

/// The cluster, or this node, keeps no more subscriptions with wildcards. The subscription still
/// stands in the hub: remove it, and say `limit_exceeded`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are too many different subscriptions with wildcards already")]
pub struct TooManyPatterns;

/// So many topics that nobody wants any more are kept in case a subscriber comes back. Beyond that a topic goes
/// with its last subscriber, so that a client who subscribes to ever new names leaves little behind.
const LINGERING_MAX: usize = 10_000;

/// The topics that are wanted, or were until a moment ago.
#[derive(Debug, Default)]
pub(super) struct Interests {
    state: Mutex<State>,
    /// Wakes those who wait for an answer.
    answered: Notify,
    /// Held while location is asked: what is wanted meanwhile goes together with the next question.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    generation: u64,
    topics: BTreeMap<Box<str>, Interest>,
    /// The names of those among them that something is to be done about, so that nobody has to go through all: not
    /// answered yet, refused, without a subscriber, and with a place.
    awaited: BTreeSet<Box<str>>,
    refused: BTreeSet<Box<str>>,
    abandoned: BTreeSet<Box<str>>,
    places: BTreeSet<Box<str>>,
    /// Withdrawn and not acknowledged yet.
    withdrawn: BTreeMap<Box<str>, u64>,
}

#[derive(Debug)]
struct Interest {
    generation: u64,
    answer: Answer,
    /// When the last subscriber left; the interest lingers in case somebody comes back.
    abandoned_at: Option<Instant>,
    /// Whether it does.
    lingers: bool,
    /// The place of a pattern among those of this node. It lives as long as the interest, so that a client
    /// who comes and goes does not fill the table of the cluster with patterns that linger.
    place: Option<Box<PatternPlace>>,
}

/// What location has said to an interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// Nothing yet.
    Awaited,
    /// The others know of it.
    Acknowledged,
    /// There was no room. It is tried again for those who had it acknowledged once.
    Refused,
}

impl State {
    /// Notes an interest. Returns whether location has to be told.
    fn want(&mut self, broker: &Arc<Broker>, topic: &str, by: Option<PatternSubscriber>) -> bool {
        let next = self.generation + 1;
        let place = |by| Box::new(PatternPlace::new(broker, topic, by));
        let interest = match self.topics.entry(topic.into()) {
            Entry::Vacant(vacant) => {
                self.awaited.insert(topic.into());
                vacant.insert(Interest {
                    generation: next,
                    answer: Answer::Awaited,
                    abandoned_at: None,
                    lingers: true,
                    place: by.map(place),
                })
            }
            Entry::Occupied(known) => {
                let interest = known.into_mut();
                if interest.abandoned_at.take().is_some() {
                    self.abandoned.remove(topic);
                    interest.lingers = true;
                    interest.place = by.map(place).or(interest.place.take());
                } else if let (Some(held), Some(by)) = (&mut interest.place, by) {
                    held.join(by);
                }
                interest
            }
        };
        if interest.place.is_some() {
            self.places.insert(topic.into());
        }
        if interest.answer == Answer::Refused {
            interest.generation = next;
            interest.answer = Answer::Awaited;
            self.refused.remove(topic);
            self.awaited.insert(topic.into());
        }
        let is_new = interest.generation == next;
        self.generation = if is_new { next } else { self.generation };
        is_new
    }

    /// Location has answered, or nobody asks it.
    fn answered(&mut self, topic: &str, answer: Answer) {
        if let Some(interest) = self.topics.get_mut(topic) {
            interest.answer = answer;
            self.awaited.remove(topic);
            if answer == Answer::Refused {
                self.refused.insert(topic.into());
            }
        }
    }

    /// What location is to be told: all, or what it has not acknowledged.
    fn untold(
        &self,
        everything: bool,
        is_retried: impl Fn(&str) -> bool,
    ) -> Vec<(Destination, u64)> {
        let retried = self.refused.iter().filter(|topic| is_retried(topic));
        let all = everything.then_some(&self.topics).into_iter().flatten();
        let told = all.filter(|(_, interest)| interest.answer == Answer::Acknowledged);
        let names = self
            .awaited
            .iter()
            .chain(retried)
            .chain(told.map(|(topic, _)| topic));
        let with_generation = |topic: &Box<str>| {
            let generation = self.topics.get(topic)?.generation;
            Some((Destination::Topic((**topic).into()), generation))
        };
        names.filter_map(with_generation).collect()
    }

    fn place(&self, pattern: &str) -> Option<&PatternPlace> {
        self.topics.get(pattern)?.place.as_deref()
    }

    /// Passes the place of a pattern to the next subscriber when its holder has left. Returns whether it has a holder.
    fn pass_place_on(&mut self, pattern: &str) -> bool {
        let interest = self.topics.get_mut(pattern);
        let place = interest.and_then(|it| it.place.as_deref_mut());
        place.is_some_and(PatternPlace::pass_on)
    }
}

impl Broker {
    /// Somebody here subscribes to the topic, by its name or by a pattern; he stands in the hub
    /// already. Resolves when the other nodes can know of it. The key of a user
    /// (`/user/<user id>/...`) needs no more than the location of his session.
    ///
    /// # Errors
    /// When it is a pattern and there are too many.
    pub async fn want(self: &Arc<Self>, topic: &str) -> Result<(), TooManyPatterns> {
        self.want_with(topic, None).await
    }

    /// The same for a pattern, which has a place among those of this node.
    ///
    /// # Errors
    /// As [`Broker::want`].
    pub async fn want_with(
        self: &Arc<Self>,
        topic: &str,
        by: Option<PatternSubscriber>,
    ) -> Result<(), TooManyPatterns> {
        if user_of(topic).is_some() {
            return Ok(());
        }
        let is_new = lock(&self.interest.state).want(self, topic, by);
        if is_new {
            if is_pattern(topic) && self.hub.topics.patterns() > self.settings.patterns_max {
                self.refuse(topic);
                return Err(TooManyPatterns);
            }
            if let Err(error) = self.register_interests(false).await {
                tracing::debug!(%error, "registered later");
            }
        }
        loop {
            let waiting = self.interest.answered.notified();
            let answer = lock(&self.interest.state)
                .topics
                .get(topic)
                .map(|interest| interest.answer);
            match answer {
                None | Some(Answer::Acknowledged) => return Ok(()),
                Some(Answer::Refused) => return Err(TooManyPatterns),
                Some(Answer::Awaited) => waiting.await,
            }
        }
    }

    /// This node wants no more patterns: whoever waits for this one is told as well.
    fn refuse(&self, topic: &str) {
        lock(&self.interest.state).answered(topic, Answer::Refused);
        self.interest.answered.notify_waiters();
    }

    /// Nobody here wants the topic any more, for the moment.
    pub fn abandon(&self, topic: &str) {
        let mut state = lock(&self.interest.state);
        let lingers = state.abandoned.len() < LINGERING_MAX;
        let Some(interest) = state.topics.get_mut(topic) else {
            return;
        };
        interest.lingers &= lingers;
        if interest.abandoned_at.replace(Instant::now()).is_none() {
            state.abandoned.insert(topic.into());
        }
    }

    /// Nobody here wants the topic any more, and it was taken away from the last subscriber: it does not
    /// linger.
    pub fn abandon_at_once(&self, topic: &str) {
        self.abandon(topic);
        if let Some(interest) = lock(&self.interest.state).topics.get_mut(topic) {
            interest.lingers = false;
        }
    }

    /// Whether this node wants the topic already, so that one subscriber more costs the others nothing.
    #[must_use]
    pub fn wants(&self, topic: &str) -> bool {
        let state = lock(&self.interest.state);
        let interest = state.topics.get(topic);
        interest.is_some_and(|it| it.answer != Answer::Refused && it.abandoned_at.is_none())
    }

    /// How many nodes there are, this one included, as far as is known.
    #[must_use]
    pub fn nodes(&self) -> u64 {
        let peers = self.lease.peers().len().max(1);
        u64::try_from(peers).unwrap_or(u64::MAX)
    }

    /// Registers interests: all, lingering ones included, or those that are not acknowledged yet.
    pub(super) async fn register_interests(&self, everything: bool) -> Result<(), LocationError> {
        let _asking = self.interest.asking.lock().await;
        let has_room = self.hub.topics.patterns() <= self.settings.patterns_max;
        let is_retried = |topic: &str| has_room && self.hub.topics.is_wanted(topic);
        let wants = lock(&self.interest.state).untold(everything, is_retried);
        if wants.is_empty() {
            return Ok(());
        }
        let refused = self.location.want(&wants).await?;
        if !refused.is_empty() {
            tracing::debug!(
                count = refused.len(),
                "location has no room for more patterns"
            );
        }
        let refused: BTreeSet<Destination> = refused.into_iter().collect();
        {
            let mut state = lock(&self.interest.state);
            for (topic, generation) in wants {
                let answer = match refused.contains(&topic) {
                    true => Answer::Refused,
                    false => Answer::Acknowledged,
                };
                let topic = topic.to_string();
                let interest = state.topics.get(topic.as_str());
                if interest.is_some_and(|it| it.generation == generation) {
                    state.refused.remove(topic.as_str());
                    state.answered(&topic, answer);
                }
            }
        }
        self.interest.answered.notify_waiters();
        Ok(())
    }

    /// Withdraws what nobody has wanted for a while.
    pub(super) async fn withdraw_interests(&self) {
        let withdrawn: Vec<(Destination, u64)> = {
            let mut state = lock(&self.interest.state);
            let State {
                topics,
                awaited,
                refused,
                abandoned,
                places,
                withdrawn,
                ..
            } = &mut *state;
            for pattern in places.iter() {
                let place = topics
                    .get_mut(pattern)
                    .and_then(|it| it.place.as_deref_mut());
                place.map(PatternPlace::pass_on);
            }
            abandoned.retain(|topic| {
                let Some(interest) = topics.get(topic) else {
                    return false;
                };
                // What was refused is not known to the others, so it need not linger.
                let linger = match interest.answer {
                    Answer::Refused => Duration::ZERO,
                    Answer::Awaited | Answer::Acknowledged if !interest.lingers => Duration::ZERO,
                    Answer::Awaited | Answer::Acknowledged => self.settings.linger,
                };
                let lingered = interest
                    .abandoned_at
                    .is_some_and(|at| at.elapsed() >= linger && !self.hub.topics.is_wanted(topic));
                if lingered {
                    withdrawn.insert(topic.clone(), interest.generation);
                    topics.remove(topic);
                    for names in [&mut *awaited, refused, places] {
                        names.remove(topic);
                    }
                }
                !lingered
            });
            withdrawn
                .iter()
                .take(1_000)
                .map(|(topic, generation)| (Destination::Topic((**topic).into()), *generation))
                .collect()
        };
        if !withdrawn.is_empty() && self.location.unwant(&withdrawn).await.is_ok() {
            let mut state = lock(&self.interest.state);
            for (topic, generation) in withdrawn {
                let topic = topic.to_string();
                if state.withdrawn.get(topic.as_str()) == Some(&generation) {
                    state.withdrawn.remove(topic.as_str());
                }
            }
        }
    }
}
