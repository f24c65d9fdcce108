//! Shares that come back with time: an account for each client that stores something, and sums for those that have
//! not stored anything lately.
//!
//! Not here: what is counted (`app::stored`). Invariants: what is counted of a writer is counted once, in their
//! account or in the sum of their network; an account that no session has in hand goes into the sum after an
//! hour, and at once when there are [`ACCOUNTS_MAX`]; so neither grows with how many clients have come.
//!
//! A session keeps the account of its writer at hand, so that a message costs one lock that no other session
//! wants, and the pool is asked once for each chunk.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use smallvec::SmallVec;

use super::charge::Charge;
use super::claimant::Claimant;
use super::pool::{Pool, PoolSettings, Refused};
use crate::model::{Kind, Network, UnixMillis, UserId};

/// Time is cut into so many slots; a share comes back when its slot is over.
const SLOTS: u32 = 24;

/// The shortest slot.
const SLOT_MIN: Duration = Duration::from_secs(60);

/// How much an account takes at a time: this part of the pool, within bounds.
const CHUNKS_MIN: u64 = 1 << 16;
const CHUNK_MIN: u64 = 1 << 10;
const CHUNK_MAX: u64 = 16 << 10;

/// So many writers are counted one by one, unless more than these are connected: about 500 bytes each.
const ACCOUNTS_MAX: usize = 32_768;

/// So many networks have a sum of their own: an IPv4 address, or an IPv6 /48. What was stored from more is
/// counted to no client in particular. About a kilobyte each at most.
const SUMS_MAX: usize = 8_192;

/// Shares that come back with time.
#[derive(Debug)]
pub struct Aging {
    pool: Arc<Pool>,
    chunk: u64,
    slot_ms: u64,
    life: Duration,
    row_life: Duration,
    /// The latest slot in which it was looked through.
    swept: AtomicU64,
    /// A std mutex: held when a session stores its first message, and once in a slot to look through it.
    books: Mutex<Books>,
}

/// Who an account is of.
type Writer = (Option<UserId>, Network, Kind);

#[derive(Debug)]
struct Books {
    accounts: BTreeMap<Writer, Arc<AgingAccount>>,
    /// At so many accounts those that no session has in hand are summed up.
    accounts_max: usize,
    /// By the widest network.
    sums: BTreeMap<Network, Sum>,
    /// Of networks without a sum, and of what was stored before this start.
    rest: BTreeMap<u64, Charge>,
}

/// What those of one network have stored who have not written lately.
#[derive(Debug)]
struct Sum {
    charge: Charge,
    slots: Slots,
}

/// How much ends in which slot.
#[derive(Debug, Default)]
struct Slots(SmallVec<[(u64, u64); 2]>);

/// What one writer has stored from one network.
#[derive(Debug)]
pub struct AgingAccount {
    user: Option<UserId>,
    kind: Kind,
    chunk: u64,
    /// A std mutex: held for some arithmetic, and for a turn of the pool when a chunk is used up.
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    /// Covers `used` at least.
    charge: Charge,
    used: u64,
    slots: Slots,
    /// Whether something was stored since it was looked through.
    is_active: bool,
}

impl Aging {
    /// Nothing is stored yet. What is stored is kept for `life`, and what is kept longer for `row_life`.
    #[must_use]
    pub fn new(settings: PoolSettings, life: Duration, row_life: Duration) -> Self {
        let slot = (life / SLOTS).max(SLOT_MIN);
        Self {
            chunk: (settings.capacity / CHUNKS_MIN).clamp(CHUNK_MIN, CHUNK_MAX),
            pool: Pool::new(settings),
            slot_ms: u64::try_from(slot.as_millis()).unwrap_or(u64::MAX),
            life,
            row_life: row_life.max(life),
            swept: AtomicU64::new(0),
            books: Mutex::new(Books {
                accounts: BTreeMap::new(),
                accounts_max: ACCOUNTS_MAX,
                sums: BTreeMap::new(),
                rest: BTreeMap::new(),
            }),
        }
    }

    /// The pool behind it.
    #[must_use]
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// How long what is stored is kept.
    #[must_use]
    pub fn life(&self) -> Duration {
        self.life
    }

    /// How long what is kept longer is kept.
    #[must_use]
    pub fn row_life(&self) -> Duration {
        self.row_life
    }

    /// How long a slot is, in milliseconds.
    #[must_use]
    pub fn slot_ms(&self) -> u64 {
        self.slot_ms
    }

    /// The slot of this time, in which what ends then comes back.
    #[must_use]
    pub fn slot(&self, at: UnixMillis) -> u64 {
        at.0 / self.slot_ms
    }

    /// The slot in which rows come back: coarser, so that they are in as few slots as messages.
    pub fn row_slot(&self, at: UnixMillis) -> u64 {
        let coarse_ms = self.row_life.as_millis() / u128::from(SLOTS);
        let coarse = u64::try_from(coarse_ms / u128::from(self.slot_ms)).unwrap_or(u64::MAX);
        self.slot(at).next_multiple_of(coarse.max(1))
    }

    /// The account of a writer.
    pub fn account(&self, by: &Claimant) -> Arc<AgingAccount> {
        let writer = (by.user.clone(), by.network, by.kind);
        let mut books = self.books();
        if let Some(known) = books.accounts.get(&writer) {
            return Arc::clone(known);
        }
        if books.accounts.len() >= books.accounts_max {
            books.sum_up(&self.pool, |_| true);
            // Those that are left are in the hands of sessions.
            books.accounts_max = ACCOUNTS_MAX.max(books.accounts.len() * 2);
        }
        let account = Arc::new(AgingAccount {
            user: by.user.clone(),
            kind: by.kind,
            chunk: self.chunk,
            held: Mutex::new(Held {
                charge: self.pool.charge(by),
                used: 0,
                slots: Slots::default(),
                is_active: true,
            }),
        });
        books.accounts.insert(writer, Arc::clone(&account));
        account
    }

    /// Gives back what was removed by now.
    pub fn end(&self, now: UnixMillis) {
        let present = self.slot(now);
        // Each slot once: at the end of one, messages of both alternate.
        if self.swept.fetch_max(present, Ordering::Relaxed) >= present {
            return;
        }
        let mut books = self.books();
        books.end(present);
        books.sum_up(&self.pool, |account| !account.was_active());
    }

    /// Counts what was stored before this start to no client in particular.
    pub fn restore(&self, unattributed: &Claimant, slot: u64, bytes: u64, now: UnixMillis) {
        if slot < self.slot(now) {
            return;
        }
        let mut books = self.books();
        let rest = books.rest.entry(slot);
        let charge = rest.or_insert_with(|| self.pool.charge(unattributed));
        charge.restore(bytes);
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        lock(&self.books)
    }

    #[cfg(test)]
    pub(crate) fn sizes(&self) -> (usize, usize, usize) {
        let books = self.books();
        (books.accounts.len(), books.sums.len(), books.rest.len())
    }
}

impl Books {
    fn end(&mut self, present: u64) {
        for account in self.accounts.values() {
            account.end(present);
        }
        self.sums.retain(|_, sum| {
            sum.charge.shrink(sum.slots.end(present));
            sum.charge.amount() > 0
        });
        while let Some(first) = self.rest.first_entry()
            && *first.key() < present
        {
            first.remove();
        }
    }

    /// Puts the accounts that no session has in hand, as far as they are wanted, into the sums.
    fn sum_up(&mut self, pool: &Arc<Pool>, is_wanted: impl Fn(&AgingAccount) -> bool) {
        let Self {
            accounts,
            sums,
            rest,
            ..
        } = self;
        accounts.retain(|(_, network, _), account| {
            if Arc::strong_count(account) > 1 || !is_wanted(account) {
                return true;
            }
            let slots = account.take_slots();
            let network = network.widest();
            if sums.contains_key(&network) || sums.len() < SUMS_MAX {
                if !slots.0.is_empty() {
                    let unattributed = Claimant::stranger(network);
                    let sum = sums.entry(network).or_insert_with(|| Sum {
                        charge: pool.charge(&unattributed),
                        slots: Slots::default(),
                    });
                    sum.take(&slots);
                }
            } else {
                let unattributed = Claimant::stranger(std::net::Ipv4Addr::UNSPECIFIED.into());
                for (slot, bytes) in slots.0 {
                    let charge = rest
                        .entry(slot)
                        .or_insert_with(|| pool.charge(&unattributed));
                    charge.restore(bytes);
                }
            }
            false
        });
    }
}

impl Sum {
    fn take(&mut self, more: &Slots) {
        for (slot, bytes) in &more.0 {
            self.charge.restore(*bytes);
            self.slots.add(*slot, *bytes);
        }
    }
}

impl Slots {
    fn add(&mut self, slot: u64, bytes: u64) {
        match self.0.iter_mut().find(|(at, _)| *at == slot) {
            Some((_, sum)) => *sum += bytes,
            None => self.0.push((slot, bytes)),
        }
    }

    /// Forgets what is over, and says how much it was.
    fn end(&mut self, present: u64) -> u64 {
        let mut ended = 0;
        self.0.retain(|(slot, bytes)| {
            let is_over = *slot < present;
            ended += if is_over { *bytes } else { 0 };
            !is_over
        });
        ended
    }
}

impl AgingAccount {
    /// Whether it is of this writer: a session may speak for another user since it was opened.
    pub fn is_of(&self, user: &UserId, kind: Kind) -> bool {
        self.kind == kind && self.user.as_ref() == Some(user)
    }

    /// Takes so much.
    ///
    /// # Errors
    /// When the client, or one of the networks around it, holds as much as it may.
    pub fn take(&self, bytes: u64) -> Result<(), Refused> {
        let mut held = lock(&self.held);
        let wanted = held.used.saturating_add(bytes);
        let missing = wanted.saturating_sub(held.charge.amount());
        if missing > 0 {
            let chunks = missing.div_ceil(self.chunk).saturating_mul(self.chunk);
            // Near the end of a share the exact amount may be left of it.
            if held.charge.try_grow(chunks).is_err() {
                held.charge.grow_of_free(missing)?;
            }
        }
        held.used = wanted;
        Ok(())
    }

    /// Counts so much that is stored already.
    pub fn add(&self, bytes: u64) {
        let mut held = lock(&self.held);
        held.used += bytes;
        let missing = held.used.saturating_sub(held.charge.amount());
        if missing > 0 {
            held.charge.restore(missing);
        }
    }

    /// What was taken is stored, until these slots are over.
    pub fn keep(&self, (slot, bytes): (u64, u64), (row_slot, rows): (u64, u64)) {
        let mut held = lock(&self.held);
        held.is_active = true;
        held.slots.add(slot, bytes);
        if rows > 0 {
            held.slots.add(row_slot, rows);
        }
    }

    /// Gives back what was taken and is not stored.
    pub fn give_back(&self, bytes: u64) {
        if bytes > 0 {
            lock(&self.held).give_back(bytes, self.chunk);
        }
    }

    fn end(&self, present: u64) {
        let mut held = lock(&self.held);
        let ended = held.slots.end(present);
        held.give_back(ended, self.chunk);
    }

    /// Whether something was stored since this was asked last.
    fn was_active(&self) -> bool {
        std::mem::take(&mut lock(&self.held).is_active)
    }

    fn take_slots(&self) -> Slots {
        std::mem::take(&mut lock(&self.held).slots)
    }
}

impl Held {
    fn give_back(&mut self, bytes: u64, chunk: u64) {
        self.used = self.used.saturating_sub(bytes);
        let unused = self.charge.amount().saturating_sub(self.used) / chunk * chunk;
        if unused > 0 {
            self.charge.shrink(unused);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
