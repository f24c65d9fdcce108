//! The bus of nodes that live in one process: an exchange that they share, and each node's handle.
//!
//! Not here: delay, loss or doubling (a simulation wraps this), anything durable.
//! Invariant: a publication is in the receiver of every target before `publish` returns, so the
//! order of the calls is the order of arrival; a receiver that is full refuses, it never grows.

use std::collections::{BTreeMap, BTreeSet};
use std::future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc::{self, error::TrySendError};

use super::{Bus, BusError, Confirm, Confirmed, Incoming};
use crate::model::NodeId;

/// What connects the nodes of one process. A lone node has one to itself.
#[derive(Debug)]
pub struct MemoryExchange {
    /// How many [`Incoming`] wait at a node at most; more are refused, as by a full queue.
    incoming_max: usize,
    /// A std mutex: held for a few map operations, never across an await.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// False between [`MemoryExchange::down`] and [`MemoryExchange::up`].
    is_up: bool,
    /// Names the attachments in the order in which they were made.
    attached_count: u64,
    /// Every consuming handle. A node that started again may for a while be here twice, as it may
    /// have two queues in a real broker: then both get everything.
    attached: BTreeMap<(NodeId, u64), Attachment>,
}

#[derive(Debug)]
struct Attachment {
    incoming: mpsc::Sender<Incoming>,
    /// An [`Incoming::Interrupted`] for which there was no room yet; it goes before anything else.
    owes_interrupted: bool,
}

/// What came of handing something to one attachment.
#[derive(PartialEq, Eq)]
enum Handed {
    Taken,
    Full,
    Gone,
}

impl MemoryExchange {
    /// An exchange without nodes. Each node's receiver holds at most `incoming_max` (at least 1).
    #[must_use]
    pub fn new(incoming_max: usize) -> Arc<Self> {
        let state = State {
            is_up: true,
            attached_count: 0,
            attached: BTreeMap::new(),
        };
        Arc::new(Self {
            incoming_max: incoming_max.max(1),
            state: Mutex::new(state),
        })
    }

    /// Takes the exchange away: publications fail at once, what is in the receivers stays there.
    pub fn down(&self) {
        self.lock().is_up = false;
    }

    /// Brings the exchange back; every node is told [`Incoming::Interrupted`]. Nothing happens
    /// when it was not down.
    pub fn up(&self) {
        let mut state = self.lock();
        if state.is_up {
            return;
        }
        state.is_up = true;
        state.attached.retain(|_, attachment| {
            attachment.owes_interrupted = true;
            attachment.settle_interrupted() != Handed::Gone
        });
    }

    /// The nodes that consume now, sorted, each once.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeId> {
        let state = self.lock();
        let nodes: BTreeSet<_> = state.attached.keys().map(|(node, _)| node).collect();
        nodes.into_iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Hands the payload to the attachments of these nodes, or of all.
    fn route(&mut self, targets: Option<&BTreeSet<&NodeId>>, payload: &Bytes) -> (usize, bool) {
        let (mut taken, mut any_full) = (0, false);
        self.attached.retain(|(node, _), attachment| {
            if targets.is_some_and(|targets| !targets.contains(node)) {
                return true;
            }
            let handed = attachment.hand(Incoming::Payload(payload.clone()));
            taken += usize::from(handed == Handed::Taken);
            any_full |= handed == Handed::Full;
            handed != Handed::Gone
        });
        (taken, any_full)
    }
}

impl Attachment {
    fn hand(&mut self, incoming: Incoming) -> Handed {
        match self.settle_interrupted() {
            Handed::Taken => self.put(incoming),
            no @ (Handed::Full | Handed::Gone) => no,
        }
    }

    fn settle_interrupted(&mut self) -> Handed {
        if !self.owes_interrupted {
            return Handed::Taken;
        }
        let handed = self.put(Incoming::Interrupted);
        self.owes_interrupted = handed != Handed::Taken;
        handed
    }

    fn put(&self, incoming: Incoming) -> Handed {
        match self.incoming.try_send(incoming) {
            Ok(()) => Handed::Taken,
            Err(TrySendError::Full(_)) => Handed::Full,
            Err(TrySendError::Closed(_)) => Handed::Gone,
        }
    }
}

/// One node's handle on a [`MemoryExchange`].
#[derive(Debug)]
pub struct MemoryBus {
    exchange: Arc<MemoryExchange>,
    /// The name of this handle's attachment.
    attachment: (NodeId, u64),
    /// Set by [`Bus::close`]: nothing is published any more.
    is_closed: AtomicBool,
}

impl MemoryBus {
    /// Attaches a node. Dropping the receiver takes the node away as a crash does: publications to
    /// it are [`Confirmed::NoRoute`] from then on.
    #[must_use]
    pub fn attach(
        exchange: &Arc<MemoryExchange>,
        node: NodeId,
    ) -> (Arc<Self>, mpsc::Receiver<Incoming>) {
        let (sender, receiver) = mpsc::channel(exchange.incoming_max);
        let mut state = exchange.lock();
        state.attached_count += 1;
        let attachment = (node, state.attached_count);
        let entry = Attachment {
            incoming: sender,
            owes_interrupted: false,
        };
        state.attached.insert(attachment.clone(), entry);
        drop(state);
        let bus = Self {
            exchange: Arc::clone(exchange),
            attachment,
            is_closed: AtomicBool::new(false),
        };
        (Arc::new(bus), receiver)
    }

    /// Takes this node away from the exchange; its receiver ends after what is in it.
    pub fn detach(&self) {
        self.exchange.lock().attached.remove(&self.attachment);
    }

    fn route(&self, targets: Option<&[NodeId]>, payload: &Bytes) -> Result<Confirm, BusError> {
        if self.is_closed.load(Ordering::Relaxed) {
            return Err(BusError::Unavailable("closed".to_owned()));
        }
        let targets: Option<BTreeSet<_>> = targets.map(|targets| targets.iter().collect());
        let mut state = self.exchange.lock();
        if !state.is_up {
            return Err(BusError::Unavailable("the exchange is down".to_owned()));
        }
        let (taken, any_full) = state.route(targets.as_ref(), payload);
        let outcome = if any_full {
            Err(BusError::NotConfirmed("a receiver is full".to_owned()))
        } else if taken == 0 && targets.is_some_and(|targets| targets.len() == 1) {
            Ok(Confirmed::NoRoute)
        } else {
            Ok(Confirmed::Routed)
        };
        Ok(Box::pin(future::ready(outcome)))
    }
}

#[async_trait]
impl Bus for MemoryBus {
    async fn publish(
        &self,
        targets: &[NodeId],
        _id: String,
        payload: Bytes,
    ) -> Result<Confirm, BusError> {
        self.route(Some(targets), &payload)
    }

    async fn publish_all(&self, _id: String, payload: Bytes) -> Result<Confirm, BusError> {
        self.route(None, &payload)
    }

    fn is_up(&self) -> bool {
        !self.is_closed.load(Ordering::Relaxed) && self.exchange.lock().is_up
    }

    async fn stop_consuming(&self) {
        self.detach();
    }

    async fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        self.detach();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeId {
        name.parse().unwrap()
    }

    fn payload(text: &'static str) -> Incoming {
        Incoming::Payload(Bytes::from_static(text.as_bytes()))
    }

    async fn publish(bus: &MemoryBus, to: &[&str], text: &'static str) -> String {
        let targets: Vec<_> = to.iter().map(|name| node(name)).collect();
        let handed = bus.publish(&targets, text.to_owned(), text.into()).await;
        match handed {
            Err(error) => error.to_string(),
            Ok(confirm) => match confirm.await {
                Ok(confirmed) => format!("{confirmed:?}"),
                Err(error) => error.to_string(),
            },
        }
    }

    #[tokio::test]
    async fn a_full_receiver_refuses_and_takes_again_when_it_was_read() {
        let exchange = MemoryExchange::new(1);
        let (a, _a_in) = MemoryBus::attach(&exchange, node("a"));
        let (_b, mut b_in) = MemoryBus::attach(&exchange, node("b"));
        assert_eq!(publish(&a, &["b"], "1").await, "Routed");
        let full = "a publication was not confirmed: a receiver is full";
        assert_eq!(publish(&a, &["b"], "2").await, full);
        assert_eq!(b_in.recv().await, Some(payload("1")));
        assert_eq!(publish(&a, &["b"], "3").await, "Routed");
        assert_eq!(b_in.recv().await, Some(payload("3")));
    }

    #[tokio::test]
    async fn while_the_exchange_is_down_publishing_fails_at_once_and_then_all_are_told() {
        let exchange = MemoryExchange::new(1);
        let (a, mut a_in) = MemoryBus::attach(&exchange, node("a"));
        let (_b, mut b_in) = MemoryBus::attach(&exchange, node("b"));
        assert_eq!(publish(&a, &["b"], "1").await, "Routed");
        exchange.down();
        assert!(!a.is_up());
        let down = "the bus is unavailable: the exchange is down";
        assert_eq!(publish(&a, &["b"], "2").await, down);
        exchange.up();
        assert!(a.is_up());
        assert_eq!(a_in.recv().await, Some(Incoming::Interrupted));
        // There was no room for it at b; it goes before the next payload.
        assert_eq!(b_in.recv().await, Some(payload("1")));
        assert!(publish(&a, &["b"], "3").await.contains("full"));
        assert_eq!(b_in.recv().await, Some(Incoming::Interrupted));
    }

    #[tokio::test]
    async fn a_node_that_started_again_gets_everything_in_its_new_life() {
        let exchange = MemoryExchange::new(4);
        let (a, _a_in) = MemoryBus::attach(&exchange, node("a"));
        let (b, mut first) = MemoryBus::attach(&exchange, node("b"));
        let (_b, mut second) = MemoryBus::attach(&exchange, node("b"));
        assert_eq!(publish(&a, &["b"], "1").await, "Routed");
        b.detach();
        assert_eq!(publish(&a, &["b"], "2").await, "Routed");
        assert_eq!(first.recv().await, Some(payload("1")));
        assert_eq!(first.recv().await, None);
        assert_eq!(second.recv().await, Some(payload("1")));
        assert_eq!(second.recv().await, Some(payload("2")));
        assert_eq!(exchange.nodes(), [node("a"), node("b")]);
    }

    #[tokio::test]
    async fn a_closed_handle_publishes_and_receives_nothing() {
        let exchange = MemoryExchange::new(4);
        let (a, mut a_in) = MemoryBus::attach(&exchange, node("a"));
        a.close().await;
        assert_eq!(a_in.recv().await, None);
        assert_eq!(
            publish(&a, &["a"], "1").await,
            "the bus is unavailable: closed"
        );
    }
}
