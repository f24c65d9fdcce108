//! Who writes, and what: the fixtures that several groups share.
//!
//! Invariant: everything is made from numbers, so that two runs have the same octets.

use std::iter;

use bytes::Bytes;
use stompbox::model::{MessageId, NodeId, RoomId, StoredMessage, TopicMessage, UnixMillis, UserId};

use super::Failure;

/// What most functions here return.
type Outcome<T> = Result<T, Failure>;

/// The octets of an ordinary body.
pub(super) const BODY_BYTES: usize = 128;

/// A body of so many octets.
pub(super) fn body(length: usize) -> String {
    iter::repeat_n('x', length).collect()
}

/// The name of a visitor, as long as they are.
pub(super) fn user(number: u64) -> Outcome<UserId> {
    Ok(format!("user_{number:013}").parse()?)
}

/// A node.
pub(super) fn node(number: usize) -> Outcome<NodeId> {
    Ok(format!("node-{number}").parse()?)
}

/// The conversation of two people.
#[derive(Clone, Debug)]
pub(super) struct Conversation {
    pub(super) from: UserId,
    pub(super) to: UserId,
    room: RoomId,
}

impl Conversation {
    pub(super) fn new() -> Outcome<Self> {
        let (from, to) = (user(1)?, user(2)?);
        let room = RoomId::direct(&from, &to);
        Ok(Self { from, to, room })
    }

    /// One of its messages.
    pub(super) fn message(&self, seq: u64) -> StoredMessage {
        StoredMessage {
            room: self.room,
            seq,
            epoch: 1,
            id: MessageId::from_parts(1_700_000_000_000, u128::from(seq)),
            from: self.from.clone(),
            from_name: "Visitor 1".to_owned(),
            to: self.to.clone(),
            client_id: None,
            text: body(BODY_BYTES),
            timestamp: UnixMillis(1_700_000_000_000),
        }
    }
}

/// What somebody sends to a topic.
pub(super) fn topic() -> TopicMessage {
    TopicMessage {
        destination: "/topic/room.01j9zq4x5w8m7c3b2n1k0d9f8g".into(),
        headers: vec![("content-type".into(), "application/json".into())],
        body: Bytes::from(body(BODY_BYTES)),
        network: None,
    }
}
