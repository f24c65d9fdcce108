//! From a committed message to the nodes that need it.
//!
//! One task takes everything that waits, asks location once for all of it, and publishes one parcel
//! for each set of target nodes: unbatched when idle, large batches under load. Not here: the order
//! at the receiver (`routing::inbox`). Invariants: locations are read after the commit; a parcel
//! takes its numbers and is handed to the bus under one lock, so that numbers leave in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::outbound::{Outbound, parcel_len};
use super::{Broker, lock};
use crate::bus::{Confirm, Confirmed};
use crate::hub::Delivery;
use crate::location::Located;
use crate::model::{
    Control, Destination, Envelope, NodeId, Parcel, ParcelBody, TopicMessage, UserId,
};
use crate::policy::bucket::{self, Level, Rate, Verdict};
use crate::routing::{FlowsOut, Life, plan};

/// How many routes one look-up takes together.
const BATCH_MAX: usize = 1_000;

/// How often a message whose target node turned out to be gone is looked up again. After that it is
/// left to the store: a node that appears repairs.
const ATTEMPTS_MAX: u8 = 3;

/// Something that waits to be routed.
#[derive(Debug)]
pub(super) enum Route {
    Message {
        delivery: Arc<Delivery>,
        attempt: u8,
    },
    Topic {
        topic: TopicMessage,
        handed: oneshot::Sender<()>,
    },
    Control {
        node: NodeId,
        control: Control,
    },
}

/// What leaves this node.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// The numbers of the flows. An async mutex, because it is held while the bus takes the parcel:
    /// a number must not overtake another one on the way to the channel.
    flows: tokio::sync::Mutex<FlowsOut>,
    /// How much may still go to everybody while location is silent.
    flood: std::sync::Mutex<Level>,
    flood_rate: Rate,
    /// How many routes wait or are being published: what an ending node waits for.
    routing: AtomicUsize,
    /// Something did not fit into the queue of routes since the last batch.
    left_to_repair: AtomicBool,
    started: Instant,
}

impl Outgoing {
    pub(super) fn new(flood_per_second: u32) -> Self {
        let flood_rate = Rate {
            capacity: flood_per_second,
            per_10_min: flood_per_second.saturating_mul(600),
        };
        let flows = tokio::sync::Mutex::default();
        let flood = std::sync::Mutex::new(Level::full(0, flood_rate));
        Self {
            flows,
            flood,
            flood_rate,
            routing: AtomicUsize::new(0),
            left_to_repair: AtomicBool::new(false),
            started: Instant::now(),
        }
    }

    /// The numbers of the flows, for whoever publishes to everybody.
    pub(super) async fn lock_flows(&self) -> tokio::sync::MutexGuard<'_, FlowsOut> {
        self.flows.lock().await
    }

    fn may_flood(&self) -> bool {
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut level = lock(&self.flood);
        let (left, verdict) = bucket::take(*level, now_ms, self.flood_rate, 1);
        *level = left;
        matches!(verdict, Verdict::Allowed { .. })
    }
}

impl Broker {
    pub(super) fn route_message(self: &Arc<Self>, delivery: Arc<Delivery>, attempt: u8) {
        self.enqueue(Route::Message { delivery, attempt });
    }

    pub(super) fn route_control(self: &Arc<Self>, node: NodeId, control: Control) {
        self.enqueue(Route::Control { node, control });
    }

    pub(super) async fn route_topic(self: &Arc<Self>, topic: TopicMessage) {
        let (handed, done) = oneshot::channel();
        // Waiting here slows the sender down instead of losing what he sends.
        if let Ok(place) = self.routes.reserve().await {
            self.out.routing.fetch_add(1, Ordering::AcqRel);
            place.send(Route::Topic { topic, handed });
            // An error means that the bus did not take it. A topic is at most once: whoever sends
            // again would only repeat it to those who have it.
            let _lost = done.await;
        }
    }

    /// Whether nothing waits and nothing is being published.
    pub(super) fn is_settled(&self) -> bool {
        self.out.routing.load(Ordering::Acquire) == 0
    }

    fn enqueue(self: &Arc<Self>, route: Route) {
        if let Ok(place) = self.routes.try_reserve() {
            self.out.routing.fetch_add(1, Ordering::AcqRel);
            place.send(route);
        } else {
            // The queue is full: the message is committed, so it is left to repair. Using up a
            // number in every flow makes the other nodes look, once for all that did not fit.
            metrics::counter!("broker_routes_left_to_repair_total").increment(1);
            self.out.left_to_repair.store(true, Ordering::Release);
        }
    }

    pub(super) async fn route_loop(self: Arc<Self>, mut waiting: mpsc::Receiver<Route>) {
        let mut batch = Vec::new();
        while waiting.recv_many(&mut batch, BATCH_MAX).await > 0 {
            let count = batch.len();
            self.route_batch(std::mem::take(&mut batch)).await;
            self.out.routing.fetch_sub(count, Ordering::AcqRel);
            if self.out.left_to_repair.swap(false, Ordering::AcqRel) {
                self.use_up_numbers().await;
            }
        }
    }

    async fn route_batch(self: &Arc<Self>, batch: Vec<Route>) {
        let mut users = BTreeSet::new();
        let mut destinations = BTreeSet::new();
        for route in &batch {
            match route {
                Route::Message { delivery, .. } => {
                    users.extend(delivery.message.members().cloned())
                }
                Route::Topic { topic, .. } => match user_of(&topic.destination) {
                    Some(user) => {
                        users.insert(user);
                    }
                    None => {
                        destinations.insert(Destination::Topic((*topic.destination).into()));
                    }
                },
                Route::Control { .. } => {}
            }
        }
        let users: Vec<UserId> = users.into_iter().collect();
        let destinations: Vec<Destination> = destinations.into_iter().collect();
        let located = match (users.is_empty() && destinations.is_empty()).then(Located::default) {
            Some(nothing_to_ask) => Ok(nothing_to_ask),
            None => self.location.locate(&users, &destinations).await,
        };
        match located {
            Ok(located) => {
                let index = Index::new(&users, &destinations, &located);
                self.send_to_targets(batch, &index).await;
            }
            Err(error) => {
                tracing::debug!(%error, routes = batch.len(), "locations are unknown");
                self.send_to_everybody(batch).await;
            }
        }
    }

    async fn send_to_targets(self: &Arc<Self>, batch: Vec<Route>, index: &Index<'_>) {
        let read_at = Instant::now();
        let mut parcels: BTreeMap<BTreeSet<NodeId>, Vec<Outbound>> = BTreeMap::new();
        for route in batch {
            let (targets, outbound) = match route {
                Route::Message { delivery, attempt } => {
                    let message = &delivery.message;
                    let sender = index.user(&message.from);
                    let here = (&self.here, self.incarnation);
                    let plan = plan(here, index.user(&message.to), sender);
                    self.connected.note(&message.to, !plan.offline, read_at);
                    if plan.offline {
                        self.meters.offline.increment(1);
                    }
                    (plan.remote, Outbound::Message { delivery, attempt })
                }
                Route::Topic { topic, handed } => {
                    let targets = match user_of(&topic.destination) {
                        Some(user) => {
                            let here = (&self.here, self.incarnation);
                            plan(here, index.user(&user), []).remote
                        }
                        None => {
                            let nodes = index.topic(&topic.destination);
                            nodes.filter(|node| **node != self.here).cloned().collect()
                        }
                    };
                    (targets, Outbound::Topic { topic, handed })
                }
                Route::Control { node, control } => {
                    (BTreeSet::from([node]), Outbound::Control(control))
                }
            };
            if !targets.is_empty() {
                parcels.entry(targets).or_default().push(outbound);
            }
        }
        for (targets, mut outbound) in parcels {
            while !outbound.is_empty() {
                let rest = outbound.split_off(parcel_len(&outbound));
                self.send(&targets, std::mem::replace(&mut outbound, rest))
                    .await;
            }
        }
    }

    /// Publishes one parcel for these nodes. A failure is no loss: the numbers are used up, so the
    /// targets find the gap.
    async fn send(self: &Arc<Self>, targets: &BTreeSet<NodeId>, outbound: Vec<Outbound>) {
        let envelopes: Vec<Envelope> = outbound.iter().map(Outbound::envelope).collect();
        let count = envelopes.len() as u64;
        let published = {
            let mut flows = self.out.flows.lock().await;
            let numbers = flows.take(targets);
            let id = self.publication_id(&numbers);
            let payload = self
                .parcel(numbers, ParcelBody::Envelopes(envelopes))
                .encode();
            let targets: Vec<NodeId> = targets.iter().cloned().collect();
            self.bus.publish(&targets, id, payload).await
        };
        match published {
            Ok(confirm) => {
                self.meters.remote.increment(count);
                self.note_published(targets, &outbound);
                let broker = Arc::clone(self);
                let messages = outbound.into_iter().filter_map(Outbound::handed).collect();
                self.spawn(async move { broker.confirmed(confirm, messages).await });
            }
            Err(error) => tracing::debug!(%error, "left to repair"),
        }
    }

    /// Waits for the bus. When the one target is gone, its users are looked up again.
    async fn confirmed(self: Arc<Self>, confirm: Confirm, messages: Vec<(Arc<Delivery>, u8)>) {
        match confirm.await {
            Ok(Confirmed::Routed) => {}
            Ok(Confirmed::NoRoute) => {
                let again = messages
                    .into_iter()
                    .filter(|(_, attempt)| attempt + 1 < ATTEMPTS_MAX);
                let again: Vec<_> = again.collect();
                if !again.is_empty() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                for (delivery, attempt) in again {
                    self.route_message(delivery, attempt + 1);
                }
            }
            Err(error) => tracing::debug!(%error, "left to repair"),
        }
    }

    /// Location did not answer: every known node gets the envelopes, at a bounded rate; above it,
    /// every flow loses a number, so that the next heads make the targets repair.
    async fn send_to_everybody(self: &Arc<Self>, batch: Vec<Route>) {
        if !self.settings.rules.flood_without_location {
            return;
        }
        let targets = self.known_nodes();
        for route in batch {
            let outbound = match route {
                Route::Message { delivery, attempt } => Outbound::Message { delivery, attempt },
                Route::Topic { topic, handed } => Outbound::Topic { topic, handed },
                Route::Control { .. } => continue,
            };
            let mut flows = self.out.flows.lock().await;
            let numbers = flows.take(&targets);
            if !self.out.may_flood() {
                continue;
            }
            let id = self.publication_id(&numbers);
            let body = ParcelBody::Envelopes(vec![outbound.envelope()]);
            let payload = self.parcel(numbers, body).encode();
            if let Ok(confirm) = self.bus.publish_all(id, payload).await {
                let _no_message_to_route_again = outbound.handed();
                self.spawn(async move {
                    if let Err(error) = confirm.await {
                        tracing::debug!(%error, "left to repair");
                    }
                });
            }
        }
    }

    async fn use_up_numbers(&self) {
        let targets = self.known_nodes();
        self.out.flows.lock().await.take(&targets);
    }

    /// Tells all nodes the heads of this node's flows. Gives back what the bus will confirm.
    pub(super) async fn tell_heads(&self) -> Option<Confirm> {
        let flows = self.out.flows.lock().await;
        let heads = flows.heads();
        let id = format!("{}.{}-heads", self.here, self.incarnation);
        let payload = self.parcel(heads, ParcelBody::Heads).encode();
        self.bus.publish_all(id, payload).await.ok()
    }

    /// The nodes that are alive as far as this one knows. This one is among them, because another
    /// life of it may be, too; what a life tells itself it does not hear.
    pub(super) fn known_nodes(&self) -> Vec<NodeId> {
        let mut nodes: BTreeSet<NodeId> = self.lease.peers().into_iter().collect();
        nodes.extend(lock(&self.flows_in).senders().cloned());
        nodes.into_iter().collect()
    }

    pub(super) fn parcel(&self, flows: Vec<(NodeId, u64)>, body: ParcelBody) -> Parcel {
        Parcel {
            sender: self.here.clone(),
            incarnation: self.incarnation,
            flows,
            body,
        }
    }

    /// Names a publication: the sender's life and the number in its first flow.
    pub(super) fn publication_id(&self, numbers: &[(NodeId, u64)]) -> String {
        let (target, number) = numbers
            .first()
            .map_or(("none", 0), |(target, number)| (target.as_str(), *number));
        format!("{}.{}-{target}-{number}", self.here, self.incarnation)
    }
}

/// Whose destination this is, if it is what is fanned out to one user: `/user/<user id>/<rest>`. It
/// goes to the nodes of his sessions; who subscribes to it there the hub knows.
pub(super) fn user_of(destination: &str) -> Option<UserId> {
    let (user, _rest) = destination.strip_prefix("/user/")?.split_once('/')?;
    user.parse().ok()
}

/// The answer of location, by what was asked.
struct Index<'a> {
    users: BTreeMap<&'a UserId, &'a [crate::location::SessionEntry]>,
    topics: BTreeMap<String, &'a [NodeId]>,
}

impl<'a> Index<'a> {
    fn new(users: &'a [UserId], destinations: &[Destination], located: &'a Located) -> Self {
        let entries = located.users.iter().map(Vec::as_slice);
        let nodes = located.destinations.iter().map(Vec::as_slice);
        Self {
            users: users.iter().zip(entries).collect(),
            topics: destinations
                .iter()
                .map(ToString::to_string)
                .zip(nodes)
                .collect(),
        }
    }

    fn user(&self, user: &UserId) -> impl Iterator<Item = Life<'a>> + use<'a> {
        self.users
            .get(user)
            .copied()
            .unwrap_or_default()
            .iter()
            .map(|entry| (&entry.node, entry.incarnation))
    }

    fn topic(&self, destination: &str) -> impl Iterator<Item = &'a NodeId> + use<'a> {
        self.topics
            .get(destination)
            .copied()
            .unwrap_or_default()
            .iter()
    }
}
