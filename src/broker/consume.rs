//! The consumers of `/queue/**` on this node: what the engine of queues gives them goes out through
//! their windows, and what their clients say of it goes back.
//!
//! Not here: which message is settled (`hub::window`), what queues keep (`bus::queue`). Invariants: a
//! consumer ends with its subscription or its session, whichever comes first, and what it has not
//! settled goes back then; a message is handed over only while the outbox has room, so that a queue
//! never cuts a client that reads at its own pace.
//!
//! With `ack:auto` a message is acknowledged to the engine when the connection driver has pulled its
//! frame. What a client was sent and has not received is lost then, as `auto` says; what was not
//! pulled goes to somebody else.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::Broker;
use crate::budget::Claimant;
use crate::bus::queue::{Consumer, QueueError, QueueMessage, Sent, Settler, Tag, Taken};
use crate::hub::{Content, HubSession, Mark, Outbox, Settled, Window};
use crate::model::{AckMode, CloseReason, QueueArguments, Verdict};

/// What a consumer is made with.
#[derive(Clone, Debug)]
pub struct Consume {
    /// The canonical destination, such as `/queue/jobs`.
    pub queue: Arc<str>,
    /// The destination that MESSAGE shows.
    pub shown: Arc<str>,
    /// What the subscriber says of the queue.
    pub arguments: QueueArguments,
    /// To whose shares it counts.
    pub by: Claimant,
}

impl Broker {
    /// Begins to consume through a window of the session. The window stands already, so that an
    /// UNSUBSCRIBE that follows finds it; it is closed when the queue refuses. The future resolves
    /// when the engine knows the consumer, and only then the first message is let out: the RECEIPT
    /// of the SUBSCRIBE goes before it. Dropping the future ends the consumer.
    ///
    /// # Errors
    /// As [`crate::bus::queue::Queues::consume`].
    pub fn consume(
        self: &Arc<Self>,
        session: &Arc<HubSession>,
        window: Arc<Window>,
        consume: Consume,
    ) -> impl Future<Output = Result<(), QueueError>> + Send + 'static {
        let (broker, session) = (Arc::clone(self), Arc::clone(session));
        let (shown, fed) = (Arc::clone(&consume.shown), Arc::clone(&window));
        let begun = async move {
            let begun = tokio::select! {
                // The engine's word comes first: a refusal is told even of what nobody wants.
                biased;
                begun = broker.begin(&window, &consume) => begun.map(Some),
                () = window.closed() => Ok(None),
            };
            if begun.is_err() {
                session.close_window(window.number);
            }
            begun
        };
        let ended = self.end.clone().run_until_cancelled_owned(begun);
        let (work, broker) = (self.tracker.spawn(ended), Arc::clone(self));
        async move {
            let begun = match work.await {
                Ok(Some(begun)) => begun?,
                Ok(None) | Err(_) => return Err(ending()),
            };
            if let Some(consumer) = begun {
                broker.spawn(async move { feed(&fed, &shown, consumer).await });
            }
            Ok(())
        }
    }

    /// Whether a consumer could begin, asked before others lose something for it.
    ///
    /// # Errors
    /// As [`crate::bus::queue::Queues::may_consume`].
    pub fn may_consume(
        &self,
        queue: &str,
        arguments: &QueueArguments,
        by: &Claimant,
    ) -> Result<(), QueueError> {
        self.queues.may_consume(queue, arguments, by)
    }

    async fn begin(&self, window: &Window, consume: &Consume) -> Result<Consumer, QueueError> {
        let prefetch = u16::try_from(window.prefetch).unwrap_or(u16::MAX);
        let Consume {
            queue,
            arguments,
            by,
            ..
        } = consume;
        self.queues.consume(queue, arguments, prefetch, by).await
    }

    /// Hands a message to a queue. Returning fixes its place among those of the caller; [`Sent`]
    /// says when it is safe.
    ///
    /// # Errors
    /// As [`crate::bus::queue::Queues::send`].
    pub async fn send_to_queue(
        &self,
        queue: &str,
        arguments: &QueueArguments,
        message: QueueMessage,
        by: &Claimant,
    ) -> Result<Sent, QueueError> {
        self.queues.send(queue, arguments, message, by).await
    }

    /// Does what is left to do of an ACK or a NACK: tells the queue, and goes on with what waited.
    /// The future resolves when the queue has been told; dropping it undoes nothing.
    pub fn settle_window(
        self: &Arc<Self>,
        settled: Settled,
        verdict: Verdict,
    ) -> impl Future<Output = ()> + Send + 'static {
        if let Some(window) = settled.waiting {
            self.spawn(window.release_later());
        }
        let told = settled.told.map(|(settler, tags)| {
            self.tracker
                .spawn(async move { settler.settle(&tags, verdict).await })
        });
        async move {
            if let Some(told) = told {
                // It cannot fail but by a panic, which is told where it happens.
                let _told = told.await;
            }
        }
    }
}

fn ending() -> QueueError {
    QueueError::Unavailable("the node is ending".to_owned())
}

/// Feeds a window until it is closed, or the engine is. What is unsettled goes back with the settler.
async fn feed(window: &Window, shown: &Arc<str>, consumer: Consumer) {
    let Consumer { taken, settler } = consumer;
    let refused = settler.refused();
    let fed = deliver(window, shown, taken, settler);
    let Some(refused) = refused else {
        return fed.await;
    };
    tokio::select! {
        biased;
        () = refused.cancelled() => window.outbox.cut(CloseReason::LIMIT_EXCEEDED),
        () = fed => {}
    }
}

async fn deliver(
    window: &Window,
    shown: &Arc<str>,
    taken: mpsc::Receiver<Taken>,
    settler: Box<dyn Settler>,
) {
    match window.mode {
        AckMode::Auto => hand_over(window, shown, taken, &*settler).await,
        AckMode::Client | AckMode::ClientIndividual => {
            // The window alone has it: the consumer ends in the moment in which that is closed.
            if !window.feed(settler.into()) {
                return;
            }
            tokio::select! {
                () = hand_in(window, shown, taken) => {}
                () = window.closed() => {}
            }
        }
    }
}

/// Gives a window what its client acknowledges itself.
async fn hand_in(window: &Window, shown: &Arc<str>, mut taken: mpsc::Receiver<Taken>) {
    while let Some(next) = taken.recv().await {
        window.place().await;
        if !window.outbox.room().await {
            return;
        }
        window.offer(content(next, shown));
    }
}

/// Gives a client what counts as acknowledged when its connection has it: at most `prefetch` frames
/// wait for the connection driver.
async fn hand_over(
    window: &Window,
    shown: &Arc<str>,
    mut taken: mpsc::Receiver<Taken>,
    settler: &dyn Settler,
) {
    let prefetch = window.prefetch as usize;
    let outbox = &*window.outbox;
    let mut next: Option<Taken> = None;
    let mut handed = Handed::default();
    loop {
        tokio::select! {
            pulled = handed.pulled(outbox), if !handed.0.is_empty() => match pulled {
                Some(pulled) => handed.settle(pulled, settler).await,
                None => break,
            },
            has_room = outbox.room(), if next.is_some() => {
                if !has_room {
                    break;
                }
                if let Some(taken) = next.take() {
                    let tag = taken.tag;
                    if !window.accept(content(taken, shown)) {
                        break;
                    }
                    handed.0.push_back((outbox.mark(), tag));
                }
            }
            received = taken.recv(), if next.is_none() && handed.0.len() < prefetch => {
                match received {
                    Some(taken) => next = Some(taken),
                    None => break,
                }
            }
            () = window.closed() => break,
        }
    }
    // Of a session that ends nothing more is pulled. Of one that goes on, what stands in the outbox
    // goes out before the RECEIPT of the UNSUBSCRIBE.
    let gone_out = match outbox.is_cut() {
        true => outbox.pulled(),
        false => outbox.mark(),
    };
    handed.settle(gone_out, settler).await;
}

/// What was handed over and is not acknowledged yet, with the places at which it stands in the outbox.
#[derive(Default)]
struct Handed(VecDeque<(Mark, Tag)>);

impl Handed {
    /// How far the driver has come, once it has come as far as the first of these.
    async fn pulled(&self, outbox: &Outbox) -> Option<Mark> {
        let (mark, _) = self.0.front()?;
        outbox.pulled_beyond(*mark).await
    }

    /// Acknowledges what the driver has pulled.
    async fn settle(&mut self, pulled: Mark, settler: &dyn Settler) {
        let through = self.0.partition_point(|(mark, _)| *mark <= pulled);
        let tags: Vec<_> = self.0.drain(..through).map(|(_, tag)| tag).collect();
        if !tags.is_empty() {
            settler.settle(&tags, Verdict::Ack).await;
        }
    }
}

fn content(taken: Taken, shown: &Arc<str>) -> Content {
    let Taken {
        tag,
        message,
        redelivered,
    } = taken;
    Content {
        destination: Arc::clone(shown),
        message_id: message.id,
        content_type: None,
        headers: message.headers,
        body: message.body,
        is_shared: false,
        redelivered,
        tag: Some(tag),
    }
}
