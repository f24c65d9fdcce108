//! Which topics this node wants from the others.
//!
//! Not here: who subscribes (`hub::topics`). Only the first and the last subscriber of a topic on
//! this node touch location. Invariant: an interest has a generation, so that a late removal never
//! undoes a new registration; a SUBSCRIBE is settled when its registration is acknowledged, also
//! when somebody else's registration of the same topic is still on the way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Broker, lock};
use crate::location::LocationError;
use crate::model::Destination;

/// The topics that are wanted, or were until a moment ago.
#[derive(Debug, Default)]
pub(super) struct Interests {
    state: Mutex<State>,
    /// Wakes those who wait for an acknowledgement.
    acknowledged: Notify,
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
    is_acknowledged: bool,
    /// When the last subscriber left; the interest lingers in case somebody comes back.
    abandoned_at: Option<Instant>,
}

impl Broker {
    /// Somebody here subscribes to the topic; he stands in the hub already. Resolves when the other
    /// nodes can know of it.
    pub async fn want(self: &Arc<Self>, topic: &str) {
        let is_new = {
            let mut state = lock(&self.interest.state);
            let next = state.generation + 1;
            let interest = state.topics.entry(topic.into()).or_insert(Interest {
                generation: next,
                is_acknowledged: false,
                abandoned_at: None,
            });
            interest.abandoned_at = None;
            let is_new = interest.generation == next;
            state.generation = if is_new { next } else { state.generation };
            is_new
        };
        if is_new && let Err(error) = self.register_interests(false).await {
            tracing::debug!(%error, "registered later");
        }
        loop {
            let waiting = self.interest.acknowledged.notified();
            let is_settled = lock(&self.interest.state)
                .topics
                .get(topic)
                .is_none_or(|interest| interest.is_acknowledged);
            if is_settled {
                return;
            }
            waiting.await;
        }
    }

    /// Nobody here wants the topic any more, for the moment.
    pub fn abandon(&self, topic: &str) {
        if let Some(interest) = lock(&self.interest.state).topics.get_mut(topic) {
            interest.abandoned_at = Some(Instant::now());
        }
    }

    /// Registers interests: all, lingering ones included, or those that are not acknowledged yet.
    pub(super) async fn register_interests(&self, everything: bool) -> Result<(), LocationError> {
        let wants: Vec<(Destination, u64)> = lock(&self.interest.state)
            .topics
            .iter()
            .filter(|(_, interest)| everything || !interest.is_acknowledged)
            .map(|(topic, interest)| (Destination::Topic((**topic).into()), interest.generation))
            .collect();
        if wants.is_empty() {
            return Ok(());
        }
        self.location.want(&wants).await?;
        {
            let mut state = lock(&self.interest.state);
            for (topic, generation) in wants {
                let interest = state.topics.get_mut(topic.to_string().as_str());
                if let Some(interest) = interest.filter(|i| i.generation == generation) {
                    interest.is_acknowledged = true;
                }
            }
        }
        self.interest.acknowledged.notify_waiters();
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
                let lingered = interest.abandoned_at.is_some_and(|at| {
                    at.elapsed() >= self.settings.linger && !self.hub.topics.is_wanted(topic)
                });
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
