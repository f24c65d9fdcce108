//! A table of bounded size in which a newcomer always finds room: networks that hold much lose their oldest entries.
//!
//! Not here: what is given back by its holder (`pool`, `charge`). Invariants: there are at most as many entries as the
//! table was made for; an entry of another network goes only while less than a sixteenth of the table is free.
//!
//! A [`Pool`](super::Pool) refuses a holder who has their share. That is wrong for what is only remembered, and for who
//! waits until it is known who they are: the newest is worth more than the oldest. So the limits are the same, a part
//! of what is free for each width of network, and a network beyond one of them forgets its own oldest entry:
//!
//! ```text
//! the network, or a wider one, is beyond its share    the oldest entry of that network goes
//! the same, and less than a sixteenth is free         the oldest of the network that holds most, if that is more
//!                                                     than twice as much
//! nothing is free                                     the oldest of the network that holds most
//! ```

use std::collections::{BTreeMap, BTreeSet};

use smallvec::SmallVec;

use super::parts::Parts;
use crate::model::Width;

/// Less than this part of the table is free: the network that holds most loses for others.
const SHORT_PART: u64 = 16;

/// So many entries go for one newcomer at most, so that each costs bounded time.
const PUSHED_OUT_MAX: usize = 64;

/// The networks of an entry, the narrowest first, named by `K`.
pub type Levels<K> = SmallVec<[(K, Width); 1]>;

/// What goes for one newcomer.
pub type PushedOut<T> = SmallVec<[T; 1]>;

/// The table.
#[derive(Debug)]
pub struct PushOut<K, T> {
    max: u64,
    parts: Parts,
    next: u64,
    /// By their numbers, which grow with time.
    entries: BTreeMap<u64, Entry<K, T>>,
    /// The entries of each network of every width, the oldest first.
    order: BTreeSet<(K, u64)>,
    held: BTreeMap<K, Held>,
    /// The widest networks by how much they hold. Made when little is free for the first time, and followed until the
    /// table is half empty again, so that it costs nothing before.
    largest: Option<BTreeSet<(u64, K)>>,
}

#[derive(Debug)]
struct Entry<K, T> {
    levels: Levels<K>,
    multiple: u32,
    item: T,
}

/// What one network has.
#[derive(Clone, Copy, Debug)]
struct Held {
    entries: u64,
    /// That divided by the multiple of the network: how much it counts when networks are compared.
    rank: u64,
    is_widest: bool,
}

impl<K: Clone + Ord, T> PushOut<K, T> {
    /// An empty table of so many entries, at least one.
    #[must_use]
    pub fn new(max: usize, parts: Parts) -> Self {
        Self {
            max: (max as u64).max(1),
            parts,
            next: 0,
            entries: BTreeMap::new(),
            order: BTreeSet::new(),
            held: BTreeMap::new(),
            largest: None,
        }
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The oldest entry.
    #[must_use]
    pub fn oldest(&self) -> Option<(u64, &T)> {
        let (number, entry) = self.entries.first_key_value()?;
        Some((*number, &entry.item))
    }

    /// Adds an entry of these networks, whose limits are multiplied (`NETWORK_LIMITS`). Returns its number, and what
    /// went for it.
    pub fn insert(&mut self, levels: Levels<K>, multiple: u32, item: T) -> (u64, PushedOut<T>) {
        let multiple = multiple.max(1);
        let mut pushed_out = PushedOut::new();
        for _ in 0..PUSHED_OUT_MAX {
            let Some(loser) = self.loser(&levels, multiple) else {
                break;
            };
            let oldest = self.oldest_of(&loser);
            pushed_out.extend(oldest.and_then(|number| self.remove(number)));
        }
        let entry = Entry {
            levels,
            multiple,
            item,
        };
        self.count(&entry, true);
        (self.put(entry), pushed_out)
    }

    /// Makes an entry the newest, if it is of the same network. Returns its new number.
    pub fn renew(&mut self, number: u64, levels: &Levels<K>) -> Option<u64> {
        if self.entries.get(&number)?.levels != *levels {
            return None;
        }
        let entry = self.take(number)?;
        Some(self.put(entry))
    }

    /// Removes an entry.
    pub fn remove(&mut self, number: u64) -> Option<T> {
        let entry = self.take(number)?;
        self.count(&entry, false);
        if (self.entries.len() as u64) < self.max / 2 {
            self.largest = None;
        }
        Some(entry.item)
    }

    fn put(&mut self, entry: Entry<K, T>) -> u64 {
        self.next += 1;
        for (network, _) in &entry.levels {
            self.order.insert((network.clone(), self.next));
        }
        self.entries.insert(self.next, entry);
        self.next
    }

    fn take(&mut self, number: u64) -> Option<Entry<K, T>> {
        let entry = self.entries.remove(&number)?;
        for (network, _) in &entry.levels {
            self.order.remove(&(network.clone(), number));
        }
        Some(entry)
    }

    /// Counts an entry to its networks, or no longer.
    fn count(&mut self, entry: &Entry<K, T>, is_added: bool) {
        let widest = entry.levels.len().saturating_sub(1);
        for (at, (network, _)) in entry.levels.iter().enumerate() {
            let is_widest = at == widest;
            let before = self.held.get(network).copied();
            let entries = before.map_or(0, |held| held.entries);
            let entries = match is_added {
                true => entries + 1,
                false => entries.saturating_sub(1),
            };
            let after = Held {
                entries,
                rank: entries / u64::from(entry.multiple),
                is_widest,
            };
            if let Some(largest) = self.largest.as_mut().filter(|_| is_widest) {
                if let Some(before) = before {
                    largest.remove(&(before.rank, network.clone()));
                }
                if entries > 0 {
                    largest.insert((after.rank, network.clone()));
                }
            }
            match entries {
                0 => self.held.remove(network),
                _ => self.held.insert(network.clone(), after),
            };
        }
    }

    /// The network whose oldest entry goes before there is room for one of these networks.
    fn loser(&mut self, levels: &Levels<K>, multiple: u32) -> Option<K> {
        let free = self.max.saturating_sub(self.entries.len() as u64);
        let is_beyond = |(network, width): &&(K, Width)| {
            let limit = self.parts.of_network(*width).of(free, multiple);
            // A part of little is rounded down to nothing; the first one is always within it.
            self.held_by(network) >= limit.max(1)
        };
        let beyond = levels.iter().find(is_beyond).map(|(network, _)| network);
        if beyond.is_none() && free > 0 {
            return None;
        }
        if free <= self.max / SHORT_PART {
            let mine = levels.last().map_or(0, |(widest, _)| self.held_by(widest));
            let mine = (mine + 1) / u64::from(multiple);
            if let Some((rank, largest)) = self.largest()
                && (beyond.is_none() || rank > mine.saturating_mul(2))
            {
                return Some(largest);
            }
        }
        beyond.cloned()
    }

    fn held_by(&self, network: &K) -> u64 {
        self.held.get(network).map_or(0, |held| held.entries)
    }

    fn oldest_of(&self, network: &K) -> Option<u64> {
        let mut entries = self.order.range((network.clone(), 0)..);
        let (found, number) = entries.next()?;
        (found == network).then_some(*number)
    }

    /// The widest network that holds most.
    fn largest(&mut self) -> Option<(u64, K)> {
        let held = &self.held;
        let largest = self.largest.get_or_insert_with(|| {
            let widest = held.iter().filter(|(_, held)| held.is_widest);
            let ranked = widest.map(|(network, held)| (held.rank, network.clone()));
            ranked.collect()
        });
        largest.last().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Network;

    type Table = PushOut<Network, u32>;

    fn levels(address: &str) -> Levels<Network> {
        let network = Network::of(address.parse().unwrap());
        let levels = network.levels();
        levels.map(|level| (level, level.width())).collect()
    }

    fn table(max: usize) -> Table {
        PushOut::new(max, Parts::DEFAULT)
    }

    /// Adds so many entries of an address. Returns their numbers.
    fn fill(table: &mut Table, address: &str, entries: u32) -> Vec<u64> {
        let one = |item| table.insert(levels(address), 1, item).0;
        (0..entries).map(one).collect()
    }

    fn held(table: &Table, address: &str) -> u64 {
        let levels = levels(address);
        levels.last().map_or(0, |(widest, _)| table.held_by(widest))
    }

    #[test]
    fn a_network_alone_has_half_of_a_table_and_loses_its_own_oldest() {
        let mut table = table(1_000);
        let numbers = fill(&mut table, "192.0.2.1", 3_000);
        assert_eq!(table.len(), 500);
        assert_eq!(table.oldest(), Some((numbers[2_500], &2_500)));
        fill(&mut table, "192.0.2.2", 3_000);
        assert_eq!(
            (held(&table, "192.0.2.1"), held(&table, "192.0.2.2")),
            (500, 250)
        );
    }

    #[test]
    fn every_width_of_a_network_has_a_share_of_its_own() {
        let mut table = table(1_000);
        fill(&mut table, "2001:db8::1", 1_000);
        assert_eq!(table.len(), 333, "a /64 has a third");
        fill(&mut table, "2001:db8:0:1::1", 1_000);
        assert_eq!(table.len(), 429, "its /56 three sevenths");
        for number in 0..250 {
            fill(&mut table, &format!("2001:db8:0:{number:x}00::1"), 2);
        }
        assert_eq!(table.len(), 500, "its /48 a half");
        fill(&mut table, "192.0.2.1", 10);
        assert_eq!(held(&table, "192.0.2.1"), 10);
    }

    #[test]
    fn a_full_table_takes_a_newcomer_in_for_the_oldest_of_the_largest_network() {
        let mut table = table(1_000);
        let crowd = fill(&mut table, "192.0.2.0", 500);
        for last in 1..=60 {
            fill(&mut table, &format!("198.51.100.{last}"), 10);
        }
        let others = held(&table, "198.51.100.1");
        assert!((938..1_000).contains(&table.len()), "{}", table.len());
        let before = held(&table, "192.0.2.0");
        let (_, gone) = table.insert(levels("203.0.113.1"), 1, 7);
        assert!(gone.is_empty(), "the first one is within its share");
        fill(&mut table, "203.0.113.1", 60);
        assert_eq!(held(&table, "203.0.113.1"), 61);
        assert_eq!((held(&table, "198.51.100.1"), others), (10, 10));
        let lost = before - held(&table, "192.0.2.0");
        assert!((60..=130).contains(&lost), "{lost}");
        assert!(!table.entries.contains_key(&crowd[0]), "its oldest");
        assert!(table.entries.contains_key(&crowd[499]));
    }

    #[test]
    fn many_networks_that_hold_one_each_lose_the_oldest_only_when_nothing_is_free() {
        let mut table = table(100);
        for last in 0..100 {
            fill(&mut table, &format!("192.0.2.{last}"), 1);
        }
        assert_eq!(table.len(), 100);
        let (_, gone) = table.insert(levels("198.51.100.1"), 1, 0);
        assert_eq!((gone.len(), table.len()), (1, 100));
        assert_eq!(held(&table, "198.51.100.1"), 1);
    }

    #[test]
    fn a_named_network_has_a_multiple_and_counts_for_less() {
        let mut table = table(1_000);
        for item in 0..2_000 {
            table.insert(levels("192.0.2.1"), 4, item);
        }
        assert_eq!(table.len(), 800);
        for last in 1..=10 {
            fill(&mut table, &format!("198.51.100.{last}"), 30);
            assert_eq!(held(&table, &format!("198.51.100.{last}")), 30);
        }
        let held = held(&table, "192.0.2.1");
        assert!((600..700).contains(&held), "{held}");
    }

    #[test]
    fn what_is_renewed_is_the_newest_and_nothing_is_left_of_what_is_removed() {
        let mut table = table(10);
        let numbers = fill(&mut table, "2001:db8::1", 3);
        let first = table.renew(numbers[0], &levels("2001:db8::1")).unwrap();
        assert_eq!(table.oldest(), Some((numbers[1], &1)));
        assert_eq!(table.renew(first, &levels("2001:db8:1::1")), None);
        for number in [first, numbers[1], numbers[2]] {
            assert!(table.remove(number).is_some());
        }
        assert!(table.is_empty() && table.order.is_empty() && table.held.is_empty());
        assert_eq!(table.remove(first), None);
    }
}
