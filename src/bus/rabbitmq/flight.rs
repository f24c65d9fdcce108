//! The publications in flight on one channel, from the first octet to the confirm.
//!
//! Not here: admission (`publisher`), what a return means (`confirms`). Invariant: publications
//! are written in the order of [`Flight::write`], and every one is told an outcome within the
//! deadline or when the flight ends.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::future::{MaybeDone, maybe_done};
use futures_util::task::AtomicWaker;
use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldArray, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation};
use tokio::time::Instant;

use super::confirms::{Completed, Ledger};
use super::publisher::{Command, Publication, Sending, Waiting, not_confirmed};

/// Not written to disk.
const TRANSIENT: u8 = 1;

/// Written to disk before it is confirmed.
const PERSISTENT: u8 = 2;

pub(super) struct Flight {
    channel: Arc<Channel>,
    confirm_within: Duration,
    /// In the order of writing.
    entries: Vec<Entry>,
    ledger: Ledger<Option<Confirming>>,
    /// Rings when any entry has made progress, so that not every wake-up polls them all.
    alarm: Arc<Alarm>,
}

struct Entry {
    id: String,
    is_mandatory: bool,
    deadline: Instant,
    /// `None` after the deadline: it was told then, and only the connection's health hangs on it.
    confirming: Option<Confirming>,
    sending: Pin<Box<MaybeDone<Sending>>>,
}

struct Confirming {
    waiting: Waiting,
    since: Instant,
}

impl Flight {
    pub(super) fn new(channel: Channel, confirm_within: Duration) -> Self {
        Self {
            channel: Arc::new(channel),
            confirm_within,
            entries: Vec::new(),
            ledger: Ledger::new(),
            alarm: Arc::new(Alarm::default()),
        }
    }

    /// Hands a publication to the client library, after all that came before.
    pub(super) fn write(&mut self, command: Command) {
        let Command {
            publication,
            waiting,
        } = command;
        let Ok(message_id) = ShortString::try_new(publication.id.as_str()) else {
            waiting.tell(Err(not_confirmed("an id of more than 255 octets")));
            return;
        };
        let since = Instant::now();
        let id = publication.id.clone();
        let is_mandatory = publication.is_mandatory;
        let sending: Sending = Box::pin(send(Arc::clone(&self.channel), publication, message_id));
        let mut sending = Box::pin(maybe_done(sending));
        let waker = Waker::from(Arc::clone(&self.alarm));
        // The first poll puts it into the library's queue, which fixes the order.
        if sending
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
        {
            self.alarm.has_rung.store(true, Ordering::Release);
        }
        self.entries.push(Entry {
            id,
            is_mandatory,
            deadline: since + self.confirm_within,
            confirming: Some(Confirming { waiting, since }),
            sending,
        });
    }

    /// Waits until something was confirmed or refused, and tells whom it concerns.
    ///
    /// # Errors
    /// When the channel is lost. Whoever is still waiting is told when this flight is dropped.
    pub(super) async fn round(&mut self) -> lapin::Result<()> {
        std::future::poll_fn(|context| {
            self.alarm.task.register(context.waker());
            if !self.alarm.has_rung.swap(false, Ordering::AcqRel) {
                return Poll::Pending;
            }
            match self.sweep() {
                Ok(round) if round.is_empty() => Poll::Pending,
                Ok(round) => {
                    self.settle(round);
                    Poll::Ready(Ok(()))
                }
                Err(error) => Poll::Ready(Err(error)),
            }
        })
        .await
    }

    /// When the next confirm is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let mut waited_for = self.entries.iter().filter(|e| e.confirming.is_some());
        waited_for.next().map(|entry| entry.deadline)
    }

    /// Whether the broker owes a confirm whose deadline has passed: better to send it nothing.
    pub(super) fn is_overdue(&self) -> bool {
        self.entries.iter().any(|entry| entry.confirming.is_none())
    }

    /// Tells those whose deadline has passed, and those whose outcome hangs on them.
    pub(super) fn expire(&mut self) {
        let now = Instant::now();
        let mut late: Vec<Confirming> = Vec::new();
        for entry in self.entries.iter_mut().filter(|e| e.deadline <= now) {
            late.extend(entry.confirming.take());
        }
        if !late.is_empty() {
            late.extend(self.ledger.give_up().into_iter().flatten());
        }
        for confirming in late {
            let outcome = Err(not_confirmed("no confirm in time"));
            confirming.waiting.tell(outcome);
        }
    }

    /// All that is complete now. It goes on until a whole pass finds nothing, so that what the
    /// library completed earlier than anything found is found too; the ledger relies on it.
    fn sweep(&mut self) -> lapin::Result<Vec<Completed<Option<Confirming>>>> {
        let waker = Waker::from(Arc::clone(&self.alarm));
        let mut context = Context::from_waker(&waker);
        let mut round = Vec::new();
        loop {
            let before = round.len();
            let mut lost = None;
            self.entries.retain_mut(|entry| {
                if lost.is_some() || entry.sending.as_mut().poll(&mut context).is_pending() {
                    return true;
                }
                match entry.sending.as_mut().take_output() {
                    Some(Ok(confirmation)) => round.push(entry.completed(confirmation)),
                    Some(Err(error)) => lost = Some(error),
                    // The output is taken where the entry leaves, so there always is one.
                    None => {}
                }
                lost.is_some()
            });
            if let Some(error) = lost {
                return Err(error);
            }
            if round.len() == before {
                return Ok(round);
            }
        }
    }

    fn settle(&mut self, round: Vec<Completed<Option<Confirming>>>) {
        let is_idle = self.entries.is_empty();
        for (confirming, outcome) in self.ledger.settle(round, is_idle) {
            let Some(Confirming { waiting, since }) = confirming else {
                continue;
            };
            metrics::histogram!("amqp_confirm_seconds").record(since.elapsed().as_secs_f64());
            waiting.tell(Ok(outcome));
        }
    }
}

impl Entry {
    fn completed(&mut self, confirmation: Confirmation) -> Completed<Option<Confirming>> {
        let is_acked = confirmation.is_ack();
        let returned = confirmation.take_message().and_then(|message| {
            let id = message.properties.message_id().as_ref();
            id.map(|id| id.as_str().to_owned())
        });
        Completed {
            id: std::mem::take(&mut self.id),
            is_mandatory: self.is_mandatory,
            is_acked,
            returned,
            waiting: self.confirming.take(),
        }
    }
}

/// Publishes and waits for the confirm.
async fn send(
    channel: Arc<Channel>,
    publication: Publication,
    message_id: ShortString,
) -> lapin::Result<Confirmation> {
    let mut properties = BasicProperties::default()
        .with_delivery_mode(match publication.is_persistent {
            true => PERSISTENT,
            false => TRANSIENT,
        })
        .with_message_id(message_id);
    if !publication.bcc.is_empty() {
        let keys = publication.bcc.into_iter();
        let keys: Vec<_> = keys
            .map(|key| AMQPValue::LongString(key.into_bytes().into()))
            .collect();
        let mut headers = FieldTable::default();
        headers.insert("BCC".into(), AMQPValue::FieldArray(FieldArray::from(keys)));
        properties = properties.with_headers(headers);
    }
    if let Some(expiration_ms) = publication.expiration_ms {
        properties = properties.with_expiration(expiration_ms.to_string().into());
    }
    let options = BasicPublishOptions {
        mandatory: publication.is_mandatory,
        ..BasicPublishOptions::default()
    };
    let key = publication.key.as_str().into();
    let payload = &publication.payload;
    channel
        .basic_publish(
            publication.exchange.into(),
            key,
            options,
            payload,
            properties,
        )
        .await?
        .await
}

/// A waker that remembers that it was woken.
#[derive(Default)]
struct Alarm {
    has_rung: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.has_rung.store(true, Ordering::Release);
        self.task.wake();
    }
}
