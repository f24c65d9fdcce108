//! What was read of a chunk of users and destinations, and which of it counts.
//!
//! Not here: the reading and the cleaning. Invariant: an entry counts if and only if the lease that
//! was read after it belongs to the same life of the same node.

use std::collections::{BTreeMap, BTreeSet};

use super::keys;
use crate::location::Located;
use crate::model::{Destination, Incarnation, NodeId, UserId};

/// The hashes of one chunk as they were read, and the leases read after them.
pub(super) struct Read {
    pub(super) users: Vec<Vec<(String, String)>>,
    pub(super) destinations: Vec<Vec<(String, String)>>,
    /// For each destination who wants it by a pattern.
    pub(super) by_pattern: Vec<Vec<Wanted>>,
    pub(super) leases: BTreeMap<NodeId, Option<Incarnation>>,
}

/// An interest in a pattern: its field and who wants it.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) field: String,
    pub(super) node: NodeId,
    pub(super) incarnation: Incarnation,
}

/// A field that no lease covers: its key and its name.
pub(super) type Stale = (String, String);

impl Read {
    /// Every node that an entry names.
    pub(super) fn named(&self) -> BTreeSet<NodeId> {
        let sessions = self.users.iter().flatten();
        let wants = self.destinations.iter().flatten();
        let by_pattern = self.by_pattern.iter().flatten();
        sessions
            .filter_map(|(field, value)| Some(keys::read_session(field, value)?.node))
            .chain(wants.filter_map(|(field, value)| Some(keys::read_want(field, value)?.0)))
            .chain(by_pattern.map(|wanted| wanted.node.clone()))
            .collect()
    }

    fn is_alive(&self, node: &NodeId, incarnation: Incarnation) -> bool {
        self.leases.get(node) == Some(&Some(incarnation))
    }

    /// What counts, and what does not. A field that cannot be read is left alone: a newer version
    /// may have written it.
    pub(super) fn judge(
        &self,
        users: &[UserId],
        destinations: &[Destination],
    ) -> (Located, Vec<Stale>) {
        let mut stale = Vec::new();
        let mut located = Located::default();
        for (user, fields) in users.iter().zip(&self.users) {
            let mut live = Vec::with_capacity(fields.len());
            for (field, value) in fields {
                match keys::read_session(field, value) {
                    Some(entry) if self.is_alive(&entry.node, entry.incarnation) => {
                        live.push(entry);
                    }
                    Some(_) => stale.push((keys::sessions(user), field.clone())),
                    None => tracing::debug!(%user, "a session entry cannot be read"),
                }
            }
            live.sort_by_key(|entry| entry.session);
            located.users.push(live);
        }
        let wants = self.destinations.iter().zip(&self.by_pattern);
        for (destination, (fields, by_pattern)) in destinations.iter().zip(wants) {
            let mut live = Vec::with_capacity(fields.len());
            for (field, value) in fields {
                match keys::read_want(field, value) {
                    Some((node, incarnation)) if self.is_alive(&node, incarnation) => {
                        live.push(node);
                    }
                    Some(_) => stale.push((keys::wants(destination), field.clone())),
                    None => tracing::debug!(%destination, "an interest cannot be read"),
                }
            }
            for wanted in by_pattern {
                if self.is_alive(&wanted.node, wanted.incarnation) {
                    live.push(wanted.node.clone());
                } else {
                    stale.push((keys::PATTERNS.to_owned(), wanted.field.clone()));
                }
            }
            live.sort();
            live.dedup();
            located.destinations.push(live);
        }
        (located, stale)
    }
}

/// The life that a lease belongs to.
pub(super) fn holder(value: &Option<String>) -> Option<Incarnation> {
    keys::read_lease(value.as_deref()?).map(|(incarnation, _)| incarnation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_counts_only_with_a_lease_of_the_same_life() {
        let user: UserId = "user_a".parse().unwrap();
        let check = |lease: Option<Option<u64>>, lives: bool| {
            let node: NodeId = "n1".parse().unwrap();
            let session = "0".repeat(26);
            let read = Read {
                users: vec![vec![(
                    session.clone(),
                    format!("n1|{}|d|5", Incarnation(7)),
                )]],
                destinations: Vec::new(),
                by_pattern: Vec::new(),
                leases: lease
                    .map(|holder| (node, holder.map(Incarnation)))
                    .into_iter()
                    .collect(),
            };
            let (located, stale) = read.judge(std::slice::from_ref(&user), &[]);
            assert_eq!(located.users[0].len(), usize::from(lives), "{lease:?}");
            let expected = vec![("loc:user_a".to_owned(), session)];
            assert_eq!(stale, if lives { Vec::new() } else { expected });
        };
        check(Some(Some(7)), true);
        check(Some(Some(8)), false);
        check(Some(None), false);
        check(None, false);
    }

    #[test]
    fn what_a_newer_version_wrote_is_left_alone() {
        let user: UserId = "user_a".parse().unwrap();
        let read = Read {
            users: vec![vec![("?".to_owned(), "v2:something".to_owned())]],
            destinations: Vec::new(),
            by_pattern: Vec::new(),
            leases: BTreeMap::new(),
        };
        let (located, stale) = read.judge(&[user], &[]);
        assert_eq!(located.users, vec![Vec::new()]);
        assert!(stale.is_empty());
    }
}
