//! The features of the service: what a CONNECT, a SUBSCRIBE and a SEND do.
//!
//! Not here: frames and sockets (`session`, `edge`), engines (`broker` knows them by contract).
//! Invariant: a RECEIPT says committed for what is stored, handed over for what is not.

pub mod chat;
pub mod connect;
mod destination;
mod ids;
pub mod rates;
pub mod relay;
mod reply;
pub mod topic;
pub mod user;

use std::future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

pub use rates::Activity;
pub use relay::{InvalidRelays, Relays};

use crate::broker::Broker;
use crate::hub::{HubSession, Outbox, OutboxLimits, Sink, Subscriber};
use crate::identity::{Clock, Visitors};
use crate::model::{Code, Destination, Prefixes, Principal, Problem, SessionId, UserQueue};
use crate::policy::Rules;
use crate::policy::bucket::Rate;
use crate::quota::Quota;
use crate::session::{Acknowledge, Commit, Reply, Send, Subscribe, Unsubscribe};

/// The names under `/app/` that the service itself serves.
pub const FEATURES: &[&str] = &["chat.send"];

/// What becomes of a request, once it is known. Dropping it does not undo the request.
pub type Pending = BoxFuture<'static, Result<Reply, Problem>>;

/// A connected session, as the connection driver holds it.
#[derive(Clone, Debug)]
pub struct Live {
    /// The session.
    pub session: SessionId,
    /// Who it speaks for.
    pub principal: Arc<Principal>,
    /// What is to be written to it.
    pub outbox: Arc<Outbox>,
    /// The session as the hub knows it.
    hub: Arc<HubSession>,
    /// What it has done lately.
    activity: Arc<Activity>,
}

/// The limits of the features. All of them are settings of the node.
#[derive(Clone, Debug)]
pub struct AppSettings {
    /// Characters of a message.
    pub message_chars_max: usize,
    /// Octets of a message.
    pub message_bytes_max: usize,
    /// Messages of one visitor.
    pub rate_visitor: Rate,
    /// Messages of one member.
    pub rate_member: Rate,
    /// Messages from one network.
    pub rate_network: Rate,
    /// Other frames of one connection.
    pub rate_frames: Rate,
    /// Sessions of one visitor.
    pub sessions_visitor_max: usize,
    /// Sessions of one member.
    pub sessions_member_max: usize,
    /// What is kept for one session that reads slowly.
    pub outbox: OutboxLimits,
    /// How long a visitor's messages are kept.
    pub visitor_history: Duration,
    /// What CONNECTED tells of the limits: a JSON object.
    pub limits_json: String,
    /// How destinations are written.
    pub prefixes: Arc<Prefixes>,
    /// Who may use which open destination.
    pub rules: Rules,
    /// What is published elsewhere than it was sent to.
    pub relays: Relays,
}

impl Default for AppSettings {
    fn default() -> Self {
        Self {
            message_chars_max: 4_000,
            message_bytes_max: 16 * 1024,
            rate_visitor: Rate {
                capacity: 100,
                per_10_min: 2_000,
            },
            rate_member: Rate {
                capacity: 100,
                per_10_min: 5_000,
            },
            rate_network: Rate {
                capacity: 1_000,
                per_10_min: 20_000,
            },
            rate_frames: Rate {
                capacity: 100,
                per_10_min: 6_000,
            },
            sessions_visitor_max: 3,
            sessions_member_max: 20,
            outbox: OutboxLimits {
                frames_max: 1_024,
                bytes_max: 512 * 1024,
            },
            visitor_history: Duration::from_secs(24 * 3_600),
            limits_json: "{}".to_owned(),
            prefixes: Arc::default(),
            rules: Rules::default(),
            relays: Relays::default(),
        }
    }
}

/// The service of one node.
pub struct App {
    broker: Arc<Broker>,
    visitors: Arc<Visitors>,
    quota: Arc<dyn Quota>,
    settings: AppSettings,
    ids: ids::MessageIds,
    replies: reply::ReplyQueues,
    clock: Clock,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App")
            .field("node", &self.broker.here)
            .finish_non_exhaustive()
    }
}

impl App {
    /// The service on these parts.
    #[must_use]
    pub fn new(
        broker: Arc<Broker>,
        visitors: Arc<Visitors>,
        quota: Arc<dyn Quota>,
        settings: AppSettings,
        clock: Clock,
    ) -> Arc<Self> {
        let ids = ids::MessageIds::new();
        Arc::new(Self {
            broker,
            visitors,
            quota,
            settings,
            ids,
            replies: reply::ReplyQueues::default(),
            clock,
        })
    }

    /// Takes a SEND. Await the call before the next request of the session, so that order is kept;
    /// the outcome comes later.
    pub async fn send(self: &Arc<Self>, live: &Live, mut send: Send) -> Pending {
        if let Err(problem) = self.admit(live, &mut send) {
            return self.refused_frame(live, problem);
        }
        match &send.destination {
            Destination::App(name) if &**name == "chat.send" => self.chat_send(live, &send).await,
            Destination::Topic(_) | Destination::ReplyQueue(_) => self.topic_send(live, send).await,
            Destination::User(rest) => {
                let rest = Arc::clone(rest);
                self.user_send(live, &rest, send).await
            }
            Destination::App(_)
            | Destination::Queue(_)
            | Destination::UserQueue(_)
            | Destination::TempQueue(_) => self.refused_frame(live, unknown(&send.destination)),
        }
    }

    /// Finds out where a SEND goes, and whether its sender may.
    fn admit(&self, live: &Live, send: &mut Send) -> Result<(), Problem> {
        self.aim(live, send)
    }

    /// A SEND that is refused before it costs a message still counts as a frame.
    fn refused_frame(&self, live: &Live, problem: Problem) -> Pending {
        refused(self.take_frame(live).err().unwrap_or(problem))
    }

    /// Takes a SUBSCRIBE. Await the call before the next request of the session: what it sends after
    /// that is received. The outcome, that it is settled, comes later.
    pub async fn subscribe(self: &Arc<Self>, live: &Live, subscribe: &Subscribe) -> Pending {
        let checked = self
            .take_frame(live)
            .and_then(|()| self.may_subscribe(live, &subscribe.destination));
        if let Err(problem) = checked {
            return refused(problem);
        }
        let subscriber = Subscriber {
            version: subscribe.version,
            id: subscribe.named.then(|| Arc::from(&*subscribe.id)),
            shown: self.shown(subscribe),
        };
        match &subscribe.destination {
            Destination::UserQueue(UserQueue::Messages) => {
                let session = Arc::clone(&live.hub);
                let subscribed =
                    self.broker
                        .subscribe_messages(&session, &subscribe.id, subscriber);
                if let Err(error) = subscribed.await {
                    return refused(chat::store_problem(error));
                }
                Box::pin(async move {
                    session.attached().await;
                    Ok(Reply::default())
                })
            }
            // What goes to this session alone the session writes itself; here it only counts.
            Destination::UserQueue(UserQueue::Errors | UserQueue::Replies) => {
                Box::pin(future::ready(Ok(Reply::default())))
            }
            Destination::Topic(topic) => {
                let topic = Arc::clone(topic);
                let sink = self.sink(live, subscribe, &subscriber);
                self.topic_subscribe(live, topic, &subscribe.id, subscriber, sink)
            }
            Destination::User(rest) => self.user_subscribe(live, rest, subscribe, &subscriber),
            Destination::TempQueue(name) => {
                self.reply_subscribe(live, name, subscribe, subscriber)
                    .await
            }
            Destination::App(_) | Destination::Queue(_) | Destination::ReplyQueue(_) => {
                refused(unknown(&subscribe.destination))
            }
        }
    }

    /// Where the messages of a subscription go.
    fn sink(&self, live: &Live, _: &Subscribe, _: &Subscriber) -> Sink {
        Sink::Outbox(Arc::clone(&live.outbox))
    }

    /// Takes an UNSUBSCRIBE: no MESSAGE is queued for it after this returns.
    pub fn unsubscribe(&self, live: &Live, unsubscribe: &Unsubscribe) -> Pending {
        match &unsubscribe.destination {
            Destination::UserQueue(UserQueue::Messages) => live.hub.close_inbox(&unsubscribe.id),
            Destination::Topic(topic) => self.topic_unsubscribe(live, topic, &unsubscribe.id),
            Destination::User(rest) => self.user_unsubscribe(live, rest, &unsubscribe.id),
            Destination::TempQueue(name) => self.reply_unsubscribe(live, name, &unsubscribe.id),
            Destination::UserQueue(UserQueue::Errors | UserQueue::Replies)
            | Destination::App(_)
            | Destination::Queue(_)
            | Destination::ReplyQueue(_) => {}
        }
        // Not counted: there is one for each SUBSCRIBE, which was.
        Box::pin(future::ready(Ok(Reply::default())))
    }
}

impl App {
    /// Takes an ACK or a NACK. Await the call before the next request of the session.
    pub async fn acknowledge(self: &Arc<Self>, live: &Live, acknowledge: Acknowledge) -> Pending {
        let words = format!("Nothing is to be acknowledged: {:?}", acknowledge.of);
        self.refused_frame(live, Problem::new(Code::NotFound, words))
    }

    /// Takes a COMMIT. Await the call before the next request of the session.
    pub async fn commit(self: &Arc<Self>, live: &Live, commit: Commit) -> Pending {
        let words = format!("{} steps cannot be committed.", commit.steps.len());
        self.refused_frame(live, Problem::new(Code::NotFound, words))
    }
}

/// A SEND was handed over: to the sessions here and to the bus.
fn handed_over(remaining: u32) -> Pending {
    let mut reply = Reply::default();
    if remaining != u32::MAX {
        let remaining = ("x-rate-remaining", remaining.to_string());
        reply.headers.push(remaining);
    }
    Box::pin(future::ready(Ok(reply)))
}

fn refused(problem: Problem) -> Pending {
    Box::pin(future::ready(Err(problem)))
}

fn unknown(destination: &Destination) -> Problem {
    let words = format!("There is no {destination}. docs/destinations.md lists what there is.");
    Problem::new(Code::UnknownDestination, words)
}
