//! What has changed about people, told to every node: whoever is named is looked at again.
//!
//! Not here: what is looked at and what follows from it (`app`). Invariant: a notice says only that
//! something changed, never what; the store says what is so now. So a notice that comes twice, late or
//! out of order does no harm, and one that is lost is made good by the review of everybody that follows
//! every gap in what a node hears.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::{Broker, lock};
use crate::model::{Control, Envelope, ParcelBody, UserId};

/// How many users may be named one by one; beyond that everybody is looked at.
const NAMED_MAX: usize = 10_000;

/// What is to be looked at again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reviews {
    /// These users.
    pub users: BTreeSet<UserId>,
    /// Everybody.
    pub all: bool,
}

/// What waits to be looked at on this node.
#[derive(Debug, Default)]
pub(super) struct Notices {
    wanted: Mutex<Reviews>,
    now: Notify,
}

impl Notices {
    pub(super) fn want(&self, user: &UserId) {
        {
            let mut wanted = lock(&self.wanted);
            wanted.users.insert(user.clone());
            if wanted.users.len() > NAMED_MAX {
                wanted.users.clear();
                wanted.all = true;
            }
        }
        self.now.notify_one();
    }

    pub(super) fn want_all(&self) {
        lock(&self.wanted).all = true;
        self.now.notify_one();
    }
}

impl Broker {
    /// Something about this user has changed in the store: every node, this one included, looks at him
    /// again. Resolves when the bus has taken it; while the bus is away the other nodes look at
    /// everybody when it is back.
    pub async fn review(self: &Arc<Self>, user: &UserId) {
        self.notices.want(user);
        self.tell_everybody(Control::Review(user.clone())).await;
    }

    /// The bans have changed: every node reads them and looks at everybody again.
    pub async fn review_all(self: &Arc<Self>) {
        self.notices.want_all();
        self.tell_everybody(Control::ReviewAll).await;
    }

    /// Waits until somebody is to be looked at, and gives what is known by then.
    pub async fn reviews(&self) -> Reviews {
        loop {
            let waiting = self.notices.now.notified();
            let wanted = std::mem::take(&mut *lock(&self.notices.wanted));
            if wanted != Reviews::default() {
                return wanted;
            }
            waiting.await;
        }
    }

    /// Has a command done by every other node.
    pub(super) async fn tell_everybody(self: &Arc<Self>, control: Control) {
        if self.settings.alone {
            return;
        }
        let targets = self.known_nodes();
        let published = {
            let mut flows = self.out.lock_flows().await;
            let numbers = flows.take(&targets);
            let id = self.publication_id(&numbers);
            let body = ParcelBody::Envelopes(vec![Envelope::Control(control)]);
            let payload = self.parcel(numbers, body).encode();
            self.bus.publish_all(id, payload).await
        };
        match published {
            Ok(confirm) => {
                if let Err(error) = confirm.await {
                    tracing::warn!(%error, "the other nodes may hear of a change late");
                }
            }
            Err(error) => tracing::warn!(%error, "the other nodes hear of a change later"),
        }
    }
}
