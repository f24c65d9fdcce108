//! Messages to topics of a broker without sessions that send.
//!
//! Not here: what arrives. Invariant: every message has turns of its own, so it never waits for those of another.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::AtomicU16;

use stompbox::broker::Broker;
use stompbox::model::{Network, TopicMessage};
use stompbox::turns::{Deliveries, Turns};

/// Publishes as a client on this machine does.
pub(crate) async fn publish(broker: &Arc<Broker>, topic: TopicMessage, message_id: String) {
    let (turns, made) = (Turns::new(), AtomicU16::new(0));
    let network = Network::of(Ipv4Addr::LOCALHOST.into());
    let deliveries = Deliveries::new(&turns, network, &made);
    broker.publish(topic, message_id, deliveries).await;
}
