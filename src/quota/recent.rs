//! A bounded memory of recently used keys.
//!
//! Not a cache: nothing is fetched here. Invariant: at most the given number of keys is held, and
//! a key is forgotten only when it was idle for `idle_ms`, or when the bound forces it.

use std::collections::BTreeMap;

/// Keys in two generations. Whatever is used moves to the young one; when that is full or old, it
/// becomes the old one and what was in there is forgotten. That costs no list of ages and no sweep.
#[derive(Debug)]
pub(super) struct Recent<V> {
    young: BTreeMap<Box<str>, V>,
    old: BTreeMap<Box<str>, V>,
    /// When the young generation began.
    born_ms: u64,
    /// How many keys one generation may hold.
    generation_max: usize,
    idle_ms: u64,
}

impl<V> Recent<V> {
    /// Holds at most `keys_max` keys, each for at least `idle_ms` after its last use while there is
    /// room.
    pub(super) fn new(keys_max: usize, idle_ms: u64) -> Self {
        Self {
            young: BTreeMap::new(),
            old: BTreeMap::new(),
            born_ms: 0,
            generation_max: (keys_max / 2).max(1),
            idle_ms,
        }
    }

    /// The value of a key, made when it is not known.
    pub(super) fn get_or_insert(
        &mut self,
        key: &str,
        now_ms: u64,
        make: impl FnOnce() -> V,
    ) -> &mut V {
        if now_ms.saturating_sub(self.born_ms) >= self.idle_ms {
            self.turn(now_ms);
        }
        let is_young = self.young.contains_key(key);
        if !is_young && self.young.len() >= self.generation_max {
            self.turn(now_ms);
        }
        if is_young {
            return self.young.entry(key.into()).or_insert_with(make);
        }
        let old = self.old.remove(key);
        self.young
            .entry(key.into())
            .or_insert_with(|| old.unwrap_or_else(make))
    }

    fn turn(&mut self, now_ms: u64) {
        self.old = std::mem::take(&mut self.young);
        self.born_ms = now_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_is_remembered_and_what_is_idle_is_forgotten() {
        let mut recent = Recent::new(10, 100);
        *recent.get_or_insert("busy", 0, || 0) = 1;
        *recent.get_or_insert("idle", 0, || 0) = 1;
        for now_ms in (50..500).step_by(50) {
            assert_eq!(*recent.get_or_insert("busy", now_ms, || 0), 1);
        }
        assert_eq!(*recent.get_or_insert("idle", 500, || 0), 0);
    }

    #[test]
    fn it_never_holds_more_than_it_may() {
        let mut recent = Recent::new(10, 1_000_000);
        for number in 0..1_000 {
            recent.get_or_insert(&format!("key{number}"), number, || number);
            assert!(recent.young.len() + recent.old.len() <= 10);
        }
        assert_eq!(*recent.get_or_insert("key999", 1_000, || 7), 999);
    }
}
