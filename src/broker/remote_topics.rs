//! Topic messages from other nodes on their way to the subscribers here, in a backlog for each network of senders.
//!
//! Not here: what else other nodes send (`inbound`), which does not wait for any of this. Invariants: the messages of
//! one sender are delivered in their order; a backlog takes the turns of its network, so that a message for thousands,
//! or thousands of messages, delay those of the same network only; its bytes draw on the byte account as those of any
//! holder, and a message for which nothing is left is lost to the subscribers here, counted and logged.

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::atomic::AtomicU16;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;

use super::{Broker, lock};
use crate::budget::{Lease, Memory, Multiples};
use crate::model::{EveryMinute, Network, TopicMessage, headers};
use crate::turns::Deliveries;

/// What a message occupies beside its texts and its body, about.
const AROUND: usize = 256;

/// The backlogs of a node.
#[derive(Debug)]
pub(super) struct RemoteTopics {
    memory: Arc<Memory>,
    multiples: Arc<Multiples>,
    /// One for each network of which a message waits or is being delivered.
    backlogs: Mutex<HashMap<Network, Backlog>>,
    losses: EveryMinute,
}

#[derive(Debug)]
struct Backlog {
    waiting: VecDeque<TopicMessage>,
    /// The bytes of those, and of the one that is being delivered.
    bytes: u64,
    /// Of the latter.
    bytes_in_delivery: u64,
    lease: Lease,
}

/// The network may have no more bytes here.
#[derive(Debug, PartialEq, Eq)]
struct NoMemory;

impl RemoteTopics {
    pub(super) fn new(memory: Arc<Memory>, multiples: Arc<Multiples>) -> Self {
        Self {
            memory,
            multiples,
            backlogs: Mutex::default(),
            losses: EveryMinute::new(),
        }
    }

    /// Appends to the backlog of this network. Returns whether it is new, so that it has to be served.
    fn push(&self, network: Network, topic: TopicMessage) -> Result<bool, NoMemory> {
        let mut backlogs = lock(&self.backlogs);
        if let Some(backlog) = backlogs.get_mut(&network) {
            return backlog.push(topic).map(|()| false);
        }
        let claimant = self.multiples.stranger(network.address());
        let mut backlog = Backlog::new(self.memory.lease(&claimant));
        backlog.push(topic)?;
        backlogs.insert(network, backlog);
        Ok(true)
    }

    /// The next message of a backlog. Without one the backlog ends.
    fn next(&self, network: Network) -> Option<TopicMessage> {
        let mut backlogs = lock(&self.backlogs);
        let next = backlogs.get_mut(&network)?.next();
        if next.is_none() {
            backlogs.remove(&network);
        }
        next
    }
}

impl Backlog {
    fn new(lease: Lease) -> Self {
        Self {
            waiting: VecDeque::new(),
            bytes: 0,
            bytes_in_delivery: 0,
            lease,
        }
    }

    fn push(&mut self, topic: TopicMessage) -> Result<(), NoMemory> {
        let bytes = self.bytes + kept_bytes(&topic);
        self.lease.try_cover(bytes, 0).map_err(|_| NoMemory)?;
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

/// Ends a backlog whose task ends early: the next message of its network begins a new one.
struct Served<'a> {
    topics: &'a RemoteTopics,
    network: Network,
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        // Done in order, it has ended already, and a new one may be there.
        if std::thread::panicking() {
            lock(&self.topics.backlogs).remove(&self.network);
        }
    }
}

fn kept_bytes(topic: &TopicMessage) -> u64 {
    let texts = topic.destination.len() + headers::text_bytes(&topic.headers);
    (AROUND + texts + topic.body.len()) as u64
}

impl Broker {
    /// Delivers a message that another node has published to the subscribers here, behind those of its network.
    pub(super) fn deliver_remote(self: &Arc<Self>, mut topic: TopicMessage) {
        // Older nodes do not say whose it is.
        let network = (topic.network).unwrap_or_else(|| Network::from(Ipv4Addr::UNSPECIFIED));
        let network = network.widest();
        // A slice would keep the whole envelope batch in memory.
        topic.body = Bytes::copy_from_slice(&topic.body);
        match self.remote_topics.push(network, topic) {
            Ok(false) => {}
            Ok(true) => self.spawn(Arc::clone(self).serve_backlog(network)),
            Err(NoMemory) => {
                metrics::counter!("broker_remote_topics_lost_total").increment(1);
                if let Some(lost) = self.remote_topics.losses.due(Instant::now()) {
                    tracing::warn!(
                        lost,
                        network = %network.truncated(),
                        "topic messages that other nodes have published are lost here, because those of their \
                         network wait in as much memory as it may have; MEMORY_LIMIT and NETWORK_LIMITS give more"
                    );
                }
            }
        }
    }

    async fn serve_backlog(self: Arc<Self>, network: Network) {
        let topics = &self.remote_topics;
        let _served = Served { topics, network };
        let made = AtomicU16::new(0);
        while let Some(topic) = topics.next(network) {
            let id = self.next_message_id();
            let deliveries = Deliveries::new(&self.turns, network, &made);
            self.publish_here(&topic, id, deliveries).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

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

    fn topics_with(bytes_max: u64, multiples: &[(&str, u32)]) -> (RemoteTopics, Arc<Memory>) {
        let memory = Memory::new(MemorySettings { bytes_max });
        let named = multiples
            .iter()
            .map(|(net, multiple)| (net.parse().unwrap(), *multiple));
        let multiples = Arc::new(Multiples::new(named.collect()));
        (RemoteTopics::new(Arc::clone(&memory), multiples), memory)
    }

    #[test]
    fn a_backlog_keeps_its_order_and_ends_with_its_last_message() {
        let (topics, memory) = topics_with(64 << 20, &[]);
        for number in 0..3 {
            let is_new = topics.push(at(1), topic(number, 10_000));
            assert_eq!(is_new, Ok(number == 0));
        }
        assert_eq!(topics.push(at(2), topic(9, 1)), Ok(true), "one of its own");
        assert!(memory.used() >= 30_000, "{memory:?}");
        for number in 0..3 {
            let next = topics.next(at(1)).unwrap();
            assert_eq!(*next.destination, format!("/topic/{number}"));
        }
        assert!(memory.used() >= 10_000, "the one in delivery: {memory:?}");
        assert!(topics.next(at(1)).is_none() && topics.next(at(1)).is_none());
        assert_eq!(topics.push(at(1), topic(4, 1)), Ok(true), "a new one");
        drop(topics);
        assert_eq!(memory.used(), 0);
    }

    /// How many messages of 64 KiB a network may have, of 16 MiB.
    fn taken(topics: &RemoteTopics, network: Network) -> usize {
        let push = |&number: &usize| topics.push(network, topic(number, 64 << 10)).is_ok();
        (0..1_000).take_while(push).count()
    }

    #[test]
    fn a_backlog_has_a_share_of_the_memory_and_leaves_others_theirs() {
        let (topics, memory) = topics_with(16 << 20, &[("192.0.2.3/32", 2)]);
        let one = taken(&topics, at(1));
        assert!((50..128).contains(&one), "{one}");
        assert!(memory.used() <= memory.capacity() / 2, "{memory:?}");
        assert_eq!(topics.push(at(1), topic(0, 64 << 10)), Err(NoMemory));
        assert!(taken(&topics, at(2)) > 10, "{memory:?}");
        assert_eq!(topics.push(at(4), topic(0, 64 << 20)), Err(NoMemory));
        assert_eq!(lock(&topics.backlogs).len(), 2, "none without a message");

        let (topics, _memory) = topics_with(16 << 20, &[("192.0.2.3/32", 2)]);
        let named = taken(&topics, at(3));
        assert!(
            named > one,
            "{named} of a network that NETWORK_LIMITS names"
        );
    }

    #[test]
    fn a_backlog_whose_task_panics_begins_anew() {
        let (topics, memory) = topics_with(16 << 20, &[]);
        topics.push(at(1), topic(0, 1)).unwrap();
        topics.push(at(1), topic(1, 1)).unwrap();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let network = at(1);
            let topics = &topics;
            let _served = Served { topics, network };
            panic!("in a delivery");
        }));
        assert!(panicked.is_err());
        assert_eq!(memory.used(), 0);
        assert_eq!(topics.push(at(1), topic(2, 1)), Ok(true));
    }
}
