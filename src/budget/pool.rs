//! One scarce thing: how much there is, who holds it, and who loses when it runs out.
//!
//! Not here: what the thing is. Invariants: `used` is the sum of all charges, and what a user or a network
//! holds is the sum of theirs; visitors never use the reserve; a charge that is evicted counts as given back
//! from that moment on.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::parts::Parts;
use crate::model::{Kind, Network, UserId};

/// A search for the largest holder looks at every charge, so it runs at most this often.
const EVICTION_PAUSE: Duration = Duration::from_millis(10);

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
    /// limit.
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

/// Who asks for something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimant {
    /// Where they come from.
    pub network: Network,
    /// The multiple of that network (`NETWORK_LIMITS`); 1 unless it is named there.
    pub multiple: u32,
    /// Who they are; nobody before CONNECT.
    pub user: Option<UserId>,
    /// What they are. Before CONNECT everyone is a visitor.
    pub kind: Kind,
}

impl Claimant {
    /// Somebody who is not known yet.
    #[must_use]
    pub fn stranger(network: Network) -> Self {
        Self {
            network,
            multiple: 1,
            user: None,
            kind: Kind::Anonymous,
        }
    }

    fn keys(&self) -> Keys {
        let networks = self.network.levels().map(Key::Network);
        networks.chain(self.user.clone().map(Key::User)).collect()
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

/// Whoever can be made to give something back at once.
pub trait Evict: Send + Sync {
    /// Gives back what the charge stands for. Called without any lock of the pool; must not wait.
    fn evict(&self);
}

/// One scarce thing.
pub struct Pool {
    settings: PoolSettings,
    /// A std mutex: held for look-ups, never across an await. What is taken often is leased in chunks
    /// (`Memory`), so that this is not on the hot path.
    state: Mutex<State>,
    /// Says how much of it is used up by what several hold together, for which nobody is charged alone.
    together: OnceLock<fn() -> u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    User(UserId),
    Network(Network),
}

type Keys = SmallVec<[Key; 4]>;

#[derive(Default)]
struct State {
    used: u64,
    used_by_visitors: u64,
    /// What each holds, with what is shared; nobody who holds nothing.
    held: HashMap<Key, u64>,
    /// Charges that can be evicted.
    evictable: BTreeMap<u64, Evictable>,
    next: u64,
    searched_at: Option<Instant>,
}

struct Evictable {
    claimant: Claimant,
    amount: Amount,
    whose: Weak<dyn Evict>,
}

/// What a charge stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Amount {
    /// What is used up of the pool.
    own: u64,
    /// What others hold too and somebody else is charged for: it counts to the shares of the user and the
    /// network only.
    shared: u64,
}

impl Pool {
    /// A pool of which nothing is used.
    #[must_use]
    pub fn new(settings: PoolSettings) -> Arc<Self> {
        Arc::new(Self {
            settings,
            state: Mutex::default(),
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
        Charge {
            pool: Arc::clone(self),
            claimant: claimant.clone(),
            amount: Amount::default(),
            evictable: None,
        }
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

    /// How much is used.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.lock().used
    }

    /// How much is used up by what several hold together.
    #[must_use]
    pub fn used_together(&self) -> u64 {
        self.together.get().map_or(0, |gauge| gauge())
    }

    /// Names what says so. The first one counts.
    pub(super) fn set_together(&self, gauge: fn() -> u64) {
        let _first = self.together.set(gauge);
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

    /// How much a network holds.
    #[must_use]
    pub fn held_by_network(&self, network: Network) -> u64 {
        let state = self.lock();
        state.held.get(&Key::Network(network)).copied().unwrap_or(0)
    }

    /// How much a user holds.
    #[must_use]
    pub fn held_by_user(&self, user: &UserId) -> u64 {
        let state = self.lock();
        state
            .held
            .get(&Key::User(user.clone()))
            .copied()
            .unwrap_or(0)
    }

    /// What the metrics call it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.settings.name
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(&self, state: &State, claimant: &Claimant, more: Amount) -> Result<(), Refused> {
        if self.settings.capacity == 0 {
            return Ok(());
        }
        let free = self.free(state, claimant.kind);
        let wanted = more.own + more.shared;
        for key in claimant.keys() {
            let held = state.held.get(&key).copied().unwrap_or(0);
            let (limit, refused) = match &key {
                Key::User(_) => (self.settings.parts.user.of(free, 1), Refused::User),
                Key::Network(network) => (
                    self.network_limit(*network, claimant, free),
                    Refused::Network,
                ),
            };
            // A part of little is rounded down to nothing, so the first one is always within it.
            if held + wanted > limit.max(1) {
                return Err(if free < wanted {
                    Refused::Full
                } else {
                    refused
                });
            }
        }
        (more.own <= free).then_some(()).ok_or(Refused::Full)
    }

    /// How much a network may hold while so much is free.
    fn network_limit(&self, network: Network, claimant: &Claimant, free: u64) -> u64 {
        let part = self.settings.parts.of_network(network.width());
        let limit = part.of(free, claimant.multiple);
        match self.settings.network_max {
            0 => limit,
            most if network == claimant.network => {
                limit.min(most.saturating_mul(claimant.multiple.into()))
            }
            _ => limit,
        }
    }

    /// What is left for somebody of this kind.
    fn free(&self, state: &State, kind: Kind) -> u64 {
        let PoolSettings {
            capacity, reserve, ..
        } = self.settings;
        let together = self.used_together();
        let left = capacity.saturating_sub(state.used + together);
        match kind.has_account() {
            true => left,
            false => {
                let of_visitors = state.used_by_visitors + together;
                left.min(capacity.saturating_sub(reserve).saturating_sub(of_visitors))
            }
        }
    }

    /// Takes this much from the largest holder, if they hold much more than the claimant. Returns whether
    /// it is worth to try again.
    pub(super) fn make_room(&self, claimant: &Claimant, own: u64, shared: u64) -> bool {
        self.evict_for(claimant, Amount { own, shared })
    }

    pub(super) fn count_refusal(&self) {
        let name = self.settings.name;
        metrics::counter!("budget_refused_total", "pool" => name).increment(1);
    }

    /// Takes from the largest holder what a newcomer needs, if somebody holds much more than they do.
    fn evict_for(&self, claimant: &Claimant, more: Amount) -> bool {
        let evicted = {
            let mut state = self.lock();
            let now = Instant::now();
            if state
                .searched_at
                .is_some_and(|at| now - at < EVICTION_PAUSE)
            {
                return false;
            }
            state.searched_at = Some(now);
            let mine = state.largest_of(claimant) + more.own + more.shared;
            let Some(found) = state.largest_evictable(mine) else {
                return false;
            };
            let Some(evicted) = state.evictable.remove(&found) else {
                return false;
            };
            state.give_back(&evicted.claimant, evicted.amount);
            evicted
        };
        metrics::counter!("budget_evicted_total", "pool" => self.settings.name).increment(1);
        if let Some(whose) = evicted.whose.upgrade() {
            whose.evict();
        }
        true
    }
}

impl State {
    fn add(&mut self, claimant: &Claimant, more: Amount) {
        self.used += more.own;
        if !claimant.kind.has_account() {
            self.used_by_visitors += more.own;
        }
        for key in claimant.keys() {
            *self.held.entry(key).or_default() += more.own + more.shared;
        }
    }

    fn give_back(&mut self, claimant: &Claimant, less: Amount) {
        self.used = self.used.saturating_sub(less.own);
        if !claimant.kind.has_account() {
            self.used_by_visitors = self.used_by_visitors.saturating_sub(less.own);
        }
        for key in claimant.keys() {
            if let Entry::Occupied(mut held) = self.held.entry(key) {
                *held.get_mut() = held.get().saturating_sub(less.own + less.shared);
                if *held.get() == 0 {
                    held.remove();
                }
            }
        }
    }

    /// The most that the claimant or one of their networks holds.
    fn largest_of(&self, claimant: &Claimant) -> u64 {
        let held = |key: Key| self.held.get(&key).copied().unwrap_or(0);
        claimant.keys().into_iter().map(held).max().unwrap_or(0)
    }

    /// The largest charge in the network that holds most, if that is more than twice as much as this.
    fn largest_evictable(&self, mine: u64) -> Option<u64> {
        let weight = |it: &Evictable| {
            (
                self.largest_of(&it.claimant),
                it.amount.own + it.amount.shared,
            )
        };
        let found = self
            .evictable
            .iter()
            .max_by_key(|(number, it)| (weight(it), **number))?;
        (weight(found.1).0 > mine.saturating_mul(2)).then_some(*found.0)
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

/// A part of a pool that somebody holds; dropping it gives it back.
#[derive(Debug)]
pub struct Charge {
    pool: Arc<Pool>,
    claimant: Claimant,
    amount: Amount,
    /// The number under which it can be evicted.
    evictable: Option<u64>,
}

impl Charge {
    /// Takes so much more.
    ///
    /// # Errors
    /// As [`Pool::take`]; what was held before stays.
    pub fn grow(&mut self, more: u64) -> Result<(), Refused> {
        let more = Amount {
            own: more,
            shared: 0,
        };
        self.grow_by(more)
    }

    /// The same without evicting anybody, for callers that hold a lock which an eviction may need.
    ///
    /// # Errors
    /// As [`Pool::take`].
    pub fn grow_of_free(&mut self, more: u64) -> Result<(), Refused> {
        self.grow_quietly(more, 0)
            .inspect_err(|_| self.pool.count_refusal())
    }

    /// Counts so much more to the shares of the user and the network, of which the pool is charged for
    /// elsewhere, once for everybody.
    ///
    /// # Errors
    /// As [`Pool::take`].
    pub fn grow_shared(&mut self, more: u64) -> Result<(), Refused> {
        let more = Amount {
            own: 0,
            shared: more,
        };
        self.grow_by(more)
    }

    /// Takes more, and nothing from anybody else: for callers that hold a lock which an eviction may need.
    pub(super) fn grow_quietly(&mut self, own: u64, shared: u64) -> Result<(), Refused> {
        self.try_grow(Amount { own, shared })
    }

    fn grow_by(&mut self, more: Amount) -> Result<(), Refused> {
        match self.try_grow(more) {
            Err(_) if self.pool.evict_for(&self.claimant, more) => self.try_grow(more),
            outcome => outcome,
        }
        .inspect_err(|_| self.pool.count_refusal())
    }

    fn try_grow(&mut self, more: Amount) -> Result<(), Refused> {
        let pool = Arc::clone(&self.pool);
        let mut state = pool.lock();
        self.forget_what_was_evicted(&state);
        pool.admit(&state, &self.claimant, more)?;
        state.add(&self.claimant, more);
        self.note(&mut state, |amount| {
            amount.own += more.own;
            amount.shared += more.shared;
        });
        Ok(())
    }

    /// After an eviction the charge stands for nothing, and can grow again.
    fn forget_what_was_evicted(&mut self, state: &State) {
        if self.is_evicted(state) {
            self.amount = Amount::default();
            self.evictable = None;
        }
    }

    /// Gives so much back.
    pub fn shrink(&mut self, less: u64) {
        let own = less.min(self.amount.own);
        self.shrink_by(Amount { own, shared: 0 });
    }

    /// Counts so much less to the shares.
    pub fn shrink_shared(&mut self, less: u64) {
        let shared = less.min(self.amount.shared);
        self.shrink_by(Amount { own: 0, shared });
    }

    fn shrink_by(&mut self, less: Amount) {
        let pool = Arc::clone(&self.pool);
        let mut state = pool.lock();
        if self.is_evicted(&state) {
            self.forget_what_was_evicted(&state);
            return;
        }
        state.give_back(&self.claimant, less);
        self.note(&mut state, |amount| {
            amount.own -= less.own;
            amount.shared -= less.shared;
        });
    }

    /// Who holds it.
    #[must_use]
    pub fn claimant(&self) -> &Claimant {
        &self.claimant
    }

    /// How much of the pool it stands for.
    #[must_use]
    pub fn amount(&self) -> u64 {
        self.amount.own
    }

    /// How much counts to the shares only.
    #[must_use]
    pub fn shared(&self) -> u64 {
        self.amount.shared
    }

    /// From now on it counts as somebody else's: the same client, of whom more is known. Nothing is
    /// refused by this.
    pub fn identify(&mut self, claimant: Claimant) {
        let pool = Arc::clone(&self.pool);
        let mut state = pool.lock();
        if !self.is_evicted(&state) {
            state.give_back(&self.claimant, self.amount);
            state.add(&claimant, self.amount);
        }
        self.claimant = claimant;
        self.note(&mut state, |_| {});
    }

    /// Under pressure this may be taken away: then `whose` is told, and it counts as given back.
    pub fn set_evictable(&mut self, whose: Weak<dyn Evict>) {
        let pool = Arc::clone(&self.pool);
        let mut state = pool.lock();
        state.next += 1;
        let number = state.next;
        if let Some(before) = self.evictable.replace(number) {
            state.evictable.remove(&before);
        }
        let it = Evictable {
            claimant: self.claimant.clone(),
            amount: self.amount,
            whose,
        };
        state.evictable.insert(number, it);
    }

    /// From now on nothing takes it away any more, until it is made evictable again.
    pub fn protect(&mut self) {
        let pool = Arc::clone(&self.pool);
        let mut state = pool.lock();
        if !self.is_evicted(&state)
            && let Some(number) = self.evictable.take()
        {
            state.evictable.remove(&number);
        }
    }

    /// Takes so much more without asking whether it may: for what is there already, such as what an
    /// earlier run has stored.
    pub fn restore(&mut self, more: u64) {
        let more = Amount {
            own: more,
            shared: 0,
        };
        let pool = Arc::clone(&self.pool);
        let mut state = pool.lock();
        state.add(&self.claimant, more);
        self.note(&mut state, |amount| amount.own += more.own);
    }

    fn is_evicted(&self, state: &State) -> bool {
        self.evictable
            .is_some_and(|number| !state.evictable.contains_key(&number))
    }

    /// Changes the amount here and where an eviction looks it up.
    fn note(&mut self, state: &mut State, change: impl FnOnce(&mut Amount)) {
        change(&mut self.amount);
        if let Some(number) = self.evictable
            && let Some(it) = state.evictable.get_mut(&number)
        {
            it.amount = self.amount;
            it.claimant = self.claimant.clone();
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        if self.is_evicted(&state) {
            return;
        }
        if let Some(number) = self.evictable {
            state.evictable.remove(&number);
        }
        state.give_back(&self.claimant, self.amount);
    }
}
