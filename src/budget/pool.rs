//! One scarce thing: how much there is, and how much each may hold.
//!
//! Not here: what the thing is, how what is held is kept (`state`, `charge`), when others lose for a claimant
//! (`room`). Invariant: visitors never use the reserve.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::charge::Charge;
use super::claimant::{Claimant, Key};
use super::parts::Parts;
use super::refusals::Refusals;
use super::room::SHORT_PART;
use super::state::{Amount, PoolState};
use crate::model::{Kind, Network, UserId, Width};

/// Nothing is taken away any more when at least this part of it is free.
const CALM_PART: u64 = 8;

/// What a pool is made with.
#[derive(Clone, Debug)]
pub struct PoolSettings {
    /// The name in metrics (`budget_used`, `budget_refused_total`, `budget_evicted_total`).
    pub name: &'static str,
    /// How much there is. Zero switches every limit of the pool off.
    pub capacity: u64,
    /// How much of it visitors never get: it is for members, bots and admins.
    pub reserve: u64,
    /// How much of what is free each may hold.
    pub parts: Parts,
    /// How much one IPv4 address or one IPv6 /64 may hold at most, however much is free; zero for no such
    /// limit. A /56 may hold one and a half times as much, a /48 twice as much.
    pub network_max: u64,
}

impl PoolSettings {
    /// A pool with the default parts and a quarter in reserve.
    #[must_use]
    pub fn new(name: &'static str, capacity: u64) -> Self {
        Self {
            name,
            capacity,
            reserve: capacity / 4,
            parts: Parts::DEFAULT,
            network_max: 0,
        }
    }
}

/// Why something is not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The user holds as much as they may while so little is free.
    #[error("you hold as much as one user may")]
    User,
    /// The network does.
    #[error("your network holds as much as one network may")]
    Network,
    /// Nothing is left.
    #[error("nothing is left")]
    Full,
}

/// Something that can be made to give up what it holds at once.
pub trait Evict: Send + Sync + std::fmt::Debug {
    /// Gives up what the charge stands for, which counts as given back already. Called without any lock of the pool
    /// and by any client's task, so it takes no lock that is held anywhere while a pool may evict, and never waits.
    fn evict(&self);
}

/// Whether others may lose something for what is taken. The lesser of two is what both allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Eviction {
    /// It is taken of what is free.
    Never,
    /// What is not free is not taken: it is granted, and stands for nothing, when it could be taken from others.
    Possible,
    /// Or from others who hold much more: their sessions may end for it.
    Allowed,
}

/// Says how much of a pool something uses up that no client is charged for alone.
pub(super) type Gauge = Box<dyn Fn() -> u64 + Send + Sync>;

/// What a gauge counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gauged {
    /// What the shared parts of charges refer to: it is used until the last reference to it goes.
    Shared,
    /// Anything else. Taking charges away frees nothing of it.
    Other,
}

/// One scarce thing.
pub struct Pool {
    pub(super) settings: PoolSettings,
    /// A std mutex: held for look-ups, never across an await. What is taken often is leased in chunks
    /// (`Memory`), so that this is not on the hot path.
    state: Mutex<PoolState>,
    /// What is used of it, as in the state, to be read without the lock.
    used: Arc<AtomicU64>,
    pub(super) refusals: Refusals,
    /// A linked list of gauges, which grows when a node is put together.
    together: OnceLock<Together>,
}

/// A gauge and the next one.
struct Together {
    gauge: Gauge,
    of: Gauged,
    next: OnceLock<Box<Together>>,
}

impl Pool {
    /// A pool of which nothing is used.
    #[must_use]
    pub fn new(settings: PoolSettings) -> Arc<Self> {
        let state = PoolState::default();
        Arc::new(Self {
            settings,
            used: state.used_anywhere(),
            state: Mutex::new(state),
            refusals: Refusals::default(),
            together: OnceLock::new(),
        })
    }

    /// Takes so much.
    ///
    /// # Errors
    /// When the claimant holds as much as they may, or nothing is left and nobody holds much more.
    pub fn take(self: &Arc<Self>, claimant: &Claimant, amount: u64) -> Result<Charge, Refused> {
        let mut charge = self.charge(claimant);
        charge.grow(amount)?;
        Ok(charge)
    }

    /// A charge of nothing yet.
    #[must_use]
    pub fn charge(self: &Arc<Self>, claimant: &Claimant) -> Charge {
        Charge::new(Arc::clone(self), claimant.clone())
    }

    /// How much there is; zero is without a limit.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.settings.capacity
    }

    /// How much of it visitors never get.
    #[must_use]
    pub fn reserve(&self) -> u64 {
        self.settings.reserve
    }

    /// How much is used. Takes no lock, so that a gauge of another pool may ask for it.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// How much is used up by what no client is charged for alone.
    #[must_use]
    pub fn used_together(&self) -> u64 {
        self.gauged(|_| true)
    }

    /// How much is used up by what the shared parts of charges refer to.
    pub(super) fn used_by_shared(&self) -> u64 {
        self.gauged(|of| of == Gauged::Shared)
    }

    fn gauged(&self, counts: impl Fn(Gauged) -> bool) -> u64 {
        let mut used = 0;
        let mut next = self.together.get();
        while let Some(it) = next {
            if counts(it.of) {
                used += (it.gauge)();
            }
            next = it.next.get().map(|next| &**next);
        }
        used
    }

    /// Adds a gauge of such a use. It is asked under the lock of the pool, so it takes none.
    pub(super) fn add_gauge(&self, of: Gauged, gauge: Gauge) {
        let next = OnceLock::new();
        let mut added = Together { gauge, of, next };
        let Err(back) = self.together.set(added) else {
            return;
        };
        added = back;
        let mut last = self.together.get();
        while let Some(it) = last {
            match it.next.set(Box::new(added)) {
                Ok(()) => return,
                Err(back) => added = *back,
            }
            last = it.next.get().map(|next| &**next);
        }
    }

    /// Sets the gauges `budget_used` and `budget_capacity` of this pool.
    pub fn publish(&self) {
        self.publish_as(self.used());
    }

    /// The same for a pool whose use is more than its charges.
    pub(super) fn publish_as(&self, used: u64) {
        let gauge = |name: &'static str, value: u64| {
            // Gauges are floating point: exact up to 2^53.
            metrics::gauge!(name, "pool" => self.settings.name).set(value as f64);
        };
        gauge("budget_used", used);
        gauge("budget_capacity", self.settings.capacity);
    }

    /// Whether less than a sixteenth of it is left for visitors.
    #[must_use]
    pub fn is_short_of_visitors(&self) -> bool {
        let short = self.settings.capacity / SHORT_PART;
        self.settings.capacity > 0 && self.free(&self.lock(), Kind::Anonymous, 0) <= short
    }

    /// How much a network holds.
    #[must_use]
    pub fn held_by_network(&self, network: Network) -> u64 {
        self.lock().held_by(&Key::Network(network)).total()
    }

    /// How much a user holds.
    #[must_use]
    pub fn held_by_user(&self, user: &UserId) -> u64 {
        self.lock().held_by(&Key::User(user.clone())).total()
    }

    /// What the metrics call it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.settings.name
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a charge may stand for this much.
    pub(super) fn admit(
        &self,
        state: &PoolState,
        claimant: &Claimant,
        change: (Amount, Amount),
    ) -> Result<(), Refused> {
        let free = self.free(state, claimant.kind, 0);
        self.admit_at(free, state, claimant, change)
    }

    /// The same while so much is free.
    pub(super) fn admit_at(
        &self,
        free: u64,
        state: &PoolState,
        claimant: &Claimant,
        (from, to): (Amount, Amount),
    ) -> Result<(), Refused> {
        if self.settings.capacity == 0 {
            return Ok(());
        }
        let more = to.minus(from).own;
        if to.total() > from.total() {
            let wanted = to.total() - from.total();
            for key in claimant.keys() {
                let held = state.held_by(&key).total();
                let (limit, refused) = match &key {
                    Key::User(_) => (self.settings.parts.user.of(free, 1), Refused::User),
                    Key::Network(network) => (
                        self.network_limit(*network, claimant, free),
                        Refused::Network,
                    ),
                };
                // A part of little is rounded down to nothing, so the first one is always within it.
                if held.saturating_add(wanted) > limit.max(1) {
                    return Err(if free < wanted {
                        Refused::Full
                    } else {
                        refused
                    });
                }
            }
        }
        (more <= free).then_some(()).ok_or(Refused::Full)
    }

    /// How much a network may hold while so much is free.
    fn network_limit(&self, network: Network, claimant: &Claimant, free: u64) -> u64 {
        let part = self.settings.parts.of_network(network.width());
        let limit = part.of(free, claimant.multiple);
        let most = self.settings.network_max;
        let most = match network.width() {
            _ if most == 0 => return limit,
            Width::Address | Width::Net64 => most,
            Width::Net56 => most + most.div_ceil(2),
            Width::Net48 => most.saturating_mul(2),
        };
        limit.min(most.saturating_mul(claimant.multiple.into()))
    }

    /// What is left for a client of this kind. `going` is what will no longer be used up by shared things.
    pub(super) fn free(&self, state: &PoolState, kind: Kind, going: u64) -> u64 {
        let PoolSettings {
            capacity, reserve, ..
        } = self.settings;
        let together = self.used_together().saturating_sub(going);
        let left = capacity.saturating_sub(state.used + together);
        match kind.has_account() {
            true => left,
            false => {
                let of_visitors = state.used_by_visitors + together;
                left.min(capacity.saturating_sub(reserve).saturating_sub(of_visitors))
            }
        }
    }

    /// Below this use nothing is taken away.
    pub(super) fn calm(&self) -> u64 {
        self.settings.capacity - self.settings.capacity / CALM_PART
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("name", &self.settings.name)
            .field("used", &self.used())
            .finish_non_exhaustive()
    }
}
