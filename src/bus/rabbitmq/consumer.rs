//! Consuming: this node's queue, on a connection of its own, into the bounded receiver.
//!
//! Not here: what a payload means. Invariant: a payload is acknowledged to the broker when it is in
//! the receiver; and after a cut [`Incoming::Interrupted`] comes before anything of the new queue.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::RabbitSettings;
use super::connection::{Endpoint, Link, LinkError, reopen};
use super::topology;
use crate::bus::Incoming;
use crate::model::{Incarnation, NodeId};

/// How many payloads one acknowledgement covers at most.
const ACK_BATCH_MAX: usize = 64;

/// How often a connection on which nothing arrives is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The task that owns the consuming connection.
pub(super) struct Consumer {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) settings: RabbitSettings,
    pub(super) node: NodeId,
    pub(super) incarnation: Incarnation,
    pub(super) incoming: mpsc::Sender<Incoming>,
    pub(super) stop: CancellationToken,
}

/// An open connection that consumes from a bound queue.
pub(super) struct Consuming {
    link: Link,
    queue: String,
    deliveries: lapin::Consumer,
}

/// Why a connection is not served any more.
enum Ended {
    /// It is gone; the next one follows.
    Lost(String),
    /// This node does not want to consume any more.
    Stopped,
}

impl Consumer {
    /// Opens the `number`th connection: exchange, queue and bindings are there when it returns.
    pub(super) async fn open(&self, number: u64) -> Result<Consuming, LinkError> {
        let link = self.endpoint.open("consuming").await?;
        let queue = topology::queue_of(&self.node, self.incarnation, number);
        let preparing = async {
            topology::declare_exchange(&link.channel).await?;
            topology::declare_queue(&link.channel, &queue, &self.node, &self.settings).await?;
            let (name, tag) = (queue.as_str().into(), "".into());
            let options = BasicConsumeOptions {
                exclusive: true,
                ..BasicConsumeOptions::default()
            };
            let none = FieldTable::default();
            link.channel.basic_consume(name, tag, options, none).await
        };
        let deliveries = self.endpoint.within(preparing).await?;
        Ok(Consuming {
            link,
            queue,
            deliveries,
        })
    }

    /// Consumes until told to stop, over as many connections as it takes.
    pub(super) async fn run(self, mut consuming: Consuming, mut number: u64) {
        loop {
            match self.serve(&mut consuming).await {
                Ended::Stopped => return self.leave(consuming).await,
                Ended::Lost(why) => {
                    tracing::warn!(%why, "lost the consuming connection to RabbitMQ");
                }
            }
            drop(consuming);
            let opened = reopen("consuming", &self.stop, || {
                number += 1;
                self.open(number)
            });
            let Some(opened) = opened.await else {
                return;
            };
            tracing::info!(broker = %self.endpoint, queue = opened.queue, "consuming again");
            consuming = opened;
            if self.hand(Incoming::Interrupted).await.is_none() {
                return self.leave(consuming).await;
            }
        }
    }

    async fn serve(&self, consuming: &mut Consuming) -> Ended {
        let mut refresh = tokio::time::interval(self.settings.refresh_every);
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ended::Stopped,
                delivery = consuming.deliveries.next() => match delivery {
                    Some(Ok(delivery)) => {
                        if let Some(ended) = self.forward(consuming, delivery).await {
                            return ended;
                        }
                    }
                    Some(Err(error)) => return Ended::Lost(error.to_string()),
                    None => return Ended::Lost("the broker cancelled the consumer".to_owned()),
                },
                // Somebody may have deleted the exchange, and with it the bindings; another node
                // may have declared it again. Nothing else would tell this node.
                _ = refresh.tick() => {
                    let Consuming { link, queue, .. } = &*consuming;
                    let refreshed = topology::refresh(&link.channel, queue, &self.node).await;
                    if let Err(error) = refreshed {
                        return Ended::Lost(error.to_string());
                    }
                }
                _ = look.tick() => if !consuming.link.is_connected() {
                    return Ended::Lost("closed by the broker".to_owned());
                },
            }
        }
    }

    /// Puts this delivery and those that are there already into the receiver, then acknowledges
    /// them together.
    async fn forward(&self, consuming: &mut Consuming, first: Delivery) -> Option<Ended> {
        let mut ended = None;
        let mut batch = vec![first];
        while ended.is_none() && batch.len() < ACK_BATCH_MAX {
            match consuming.deliveries.next().now_or_never() {
                Some(Some(Ok(next))) => batch.push(next),
                Some(Some(Err(error))) => ended = Some(Ended::Lost(error.to_string())),
                Some(None) => ended = Some(Ended::Lost("cancelled by the broker".to_owned())),
                None => break,
            }
        }
        let mut acker = None;
        for delivery in batch {
            let payload = Incoming::Payload(delivery.data.into());
            if self.hand(payload).await.is_none() {
                return Some(Ended::Stopped);
            }
            acker = Some(delivery.acker);
        }
        let all = BasicAckOptions { multiple: true };
        if let Some(acker) = acker
            && let Err(error) = acker.ack(all).await
        {
            ended.get_or_insert(Ended::Lost(error.to_string()));
        }
        ended
    }

    /// Waits for room in the receiver. `None` when nobody receives any more, or when told to stop.
    async fn hand(&self, incoming: Incoming) -> Option<()> {
        tokio::select! {
            () = self.stop.cancelled() => None,
            handed = self.incoming.send(incoming) => handed.ok(),
        }
    }

    /// Takes the queue away, so that publications to this node come back at once, and closes.
    async fn leave(self, consuming: Consuming) {
        let options = QueueDeleteOptions::default();
        let queue = consuming.queue.as_str().into();
        let deleting = consuming.link.channel.queue_delete(queue, options);
        // It goes with the connection at the latest.
        let _ = tokio::time::timeout(Duration::from_secs(1), deleting).await;
        consuming.link.close().await;
    }
}
