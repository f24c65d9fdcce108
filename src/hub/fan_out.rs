//! A message on its way to the subscriptions of its destination, a piece at a time.
//!
//! Not here: who subscribes (`topics`), when the next piece has its turn (`turns`). Invariants: a piece has at most
//! as many deliveries as its caller allows, fewer when much has to be encoded, and nothing is locked between two; a
//! subscription that stands all the while gets the message once, and one that is removed gets nothing after that.

use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;

use super::cursors::Cursor;
use super::delivery::TopicDelivery;
use super::outbox::Priority;
use super::topics::{Index, Sink, Subscription, Topics};
use crate::model::{Pattern, TopicMessage};
use crate::policy::patterns::is_open_to_patterns;

/// A piece ends after so many bytes were encoded, which takes about as long as the other deliveries of a piece.
const ENCODED_MAX: usize = 512 << 10;

/// A list with more subscriptions than this is delivered with low priority.
const HIGH_PRIORITY_MAX: usize = 32;

/// A message that is delivered piece by piece, one with each call of [`FanOut::go_on`]. The rest of one that is
/// dropped is not delivered.
#[derive(Debug)]
#[must_use]
pub struct FanOut<'a> {
    topics: &'a Topics,
    delivery: TopicDelivery<'a>,
    /// The list that is being delivered to, or was delivered to last.
    list: List,
    /// The position in that list; none when all of it was delivered to.
    cursor: Option<Arc<Cursor>>,
    reached: usize,
}

#[derive(Debug)]
enum List {
    /// Of those who subscribe to the destination by name.
    Named,
    /// Of a pattern that matches it.
    Matching(Pattern),
}

impl<'a> FanOut<'a> {
    pub(super) fn new(topics: &'a Topics, message: &'a TopicMessage, message_id: String) -> Self {
        Self {
            topics,
            delivery: TopicDelivery::new(message, message_id),
            list: List::Named,
            cursor: None,
            reached: 0,
        }
    }

    /// Queues the message for the next subscriptions: at most so many, fewer when much has to be encoded. Returns
    /// whether that was all.
    pub fn go_on(&mut self, most: usize) -> bool {
        let topics = self.topics;
        let index = topics.read();
        let mut room = most;
        self.go_through(&index, &mut room)
    }

    /// For how many subscriptions it was queued.
    #[must_use]
    pub fn reached(&self) -> usize {
        self.reached
    }

    /// All of it at once: for a message to one session or user. Returns how many subscriptions it was for.
    pub fn finish(mut self) -> usize {
        while !self.go_on(usize::MAX) {}
        self.reached
    }

    fn go_through(&mut self, index: &Index, room: &mut usize) -> bool {
        let destination: &'a str = &self.delivery.topic.destination;
        let from = match &self.list {
            List::Named => {
                let named = index.topics.get(destination).map_or(&[][..], Vec::as_slice);
                if !self.deliver(index, destination, named, room) {
                    return false;
                }
                Unbounded
            }
            List::Matching(pattern) => {
                // The last who subscribed to it may have gone meanwhile.
                if let Some(gone) = (self.cursor).take_if(|_| !index.patterns.contains_key(pattern))
                {
                    index.cursors.remove(&gone);
                }
                match self.cursor {
                    Some(_) => Included(pattern.clone()),
                    None => Excluded(pattern.clone()),
                }
            }
        };
        if index.patterns.is_empty() || !is_open_to_patterns(destination) {
            return true;
        }
        for (pattern, subscriptions) in index.patterns.range((from, Unbounded)) {
            if pattern.matches(destination)
                && !self.deliver(index, pattern.as_str(), subscriptions, room)
            {
                self.list = List::Matching(pattern.clone());
                return false;
            }
        }
        true
    }

    /// Delivers to as many of a list as there is room for. Returns whether it is through.
    fn deliver(
        &mut self,
        index: &Index,
        topic: &str,
        list: &[Subscription],
        room: &mut usize,
    ) -> bool {
        let (next, end) = (self.cursor.as_ref()).map_or((0, list.len()), |cursor| cursor.left());
        let most = end.min(next.saturating_add(*room));
        let priority = match list.len() > HIGH_PRIORITY_MAX {
            true => Priority::Low,
            false => Priority::High,
        };
        let mut until = next;
        for subscription in list.get(next..most).unwrap_or_default() {
            let subscriber = &subscription.subscriber;
            match &subscription.sink {
                Sink::Outbox(outbox) => {
                    outbox.push_with(priority, self.delivery.frame(subscriber));
                }
                Sink::Window(window) => {
                    window.offer_with(priority, self.delivery.content(subscriber))
                }
            }
            until += 1;
            if self.delivery.encoded_bytes > ENCODED_MAX {
                break;
            }
        }
        self.reached += until - next;
        *room -= until - next;
        if std::mem::take(&mut self.delivery.encoded_bytes) > ENCODED_MAX {
            *room = 0;
        }
        if until == end {
            if let Some(cursor) = self.cursor.take() {
                index.cursors.remove(&cursor);
            }
            return true;
        }
        match &self.cursor {
            Some(cursor) => cursor.advance(until),
            None => self.cursor = Some(index.cursors.add(topic, (until, end))),
        }
        false
    }
}

impl Drop for FanOut<'_> {
    fn drop(&mut self) {
        if let Some(cursor) = self.cursor.take() {
            self.topics.read().cursors.remove(&cursor);
        }
    }
}

#[cfg(test)]
mod tests;
