//! A bounded memory of keys, which forgets first what says nothing any more.
//!
//! Not a cache: nothing is fetched here. Invariants: at most the given number of keys is held; a key that still says
//! something is forgotten only when there is no room, and then of eight the one that says least, so that many
//! keys which say little do not drive out one that says much: a bucket that is empty for minutes.
//!
//! A hand goes round over all keys. It looks at two with each new key and at some now and then, and forgets those of
//! which nothing would be missed, so that the memory is soon small again after many have come. A key that is known
//! costs one look-up.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// How often the hand goes on though no key is new, in milliseconds.
const LOOK_EVERY_MS: u64 = 100;

/// How many keys it looks at then: 100,000 in 40 s.
const LOOKED_AT: usize = 256;

/// How many it looks at with each new key, so that it is faster than they come.
const LOOKED_AT_WITH_NEW: usize = 2;

/// Of so many the one that says least is forgotten when there is no room.
const COMPARED: usize = 8;

/// What a key stands for.
pub(crate) trait Worth {
    /// How much would be missed now if it were forgotten. Nothing: zero.
    fn worth(&self, now_ms: u64) -> u64;
}

/// The keys.
#[derive(Debug)]
pub(crate) struct Recent<V> {
    known: BTreeMap<Arc<str>, V>,
    /// Every key once, the next one for the hand first.
    hand: VecDeque<Arc<str>>,
    max: usize,
    looked_at_ms: u64,
}

impl<V: Worth> Recent<V> {
    /// Holds at most so many keys.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            known: BTreeMap::new(),
            hand: VecDeque::new(),
            max: max.max(1),
            looked_at_ms: 0,
        }
    }

    /// The value of a key, if it is known.
    pub(crate) fn get(&self, key: &str) -> Option<&V> {
        self.known.get(key)
    }

    /// Does something with the value of a key, which is made when it is not known.
    pub(crate) fn with<T>(
        &mut self,
        key: &str,
        now_ms: u64,
        make: impl FnOnce() -> V,
        act: impl FnOnce(&mut V) -> T,
    ) -> T {
        if now_ms.saturating_sub(self.looked_at_ms) >= LOOK_EVERY_MS {
            self.looked_at_ms = now_ms;
            self.look(LOOKED_AT, now_ms);
        }
        if let Some(known) = self.known.get_mut(key) {
            return act(known);
        }
        self.look(LOOKED_AT_WITH_NEW, now_ms);
        while self.known.len() >= self.max {
            self.forget_one(now_ms);
        }
        let mut value = make();
        let done = act(&mut value);
        let key: Arc<str> = key.into();
        self.hand.push_back(Arc::clone(&key));
        self.known.insert(key, value);
        done
    }

    /// Looks at so many keys, and forgets those that say nothing.
    fn look(&mut self, keys: usize, now_ms: u64) {
        for _ in 0..keys.min(self.hand.len()) {
            if let Some((key, worth)) = self.next(now_ms) {
                match worth {
                    0 => drop(self.known.remove(&key)),
                    _ => self.hand.push_back(key),
                }
            }
        }
    }

    /// Forgets the key that says least of the next few.
    fn forget_one(&mut self, now_ms: u64) {
        let mut least: Option<(Arc<str>, u64)> = None;
        for _ in 0..COMPARED.min(self.hand.len()) {
            let Some((key, worth)) = self.next(now_ms) else {
                break;
            };
            let stays = match &mut least {
                Some(least) if worth < least.1 => std::mem::replace(least, (key, worth)).0,
                Some(_) => key,
                None => {
                    least = Some((key, worth));
                    continue;
                }
            };
            self.hand.push_back(stays);
        }
        if let Some((key, _)) = least {
            self.known.remove(&key);
        }
    }

    /// Takes the next key from the hand.
    fn next(&mut self, now_ms: u64) -> Option<(Arc<str>, u64)> {
        let key = self.hand.pop_front()?;
        let worth = self.known.get(&key).map_or(0, |value| value.worth(now_ms));
        Some((key, worth))
    }

    /// How many keys are held.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        assert_eq!(self.known.len(), self.hand.len());
        self.known.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says something until then.
    struct Until(u64);

    impl Worth for Until {
        fn worth(&self, now_ms: u64) -> u64 {
            self.0.saturating_sub(now_ms)
        }
    }

    fn note(recent: &mut Recent<Until>, key: &str, now_ms: u64, until: u64) {
        recent.with(key, now_ms, || Until(0), |value| value.0 = until);
    }

    #[test]
    fn what_says_nothing_any_more_is_forgotten_without_a_new_key() {
        let mut recent = Recent::new(100_000);
        for number in 0..10_000 {
            note(&mut recent, &format!("key{number}"), 50, 1_000);
        }
        assert_eq!(recent.len(), 10_000);
        for now_ms in (1_000..6_000).step_by(10) {
            note(&mut recent, "busy", now_ms, now_ms + 1_000);
        }
        assert_eq!(recent.len(), 1);
        assert!(recent.get("busy").is_some());
    }

    #[test]
    fn many_keys_that_say_little_do_not_drive_out_those_that_say_much() {
        let mut recent = Recent::new(1_000);
        for number in 0..100 {
            note(&mut recent, &format!("empty{number}"), 0, 600_000);
        }
        for number in 0..200_000_u64 {
            let now_ms = number / 100;
            note(
                &mut recent,
                &format!("key{number}"),
                now_ms,
                now_ms + 60_000,
            );
            assert!(recent.known.len() <= 1_000);
        }
        assert_eq!(recent.len(), 1_000);
        let empty = (0..100).filter(|number| recent.get(&format!("empty{number}")).is_some());
        assert_eq!(empty.count(), 100);
    }

    #[test]
    fn it_never_holds_more_than_it_may_even_of_what_says_much() {
        let mut recent = Recent::new(10);
        for number in 0..1_000 {
            note(&mut recent, &format!("key{number}"), number, u64::MAX);
            assert!(recent.len() <= 10);
        }
        assert!(recent.get("key999").is_some());
    }
}
