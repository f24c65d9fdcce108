//! Keeps this node known to the others, and the others known to this node.
//!
//! Every three seconds the lease is renewed; every second the heads of this node's flows are told,
//! the peer table is read, and what location has not acknowledged yet is tried again. Not here:
//! what a lease is made of (`location`). Invariants: a renewal only extends; "missing" is remembered
//! until a new claim and registration are acknowledged; every acknowledged registration is followed
//! by repair.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::{Broker, lock};
use crate::location::{LocationError, Peer, Renewal};
use crate::model::{Incarnation, NodeId};

/// How often heads are told and peers are looked at.
const TICK: Duration = Duration::from_secs(1);

/// Heads that went out so lately show that the others hear this node.
const HEARD_WITHIN: Duration = Duration::from_millis(2_500);

/// What is known about the lease and the peers.
#[derive(Debug)]
pub(super) struct LeaseState {
    known: Mutex<Known>,
    /// The lease was missing, and claiming and registering again is not acknowledged yet.
    is_missing: AtomicBool,
}

#[derive(Debug)]
struct Known {
    /// By this node's own monotonic clock, counted from before the renewal was sent.
    valid_until: Instant,
    /// When heads last went out that were confirmed.
    heard_at: Option<Instant>,
    /// The peer table as it was read last.
    peers: Vec<(NodeId, Incarnation)>,
    /// The number of reconnects up to which everything is registered.
    reconnects: u64,
    /// When everything was registered last.
    registered_at: Instant,
}

impl LeaseState {
    pub(super) fn new(valid_until: Instant, reconnects: u64) -> Self {
        let known = Known {
            valid_until,
            heard_at: None,
            peers: Vec::new(),
            reconnects,
            registered_at: Instant::now(),
        };
        Self {
            known: Mutex::new(known),
            is_missing: AtomicBool::new(false),
        }
    }

    /// Whether what this node commits now will be noticed by the others.
    pub(super) fn is_valid(&self, now: Instant) -> bool {
        let known = lock(&self.known);
        now < known.valid_until
            || known
                .heard_at
                .is_some_and(|at| now.duration_since(at) < HEARD_WITHIN)
    }

    pub(super) fn peers(&self) -> Vec<NodeId> {
        lock(&self.known)
            .peers
            .iter()
            .map(|(node, _)| node.clone())
            .collect()
    }

    /// Takes a new peer table; returns whether it differs from the last one.
    fn set_peers(&self, peers: &[Peer]) -> bool {
        let table: Vec<_> = peers
            .iter()
            .map(|p| (p.node.clone(), p.incarnation))
            .collect();
        let mut known = lock(&self.known);
        let differs = known.peers != table;
        known.peers = table;
        differs
    }
}

impl Broker {
    pub(super) async fn renew_loop(self: Arc<Self>) {
        // The start: something may have been committed for users of an earlier life of this node.
        self.repair();
        let mut ticks = tokio::time::interval(self.settings.renew_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            if let Err(error) = self.renew().await {
                tracing::debug!(%error, "the lease was not renewed");
            }
        }
    }

    async fn renew(&self) -> Result<(), LocationError> {
        let asked_at = Instant::now();
        let renewal = self.location.renew().await?;
        match renewal {
            Renewal::Extended => self.extend(asked_at),
            Renewal::Missing => self.lease.is_missing.store(true, Ordering::Release),
            Renewal::Foreign(other) => {
                tracing::error!(node = %self.here, %other, "another process runs under this name");
                self.superseded.cancel();
                return Ok(());
            }
        }
        let reconnects = self.location.reconnects();
        let (reconnected, is_stale) = {
            let known = lock(&self.lease.known);
            (
                known.reconnects != reconnects && self.settings.rules.register_when_reconnected,
                known.registered_at.elapsed() >= self.settings.refresh_every,
            )
        };
        let is_missing = self.lease.is_missing.load(Ordering::Acquire)
            && self.settings.rules.register_when_missing;
        if is_missing {
            let claimed_at = Instant::now();
            self.location.claim().await?;
            self.extend(claimed_at);
        }
        if is_missing || reconnected || is_stale {
            self.register_sessions(true).await?;
            self.register_interests(true).await?;
            let mut known = lock(&self.lease.known);
            known.reconnects = reconnects;
            known.registered_at = Instant::now();
            drop(known);
            self.lease.is_missing.store(false, Ordering::Release);
            if self.settings.rules.repair_after_registration {
                self.repair();
            }
        }
        Ok(())
    }

    fn extend(&self, asked_at: Instant) {
        lock(&self.lease.known).valid_until = asked_at + self.settings.lease;
    }

    /// Tells the heads, every second and whatever else is slow. A bus that hangs delays the next
    /// ones, but never more than one is waiting for it.
    pub(super) async fn heads_loop(self: Arc<Self>) {
        if !self.settings.rules.flow_heads {
            return;
        }
        let mut ticks = ticks();
        loop {
            ticks.tick().await;
            let told_at = Instant::now();
            if let Some(confirm) = self.tell_heads().await {
                let broker = Arc::clone(&self);
                self.spawn(async move {
                    if confirm.await.is_ok() {
                        let mut known = lock(&broker.lease.known);
                        known.heard_at = known.heard_at.max(Some(told_at));
                    }
                });
            }
        }
    }

    pub(super) async fn peers_loop(self: Arc<Self>) {
        let mut ticks = ticks();
        // A node whose lease was taken away (a flush, another life under its name) may, if it is cut
        // off as well, go on by its own clock until the lease would have ended. So everything is
        // compared once more when that time has come.
        let mut again_at = None;
        loop {
            ticks.tick().await;
            let silent = lock(&self.flows_in).notice_silent(Instant::now().into_std());
            let changed = match self.location.peers().await {
                Ok(peers) => self.lease.set_peers(&peers),
                Err(_) => false,
            };
            let now = Instant::now();
            let is_time = again_at.is_some_and(|at| now >= at);
            if changed && self.settings.rules.second_look {
                again_at = Some(now + self.settings.lease);
            } else if is_time {
                again_at = None;
            }
            if (changed || silent || is_time) && self.settings.rules.repair_on_peer_change {
                self.repair();
            }
        }
    }

    /// Tells location what it has not acknowledged yet.
    pub(super) async fn registration_loop(self: Arc<Self>) {
        let mut ticks = ticks();
        loop {
            ticks.tick().await;
            self.register_late().await;
            self.withdraw_interests().await;
        }
    }

    /// Tries again what location did not acknowledge; late means that something may be missing.
    async fn register_late(&self) {
        let sessions = self.register_sessions(false).await;
        if matches!(sessions, Ok(true)) && self.settings.rules.repair_after_registration {
            self.repair();
        }
        if let Err(error) = self.register_interests(false).await {
            tracing::debug!(%error, "topics are registered later");
        }
    }
}

fn ticks() -> Interval {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
