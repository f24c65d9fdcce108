//! Where a message goes, as a value.
//!
//! Not here: how it gets there (`broker`). Invariant: a node is named at most once, and this node
//! never among the remote ones: local delivery does not use the bus.

use std::collections::BTreeSet;

use crate::model::NodeId;

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

/// Plans one message: `recipient` are the nodes of the recipient's sessions, `sender` those of the
/// writer's own (they get the echo). Nodes may be named several times, once for each session.
#[must_use]
pub fn plan<'a>(
    here: &NodeId,
    recipient: impl IntoIterator<Item = &'a NodeId>,
    sender: impl IntoIterator<Item = &'a NodeId>,
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
            plan.remote.insert(node.clone());
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(names: &str) -> Vec<NodeId> {
        names
            .split_whitespace()
            .map(|name| name.parse().unwrap())
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
        ];
        let here = "a".parse().unwrap();
        for (recipient, sender, local, remote, offline) in table {
            let expected = Plan {
                local,
                remote: nodes(remote).into_iter().collect(),
                offline,
            };
            let planned = plan(&here, &nodes(recipient), &nodes(sender));
            assert_eq!(planned, expected, "{recipient} / {sender}");
        }
    }
}
