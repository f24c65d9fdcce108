//! What is held of a pool: by each user and network in all, and by each charge.
//!
//! Not here: how much each may hold (`pool`), which charge is taken away first (`order`). Invariants: a total is
//! the sum of the charges below it; every charge has one record from its creation to its drop.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::claimant::{Claimant, Key};
use super::order::{Group, Order};
use super::pool::Evict;

/// How many records are allocated at once. A growing vector would keep up to as many unused ones as used ones.
const CHUNK_RECORDS: usize = 64;

/// How long the order of evictions is kept at least, so that making it costs little whatever clients do.
const ORDER_KEPT: Duration = Duration::from_secs(60);

/// How much is held, in units of the pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    /// What is used up of the pool.
    pub(super) own: u64,
    /// What others refer to as well, and what the pool counts once for all of them: it counts to the shares of the
    /// user and the network only.
    pub(super) shared: u64,
}

impl Amount {
    /// How much counts to the shares.
    pub(super) fn total(self) -> u64 {
        self.own.saturating_add(self.shared)
    }

    pub(super) fn plus(self, more: Self) -> Self {
        Self {
            own: self.own.saturating_add(more.own),
            shared: self.shared.saturating_add(more.shared),
        }
    }

    pub(super) fn minus(self, less: Self) -> Self {
        Self {
            own: self.own.saturating_sub(less.own),
            shared: self.shared.saturating_sub(less.shared),
        }
    }
}

/// Names the record of a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot(u32);

impl Slot {
    /// Behind every other one.
    pub(super) const LAST: Self = Self(u32::MAX);
}

/// One charge.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) claimant: Claimant,
    pub(super) amount: Amount,
    /// Told when the charge is taken away; a charge without it is never taken away.
    whose: Option<Weak<dyn Evict>>,
}

/// The records of all charges.
#[derive(Default)]
struct Records {
    chunks: Vec<Vec<Option<Record>>>,
    free: Vec<Slot>,
}

impl Records {
    fn get(&self, slot: Slot) -> Option<&Record> {
        let (chunk, place) = Self::place(slot);
        self.chunks.get(chunk)?.get(place)?.as_ref()
    }

    fn entry(&mut self, slot: Slot) -> Option<&mut Option<Record>> {
        let (chunk, place) = Self::place(slot);
        self.chunks.get_mut(chunk)?.get_mut(place)
    }

    fn insert(&mut self, record: Record) -> Slot {
        if let Some(slot) = self.free.pop()
            && let Some(entry) = self.entry(slot)
        {
            *entry = Some(record);
            return slot;
        }
        let chunks = self.chunks.len();
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK_RECORDS => {
                last.push(Some(record));
                Self::slot(chunks - 1, last.len() - 1)
            }
            Some(_) | None => {
                let mut chunk = Vec::with_capacity(CHUNK_RECORDS);
                chunk.push(Some(record));
                self.chunks.push(chunk);
                Self::slot(chunks, 0)
            }
        }
    }

    fn remove(&mut self, slot: Slot) -> Option<Record> {
        let record = self.entry(slot)?.take()?;
        self.free.push(slot);
        Some(record)
    }

    fn iter(&self) -> impl Iterator<Item = (Slot, &Record)> {
        let chunks = self.chunks.iter().enumerate();
        chunks.flat_map(|(chunk, records)| {
            let records = records.iter().enumerate();
            records.filter_map(move |(place, record)| {
                Some((Self::slot(chunk, place), record.as_ref()?))
            })
        })
    }

    fn place(slot: Slot) -> (usize, usize) {
        let number = slot.0 as usize;
        (number / CHUNK_RECORDS, number % CHUNK_RECORDS)
    }

    fn slot(chunk: usize, place: usize) -> Slot {
        Slot(u32::try_from(chunk * CHUNK_RECORDS + place).unwrap_or(u32::MAX))
    }
}

/// What all hold together.
#[derive(Default)]
pub(super) struct PoolState {
    pub(super) used: u64,
    /// The same.
    used_anywhere: Arc<AtomicU64>,
    pub(super) used_by_visitors: u64,
    /// The shared parts of all charges, each reference counted.
    shared: u64,
    /// By user and network of every width; none that holds nothing.
    by_key: HashMap<Key, Amount>,
    records: Records,
    /// There while charges are taken away, and for a while afterwards.
    order: Option<Order>,
    /// How often it was made.
    #[cfg(test)]
    pub(super) orders_made: u32,
}

impl PoolState {
    /// What is used, to be read without the lock of the pool.
    pub(super) fn used_anywhere(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.used_anywhere)
    }

    /// A charge of nothing yet.
    pub(super) fn insert(&mut self, claimant: Claimant) -> Slot {
        self.records.insert(Record {
            claimant,
            amount: Amount::default(),
            whose: None,
        })
    }

    /// A charge is dropped.
    pub(super) fn remove(&mut self, slot: Slot) {
        self.resize(slot, Amount::default());
        self.records.remove(slot);
    }

    pub(super) fn record(&self, slot: Slot) -> Option<&Record> {
        self.records.get(slot)
    }

    pub(super) fn amount(&self, slot: Slot) -> Amount {
        self.record(slot).map_or(Amount::default(), |it| it.amount)
    }

    /// Who is told when a charge is taken away.
    pub(super) fn whose(&self, slot: Slot) -> Option<Weak<dyn Evict>> {
        self.record(slot)?.whose.clone()
    }

    /// How much a user or a network holds.
    pub(super) fn held_by(&self, key: &Key) -> Amount {
        self.by_key.get(key).copied().unwrap_or_default()
    }

    /// Changes how much a charge stands for, whether or not that may be.
    pub(super) fn resize(&mut self, slot: Slot, to: Amount) {
        let Some(Some(record)) = self.records.entry(slot) else {
            return;
        };
        let from = std::mem::replace(&mut record.amount, to);
        if from == to {
            return;
        }
        let is_visitors = !record.claimant.kind.has_account();
        self.used = self.used.saturating_sub(from.own).saturating_add(to.own);
        self.used_anywhere.store(self.used, Relaxed);
        if is_visitors {
            let visitors = &mut self.used_by_visitors;
            *visitors = visitors.saturating_sub(from.own).saturating_add(to.own);
        }
        self.shared = (self.shared.saturating_sub(from.shared)).saturating_add(to.shared);
        for key in record.claimant.keys() {
            match self.by_key.entry(key) {
                Entry::Vacant(vacant) => {
                    vacant.insert(to);
                }
                Entry::Occupied(mut held) => {
                    let now = held.get().minus(from).plus(to);
                    if now.total() == 0 {
                        held.remove();
                    } else {
                        *held.get_mut() = now;
                    }
                }
            }
        }
        if record.whose.is_some()
            && let Some(order) = &mut self.order
        {
            order.change(Group::of(&record.claimant), slot, from, to);
        }
    }

    /// From now on a charge is this claimant's.
    pub(super) fn identify(&mut self, slot: Slot, claimant: &Claimant) {
        let amount = match self.record(slot) {
            Some(record) if record.claimant != *claimant => record.amount,
            Some(_) | None => return,
        };
        self.resize(slot, Amount::default());
        if let Some(Some(record)) = self.records.entry(slot) {
            record.claimant = claimant.clone();
        }
        self.resize(slot, amount);
    }

    /// Names what is told when a charge is taken away; none protects it.
    pub(super) fn set_whose(&mut self, slot: Slot, whose: Option<Weak<dyn Evict>>) {
        let Some(Some(record)) = self.records.entry(slot) else {
            return;
        };
        let was_evictable = record.whose.is_some();
        let is_evictable = whose.is_some();
        record.whose = whose;
        if was_evictable != is_evictable
            && let Some(order) = &mut self.order
        {
            let (none, all) = (Amount::default(), record.amount);
            let (from, to) = match is_evictable {
                true => (none, all),
                false => (all, none),
            };
            order.change(Group::of(&record.claimant), slot, from, to);
        }
    }

    /// The largest charge of the network that holds most, if that is more than twice as much as the newcomer will
    /// have. A visitor takes nothing from a member. `together` is what is used up by the things that
    /// shared parts refer to, and by nothing else.
    ///
    /// What is shared weighs as much as it uses up on average, because a reference that goes frees only its part.
    pub(super) fn largest(
        &mut self,
        newcomer: &Claimant,
        more: Amount,
        together: u64,
    ) -> Option<Slot> {
        let weigh = weigher(self.shared, together);
        let mine = newcomer.keys().into_iter().map(|key| self.held_by(&key));
        let mine = mine.map(weigh).max().unwrap_or(0);
        let mine = mine.saturating_add(weigh(more)) / u64::from(newcomer.multiple.max(1));
        let order = self.order();
        let (group, slot) = order.largest(newcomer.kind.has_account(), weigh)?;
        let multiple = self.record(slot)?.claimant.multiple.max(1);
        let theirs = weigh(self.held_by(&Key::Network(group.network())));
        (theirs / u64::from(multiple) > mine.saturating_mul(2)).then_some(slot)
    }

    /// How much an amount uses up on average, as [`PoolState::largest`] compares it.
    pub(super) fn weigh(&self, amount: Amount, together: u64) -> u64 {
        weigher(self.shared, together)(amount)
    }

    fn order(&mut self) -> &Order {
        self.order.get_or_insert_with(|| {
            #[cfg(test)]
            {
                self.orders_made += 1;
            }
            let mut order = Order::new(Instant::now());
            for (slot, record) in self.records.iter() {
                if record.whose.is_some() {
                    let group = Group::of(&record.claimant);
                    order.change(group, slot, Amount::default(), record.amount);
                }
            }
            order
        })
    }

    /// Takes a charge away. Its record stays, of nothing, and may grow again.
    pub(super) fn evict(&mut self, slot: Slot) -> Option<Weak<dyn Evict>> {
        self.resize(slot, Amount::default());
        self.record(slot)?.whose.clone()
    }

    /// Nothing has to be taken away while no more than this is used: the order is not kept for ever.
    pub(super) fn is_calm_below(&mut self, used: u64) {
        let made_at = self.order.as_ref().map(Order::made_at);
        if self.used < used && made_at.is_some_and(|at| at.elapsed() >= ORDER_KEPT) {
            self.order = None;
        }
    }
}

/// Weighs what is shared by what it uses up on average: `together` of all references, which are `shared`.
fn weigher(shared: u64, together: u64) -> impl Fn(Amount) -> u64 + Copy {
    let shared = shared.max(1);
    let together = together.min(shared);
    move |amount| {
        let part = u128::from(amount.shared) * u128::from(together) / u128::from(shared);
        let part = u64::try_from(part).unwrap_or(u64::MAX);
        amount.own.saturating_add(part)
    }
}
