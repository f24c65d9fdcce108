//! Which topics this node wants from the others.
//!
//! Not here: who subscribes (`hub::topics`). Only the first and the last subscriber of a topic on
//! this node touch location. What is fanned out to a user is not in here: it is found by where his
//! sessions are. Invariant: an interest has a generation, so that a late removal never
//! undoes a new registration; a SUBSCRIBE is settled when its registration is acknowledged, also
//! when somebody else's registration of the same topic is still on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::router::user_of;
use super::{Broker, lock};
use crate::location::LocationError;
use crate::model::{Destination, is_pattern};

/// The cluster, or this node, keeps no more subscriptions with wildcards. The subscription still
/// stands in the hub: remove it, and say `limit_exceeded`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are too many different subscriptions with wildcards already")]
pub struct TooManyPatterns;

/// The topics that are wanted, or were until a moment ago.
#[derive(Debug, Default)]
pub(super) struct Interests {
    state: Mutex<State>,
    /// Wakes those who wait for an answer.
    answered: Notify,
}

#[derive(Debug, Default)]
struct State {
    generation: u64,
    topics: BTreeMap<Box<str>, Interest>,
    /// Withdrawn and not acknowledged yet.
    withdrawn: BTreeMap<Box<str>, u64>,
}

#[derive(Debug)]
struct Interest {
    generation: u64,
    answer: Answer,
    /// When the last subscriber left; the interest lingers in case somebody comes back.
    abandoned_at: Option<Instant>,
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
    fn want(&mut self, topic: &str) -> bool {
        let next = self.generation + 1;
        let interest = self.topics.entry(topic.into()).or_insert(Interest {
            generation: next,
            answer: Answer::Awaited,
            abandoned_at: None,
        });
        interest.abandoned_at = None;
        if interest.answer == Answer::Refused {
            interest.generation = next;
            interest.answer = Answer::Awaited;
        }
        let is_new = interest.generation == next;
        self.generation = if is_new { next } else { self.generation };
        is_new
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
        if user_of(topic).is_some() {
            return Ok(());
        }
        let is_new = lock(&self.interest.state).want(topic);
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
        if let Some(interest) = lock(&self.interest.state).topics.get_mut(topic) {
            interest.answer = Answer::Refused;
        }
        self.interest.answered.notify_waiters();
    }

    /// Nobody here wants the topic any more, for the moment.
    pub fn abandon(&self, topic: &str) {
        if let Some(interest) = lock(&self.interest.state).topics.get_mut(topic) {
            interest.abandoned_at = Some(Instant::now());
        }
    }

    /// Registers interests: all, lingering ones included, or those that are not acknowledged yet.
    pub(super) async fn register_interests(&self, everything: bool) -> Result<(), LocationError> {
        let has_room = self.hub.topics.patterns() <= self.settings.patterns_max;
        let wants: Vec<(Destination, u64)> = lock(&self.interest.state)
            .topics
            .iter()
            .filter(|(topic, interest)| match interest.answer {
                Answer::Awaited => true,
                Answer::Acknowledged => everything,
                Answer::Refused => has_room && self.hub.topics.is_wanted(topic),
            })
            .map(|(topic, interest)| (Destination::Topic((**topic).into()), interest.generation))
            .collect();
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
                let interest = state.topics.get_mut(topic.to_string().as_str());
                if let Some(interest) = interest.filter(|i| i.generation == generation) {
                    interest.answer = if refused.contains(&topic) {
                        Answer::Refused
                    } else {
                        Answer::Acknowledged
                    };
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
                topics, withdrawn, ..
            } = &mut *state;
            topics.retain(|topic, interest| {
                // What was refused is not known to the others, so it need not linger.
                let linger = match interest.answer {
                    Answer::Refused => Duration::ZERO,
                    Answer::Awaited | Answer::Acknowledged => self.settings.linger,
                };
                let lingered = interest
                    .abandoned_at
                    .is_some_and(|at| at.elapsed() >= linger && !self.hub.topics.is_wanted(topic));
                if lingered {
                    withdrawn.insert(topic.clone(), interest.generation);
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
