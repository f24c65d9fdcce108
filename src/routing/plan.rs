//! Where a message goes, as a value.
//!
//! Not here: how it gets there (`broker`). Invariant: a node is named at most once, and this node
//! never among the remote ones: local delivery does not use the bus.

use std::collections::BTreeSet;

use crate::model::{Incarnation, NodeId};

/// The decision for one message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Whether somebody on this node receives it.
    pub local: bool,
    /// The other nodes that get one envelope each.
    pub remote: BTreeSet<NodeId>,
    /// Whether the recipient has no session anywhere: the store keeps it for him.
    pub offline: bool,
}

/// One life of a node. Another life under this node's name is a node like any other: for a while
/// it may run beside this one, with sessions of its own.
pub type Life<'a> = (&'a NodeId, Incarnation);

/// Plans one message: `recipient` are the nodes of the recipient's sessions, `sender` those of the
/// writer's own (they get the echo). Nodes may be named several times, once for each session.
#[must_use]
pub fn plan<'a>(
    here: Life<'_>,
    recipient: impl IntoIterator<Item = Life<'a>>,
    sender: impl IntoIterator<Item = Life<'a>>,
) -> Plan {
    let mut plan = Plan {
        offline: true,
        ..Plan::default()
    };
    let recipient = recipient.into_iter().map(|node| (node, true));
    let sender = sender.into_iter().map(|node| (node, false));
    for (node, is_recipient) in recipient.chain(sender) {
        plan.offline &= !is_recipient;
        if node == here {
            plan.local = true;
        } else {
            plan.remote.insert(node.0.clone());
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of nodes in their first life, or in another one: `a b a:2`.
    fn lives(names: &str) -> Vec<(NodeId, Incarnation)> {
        names
            .split_whitespace()
            .map(|name| match name.split_once(':') {
                Some((name, life)) => (name.parse().unwrap(), life.parse().unwrap()),
                None => (name.parse().unwrap(), Incarnation(1)),
            })
            .collect()
    }

    #[test]
    fn every_node_that_needs_a_message_gets_it_once() {
        // (recipient's sessions, sender's sessions) on node a -> local, remote, offline
        let table = [
            ("", "", false, "", true),
            ("a", "a", true, "", false),
            ("a b", "a", true, "b", false),
            ("b b b", "a", true, "b", false),
            ("b c", "c d", false, "b c d", false),
            ("", "a b", true, "b", true),
            // Another life of this node is not this node.
            ("a:2", "a", true, "a", false),
            ("a:2", "", false, "a", false),
        ];
        let here: NodeId = "a".parse().unwrap();
        for (recipient, sender, local, remote, offline) in table {
            let expected = Plan {
                local,
                remote: lives(remote).into_iter().map(|(node, _)| node).collect(),
                offline,
            };
            let (recipients, senders) = (lives(recipient), lives(sender));
            let planned = plan(
                (&here, Incarnation(1)),
                recipients.iter().map(|(node, life)| (node, *life)),
                senders.iter().map(|(node, life)| (node, *life)),
            );
            assert_eq!(planned, expected, "{recipient} / {sender}");
        }
    }
}
