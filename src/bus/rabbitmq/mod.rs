//! The bus of a cluster: RabbitMQ. Only in this folder do AMQP words appear.
//!
//! Not here: what a payload means, flow numbers, any promise beyond the contract's. Two
//! connections, one to publish and one to consume, because a broker that blocks publishers stops
//! reading everything on their connection. Invariant: each connection is a task of its own that
//! opens another one when it is lost, and meanwhile nothing is buffered.

mod confirms;
mod connection;
mod consumer;
mod flight;
mod publisher;
mod queues;
pub mod topology;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::queues::RabbitQueues;

use self::confirms::Outcome;
use self::connection::{Endpoint, Link, LinkError};
use self::consumer::{Consumer, Consuming};
use self::publisher::{Gate, Publication, Publisher};
use super::{Bus, BusError, Confirm, Confirmed, Incoming};
use crate::model::{Incarnation, NodeId};

/// A filter directive that every log must have: the client library logs a returned publication
/// whole, and with it what people write to each other. What matters of it is logged here.
pub const LOG_DIRECTIVE: &str = "lapin=off";

/// How long [`Bus::close`] waits for outstanding confirms.
const CLOSE_WITHIN: Duration = Duration::from_secs(3);

/// How long a task may take to end after that.
const END_WITHIN: Duration = Duration::from_secs(3);

/// What can be set. The defaults are the design's.
#[derive(Clone, Debug)]
pub struct RabbitSettings {
    /// Unconfirmed publications at most, 1 to 1,024. Beyond 128 only latency grows.
    pub window: usize,
    /// After this time without a confirm a publication is [`BusError::NotConfirmed`], and no more
    /// are taken until the broker has caught up.
    pub confirm_within: Duration,
    /// Payloads that the broker sends ahead of acknowledgements, at least 1.
    pub prefetch: u16,
    /// How many [`Incoming`] wait for the node at most, at least 1.
    pub incoming_max: usize,
    /// Messages in this node's queue at most; more are refused to the publisher.
    pub queue_length_max: u32,
    /// Octets in this node's queue at most; more are refused to the publisher.
    pub queue_bytes_max: u64,
    /// Seconds between heartbeats unless the address says `?heartbeat=`. A link that is dead
    /// without a sign is found after twice that.
    pub heartbeat_secs: u16,
    /// How long one attempt to connect may take.
    pub attempt_within: Duration,
    /// How long [`RabbitBus::connect`] tries before it gives up.
    pub start_within: Duration,
    /// How often the bindings are made sure of.
    pub refresh_every: Duration,
}

impl Default for RabbitSettings {
    fn default() -> Self {
        Self {
            window: 100,
            confirm_within: Duration::from_secs(2),
            prefetch: 500,
            incoming_max: 1_024,
            queue_length_max: 100_000,
            queue_bytes_max: 256 * 1024 * 1024,
            heartbeat_secs: 5,
            attempt_within: Duration::from_secs(2),
            start_within: Duration::from_secs(10),
            refresh_every: Duration::from_secs(5),
        }
    }
}

impl RabbitSettings {
    fn check(&self) -> Result<(), RabbitConnectError> {
        let checks = [
            ((1..=1_024).contains(&self.window), "window is 1 to 1,024"),
            (self.prefetch > 0, "prefetch is at least 1"),
            (self.incoming_max > 0, "incoming_max is at least 1"),
            (!self.refresh_every.is_zero(), "refresh_every is not zero"),
        ];
        match checks.into_iter().find(|(holds, _)| !holds) {
            Some((_, words)) => Err(RabbitConnectError::Setting(words)),
            None => Ok(()),
        }
    }
}

/// There is no bus at start. Only [`RabbitConnectError::Unreachable`] may pass by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RabbitConnectError {
    /// Write the address in this form. It is not repeated here, for it may hold a password.
    #[error(
        "the address of RabbitMQ must have the form \
             amqp://user:password@host:port/vhost, where host is a name or IPv4"
    )]
    Url,
    /// Use `amqp://` within a private network, or a TLS tunnel beside the node.
    #[error("this program is built without TLS for RabbitMQ: amqps:// cannot be used")]
    Tls,
    /// Correct the setting.
    #[error("a setting for RabbitMQ is out of range: {0}")]
    Setting(&'static str),
    /// Correct what the broker names: credentials, permissions, virtual host, or an exchange that
    /// somebody declared otherwise than `rabbitmq/definitions.json` does.
    #[error("RabbitMQ at {broker} refuses this node: {words}")]
    Refused {
        /// Host and port.
        broker: String,
        /// What the broker said.
        words: String,
    },
    /// Start RabbitMQ, or correct the address.
    #[error("RabbitMQ at {broker} cannot be reached: {words}")]
    Unreachable {
        /// Host and port.
        broker: String,
        /// What came of the last attempt.
        words: String,
    },
}

/// A node's handle on RabbitMQ.
pub struct RabbitBus {
    gate: Arc<Gate>,
    window: usize,
    broker: String,
    consuming: Stage,
    publishing: Stage,
}

/// How a task is told to end, and how it tells that it has.
struct Stage {
    stop: CancellationToken,
    has_ended: CancellationToken,
}

impl RabbitBus {
    /// Connects twice, declares the exchange and this node's queue, and begins to consume. The
    /// receiver ends after [`Bus::stop_consuming`]. Cancelling `shutdown` ends everything at once.
    ///
    /// # Errors
    /// [`RabbitConnectError`]. A refusal at once; an unreachable broker after
    /// [`RabbitSettings::start_within`].
    pub async fn connect(
        url: &str,
        node: NodeId,
        incarnation: Incarnation,
        settings: RabbitSettings,
        tracker: TaskTracker,
        shutdown: CancellationToken,
    ) -> Result<(Arc<Self>, mpsc::Receiver<Incoming>), RabbitConnectError> {
        settings.check()?;
        let endpoint = Arc::new(Endpoint::parse(url, &node, &settings)?);
        let consuming = Stage::under(&shutdown);
        let publishing = Stage::under(&shutdown);
        let (sender, receiver) = mpsc::channel(settings.incoming_max);
        let gate = Arc::new(Gate::default());
        let publisher = Publisher {
            endpoint: Arc::clone(&endpoint),
            settings: settings.clone(),
            gate: Arc::clone(&gate),
            purpose: "publishing",
            stop: publishing.stop.clone(),
        };
        let consumer = Consumer {
            endpoint: Arc::clone(&endpoint),
            settings: settings.clone(),
            node,
            incarnation,
            incoming: sender,
            stop: consuming.stop.clone(),
        };
        let opened = open_both(&endpoint, &consumer, &publisher).await?;
        let (queue, number, link) = opened;
        let inbox = publisher.admit();
        tracker.spawn(consuming.guard(consumer.run(queue, number)));
        tracker.spawn(publishing.guard(publisher.run(link, inbox)));
        tracing::info!(broker = %endpoint, "connected to RabbitMQ");
        let bus = Self {
            gate,
            window: settings.window,
            broker: endpoint.to_string(),
            consuming,
            publishing,
        };
        Ok((Arc::new(bus), receiver))
    }

    async fn hand(&self, publication: Publication) -> Result<Confirm, BusError> {
        let outcome = self.gate.publish(publication).await?;
        Ok(Box::pin(async move {
            match outcome.await? {
                Outcome::Routed => Ok(Confirmed::Routed),
                Outcome::NoRoute => Ok(Confirmed::NoRoute),
                Outcome::Refused => Err(publisher::not_confirmed("a full queue refused it")),
            }
        }))
    }
}

/// Opens both connections, trying again while the broker is away. The number is that of the queue.
async fn open_both(
    endpoint: &Endpoint,
    consumer: &Consumer,
    publisher: &Publisher,
) -> Result<(Consuming, u64, Link), RabbitConnectError> {
    let give_up_at = Instant::now() + publisher.settings.start_within;
    let mut number = 0;
    loop {
        number += 1;
        let opening = async {
            let queue = consumer.open(number).await?;
            Ok((queue, number, publisher.open().await?))
        };
        match opening.await {
            Ok(opened) => return Ok(opened),
            Err(error) => endpoint.give_up(error, Instant::now() >= give_up_at)?,
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

impl Endpoint {
    /// An error to stop with, or nothing: then it is worth another attempt.
    fn give_up(&self, error: LinkError, is_late: bool) -> Result<(), RabbitConnectError> {
        let broker = self.to_string();
        match error {
            LinkError::Refused(words) => Err(RabbitConnectError::Refused { broker, words }),
            LinkError::Down(words) if is_late => {
                Err(RabbitConnectError::Unreachable { broker, words })
            }
            LinkError::Down(_) => Ok(()),
        }
    }
}

impl Stage {
    fn under(shutdown: &CancellationToken) -> Self {
        Self {
            stop: shutdown.child_token(),
            has_ended: CancellationToken::new(),
        }
    }

    /// The task, telling when it has ended in whatever way.
    fn guard<T: Future<Output = ()>>(&self, task: T) -> impl Future<Output = ()> + use<T> {
        let at_the_end = self.has_ended.clone().drop_guard();
        async move {
            task.await;
            drop(at_the_end);
        }
    }

    async fn end(&self) {
        self.stop.cancel();
        let ended = self.has_ended.cancelled();
        if tokio::time::timeout(END_WITHIN, ended).await.is_err() {
            tracing::warn!("a connection to RabbitMQ does not end");
        }
    }
}

#[async_trait]
impl Bus for RabbitBus {
    async fn publish(
        &self,
        targets: &[NodeId],
        id: String,
        payload: Bytes,
    ) -> Result<Confirm, BusError> {
        let targets: BTreeSet<_> = targets.iter().collect();
        let mut keys = targets.into_iter().map(topology::key_of);
        let Some(key) = keys.next() else {
            return Ok(Box::pin(std::future::ready(Ok(Confirmed::Routed))));
        };
        let bcc: Vec<_> = keys.collect();
        let publication = Publication {
            exchange: topology::EXCHANGE,
            key,
            is_mandatory: bcc.is_empty(),
            bcc,
            id,
            // The store has what must not be lost.
            is_persistent: false,
            expiration_ms: None,
            payload,
        };
        self.hand(publication).await
    }

    async fn publish_all(&self, id: String, payload: Bytes) -> Result<Confirm, BusError> {
        let publication = Publication {
            exchange: topology::EXCHANGE,
            key: topology::KEY_ALL.to_owned(),
            bcc: Vec::new(),
            is_mandatory: false,
            id,
            is_persistent: false,
            expiration_ms: None,
            payload,
        };
        self.hand(publication).await
    }

    fn is_up(&self) -> bool {
        self.gate.is_up()
    }

    async fn stop_consuming(&self) {
        self.consuming.end().await;
    }

    async fn close(&self) {
        self.gate.close(self.window, CLOSE_WITHIN).await;
        tokio::join!(self.publishing.end(), self.consuming.end());
    }
}

impl fmt::Debug for RabbitBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitBus")
            .field("broker", &self.broker)
            .field("is_up", &self.is_up())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_named() {
        assert_eq!(RabbitSettings::default().check(), Ok(()));
        let no_window = RabbitSettings {
            window: 0,
            ..RabbitSettings::default()
        };
        let words = no_window.check().unwrap_err().to_string();
        assert!(words.contains("window is 1 to 1,024"), "{words}");
    }
}
