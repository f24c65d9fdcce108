//! Topic messages from other nodes on their way to the subscribers here: one line for each network of senders.
//!
//! Not here: what else other nodes send (`inbound`), which does not wait for any of this. Invariants: the messages of
//! one sender are delivered in their order; a line takes the turns of its network, so that a message for thousands, or
//! thousands of messages, delay those of the same network only; a line is bounded in messages, its bytes draw
//! on the byte account, and what does not fit is lost to the subscribers here, which is counted.

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::atomic::AtomicU16;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::{Broker, lock};
use crate::budget::{Claimant, Lease, Memory};
use crate::model::{Network, TopicMessage, headers};
use crate::turns::Deliveries;

/// How many messages of one network may wait.
const LINE_MAX: usize = 1_024;

/// What a message occupies beside its texts and its body, about.
const AROUND: usize = 256;

/// The lines of a node.
#[derive(Debug)]
pub(super) struct RemoteTopics {
    memory: Arc<Memory>,
    /// One for each network of which a message waits or is being delivered.
    lines: Mutex<HashMap<Network, Line>>,
}

#[derive(Debug)]
struct Line {
    waiting: VecDeque<TopicMessage>,
    /// The bytes of those, and of the one that is being delivered.
    bytes: u64,
    /// Of the latter.
    bytes_in_delivery: u64,
    lease: Lease,
}

/// The line takes no more.
#[derive(Debug, PartialEq, Eq)]
struct LineFull;

impl RemoteTopics {
    pub(super) fn new(memory: Arc<Memory>) -> Self {
        Self {
            memory,
            lines: Mutex::default(),
        }
    }

    /// Appends to the line of this network. Returns whether the line is new, so that it has to be served.
    fn push(&self, network: Network, topic: TopicMessage) -> Result<bool, LineFull> {
        let mut lines = lock(&self.lines);
        let is_new = !lines.contains_key(&network);
        let line = lines
            .entry(network)
            .or_insert_with(|| Line::new(self.memory.lease(&Claimant::stranger(network))));
        let pushed = line.push(topic);
        if is_new && pushed.is_err() {
            lines.remove(&network);
        }
        pushed.map(|()| is_new)
    }

    /// The next message of a line. Without one the line ends.
    fn next(&self, network: Network) -> Option<TopicMessage> {
        let mut lines = lock(&self.lines);
        let next = lines.get_mut(&network)?.next();
        if next.is_none() {
            lines.remove(&network);
        }
        next
    }
}

impl Line {
    fn new(lease: Lease) -> Self {
        Self {
            waiting: VecDeque::new(),
            bytes: 0,
            bytes_in_delivery: 0,
            lease,
        }
    }

    fn push(&mut self, topic: TopicMessage) -> Result<(), LineFull> {
        let bytes = self.bytes + kept_bytes(&topic);
        if self.waiting.len() >= LINE_MAX || self.lease.try_cover(bytes, 0).is_err() {
            return Err(LineFull);
        }
        self.bytes = bytes;
        self.waiting.push_back(topic);
        Ok(())
    }

    fn next(&mut self) -> Option<TopicMessage> {
        self.bytes -= std::mem::take(&mut self.bytes_in_delivery);
        self.lease.release(self.bytes, 0);
        let topic = self.waiting.pop_front()?;
        self.bytes_in_delivery = kept_bytes(&topic);
        Some(topic)
    }
}

fn kept_bytes(topic: &TopicMessage) -> u64 {
    let texts = topic.destination.len() + headers::text_bytes(&topic.headers);
    (AROUND + texts + topic.body.len()) as u64
}

impl Broker {
    /// Delivers a message that another node has published to the subscribers here, once its line gets there.
    pub(super) fn deliver_remote(self: &Arc<Self>, mut topic: TopicMessage) {
        // Older nodes do not say whose it is.
        let network = (topic.network).unwrap_or_else(|| Network::from(Ipv4Addr::UNSPECIFIED));
        let network = network.widest();
        // A part of a parcel would keep all of the parcel.
        topic.body = Bytes::copy_from_slice(&topic.body);
        match self.remote_topics.push(network, topic) {
            Ok(false) => {}
            Ok(true) => self.spawn(Arc::clone(self).serve_line(network)),
            Err(LineFull) => {
                metrics::counter!("broker_remote_topics_refused_total").increment(1);
                tracing::debug!(%network, "a topic message of another node is dropped: too many of its network wait");
            }
        }
    }

    async fn serve_line(self: Arc<Self>, network: Network) {
        let made = AtomicU16::new(0);
        while let Some(topic) = self.remote_topics.next(network) {
            let id = self.next_message_id();
            let deliveries = Deliveries::new(&self.turns, network, &made);
            self.publish_here(&topic, id, deliveries).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::MemorySettings;

    fn topic(number: usize, body_bytes: usize) -> TopicMessage {
        TopicMessage {
            destination: format!("/topic/{number}").into(),
            headers: Vec::new(),
            body: Bytes::from(vec![0; body_bytes]),
            network: None,
        }
    }

    fn at(last: u8) -> Network {
        Network::of([192, 0, 2, last].into())
    }

    fn lines(bytes_max: u64) -> (RemoteTopics, Arc<Memory>) {
        let memory = Memory::new(MemorySettings { bytes_max });
        (RemoteTopics::new(Arc::clone(&memory)), memory)
    }

    #[test]
    fn a_line_keeps_its_order_and_ends_with_its_last_message() {
        let (lines, memory) = lines(64 << 20);
        for number in 0..3 {
            let is_new = lines.push(at(1), topic(number, 10_000));
            assert_eq!(is_new, Ok(number == 0));
        }
        assert_eq!(
            lines.push(at(2), topic(9, 1)),
            Ok(true),
            "a line of its own"
        );
        assert!(memory.used() >= 30_000, "{memory:?}");
        for number in 0..3 {
            let next = lines.next(at(1)).unwrap();
            assert_eq!(*next.destination, format!("/topic/{number}"));
        }
        assert!(memory.used() >= 10_000, "the one in delivery: {memory:?}");
        assert!(lines.next(at(1)).is_none() && lines.next(at(1)).is_none());
        assert_eq!(lines.push(at(1), topic(4, 1)), Ok(true), "a new line");
        drop(lines);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn a_line_is_bounded_in_messages_and_in_bytes_and_leaves_others_theirs() {
        let (lines, _memory) = lines(0);
        for number in 0..LINE_MAX {
            lines.push(at(1), topic(number, 1)).unwrap();
        }
        assert_eq!(lines.push(at(1), topic(0, 1)), Err(LineFull));
        assert_eq!(lines.push(at(2), topic(0, 1)), Ok(true));

        let (lines, memory) = self::lines(16 << 20);
        let taken =
            (0..LINE_MAX).take_while(|&number| lines.push(at(1), topic(number, 64 << 10)).is_ok());
        let taken = taken.count();
        assert!((1..200).contains(&taken), "{taken} of 64 KiB in 16 MiB");
        assert!(memory.used() <= memory.capacity() / 2, "{memory:?}");
        assert_eq!(lines.push(at(2), topic(0, 64 << 10)), Ok(true));
        assert_eq!(lines.push(at(3), topic(0, 64 << 20)), Err(LineFull));
        assert_eq!(lock(&lines.lines).len(), 2, "no line without a message");
    }
}
