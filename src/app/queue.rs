//! `/queue/**`: one consumer gets each message and acknowledges it.
//!
//! Not here: who may (`policy::destinations`), which consumer (`bus::queue`), what is unsettled
//! (`hub::window`). Invariants: what one session sends to one queue is in it in the order in which it
//! was sent; the RECEIPT of a SEND says that the queue has the message.

use std::sync::Arc;
use std::time::Duration;

use super::rates::bytes_of;
use super::{App, Live, Pending, refused};
use crate::broker::Consume;
use crate::budget::Claimant;
use crate::bus::queue::{QueueError, QueueMessage, Scarce};
use crate::hub::{Opening, Shown, Subscriber};
use crate::model::{Code, Problem, QueueArguments, UnixMillis};
use crate::session::{Reply, Send, Subscribe, queue_arguments};

impl App {
    pub(super) async fn queue_send(self: &Arc<Self>, live: &Live, send: Send) -> Pending {
        let remaining = match self.take_message(live, bytes_of(&send)).await {
            Ok(remaining) => remaining,
            Err(problem) => return refused(problem),
        };
        let said = lifetime(&send, (self.clock)()).and_then(|it| Ok((it, arguments(&send)?)));
        let (lifetime, arguments) = match said {
            Ok(said) => said,
            Err(problem) => return refused(problem),
        };
        let mut reply = Reply::default();
        if remaining != u32::MAX {
            reply
                .headers
                .push(("x-rate-remaining", remaining.to_string()));
        }
        let Some(ttl) = lifetime else {
            // It was over before it came: nobody is to have it.
            return Box::pin(std::future::ready(Ok(reply)));
        };
        let message = QueueMessage {
            id: self.broker.next_message_id().into(),
            persistent: header(&send, "persistent") != Some("false"),
            headers: send.headers,
            body: send.body,
            ttl: ttl.limit,
            nacks: 0,
        };
        // Awaited here and not in the outcome: the next SEND of this session must come after it.
        let queue = send.destination.to_string();
        let by = live.claimant();
        let sent = self.broker.send_to_queue(&queue, &arguments, message, &by);
        match sent.await {
            Ok(sent) => Box::pin(async move {
                sent.await.map_err(problem)?;
                Ok(reply)
            }),
            Err(error) => refused(problem(error)),
        }
    }

    pub(super) fn queue_subscribe(
        self: &Arc<Self>,
        live: &Live,
        subscribe: &Subscribe,
        queue: &Arc<str>,
        subscriber: Subscriber,
    ) -> Pending {
        let shown = match &subscriber.shown {
            Shown::As(written) => Arc::clone(written),
            Shown::Canonical | Shown::Under { .. } => Arc::clone(queue),
        };
        let window = live.hub.open_window(Opening {
            id: &subscribe.id,
            subscriber,
            mode: subscribe.ack,
            prefetch: subscribe.prefetch,
            limits: self.settings.outbox,
            is_fed: true,
        });
        let consume = Consume {
            queue: Arc::clone(queue),
            shown,
            arguments: subscribe.arguments,
            by: live.claimant(),
        };
        let begun = self.broker.consume(&live.hub, window, consume);
        Box::pin(async move {
            begun.await.map_err(problem)?;
            Ok(Reply::default())
        })
    }

    /// Whether a consumer could begin, asked before others lose something for it.
    pub(super) fn may_consume(&self, subscribe: &Subscribe, by: &Claimant) -> Result<(), Problem> {
        let queue = subscribe.destination.to_string();
        let may = self.broker.may_consume(&queue, &subscribe.arguments, by);
        may.map_err(problem)
    }

    /// Whether a SEND to a queue says what it may, apart from what the queue knows.
    pub(super) fn check_queue_send(&self, send: &Send) -> Result<(), Problem> {
        lifetime(send, (self.clock)())?;
        arguments(send).map(|_| ())
    }
}

/// How long a message is worth anything, if that was said.
#[derive(Debug, PartialEq, Eq)]
struct Lifetime {
    limit: Option<Duration>,
}

/// Reads `expires`, the time of the end in milliseconds since 1970 with 0 for never (ActiveMQ), and
/// `expiration`, the milliseconds until then (RabbitMQ). The earlier end counts; nothing when it is
/// over.
fn lifetime(send: &Send, now: UnixMillis) -> Result<Option<Lifetime>, Problem> {
    let expires = number(send, "expires")?.filter(|at| *at != 0);
    let expiration = number(send, "expiration")?.map(Duration::from_millis);
    if expires.is_some_and(|at| at <= now.0) {
        return Ok(None);
    }
    let left = expires.map(|at| UnixMillis(at).since(now));
    let limit = [left, expiration].into_iter().flatten().min();
    Ok(Some(Lifetime { limit }))
}

fn number(send: &Send, name: &'static str) -> Result<Option<u64>, Problem> {
    let Some(text) = header(send, name) else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_| {
        let words = format!("The header {name} is a number of milliseconds.");
        Problem::new(Code::ValidationFailed, words).in_field(name)
    })
}

/// What a SEND says of its queue, which is made so when it does not exist (RabbitMQ).
fn arguments(send: &Send) -> Result<QueueArguments, Problem> {
    queue_arguments(|name| header(send, name)).map_err(|words| {
        let field = words.split(' ').next().unwrap_or_default().to_owned();
        Problem::new(Code::ValidationFailed, words).in_field(field)
    })
}

fn header<'a>(send: &'a Send, name: &str) -> Option<&'a str> {
    let mut headers = send.headers.iter();
    let found = headers.find(|(other, _)| **other == *name);
    found.map(|(_, value)| &**value)
}

/// What a client is told when a queue does not do it.
fn problem(error: QueueError) -> Problem {
    match error {
        QueueError::Unavailable(cause) => {
            tracing::debug!(cause, "a queue was not reached");
            let words = "Queues cannot be reached at the moment. Try again.";
            Problem::new(Code::BrokerUnavailable, words).retry_after_ms(1_000)
        }
        QueueError::Full => {
            let words = "The queue is full. Send again when something was consumed.";
            Problem::new(Code::LimitExceeded, words).retry_after_ms(1_000)
        }
        QueueError::OtherArguments(which) => {
            let words = format!(
                "The queue has other arguments: {which}. Leave them out, or use the same as it has."
            );
            Problem::new(Code::Conflict, words)
        }
        QueueError::Limit(of) => {
            let words = format!("This node has as many {of} as it may.");
            Problem::new(Code::LimitExceeded, words)
        }
        QueueError::Share { of, why } => {
            let remedy = match of {
                Scarce::Queues => {
                    "Use a queue that exists, or try again: a queue that nobody uses is removed within minutes."
                }
                Scarce::Bytes => "Send again when something was consumed.",
            };
            let what = match of {
                Scarce::Queues => "queues",
                Scarce::Bytes => "bytes in queues",
            };
            App::share_refused(what, why, remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::model::Destination;
    use crate::session::Ticket;

    fn send(headers: &[(&str, &str)]) -> Send {
        let own = |(name, value): &(&str, &str)| ((*name).into(), (*value).into());
        Send {
            ticket: Ticket(1),
            destination: Destination::Queue("/queue/a".into()),
            headers: headers.iter().map(own).collect(),
            body: Bytes::new(),
        }
    }

    #[test]
    fn the_earlier_of_two_ends_counts() {
        let check = |headers: &[(&str, &str)], expected: Option<Option<u64>>| {
            let found = lifetime(&send(headers), UnixMillis(1_000)).unwrap();
            let limit = expected.map(|limit| Lifetime {
                limit: limit.map(Duration::from_millis),
            });
            assert_eq!(found, limit, "{headers:?}");
        };
        check(&[], Some(None));
        check(&[("expires", "0")], Some(None));
        check(&[("expires", "1500")], Some(Some(500)));
        check(&[("expires", "1000")], None);
        check(&[("expires", "1")], None);
        check(&[("expiration", "0")], Some(Some(0)));
        check(&[("expiration", "300")], Some(Some(300)));
        check(
            &[("expires", "1500"), ("expiration", "300")],
            Some(Some(300)),
        );
        check(
            &[("expires", "1200"), ("expiration", "300")],
            Some(Some(200)),
        );
        for wrong in ["", "-1", "soon", "1.5"] {
            let refused = lifetime(&send(&[("expires", wrong)]), UnixMillis(0)).unwrap_err();
            assert_eq!(refused.code, Code::ValidationFailed);
            assert_eq!(refused.to_json()["errors"][0]["field"], "expires");
        }
    }
}
