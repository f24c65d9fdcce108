//! What this node has put into one queue and is not known to be consumed.
//!
//! Not here: how many messages the queue has, which RabbitMQ says (`upkeep`). Invariant: it counts at least
//! what of this node's messages waits in the queue, as far as queues are first in, first out: never more
//! messages than were sent from here, and after a count never more than wait.

use std::collections::VecDeque;

use crate::budget::Portion;

/// So many messages of one client are given back together at most.
const TOGETHER_MAX: u32 = 64;

/// The oldest first.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    sent: VecDeque<Sent>,
    messages: u64,
}

/// Messages of one client, one after the other.
#[derive(Debug)]
struct Sent {
    portion: Portion,
    messages: u32,
}

impl Outstanding {
    /// Whether nothing of this node can be in the queue.
    pub(super) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// The queue has one more.
    pub(super) fn add(&mut self, portion: Portion) {
        self.messages += 1;
        let portion = match self.sent.back_mut() {
            Some(last) if last.messages < TOGETHER_MAX => match last.portion.join(portion) {
                Ok(()) => {
                    last.messages += 1;
                    return;
                }
                Err(other) => other,
            },
            Some(_) | None => portion,
        };
        self.sent.push_back(Sent {
            portion,
            messages: 1,
        });
    }

    /// So many messages wait in the queue, those of other nodes included.
    pub(super) fn counted(&mut self, waiting: u32) {
        while self.messages > u64::from(waiting) {
            let Some(oldest) = self.sent.front_mut() else {
                return;
            };
            let gone = self.messages - u64::from(waiting);
            let gone = u32::try_from(gone).unwrap_or(u32::MAX);
            if gone >= oldest.messages {
                self.messages -= u64::from(oldest.messages);
                self.sent.pop_front();
                continue;
            }
            let bytes = oldest.portion.amount() / u64::from(oldest.messages) * u64::from(gone);
            oldest.portion.give_back(bytes);
            oldest.messages -= gone;
            self.messages -= u64::from(gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::{Claimant, Pool, PoolSettings, Tallies};
    use crate::model::Network;

    #[test]
    fn what_no_longer_waits_is_given_back_the_oldest_first() {
        // Chunks of one byte.
        let accounts = Tallies::new(Pool::new(PoolSettings::new("test", 60_000)));
        let at = |last: u8| Claimant::stranger(Network::of([192, 0, 2, last].into()));
        let held = |last: u8| accounts.pool().held_by_network(at(last).network);
        let mut outstanding = Outstanding::default();
        for _ in 0..100 {
            outstanding.add(accounts.take(&at(1), 10).unwrap());
        }
        for _ in 0..10 {
            outstanding.add(accounts.take(&at(2), 10).unwrap());
        }
        assert_eq!((held(1), held(2)), (1_000, 100));
        // Other nodes have sent too.
        outstanding.counted(500);
        assert_eq!((held(1), held(2)), (1_000, 100));
        outstanding.counted(60);
        assert_eq!((held(1), held(2)), (500, 100));
        outstanding.counted(5);
        assert_eq!((held(1), held(2)), (0, 50));
        outstanding.counted(0);
        assert!(outstanding.is_empty());
        assert_eq!(accounts.pool().used(), 0);
    }
}
