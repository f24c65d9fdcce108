//! What the nodes want, by name and by pattern.
//!
//! Not here: leases; whether a life of a node counts is asked of the caller. Invariant: a node has at
//! most one entry for each name and each pattern, and of one life the newest generation stays.

use std::collections::BTreeMap;

use crate::location::pattern_of;
use crate::model::{Destination, Incarnation, NodeId, Pattern};

/// The interests of all nodes.
#[derive(Debug, Default)]
pub(super) struct Wants {
    by_name: BTreeMap<Destination, ByNode>,
    by_pattern: BTreeMap<Pattern, ByNode>,
}

/// A life of a node and the generation of its interest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Want {
    pub(super) incarnation: Incarnation,
    pub(super) generation: u64,
}

type ByNode = BTreeMap<NodeId, Want>;

impl Wants {
    /// Records an interest. Returns whether there was room for it: there always is, but for
    /// patterns.
    pub(super) fn want(
        &mut self,
        destination: &Destination,
        node: &NodeId,
        want: Want,
        patterns_max: usize,
        is_alive: impl Fn(&NodeId, Incarnation) -> bool,
    ) -> bool {
        let Some(pattern) = pattern_of(destination) else {
            record(
                self.by_name.entry(destination.clone()).or_default(),
                node,
                want,
            );
            return true;
        };
        let by_node = self.by_pattern.get(&pattern);
        let is_new = by_node.is_none_or(|by_node| !by_node.contains_key(node));
        if is_new && self.patterns() >= patterns_max {
            self.by_pattern.retain(|_, by_node| {
                by_node.retain(|node, want| is_alive(node, want.incarnation));
                !by_node.is_empty()
            });
            if self.patterns() >= patterns_max {
                return false;
            }
        }
        record(self.by_pattern.entry(pattern).or_default(), node, want);
        true
    }

    /// Withdraws the interest of a life, unless a newer generation is there.
    pub(super) fn unwant(&mut self, destination: &Destination, node: &NodeId, want: Want) {
        match pattern_of(destination) {
            Some(pattern) => withdraw(&mut self.by_pattern, &pattern, node, want),
            None => withdraw(&mut self.by_name, destination, node, want),
        }
    }

    /// The live nodes that want a destination, sorted, each once; the entries of dead lives that are
    /// met are removed on the way.
    pub(super) fn wanted_by(
        &mut self,
        destination: &Destination,
        by_patterns: bool,
        is_alive: impl Fn(&NodeId, Incarnation) -> bool,
    ) -> Vec<NodeId> {
        let mut live = Vec::new();
        let mut judge = |by_node: &mut ByNode| {
            by_node.retain(|node, want| is_alive(node, want.incarnation));
            live.extend(by_node.keys().cloned());
            !by_node.is_empty()
        };
        if let Some(by_node) = self.by_name.get_mut(destination)
            && !judge(by_node)
        {
            self.by_name.remove(destination);
        }
        if by_patterns && !self.by_pattern.is_empty() {
            let text = destination.to_string();
            self.by_pattern
                .retain(|pattern, by_node| !pattern.matches(&text) || judge(by_node));
        }
        live.sort();
        live.dedup();
        live
    }

    fn patterns(&self) -> usize {
        self.by_pattern.values().map(BTreeMap::len).sum()
    }
}

fn record(by_node: &mut ByNode, node: &NodeId, want: Want) {
    let stored = by_node.entry(node.clone()).or_insert(want);
    let is_late = stored.incarnation == want.incarnation && stored.generation > want.generation;
    if !is_late {
        *stored = want;
    }
}

fn withdraw<K: Ord>(wants: &mut BTreeMap<K, ByNode>, key: &K, node: &NodeId, want: Want) {
    let Some(by_node) = wants.get_mut(key) else {
        return;
    };
    let may_go = |stored: &Want| {
        stored.incarnation == want.incarnation && stored.generation <= want.generation
    };
    if by_node.get(node).is_some_and(may_go) {
        by_node.remove(node);
    }
    if by_node.is_empty() {
        wants.remove(key);
    }
}
