//! What became of each message on this node, for the last of them: the answer to the operator's first
//! question.
//!
//! Not a log: nothing is written anywhere, and nobody's words are in it. Invariant: it holds so many
//! events and no more, whatever happens; noting one is a few instructions and never waits for a reader.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::outbox::Place;
use crate::model::{MessageId, NodeId, SessionId, UnixMillis};

/// How many events are kept: those of some ten thousand messages, in about 4 MiB.
const EVENTS_MAX: usize = 65_536;

/// Something that happened to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The message.
    pub message: MessageId,
    /// When.
    pub at: UnixMillis,
    /// What.
    pub what: Step,
}

/// What can happen to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It was committed, with this place in its conversation.
    Stored(u64),
    /// It was handed to the bus, for this node.
    Published(NodeId),
    /// It came from this node.
    Received(NodeId),
    /// It was queued for a device: its session, and the place in what is written to it.
    Queued(SessionId, Place),
    /// It waits for a device that acknowledges what it gets.
    Windowed(SessionId),
}

/// The events, the oldest first.
#[derive(Debug, Default)]
pub struct Trace {
    /// A std mutex: held for a push, or for one look through.
    events: Mutex<VecDeque<Event>>,
}

impl Trace {
    /// Notes that something happened now.
    pub fn note(&self, message: MessageId, what: Step) {
        let event = Event {
            message,
            at: now(),
            what,
        };
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() >= EVENTS_MAX {
            events.pop_front();
        }
        events.push_back(event);
    }

    /// Everything that is still known of a message, in order.
    #[must_use]
    pub fn of(&self, message: MessageId) -> Vec<Event> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let of_it = events.iter().filter(|event| event.message == message);
        of_it.cloned().collect()
    }
}

fn now() -> UnixMillis {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_the_last_events_and_no_more() {
        let trace = Trace::default();
        for number in 0..EVENTS_MAX as u64 + 10 {
            trace.note(MessageId(u128::from(number)), Step::Stored(number));
        }
        assert!(trace.of(MessageId(9)).is_empty());
        let kept = trace.of(MessageId(10));
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].what, Step::Stored(10));
        let held = trace.events.lock().unwrap().len();
        assert_eq!(held, EVENTS_MAX);
    }

    #[test]
    fn the_events_of_a_message_are_in_their_order() {
        let trace = Trace::default();
        let node: NodeId = "b".parse().unwrap();
        trace.note(MessageId(1), Step::Stored(7));
        trace.note(MessageId(2), Step::Stored(8));
        trace.note(MessageId(1), Step::Published(node.clone()));
        let steps: Vec<Step> = trace.of(MessageId(1)).into_iter().map(|e| e.what).collect();
        assert_eq!(steps, [Step::Stored(7), Step::Published(node)]);
    }
}
