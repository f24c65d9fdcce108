//! The features of the service: what a CONNECT, a SUBSCRIBE and a SEND do.
//!
//! Not here: frames and sockets (`session`, `edge`), engines (`broker` knows them by contract).
//! Invariant: a RECEIPT says committed for what is stored, handed over for what is not.

mod acknowledge;
mod auth;
pub mod chat;
mod commit;
pub mod connect;
mod destination;
mod evict;
mod expiry;
mod ids;
mod notify;
mod queue;
pub mod rates;
pub mod relay;
mod reply;
mod review;
mod settings;
mod shares;
mod speaker;
mod stored;
pub mod topic;
mod trace;
pub mod user;

use std::collections::BTreeMap;
use std::future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;

pub use rates::Activity;
pub use relay::{InvalidRelays, Relays};
pub use settings::AppSettings;
pub use shares::{PoolSizes, Pools};
pub use stored::{StoreSizes, Stored};

use crate::broker::{Broker, PatternSubscriber};
use crate::budget::{Memory, Multiples};
use crate::hub::{HubSession, Opening, Outbox, Sink, Subscriber, Window};
use crate::identity::accounts::Accounts;
use crate::identity::{Clock, Visitors};
use crate::model::{AckMode, Code, Destination, Principal, Problem, SessionId, UserQueue};
use crate::quota::Quota;
use crate::session::{Reply, Send, Subscribe, Unsubscribe};
use crate::turns::{Deliveries, Turns};

/// The names under `/app/` that the service itself serves.
pub const FEATURES: &[&str] = &["chat.send", "auth.refresh", "auth.upgrade"];

/// What becomes of a request, once it is known. Dropping it does not undo the request.
pub type Pending = BoxFuture<'static, Result<Reply, Problem>>;

/// A connected session, as the connection driver holds it.
#[derive(Clone, Debug)]
pub struct Live {
    /// The session.
    pub session: SessionId,
    /// What is to be written to it.
    pub outbox: Arc<Outbox>,
    /// The session as the hub knows it.
    hub: Arc<HubSession>,
    /// What it has done lately.
    activity: Arc<Activity>,
}

impl Live {
    /// Who it speaks for now.
    #[must_use]
    pub fn principal(&self) -> Arc<Principal> {
        Arc::clone(&self.activity.speaker().principal)
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
    shares: shares::Shares,
    expiries: expiry::Expiries,
    /// Everybody who is connected to this node. A std mutex: held for a look-up.
    lives: Mutex<BTreeMap<SessionId, Live>>,
    accounts: Option<Arc<Accounts>>,
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
    /// The service on these parts. Without accounts it is for visitors alone.
    #[must_use]
    pub fn new(
        broker: Arc<Broker>,
        visitors: Arc<Visitors>,
        accounts: Option<Arc<Accounts>>,
        quota: Arc<dyn Quota>,
        settings: AppSettings,
        clock: Clock,
    ) -> Arc<Self> {
        let ids = ids::MessageIds::new();
        let app = Arc::new(Self {
            broker,
            visitors,
            quota,
            settings,
            ids,
            replies: reply::ReplyQueues::default(),
            shares: shares::Shares::default(),
            expiries: expiry::Expiries::default(),
            lives: Mutex::default(),
            accounts,
            clock,
        });
        app.broker.spawn(Arc::clone(&app).count_stored());
        if let Some(accounts) = &app.accounts {
            let reviewing = Arc::clone(&app).review_loop(Arc::clone(accounts));
            app.broker.spawn(reviewing);
            app.broker.spawn(Arc::clone(&app).expiry_loop());
        }
        app
    }

    /// The accounts, where there are any.
    ///
    /// # Errors
    /// `unauthorized` where there are none.
    pub fn accounts(&self) -> Result<&Arc<Accounts>, Problem> {
        let none = || Problem::new(Code::Unauthorized, "This server has no accounts.");
        self.accounts.as_ref().ok_or_else(none)
    }

    /// What subscriptions draw on.
    #[must_use]
    pub fn pools(&self) -> Pools {
        self.settings.pools.clone()
    }

    /// The byte account of the node, from which everything draws that buffers for a client.
    #[must_use]
    pub fn memory(&self) -> &Arc<Memory> {
        &self.settings.memory
    }

    /// In which order clients are served when they all want something at once. Turns come from [`Turns::give`].
    #[must_use]
    pub fn turns(&self) -> &Arc<Turns> {
        &self.broker.turns
    }

    /// The turns in which messages of this session are delivered.
    fn deliveries<'a>(&'a self, live: &'a Live) -> Deliveries<'a> {
        Deliveries::new(
            &self.broker.turns,
            live.activity.network(),
            &live.hub.delivered,
        )
    }

    /// Networks with larger or smaller limits than others.
    #[must_use]
    pub fn multiples(&self) -> &Arc<Multiples> {
        &self.settings.multiples
    }

    /// A session that is connected here.
    fn live(&self, session: SessionId) -> Option<Live> {
        self.lives().get(&session).cloned()
    }

    fn lives(&self) -> MutexGuard<'_, BTreeMap<SessionId, Live>> {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a SEND. Await the call before the next request of the session, so that order is kept;
    /// the outcome comes later.
    pub async fn send(self: &Arc<Self>, live: &Live, mut send: Send) -> Pending {
        if let Err(problem) = self.aim(live, &mut send) {
            return self.refused_frame(live, problem);
        }
        self.dispatch(live, send).await
    }

    /// Does a SEND that was admitted.
    async fn dispatch(self: &Arc<Self>, live: &Live, send: Send) -> Pending {
        match &send.destination {
            Destination::App(name) if &**name == "chat.send" => self.chat_send(live, &send).await,
            Destination::App(name) if &**name == "auth.refresh" => {
                self.auth_refresh(live, &send).await
            }
            Destination::App(name) if &**name == "auth.upgrade" => {
                self.auth_upgrade(live, &send).await
            }
            Destination::Topic(_) | Destination::ReplyQueue(_) => self.topic_send(live, send).await,
            Destination::User(rest) => {
                let rest = Arc::clone(rest);
                self.user_send(live, &rest, send).await
            }
            Destination::Queue(_) => self.queue_send(live, send).await,
            Destination::App(_) | Destination::UserQueue(_) | Destination::TempQueue(_) => {
                self.refused_frame(live, unknown(&send.destination))
            }
        }
    }

    /// A SEND that is refused before it costs a message still counts as a frame.
    fn refused_frame(&self, live: &Live, problem: Problem) -> Pending {
        refused(self.take_frame(live).err().unwrap_or(problem))
    }

    /// Counts a SUBSCRIBE in the rate of its session. Call it before [`App::subscribe`], and before anything that
    /// the SUBSCRIBE waits for.
    ///
    /// # Errors
    /// `rate_limited` when the session sends too much.
    pub fn count_subscribe(&self, live: &Live) -> Result<(), Problem> {
        self.take_frame(live)
    }

    /// Takes a SUBSCRIBE that was counted. Await the call before the next request of the session: what it sends
    /// after that is received. The outcome, that it is settled, comes later.
    pub async fn subscribe(self: &Arc<Self>, live: &Live, subscribe: &Subscribe) -> Pending {
        let checked = self
            .may_subscribe(live, &subscribe.destination)
            .and_then(|()| self.take_share(live, subscribe));
        let pattern = match checked {
            Ok(pattern) => pattern,
            Err(problem) => return refused(problem),
        };
        let pending = self.listen(live, subscribe, pattern).await;
        self.sharing(live, subscribe, pending)
    }

    /// Does a SUBSCRIBE that was admitted. `pattern` is there for one with wildcards.
    async fn listen(
        self: &Arc<Self>,
        live: &Live,
        subscribe: &Subscribe,
        pattern: Option<PatternSubscriber>,
    ) -> Pending {
        let subscriber = Subscriber {
            version: subscribe.version,
            id: subscribe.named.then(|| Arc::from(&*subscribe.id)),
            shown: self.shown(subscribe),
        };
        match &subscribe.destination {
            Destination::UserQueue(UserQueue::Messages) => {
                let session = Arc::clone(&live.hub);
                let window = self.window(live, subscribe, &subscriber);
                let number = window.as_ref().map(|window| window.number);
                let id = &subscribe.id;
                let subscribed = self
                    .broker
                    .subscribe_messages(&session, id, subscriber, window);
                if let Err(error) = subscribed.await {
                    number.into_iter().for_each(|it| session.close_window(it));
                    return refused(chat::store_problem(error));
                }
                Box::pin(async move {
                    session.attached().await;
                    Ok(Reply::default())
                })
            }
            // What goes to this session alone the session writes itself; here it only counts.
            Destination::UserQueue(UserQueue::Notifications) => {
                self.notifications_subscribe(live, subscribe)
            }
            Destination::UserQueue(UserQueue::Errors | UserQueue::Replies) => {
                Box::pin(future::ready(Ok(Reply::default())))
            }
            Destination::Topic(topic) => {
                let topic = Arc::clone(topic);
                let sink = self.sink(live, subscribe, &subscriber);
                self.topic_subscribe(live, topic, &subscribe.id, subscriber, (sink, pattern))
            }
            Destination::User(rest) => self.user_subscribe(live, rest, subscribe, &subscriber),
            Destination::TempQueue(name) => {
                self.reply_subscribe(live, name, subscribe, subscriber)
                    .await
            }
            Destination::Queue(queue) => self.queue_subscribe(live, subscribe, queue, subscriber),
            Destination::App(_) | Destination::ReplyQueue(_) => {
                refused(unknown(&subscribe.destination))
            }
        }
    }

    /// Takes an UNSUBSCRIBE: no MESSAGE is queued for it after this returns.
    pub fn unsubscribe(&self, live: &Live, unsubscribe: &Unsubscribe) -> Pending {
        match &unsubscribe.destination {
            Destination::UserQueue(UserQueue::Messages) => live.hub.close_inbox(&unsubscribe.id),
            Destination::Topic(topic) => self.topic_unsubscribe(live, topic, &unsubscribe.id),
            Destination::User(rest) => self.user_unsubscribe(live, rest, &unsubscribe.id),
            Destination::TempQueue(name) => self.reply_unsubscribe(live, name, &unsubscribe.id),
            Destination::UserQueue(UserQueue::Notifications) => {
                self.notifications_unsubscribe(live, &unsubscribe.id);
            }
            Destination::UserQueue(UserQueue::Errors | UserQueue::Replies)
            | Destination::App(_)
            | Destination::Queue(_)
            | Destination::ReplyQueue(_) => {}
        }
        live.hub.close_windows(&unsubscribe.id);
        self.shares.ended(live.session, &unsubscribe.id);
        // Not counted: there is one for each SUBSCRIBE, which was.
        Box::pin(future::ready(Ok(Reply::default())))
    }

    /// Where the messages of a subscription go.
    fn sink(&self, live: &Live, subscribe: &Subscribe, subscriber: &Subscriber) -> Sink {
        match self.window(live, subscribe, subscriber) {
            None => Sink::Outbox(Arc::clone(&live.outbox)),
            Some(window) => Sink::Window(window),
        }
    }

    /// The window of a subscription that acknowledges; none for `ack:auto`.
    fn window(
        &self,
        live: &Live,
        subscribe: &Subscribe,
        subscriber: &Subscriber,
    ) -> Option<Arc<Window>> {
        (subscribe.ack != AckMode::Auto).then(|| {
            live.hub.open_window(Opening {
                id: &subscribe.id,
                subscriber: subscriber.clone(),
                mode: subscribe.ack,
                prefetch: subscribe.prefetch,
                limits: self.settings.outbox,
                is_fed: false,
            })
        })
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

#[cfg(test)]
mod tests;
