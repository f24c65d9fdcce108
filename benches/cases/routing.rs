//! Decisions of routing: where a message goes, what an inbox lets through, the numbers of flows.
//!
//! Not here: look-ups. Invariant: an inbox sees the conversation go on from run to run.

use std::hint::black_box;
use std::time::Instant;

use stompbox::model::{Incarnation, NodeId, RoomId};
use stompbox::routing::{FlowsIn, FlowsOut, Hole, Inbox, Life, Offer, plan};

use super::people::{node, user};
use super::{Case, Failure, Made};

/// How many conversations an inbox knows.
const CONVERSATIONS: u64 = 100;

/// How many flows a node of a larger cluster has.
const NODES: usize = 20;

pub(super) const CASES: &[Case] = &[
    Case::new("routing/plan_two_devices_each", plan_two_devices),
    Case::new("routing/inbox_next", inbox_next),
    Case::new("routing/inbox_hole_and_fetch", inbox_hole),
    Case::new("routing/flows_take_3_of_20", flows_take),
    Case::new("routing/flows_parcel_of_20", flows_parcel),
];

fn nodes() -> Result<Vec<NodeId>, Failure> {
    (0..NODES).map(node).collect()
}

fn plan_two_devices() -> Made {
    let nodes = nodes()?;
    let life = |number: usize| (nodes[number].clone(), Incarnation(1));
    let (here, recipient, sender) = (life(0), [life(1), life(2)], [life(0), life(2)]);
    Ok(Box::new(move || {
        let planned = plan(
            (&here.0, here.1),
            recipient.iter().map(borrowed),
            sender.iter().map(borrowed),
        );
        black_box(planned);
    }))
}

fn borrowed((node, life): &(NodeId, Incarnation)) -> Life<'_> {
    (node, *life)
}

/// An inbox that is live in many conversations.
fn inbox() -> Result<(Inbox<u64>, RoomId), Failure> {
    let here = user(0)?;
    let rooms = (1..=CONVERSATIONS).map(|other| Ok(RoomId::direct(&here, &user(other)?)));
    let rooms: Vec<RoomId> = rooms.collect::<Result<_, Failure>>()?;
    let room = rooms[rooms.len() / 2];
    let mut inbox = Inbox::new();
    inbox.settle(rooms.into_iter().map(|room| (room, 0)));
    Ok((inbox, room))
}

fn inbox_next() -> Made {
    let (mut inbox, room) = inbox()?;
    let mut seq = 0;
    Ok(Box::new(move || {
        seq += 1;
        let offer = inbox.offer(room, seq, seq);
        assert!(matches!(offer, Offer::Deliver(_)));
        black_box(offer);
    }))
}

fn inbox_hole() -> Made {
    let (mut inbox, room) = inbox()?;
    let mut seq = 0;
    Ok(Box::new(move || {
        assert_eq!(inbox.offer(room, seq + 2, seq + 2), Offer::Hole);
        let hole = Hole {
            after: seq,
            through: seq + 1,
        };
        let due = inbox.fetched(room, hole, [(seq + 1, seq + 1)]);
        assert_eq!(due.len(), 2);
        seq += 2;
    }))
}

fn flows_take() -> Made {
    let nodes = nodes()?;
    let mut flows = FlowsOut::default();
    flows.take(&nodes);
    Ok(Box::new(move || {
        black_box(flows.take(black_box(&nodes[5..8])));
    }))
}

fn flows_parcel() -> Made {
    let (nodes, now) = (nodes()?, Instant::now());
    let mut flows = FlowsIn::default();
    let mut number = 0;
    Ok(Box::new(move || {
        number += 1;
        for node in &nodes {
            let numbered = flows.parcel(now, (node, Incarnation(1)), number);
            assert!(!numbered.gap);
        }
    }))
}
