//! One consumer: a channel of its own, over as many connections as it takes.
//!
//! Not here: settling. Closing the channel gives back what is unsettled, so a consumer that ends
//! closes it. The broker does the same to a consumer that leaves a message unsettled for longer than
//! its `consumer_timeout` (30 minutes unless it is configured): then everything unsettled comes again,
//! marked as redelivered. Invariant: a tag of a channel that is gone settles nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::Channel;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Core;
use super::declare::Refusal;
use super::known::Counted;
use super::letter::Letter;
use super::line::Line;
use super::settling::{TakenMessage, Unsettled};
use crate::budget::Claimant;
use crate::bus::queue::{QueueError, Taken, Wish};
use crate::bus::rabbitmq::topology;

/// The first wait before consuming again; it doubles up to [`AGAIN_MAX`].
const AGAIN_MIN: Duration = Duration::from_millis(50);
const AGAIN_MAX: Duration = Duration::from_millis(500);

/// A consumer that the broker knows.
pub(super) struct Open {
    line: Arc<Line>,
    channel: Channel,
    deliveries: lapin::Consumer,
}

/// What a consumer is, whatever the connection.
pub(super) struct Consuming {
    pub(super) core: Arc<Core>,
    pub(super) queue: Box<str>,
    pub(super) by: Claimant,
    pub(super) prefetch: u16,
    pub(super) taken: mpsc::Sender<Taken>,
    pub(super) unsettled: Arc<Unsettled>,
    pub(super) stop: CancellationToken,
    /// Given back when this consumer has ended.
    pub(super) _counted: Counted,
}

impl Consuming {
    /// Begins to consume on the connection that is open now.
    pub(super) async fn open(&self) -> Result<Open, QueueError> {
        let line = self.core.line()?;
        match self.open_on(&line).await {
            // It went away since it was made sure of.
            Err(Refusal::Missing) => {
                self.core.known.doubt(&self.queue);
                let wish = Wish::plain(&self.by, &self.core.settings)?;
                self.core.reach(&self.queue, &wish, true).await?;
                Ok(self.open_on(&line).await?)
            }
            opened => Ok(opened?),
        }
    }

    async fn open_on(&self, line: &Arc<Line>) -> Result<Open, Refusal> {
        let opening = async {
            let channel = line.channel().await?;
            let qos = BasicQosOptions::default();
            channel.basic_qos(self.prefetch, qos).await?;
            let queue = ShortString::from(topology::stomp_queue_of(&self.queue));
            let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
            let consuming = channel.basic_consume(queue, "".into(), options, none);
            let deliveries = consuming.await?;
            Ok((channel, deliveries))
        };
        let (channel, deliveries) = line.within(opening).await?;
        Ok(Open {
            line: Arc::clone(line),
            channel,
            deliveries,
        })
    }

    /// Consumes until told to stop.
    pub(super) async fn run(mut self, mut open: Open) {
        let (stop, refused) = (self.stop.clone(), self.unsettled.refused.clone());
        loop {
            let lost = open.line.lost.clone();
            let ended = tokio::select! {
                biased;
                () = stop.cancelled() => None,
                () = refused.cancelled() => None,
                () = lost.cancelled() => Some("the connection was lost".to_owned()),
                why = self.serve(&mut open) => Some(why),
            };
            // Before the broker gives it to somebody else: what was taken here is void.
            self.unsettled.clear();
            leave(&open).await;
            let Some(why) = ended else {
                return;
            };
            tracing::debug!(queue = &*self.queue, %why, "a consumer begins again");
            drop(open);
            let opened = tokio::select! {
                biased;
                () = stop.cancelled() => None,
                opened = self.reopen() => opened,
            };
            let Some(opened) = opened else {
                return;
            };
            open = opened;
        }
    }

    /// Tries again and again. `None` when there will be no connection any more.
    async fn reopen(&mut self) -> Option<Open> {
        let mut connections = self.core.connections.clone();
        let mut wait = AGAIN_MIN;
        loop {
            // An error says that nobody keeps a connection any more.
            let _ = connections.wait_for(Option::is_some).await.ok()?;
            match self.open().await {
                Ok(open) => return Some(open),
                Err(error) => tracing::debug!(queue = &*self.queue, %error, "not yet"),
            }
            tokio::time::sleep(wait.mul_f64(rand::random_range(0.5..1.0))).await;
            wait = (wait * 2).min(AGAIN_MAX);
        }
    }

    /// Hands on what comes, until nothing can come any more; the answer says why. Everything that comes is taken at
    /// once, also when nothing can be handed on: what waits in the channel is in no account.
    async fn serve(&self, open: &mut Open) -> String {
        let mut waiting = VecDeque::new();
        loop {
            tokio::select! {
                delivery = open.deliveries.next() => {
                    let delivery = match delivery {
                        Some(Ok(delivery)) => delivery,
                        Some(Err(error)) => return error.to_string(),
                        None => return "cancelled by the broker".to_owned(),
                    };
                    waiting.extend(self.take(delivery).await);
                }
                place = self.taken.reserve(), if !waiting.is_empty() => match place {
                    Ok(place) => {
                        if let Some(next) = waiting.pop_front() {
                            place.send(next);
                        }
                    }
                    // Nothing reads, but what was taken may still be settled.
                    Err(_) => std::future::pending::<()>().await,
                },
            }
        }
    }

    /// What lies in the queue and is no message of ours is taken away: it would come for ever.
    async fn take(&self, delivery: Delivery) -> Option<Taken> {
        let octets = delivery.data.into();
        let Ok(message) = Letter::read(&octets) else {
            tracing::warn!(
                queue = &*self.queue,
                "what is no message was removed from a queue"
            );
            metrics::counter!("queue_garbage_total").increment(1);
            // A channel that does not take it is lost, which the next delivery tells.
            let _ = delivery.acker.ack(BasicAckOptions::default()).await;
            return None;
        };
        let redelivered = delivery.redelivered || message.nacks > 0;
        let memory = self.core.memory.get().map(|memory| &**memory);
        let taken = TakenMessage::new(delivery.acker, octets, message.nacks);
        let tag = self.unsettled.take(memory, &self.by, &taken)?;
        Some(Taken {
            tag,
            message,
            redelivered,
        })
    }
}

/// Closes a channel, for at most a second; it goes with its connection at the latest.
async fn leave(open: &Open) {
    let closing = open.channel.close(200, "bye".into());
    tokio::select! {
        () = open.line.lost.cancelled() => {}
        _ = tokio::time::timeout(Duration::from_secs(1), closing) => {}
    }
}
