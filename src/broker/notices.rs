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
    /// Everybody, because of bans: the store need not be asked about each.
    pub bans: bool,
    /// Everybody, in every respect.
    pub all: bool,
}

/// What waits to be looked at on this node.
#[derive(Debug, Default)]
pub(super) struct Notices {
    wanted: Mutex<Reviews>,
    now: Notify,
}

impl Reviews {
    /// This user.
    #[must_use]
    pub fn of(user: &UserId) -> Self {
        Self {
            users: BTreeSet::from([user.clone()]),
            ..Self::default()
        }
    }

    /// Everybody, because of bans.
    #[must_use]
    pub fn bans() -> Self {
        Self {
            bans: true,
            ..Self::default()
        }
    }

    /// Everybody, in every respect.
    #[must_use]
    pub fn everybody() -> Self {
        Self {
            all: true,
            ..Self::default()
        }
    }
}

impl Notices {
    pub(super) fn want(&self, reviews: Reviews) {
        {
            let mut wanted = lock(&self.wanted);
            wanted.users.extend(reviews.users);
            wanted.bans |= reviews.bans;
            wanted.all |= reviews.all;
            if wanted.users.len() > NAMED_MAX {
                wanted.users.clear();
                wanted.all = true;
            }
        }
        self.now.notify_one();
    }
}

impl Broker {
    /// Something about this user has changed in the store: every node, this one included, looks at him
    /// again. Resolves when the bus has taken it; while the bus is away the other nodes look at
    /// everybody when it is back.
    pub async fn review(self: &Arc<Self>, user: &UserId) {
        self.notices.want(Reviews::of(user));
        self.tell_everybody(Control::Review(user.clone())).await;
    }

    /// The bans have changed: every node reads them and holds everybody who is connected against
    /// them.
    pub async fn review_bans(self: &Arc<Self>) {
        self.notices.want(Reviews::bans());
        self.tell_everybody(Control::ReviewBans).await;
    }

    /// Has somebody looked at again by this node alone.
    pub fn want_reviews(&self, reviews: Reviews) {
        self.notices.want(reviews);
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
