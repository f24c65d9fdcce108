//! Publishing: a lane into the open connection, a window of unconfirmed publications, deadlines.
//!
//! Not here: consuming; who is a target. Invariant: nothing is buffered while there is no
//! connection. What was handed over when one is lost is answered with an error, never kept for the
//! next connection: its number is a gap, and gaps are repaired.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use lapin::Event;
use lapin::options::ConfirmSelectOptions;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::RabbitSettings;
use super::confirms::Outcome;
use super::connection::{Endpoint, Link, LinkError, reopen};
use super::flight::Flight;
use super::topology;
use crate::bus::BusError;

/// How often a connection on which nothing happens is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What goes to the broker.
pub(super) struct Publication {
    /// The exchange; empty for the queue that the key names.
    pub(super) exchange: &'static str,
    /// The routing key.
    pub(super) key: String,
    /// Further routing keys, in the header that the broker takes off.
    pub(super) bcc: Vec<String>,
    /// Whether it comes back when no queue takes it.
    pub(super) is_mandatory: bool,
    /// The message id: a return is recognised by it.
    pub(super) id: String,
    /// Whether it is written to disk, where the queue is.
    pub(super) is_persistent: bool,
    /// For how many milliseconds it is worth anything.
    pub(super) expiration_ms: Option<u32>,
    pub(super) payload: Bytes,
}

/// A publication on its way to the connection, with its place in the window.
pub(super) struct Command {
    pub(super) publication: Publication,
    pub(super) waiting: Waiting,
}

/// Who waits for a confirm, and the place in the window that is free after it.
pub(super) struct Waiting {
    done: oneshot::Sender<Result<Outcome, BusError>>,
    _place: OwnedSemaphorePermit,
}

impl Waiting {
    /// Tells the outcome; nobody may be interested in it any more.
    pub(super) fn tell(self, outcome: Result<Outcome, BusError>) {
        let _ = self.done.send(outcome);
    }
}

/// The way into one open connection.
struct Lane {
    commands: mpsc::Sender<Command>,
    /// As many places as the window is wide; closed with the connection.
    places: Arc<Semaphore>,
    /// False while the broker blocks publishers, or owes a confirm for too long.
    is_taking: AtomicBool,
}

/// Where publications come in. There is a lane while there is a connection.
#[derive(Default)]
pub(super) struct Gate(Mutex<GateState>);

#[derive(Default)]
struct GateState {
    lane: Option<Arc<Lane>>,
    /// No lane will be opened any more.
    is_closed: bool,
}

impl Gate {
    pub(super) fn is_up(&self) -> bool {
        let state = self.lock();
        let lane = state.lane.as_ref();
        !state.is_closed && lane.is_some_and(|lane| lane.is_taking.load(Ordering::Relaxed))
    }

    /// Hands a publication over. Waits for a place in the window; the order is that of returning.
    pub(super) async fn publish(
        &self,
        publication: Publication,
    ) -> Result<impl Future<Output = Result<Outcome, BusError>> + Send + use<>, BusError> {
        let lane = {
            let state = self.lock();
            if state.is_closed {
                return Err(unavailable("closed"));
            }
            state.lane.clone()
        };
        let lane = lane.ok_or_else(|| unavailable("no connection"))?;
        lane.check()?;
        let place = Arc::clone(&lane.places).acquire_owned().await;
        let place = place.map_err(|_| unavailable("the connection was lost"))?;
        lane.check()?;
        let (done, outcome) = oneshot::channel();
        let waiting = Waiting {
            done,
            _place: place,
        };
        let command = Command {
            publication,
            waiting,
        };
        // There is room for as many as there are places.
        let handed = lane.commands.try_send(command);
        handed.map_err(|_| unavailable("the connection was lost"))?;
        Ok(async move {
            outcome
                .await
                .unwrap_or_else(|_| Err(not_confirmed("the connection was lost before")))
        })
    }

    /// Takes nothing more and waits, for at most `within`, until all is confirmed.
    pub(super) async fn close(&self, window: usize, within: Duration) {
        let lane = {
            let mut state = self.lock();
            state.is_closed = true;
            state.lane.clone()
        };
        if let Some(lane) = lane {
            let window = u32::try_from(window).unwrap_or(u32::MAX);
            let all_free = lane.places.acquire_many(window);
            if tokio::time::timeout(within, all_free).await.is_err() {
                tracing::warn!("closing RabbitMQ with unconfirmed publications");
            }
        }
    }

    fn open(&self, lane: Arc<Lane>) {
        self.lock().lane = Some(lane);
    }

    /// The connection is gone: who waits for a place is told.
    fn shut(&self) {
        if let Some(lane) = self.lock().lane.take() {
            lane.places.close();
        }
    }

    fn lock(&self) -> MutexGuard<'_, GateState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lane {
    fn check(&self) -> Result<(), BusError> {
        if self.is_taking.load(Ordering::Relaxed) {
            Ok(())
        } else {
            Err(unavailable("the broker takes nothing now"))
        }
    }
}

/// The task that owns the publishing connection.
pub(super) struct Publisher {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) settings: RabbitSettings,
    pub(super) gate: Arc<Gate>,
    /// What the connection is for, as the broker shows it.
    pub(super) purpose: &'static str,
    pub(super) stop: CancellationToken,
}

impl Publisher {
    /// Opens a connection that can publish: the exchange is there, confirms are on.
    pub(super) async fn open(&self) -> Result<Link, LinkError> {
        let link = self.endpoint.open(self.purpose).await?;
        let preparing = async {
            topology::declare_exchange(&link.channel).await?;
            let confirms = ConfirmSelectOptions::default();
            link.channel.confirm_select(confirms).await
        };
        self.endpoint.within(preparing).await?;
        Ok(link)
    }

    /// Takes publications from now on, on this connection, as soon as the task runs.
    pub(super) fn admit(&self) -> Inbox {
        let (commands, inbox) = mpsc::channel(self.settings.window);
        let lane = Arc::new(Lane {
            commands,
            places: Arc::new(Semaphore::new(self.settings.window)),
            is_taking: AtomicBool::new(true),
        });
        self.gate.open(Arc::clone(&lane));
        Inbox { lane, inbox }
    }

    /// Publishes until told to stop, over as many connections as it takes.
    pub(super) async fn run(self, mut link: Link, mut inbox: Inbox) {
        loop {
            let lost = self.serve(&link, inbox).await;
            self.gate.shut();
            let Some(why) = lost else {
                link.close().await;
                return;
            };
            tracing::warn!(%why, what = self.purpose, "lost a connection to RabbitMQ");
            drop(link);
            let opened = reopen(self.purpose, &self.stop, || self.open()).await;
            let Some(opened) = opened else {
                return;
            };
            tracing::info!(broker = %self.endpoint, what = self.purpose, "RabbitMQ is back");
            link = opened;
            inbox = self.admit();
        }
    }

    /// Serves one connection until it is lost (the answer says why) or until told to stop.
    async fn serve(&self, link: &Link, inbox: Inbox) -> Option<String> {
        let Inbox { lane, mut inbox } = inbox;
        let mut events = std::pin::pin!(link.connection.events_listener());
        let mut flight = Flight::new(link.channel.clone(), self.settings.confirm_within);
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_blocked = false;
        loop {
            let is_taking = !is_blocked && !flight.is_overdue();
            if is_taking != lane.is_taking.swap(is_taking, Ordering::Relaxed) {
                tracing::warn!(is_taking, is_blocked, "RabbitMQ and publications");
            }
            let deadline = flight.deadline();
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                event = events.next() => match event {
                    Some(Event::ConnectionBlocked(_)) => is_blocked = true,
                    Some(Event::ConnectionUnblocked) => is_blocked = false,
                    Some(Event::Error(error)) => return Some(error.to_string()),
                    // Further events say nothing about publishing.
                    Some(_) => {}
                    None => return Some("closed".to_owned()),
                },
                round = flight.round() => if let Err(error) = round {
                    return Some(error.to_string());
                },
                Some(command) = inbox.recv() => if is_taking {
                    flight.write(command);
                } else {
                    let refusal = unavailable("the broker takes nothing now");
                    command.waiting.tell(Err(refusal));
                },
                () = sleep_until(deadline), if deadline.is_some() => flight.expire(),
                _ = look.tick() => if !link.is_connected() {
                    return Some("closed by the broker".to_owned());
                },
            }
        }
    }
}

/// The receiving end of a lane.
pub(super) struct Inbox {
    lane: Arc<Lane>,
    inbox: mpsc::Receiver<Command>,
}

/// A publication as the client library sends it, up to its confirm. The first poll hands it over.
pub(super) type Sending = Pin<Box<dyn Future<Output = lapin::Result<lapin::Confirmation>> + Send>>;

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    if let Some(deadline) = deadline {
        tokio::time::sleep_until(deadline).await;
    }
}

pub(super) fn unavailable(words: &str) -> BusError {
    BusError::Unavailable(format!("RabbitMQ: {words}"))
}

pub(super) fn not_confirmed(words: &str) -> BusError {
    BusError::NotConfirmed(format!("RabbitMQ: {words}"))
}
