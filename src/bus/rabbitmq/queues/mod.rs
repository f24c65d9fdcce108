//! The queues of a cluster: `/queue/**` in RabbitMQ, where consumers of all nodes compete.
//!
//! Not here: subscriptions. Two connections, one to publish and one to declare and consume; each
//! consumer has a channel, because closing it is what gives back everything unsettled. Invariants:
//! what was confirmed is in a durable queue; nothing is buffered while there is no connection; every
//! [`Sent`] resolves in bounded time.

mod consuming;
mod declare;
mod known;
mod letter;
mod line;
mod outstanding;
mod settling;
mod upkeep;

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::consuming::Consuming;
use self::declare::Declared;
use self::known::Known;
use self::letter::Letter;
use self::line::{Keeper, Line};
use self::settling::{RabbitSettler, Unsettled};
use super::confirms::Outcome;
use super::connection::{Endpoint, Link, LinkError};
use super::publisher::{Gate, Publication, Publisher};
use super::{CLOSE_WITHIN, RabbitConnectError, RabbitSettings, Stage, topology};
use crate::budget::{Claimant, Memory, Portion};
use crate::bus::BusError;
use crate::bus::queue::{
    Consumer, QueueError, QueueMessage, QueueSettings, Queues, Sent, Wish, dead_letters_of,
};
use crate::model::{NodeId, QueueArguments};

/// How many messages wait between a channel and who reads at most; the others wait in the channel.
const TAKEN_MAX: usize = 16;

/// A letter on its way: resolves when it is in its queue, or not.
type Handed = Pin<Box<dyn Future<Output = Result<(), QueueError>> + Send>>;

/// A node's handle on the queues of the cluster.
pub struct RabbitQueues {
    core: Arc<Core>,
    window: usize,
    broker: String,
    tracker: TaskTracker,
    consuming: Stage,
    publishing: Stage,
}

/// What sending, consuming and settling share.
struct Core {
    settings: QueueSettings,
    gate: Arc<Gate>,
    connections: watch::Receiver<Option<Arc<Line>>>,
    known: Arc<Known>,
    /// On what draws what consumers have taken.
    memory: OnceLock<Arc<Memory>>,
    /// Names publications: a return is recognised by it.
    numbers: AtomicU64,
}

impl RabbitQueues {
    /// Connects twice. Cancelling `shutdown` ends everything at once.
    ///
    /// # Errors
    /// [`RabbitConnectError`]. A refusal at once; an unreachable broker after
    /// [`RabbitSettings::start_within`].
    pub async fn connect(
        url: &str,
        node: &NodeId,
        rabbit: RabbitSettings,
        settings: QueueSettings,
        tracker: TaskTracker,
        shutdown: CancellationToken,
    ) -> Result<Arc<Self>, RabbitConnectError> {
        rabbit.check()?;
        let endpoint = Arc::new(Endpoint::parse(url, node, &rabbit)?);
        let consuming = Stage::under(&shutdown);
        let publishing = Stage::under(&shutdown);
        let gate = Arc::new(Gate::default());
        let window = rabbit.window;
        let publisher = Publisher {
            endpoint: Arc::clone(&endpoint),
            settings: rabbit,
            gate: Arc::clone(&gate),
            purpose: "publishing to queues",
            stop: publishing.stop.clone(),
        };
        let (line, link) = open_both(&endpoint, &publisher).await?;
        let (open, connections) = watch::channel(Some(Arc::clone(&line)));
        let keeper = Keeper {
            endpoint: Arc::clone(&endpoint),
            open,
            stop: consuming.stop.clone(),
        };
        let inbox = publisher.admit();
        tracker.spawn(consuming.guard(keeper.run(line)));
        tracker.spawn(publishing.guard(publisher.run(link, inbox)));
        let core = Core {
            settings,
            gate,
            connections,
            known: Arc::new(Known::new(settings)),
            memory: OnceLock::new(),
            numbers: AtomicU64::new(0),
        };
        let core = Arc::new(core);
        let upkeep = Arc::clone(&core).upkeep(consuming.stop.clone());
        tracker.spawn(consuming.guard(upkeep));
        Ok(Arc::new(Self {
            core,
            window,
            broker: endpoint.to_string(),
            tracker,
            consuming,
            publishing,
        }))
    }
}

/// Opens both connections, trying again while the broker is away.
async fn open_both(
    endpoint: &Arc<Endpoint>,
    publisher: &Publisher,
) -> Result<(Arc<Line>, Link), RabbitConnectError> {
    let give_up_at = Instant::now() + publisher.settings.start_within;
    loop {
        let opening = async {
            let line = Line::open(endpoint).await?;
            Ok::<_, LinkError>((line, publisher.open().await?))
        };
        match opening.await {
            Ok(opened) => return Ok(opened),
            Err(error) => endpoint.give_up(error, Instant::now() >= give_up_at)?,
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

impl Core {
    /// The connection for declarations and consumers.
    fn line(&self) -> Result<Arc<Line>, QueueError> {
        let line = self.connections.borrow().clone();
        line.ok_or_else(|| QueueError::Unavailable("RabbitMQ: no connection".to_owned()))
    }

    /// Makes sure that a queue is there as it is wanted. Most often it is known. `beyond` as in
    /// [`Known::use_it`].
    async fn reach(&self, queue: &str, wish: &Wish, beyond: bool) -> Result<(), QueueError> {
        let (named, made) = (&wish.named, wish.made);
        if !self.known.use_it(queue, wish, beyond)? {
            return Ok(());
        }
        let declared = match self.known.declared(queue) {
            // As it was when it was made, should it be gone.
            Some(declared) if declared.made.fits(named).is_ok() => declared,
            Some(_) | None => Declared {
                made,
                octets_max: self.settings.bytes_max,
                drops_oldest: dead_letters_of(queue).is_none(),
            },
        };
        let is_foreign = self.known.is_foreign(queue);
        let declaring = async {
            let line = self.line()?;
            let declaring = declare::declare(&*line, queue, named, declared, is_foreign);
            line.declaring(line.within(async { Ok(declaring.await) }))
                .await?
        };
        let declared = declaring.await;
        match declared {
            Ok(declared) => {
                self.known.note(queue, declared);
                Ok(())
            }
            Err(error) => {
                self.known.forget(queue);
                Err(error)
            }
        }
    }

    /// Publishes to a queue that was made sure of. Returning fixes the order.
    async fn hand(
        self: &Arc<Self>,
        queue: Box<str>,
        wish: Wish,
        letter: Letter,
        portion: Option<Portion>,
    ) -> Result<Handed, QueueError> {
        let outcome = self.publish(&queue, &letter).await?;
        let core = Arc::clone(self);
        Ok(Box::pin(async move {
            match outcome.await.map_err(unavailable)? {
                Outcome::Routed => return core.has(&queue, portion),
                Outcome::Refused => return Err(QueueError::Full),
                Outcome::NoRoute => core.known.doubt(&queue),
            }
            // The queue has expired, or somebody has deleted it.
            core.reach(&queue, &wish, true).await?;
            let outcome = core.publish(&queue, &letter).await?;
            match outcome.await.map_err(unavailable)? {
                Outcome::Routed => core.has(&queue, portion),
                Outcome::Refused => Err(QueueError::Full),
                Outcome::NoRoute => {
                    core.known.doubt(&queue);
                    let words = "RabbitMQ: the queue is gone".to_owned();
                    Err(QueueError::Unavailable(words))
                }
            }
        }))
    }

    /// The queue has what was sent to it, which counts to the share of its sender from now on.
    fn has(&self, queue: &str, portion: Option<Portion>) -> Result<(), QueueError> {
        if let Some(portion) = portion {
            self.known.has(queue, portion);
        }
        Ok(())
    }

    async fn publish(
        &self,
        queue: &str,
        letter: &Letter,
    ) -> Result<impl Future<Output = Result<Outcome, BusError>> + Send + use<>, QueueError> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let publication = Publication {
            // The default exchange, where each queue has its name for a key.
            exchange: "",
            key: topology::stomp_queue_of(queue),
            bcc: Vec::new(),
            is_mandatory: true,
            id: number.to_string(),
            is_persistent: letter.is_persistent,
            expiration_ms: letter.expiration_ms,
            payload: letter.octets.clone(),
        };
        self.gate.publish(publication).await.map_err(unavailable)
    }
}

#[async_trait]
impl Queues for RabbitQueues {
    async fn send(
        &self,
        queue: &str,
        arguments: &QueueArguments,
        message: QueueMessage,
        by: &Claimant,
    ) -> Result<Sent, QueueError> {
        if !self.core.gate.is_up() {
            return Err(QueueError::Unavailable(
                "RabbitMQ: no connection".to_owned(),
            ));
        }
        let wish = Wish::new(arguments, by, &self.core.settings)?;
        let Some(letter) = Letter::write(&message) else {
            return Err(QueueError::Limit("headers"));
        };
        let portion = self.core.known.take_bytes(by, message.octets())?;
        self.core.reach(queue, &wish, false).await?;
        let portion = Some(portion);
        self.core.hand(queue.into(), wish, letter, portion).await
    }

    async fn consume(
        &self,
        queue: &str,
        arguments: &QueueArguments,
        prefetch: u16,
        by: &Claimant,
    ) -> Result<Consumer, QueueError> {
        let wish = Wish::new(arguments, by, &self.core.settings)?;
        let mut counted = self.core.known.count()?;
        self.core.reach(queue, &wish, false).await?;
        counted.at(queue);
        let prefetch = prefetch.max(1);
        let (sender, taken) = mpsc::channel(usize::from(prefetch).min(TAKEN_MAX));
        let unsettled = Arc::new(Unsettled::default());
        let stop = self.consuming.stop.child_token();
        let consuming = Consuming {
            core: Arc::clone(&self.core),
            queue: queue.into(),
            by: by.clone(),
            prefetch,
            taken: sender,
            unsettled: Arc::clone(&unsettled),
            stop: stop.clone(),
            _counted: counted,
        };
        let open = consuming.open().await?;
        let settler = Box::new(RabbitSettler {
            core: Arc::clone(&self.core),
            queue: queue.into(),
            by: by.clone(),
            unsettled,
            _end: stop.drop_guard(),
        });
        self.tracker.spawn(consuming.run(open));
        Ok(Consumer { taken, settler })
    }

    fn may_consume(
        &self,
        queue: &str,
        arguments: &QueueArguments,
        by: &Claimant,
    ) -> Result<(), QueueError> {
        let wish = Wish::new(arguments, by, &self.core.settings)?;
        self.core.known.may_use(queue, &wish)
    }

    /// Messages in queues are with the broker. What consumers have taken and not settled is here.
    fn draw_on(&self, memory: &Arc<Memory>) {
        let _first_one_counts = self.core.memory.set(Arc::clone(memory));
    }

    async fn close(&self) {
        self.core.gate.close(self.window, CLOSE_WITHIN).await;
        tokio::join!(self.consuming.end(), self.publishing.end());
    }
}

fn unavailable(error: BusError) -> QueueError {
    let (BusError::Unavailable(words) | BusError::NotConfirmed(words)) = error;
    QueueError::Unavailable(words)
}

impl fmt::Debug for RabbitQueues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitQueues")
            .field("broker", &self.broker)
            .field("is_up", &self.core.gate.is_up())
            .finish_non_exhaustive()
    }
}
