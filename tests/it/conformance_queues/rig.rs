//! Nodes with queues, on either engine, and what the cases say to them.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use stompbox::budget::Claimant;
use stompbox::bus::queue::memory::MemoryQueues;
use stompbox::bus::queue::{Consumer, QueueError, QueueMessage, QueueSettings, Queues, Tag, Taken};
use stompbox::bus::rabbitmq::{RabbitQueues, RabbitSettings};
use stompbox::model::{Kind, Network, QueueArguments, Verdict};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Longer than anything takes on a busy machine, when it works at all.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// Nothing named.
pub(crate) const PLAIN: QueueArguments = QueueArguments {
    message_ttl: None,
    expires: None,
    length_max: None,
};

/// What the cases run on.
pub(crate) enum Engine {
    Memory,
    Rabbit(String),
}

/// Nodes that meet.
pub(crate) enum World {
    Memory(Arc<MemoryQueues>),
    Rabbit(String, QueueSettings),
}

impl Engine {
    /// A world of its own in memory; the same one for all in RabbitMQ, so every case has queues of
    /// its own.
    pub(crate) fn world(&self, settings: QueueSettings) -> World {
        match self {
            Self::Memory => World::Memory(MemoryQueues::new(settings)),
            Self::Rabbit(url) => World::Rabbit(url.clone(), settings),
        }
    }

    pub(crate) async fn node(&self) -> Node {
        self.world(QueueSettings::default()).join("a").await
    }
}

impl World {
    pub(crate) async fn join(&self, name: &str) -> Node {
        match self {
            Self::Memory(queues) => Node(queues.join()),
            Self::Rabbit(url, settings) => join_rabbit(url, name, *settings).await,
        }
    }
}

/// A node on a RabbitMQ at this address.
pub(crate) async fn join_rabbit(url: &str, name: &str, settings: QueueSettings) -> Node {
    let queues = RabbitQueues::connect(
        url,
        &name.parse().unwrap(),
        RabbitSettings::default(),
        settings,
        TaskTracker::new(),
        CancellationToken::new(),
    )
    .await;
    Node(queues.unwrap())
}

/// A node, as far as queues are concerned.
pub(crate) struct Node(pub(crate) Arc<dyn Queues>);

impl Node {
    /// Sends and waits until it is safe.
    pub(crate) async fn send(&self, queue: &str, text: &str) -> Result<(), QueueError> {
        self.send_to(queue, &PLAIN, message(text)).await
    }

    pub(crate) async fn send_to(
        &self,
        queue: &str,
        arguments: &QueueArguments,
        message: QueueMessage,
    ) -> Result<(), QueueError> {
        self.send_by(queue, arguments, message, &service()).await
    }

    pub(crate) async fn send_by(
        &self,
        queue: &str,
        arguments: &QueueArguments,
        message: QueueMessage,
        by: &Claimant,
    ) -> Result<(), QueueError> {
        let sent = self.0.send(queue, arguments, message, by).await?;
        timeout(LONG, sent).await.expect("no answer to a SEND")
    }

    pub(crate) async fn send_all(&self, queue: &str, texts: &[&str]) {
        for text in texts {
            self.send(queue, text).await.unwrap();
        }
    }

    pub(crate) async fn consume(&self, queue: &str, prefetch: u16) -> Hand {
        self.try_consume(queue, &PLAIN, prefetch).await.unwrap()
    }

    pub(crate) async fn try_consume(
        &self,
        queue: &str,
        arguments: &QueueArguments,
        prefetch: u16,
    ) -> Result<Hand, QueueError> {
        self.0
            .consume(queue, arguments, prefetch, &service())
            .await
            .map(Hand)
    }

    pub(crate) async fn close(self) {
        self.0.close().await;
    }
}

/// A consumer.
#[derive(Debug)]
pub(crate) struct Hand(pub(crate) Consumer);

impl Hand {
    pub(crate) async fn take(&mut self) -> Taken {
        let taken = timeout(LONG, self.0.taken.recv()).await;
        taken
            .expect("nothing comes")
            .expect("the consumer has ended")
    }

    /// The next `count` messages, in order.
    pub(crate) async fn take_many(&mut self, count: usize) -> Vec<Taken> {
        let mut many = Vec::with_capacity(count);
        for _ in 0..count {
            many.push(self.take().await);
        }
        many
    }

    /// Takes what comes and acknowledges it.
    pub(crate) async fn done(&mut self) -> Taken {
        let taken = self.take().await;
        self.settle(&[&taken], Verdict::Ack).await;
        taken
    }

    pub(crate) async fn settle(&self, taken: &[&Taken], verdict: Verdict) {
        let tags: Vec<_> = taken.iter().map(|taken| taken.tag).collect();
        self.settle_tags(&tags, verdict).await;
    }

    pub(crate) async fn settle_tags(&self, tags: &[Tag], verdict: Verdict) {
        let settling = self.0.settler.settle(tags, verdict);
        timeout(LONG, settling)
            .await
            .expect("settling does not end");
    }

    /// Nothing more comes, as far as a short wait can tell.
    pub(crate) async fn is_quiet(&mut self) {
        let more = timeout(Duration::from_millis(300), self.0.taken.recv()).await;
        assert!(more.is_err(), "{more:?} came");
    }
}

/// A service that no share limits: what it meets is the end of the node.
pub(crate) fn service() -> Claimant {
    Claimant {
        multiple: 1_000,
        kind: Kind::Bot,
        ..Claimant::stranger(Network::from(Ipv4Addr::LOCALHOST))
    }
}

/// A message that says this.
pub(crate) fn message(text: &str) -> QueueMessage {
    QueueMessage {
        id: format!("id-{text}").into(),
        headers: vec![("content-type".into(), "text/plain".into())],
        body: Bytes::copy_from_slice(text.as_bytes()),
        persistent: true,
        ttl: None,
        nacks: 0,
    }
}

pub(crate) fn text(taken: &Taken) -> &str {
    std::str::from_utf8(&taken.message.body).unwrap()
}

pub(crate) fn texts(taken: &[Taken]) -> Vec<&str> {
    taken.iter().map(text).collect()
}
