//! The connection on which queues are declared and consumed.
//!
//! Not here: what is consumed. Publishing has another one, because a broker that blocks publishers
//! stops reading everything on their connection. Invariant: when a connection is lost, everybody who
//! uses it is told at once, and another one is opened.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::{Channel, Event};
use tokio::sync::{Semaphore, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::declare::{Channels, Refusal};
use crate::bus::rabbitmq::connection::{Endpoint, Link, LinkError, reopen};

/// What the connection is for, as the broker shows it.
const PURPOSE: &str = "queues";

/// How often a connection on which nothing happens is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How many declarations are under way at a time; each has a channel, of which there are 2,047.
const DECLARING_MAX: usize = 16;

/// An open connection.
pub(super) struct Line {
    link: Link,
    endpoint: Arc<Endpoint>,
    declaring: Semaphore,
    /// Cancelled when the connection is lost.
    pub(super) lost: CancellationToken,
}

impl Line {
    pub(super) async fn open(endpoint: &Arc<Endpoint>) -> Result<Arc<Self>, LinkError> {
        let link = endpoint.open(PURPOSE).await?;
        Ok(Arc::new(Self {
            link,
            endpoint: Arc::clone(endpoint),
            declaring: Semaphore::new(DECLARING_MAX),
            lost: CancellationToken::new(),
        }))
    }

    /// A question to the broker, for as long as the connection lives and an attempt may take.
    pub(super) async fn within<T>(
        &self,
        asking: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        let asking = self.endpoint.within(async { Ok(asking.await) });
        tokio::select! {
            biased;
            () = self.lost.cancelled() => Err(Refusal::Down("the connection was lost".to_owned())),
            answer = asking => match answer {
                Ok(answer) => answer,
                Err(error) => Err(Refusal::Down(error.to_string())),
            },
        }
    }

    /// A channel for one consumer.
    pub(super) async fn channel(&self) -> Result<Channel, Refusal> {
        self.link
            .connection
            .create_channel()
            .await
            .map_err(Refusal::from)
    }

    /// Runs one declaration when its turn comes.
    pub(super) async fn declaring<T>(&self, declaration: impl Future<Output = T>) -> T {
        // It is never closed; if it were, there would be no turns to wait for.
        let _turn = self.declaring.acquire().await;
        declaration.await
    }
}

impl Channels for Line {
    async fn fresh(&self) -> Result<Channel, Refusal> {
        self.within(self.channel()).await
    }
}

/// The task that owns the connection.
pub(super) struct Keeper {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) open: watch::Sender<Option<Arc<Line>>>,
    pub(super) stop: CancellationToken,
}

impl Keeper {
    /// Keeps a connection open until told to stop.
    pub(super) async fn run(self, mut line: Arc<Line>) {
        loop {
            let lost = self.watch(&line).await;
            self.open.send_replace(None);
            line.lost.cancel();
            let Some(why) = lost else {
                line.link.close().await;
                return;
            };
            tracing::warn!(%why, what = PURPOSE, "lost a connection to RabbitMQ");
            line.link.cut();
            drop(line);
            let opened = reopen(PURPOSE, &self.stop, || Line::open(&self.endpoint)).await;
            let Some(opened) = opened else {
                return;
            };
            tracing::info!(broker = %self.endpoint, what = PURPOSE, "RabbitMQ is back");
            self.open.send_replace(Some(Arc::clone(&opened)));
            line = opened;
        }
    }

    /// Looks after one connection until it is lost (the answer says why) or until told to stop.
    async fn watch(&self, line: &Line) -> Option<String> {
        let mut events = std::pin::pin!(line.link.connection.events_listener());
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                event = events.next() => match event {
                    Some(Event::Error(error)) if !line.link.is_connected() => {
                        return Some(error.to_string());
                    }
                    // A channel of somebody may have failed, which he sees himself.
                    Some(_) => {}
                    None => return Some("closed".to_owned()),
                },
                _ = look.tick() => if !line.link.is_connected() {
                    return Some("closed by the broker".to_owned());
                },
            }
        }
    }
}
