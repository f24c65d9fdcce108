//! Who a session speaks for now. It can change while the session lives: a visitor becomes the holder of
//! an account, a role is given or taken, somebody is muted.
//!
//! Not here: what the change was (`identity`), who notices it (`review`). Invariant: every request sees
//! one speaker from its beginning to its end, the one before a change or the one after it.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use crate::model::{Code, Kind, Principal, Problem, UnixMillis};
use crate::quota::{NetworkBuckets, Networks};

/// Somebody may not write for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mute {
    pub(super) until: Option<UnixMillis>,
    pub(super) reason: Box<str>,
}

/// The one who speaks, with what follows from who he is.
#[derive(Debug)]
pub(super) struct Speaker {
    pub(super) principal: Arc<Principal>,
    pub(super) mute: Option<Box<Mute>>,
    /// The buckets of his messages; named for the first of them.
    buckets: OnceLock<Box<Buckets>>,
}

/// The keys of the buckets from which a message is taken.
#[derive(Debug)]
pub(super) struct Buckets {
    pub(super) own: Box<str>,
    pub(super) networks: NetworkBuckets,
}

impl Speaker {
    pub(super) fn new(principal: Arc<Principal>, mute: Option<Mute>) -> Arc<Self> {
        Arc::new(Self {
            principal,
            mute: mute.map(Box::new),
            buckets: OnceLock::new(),
        })
    }

    /// The buckets; `networks` tells where the speaker writes from.
    pub(super) fn buckets(&self, networks: impl FnOnce() -> Networks) -> &Buckets {
        self.buckets
            .get_or_init(|| Box::new(Buckets::of(&self.principal, &networks())))
    }

    /// Whether he may write now.
    pub(super) fn check_mute(&self, now: impl FnOnce() -> UnixMillis) -> Result<(), Problem> {
        let Some(mute) = &self.mute else {
            return Ok(());
        };
        if mute.until.is_some_and(|until| until <= now()) {
            return Ok(());
        }
        let words = format!("You may not write for a while: {}", mute.reason);
        Err(Problem::new(Code::Muted, words).until(mute.until))
    }
}

impl Buckets {
    fn of(sender: &Principal, networks: &Networks) -> Self {
        let own = match sender.kind {
            Kind::Member | Kind::Bot | Kind::Admin => format!("rate:auth:{}", sender.user_id),
            // By user, not by fingerprint: a client could come with another user agent and find a full
            // bucket, and a crowd with one browser behind one address would share a single one.
            Kind::Anonymous => format!("rate:anon:{}", sender.user_id),
        };
        Self {
            own: own.into(),
            networks: networks.buckets("rate:net"),
        }
    }
}

/// Where the speaker of a session stands.
#[derive(Debug)]
pub(super) struct Speaking(RwLock<Arc<Speaker>>);

impl Speaking {
    pub(super) fn new(speaker: Arc<Speaker>) -> Self {
        Self(RwLock::new(speaker))
    }

    pub(super) fn now(&self) -> Arc<Speaker> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set(&self, speaker: Arc<Speaker>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = speaker;
    }
}
