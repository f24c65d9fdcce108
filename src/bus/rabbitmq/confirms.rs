//! Which publication was routed, which came back, which was refused.
//!
//! Not here: channels and futures; this is arithmetic on what was observed. The broker sends a
//! return before the confirm of the same message, but the client library hands each return to the
//! *next* confirm that it completes, whichever that is. So a return is matched by the message id
//! inside it, and a confirm that carried a stranger's return leaves doubt about its own.
//!
//! Invariant: a mandatory publication is called routed only when its return cannot come any more.

use std::collections::BTreeSet;

/// One completed confirm, as the client library tells it.
pub(super) struct Completed<T> {
    /// The message id of the publication.
    pub(super) id: String,
    /// Whether it was to be returned when it reached no queue.
    pub(super) is_mandatory: bool,
    /// Ack or nack.
    pub(super) is_acked: bool,
    /// Whether a returned message came with it, and the id inside that.
    pub(super) returned: Option<String>,
    /// Who waits for it.
    pub(super) waiting: T,
}

/// What became of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Routed,
    NoRoute,
    Refused,
}

/// What is known of returns on one channel.
pub(super) struct Ledger<T> {
    /// Ids that came back while their own confirm is still to come.
    returned: BTreeSet<String>,
    /// Acked, with a stranger's return: their own may still be on its way.
    doubtful: Vec<(String, T)>,
}

impl<T> Ledger<T> {
    pub(super) fn new() -> Self {
        Self {
            returned: BTreeSet::new(),
            doubtful: Vec::new(),
        }
    }

    /// Takes in one round. A round is complete: whatever the library had completed before any
    /// member of it is a member of it or of an earlier one. `is_idle` says that no confirm is
    /// outstanding after it.
    pub(super) fn settle(&mut self, round: Vec<Completed<T>>, is_idle: bool) -> Vec<(T, Outcome)> {
        let mut settled = Vec::with_capacity(round.len());
        // A confirm without a return says that no return was waiting then.
        let none_waited = round.iter().any(|completed| completed.returned.is_none());
        self.returned.extend(
            round
                .iter()
                .filter_map(|completed| completed.returned.clone()),
        );
        for (id, waiting) in std::mem::take(&mut self.doubtful) {
            if self.returned.remove(&id) {
                settled.push((waiting, Outcome::NoRoute));
            } else if none_waited || is_idle {
                settled.push((waiting, Outcome::Routed));
            } else {
                self.doubtful.push((id, waiting));
            }
        }
        for completed in round {
            let was_returned = self.returned.remove(&completed.id);
            let waiting = completed.waiting;
            if !completed.is_acked {
                settled.push((waiting, Outcome::Refused));
            } else if was_returned {
                settled.push((waiting, Outcome::NoRoute));
            } else if !completed.is_mandatory || completed.returned.is_none() || is_idle {
                settled.push((waiting, Outcome::Routed));
            } else {
                self.doubtful.push((completed.id, waiting));
            }
        }
        if is_idle {
            self.returned.clear();
        }
        settled
    }

    /// Gives up those in doubt: what would have decided about them did not come in time.
    pub(super) fn give_up(&mut self) -> Vec<T> {
        let doubtful = std::mem::take(&mut self.doubtful);
        doubtful.into_iter().map(|(_, waiting)| waiting).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};

    use proptest::prelude::*;

    use super::*;

    fn acked(id: &str, returned: Option<&str>) -> Completed<String> {
        Completed {
            id: id.to_owned(),
            is_mandatory: true,
            is_acked: true,
            returned: returned.map(str::to_owned),
            waiting: id.to_owned(),
        }
    }

    #[test]
    fn a_return_attached_to_the_confirm_of_another_is_found_by_its_id() {
        let mut ledger = Ledger::new();
        // 1 is routed, 2 comes back; the library gives the return of 2 to the confirm of 1.
        assert_eq!(ledger.settle(vec![acked("1", Some("2"))], false), []);
        let settled = ledger.settle(vec![acked("2", None)], true);
        let expected = [("1", Outcome::Routed), ("2", Outcome::NoRoute)];
        assert_eq!(
            settled,
            expected.map(|(id, outcome)| (id.to_owned(), outcome))
        );
    }

    #[test]
    fn two_returns_that_were_swapped_are_both_found() {
        let mut ledger = Ledger::new();
        assert_eq!(ledger.settle(vec![acked("1", Some("2"))], false), []);
        let settled = ledger.settle(vec![acked("2", Some("1"))], true);
        let expected = [("1", Outcome::NoRoute), ("2", Outcome::NoRoute)];
        assert_eq!(
            settled,
            expected.map(|(id, outcome)| (id.to_owned(), outcome))
        );
    }

    #[test]
    fn a_nack_is_a_refusal_and_what_is_in_doubt_can_be_given_up() {
        let mut ledger = Ledger::new();
        let nacked = Completed {
            is_acked: false,
            ..acked("1", Some("3"))
        };
        let settled = ledger.settle(vec![nacked, acked("2", Some("9"))], false);
        assert_eq!(settled, [("1".to_owned(), Outcome::Refused)]);
        assert_eq!(ledger.give_up(), ["2"]);
    }

    /// The library and the broker, as far as returns go: returns in a queue, each confirm takes the
    /// head of it, confirms in any order, each after its own return; rounds cut anywhere.
    fn run(routed: &[bool], picks: &[usize], cuts: &[bool]) -> Result<(), TestCaseError> {
        let mut unreturned: Vec<usize> = (0..routed.len()).filter(|&i| !routed[i]).collect();
        let mut unconfirmed: Vec<usize> = (0..routed.len()).collect();
        let mut waiting_returns = VecDeque::new();
        let mut ledger = Ledger::new();
        let mut round = Vec::new();
        let mut settled = BTreeMap::new();
        for (step, &pick) in picks.iter().cycle().enumerate() {
            if unconfirmed.is_empty() {
                break;
            }
            let pick = pick.wrapping_add(step);
            if !unreturned.is_empty() && pick % 2 == 0 {
                waiting_returns.push_back(unreturned.remove(pick % unreturned.len()));
                continue;
            }
            let i = unconfirmed[pick % unconfirmed.len()];
            if unreturned.contains(&i) {
                waiting_returns.push_back(i);
                unreturned.retain(|&other| other != i);
            }
            unconfirmed.retain(|&other| other != i);
            let returned = waiting_returns.pop_front().map(|id: usize| id.to_string());
            round.push(acked(&i.to_string(), returned.as_deref()));
            if cuts[step % cuts.len()] || unconfirmed.is_empty() {
                let round = std::mem::take(&mut round);
                for (id, outcome) in ledger.settle(round, unconfirmed.is_empty()) {
                    prop_assert!(settled.insert(id, outcome).is_none());
                }
            }
        }
        for (i, &is_routed) in routed.iter().enumerate() {
            let expected = if is_routed {
                Outcome::Routed
            } else {
                Outcome::NoRoute
            };
            prop_assert_eq!(settled.get(&i.to_string()), Some(&expected), "{}", i);
        }
        prop_assert!(ledger.returned.is_empty());
        Ok(())
    }

    proptest! {
        #[test]
        fn every_return_is_matched_to_its_own_publication_in_any_order(
            routed in prop::collection::vec(any::<bool>(), 1..40),
            picks in prop::collection::vec(0_usize..1_000, 1..80),
            cuts in prop::collection::vec(any::<bool>(), 1..40),
        ) {
            run(&routed, &picks, &cuts)?;
        }
    }
}
