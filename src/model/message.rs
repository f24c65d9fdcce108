//! A stored message of a conversation and the JSON that clients see of it.
//!
//! Not here: STOMP frames, destinations. Invariant: what a session receives for one stored message
//! is the same whichever node renders it, apart from `echo` and `duplicate`.

use std::fmt;

use bytes::Bytes;
use serde::{Serialize, Serializer};

use super::ids::{ClientId, MessageId, RoomId, UserId};
use super::time::UnixMillis;

/// One message as the store keeps it. `seq` runs from 1 without holes in each conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    /// The conversation.
    pub room: RoomId,
    /// The place in the conversation, from 1, without holes.
    pub seq: u64,
    /// Distinguishes a conversation from one that had the same id before its store was replaced.
    pub epoch: u32,
    /// The message's own id.
    pub id: MessageId,
    /// Who wrote it.
    pub from: UserId,
    /// The writer's name at that time.
    pub from_name: String,
    /// The recipient of a direct message.
    pub to: UserId,
    /// The writer's own name for it.
    pub client_id: Option<ClientId>,
    /// The text.
    pub text: String,
    /// When it was accepted.
    pub timestamp: UnixMillis,
}

impl StoredMessage {
    /// The people whose sessions receive it: the recipient and the writer, once when they are one.
    pub fn members(&self) -> impl Iterator<Item = &UserId> {
        let other = (self.from != self.to).then_some(&self.from);
        std::iter::once(&self.to).chain(other)
    }

    /// The body of the MESSAGE for a session of `reader`: JSON, UTF-8.
    #[must_use]
    pub fn render(&self, reader: &UserId) -> Bytes {
        let epoch = format_args!("{:x}", self.epoch);
        let body = Body {
            kind: "CHAT",
            id: Shown(&self.id),
            client_id: self.client_id.as_ref().map(ClientId::as_str),
            from: self.from.as_str(),
            from_name: &self.from_name,
            to: self.to.as_str(),
            room_id: Shown(&self.room),
            message: &self.text,
            seq: self.seq,
            epoch: Shown(&epoch),
            timestamp: Shown(&self.timestamp),
            echo: *reader == self.from,
        };
        let mut octets = Vec::with_capacity(self.text.len() + BODY_BYTES);
        // Strings and numbers always serialise; a body cut short would be seen by the first test.
        let _always = serde_json::to_writer(&mut octets, &body);
        octets.into()
    }
}

/// About how long a body is beside its text.
const BODY_BYTES: usize = 384;

/// A value that is written as the text that it shows.
struct Shown<'a>(&'a dyn fmt::Display);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}

/// The envelope of `/app/chat.*` on the wire, in the order in which people read it.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    id: Shown<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    from: &'a str,
    from_name: &'a str,
    to: &'a str,
    room_id: Shown<'a>,
    message: &'a str,
    seq: u64,
    epoch: Shown<'a>,
    timestamp: Shown<'a>,
    echo: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_rendered_for_its_reader() {
        let from: UserId = "user_a".parse().unwrap();
        let to: UserId = "user_b".parse().unwrap();
        let message = StoredMessage {
            room: RoomId::direct(&from, &to),
            seq: 128,
            epoch: 0xa1,
            id: MessageId(1),
            from: from.clone(),
            from_name: "손님 7k2m".to_owned(),
            to: to.clone(),
            client_id: Some("c1".parse().unwrap()),
            text: "Hello \"you\"".to_owned(),
            timestamp: UnixMillis(0),
        };
        let body: serde_json::Value = serde_json::from_slice(&message.render(&to)).unwrap();
        assert_eq!(body["type"], "CHAT");
        assert_eq!(body["message"], "Hello \"you\"");
        assert_eq!(body["epoch"], "a1");
        assert_eq!(body["echo"], false);
        let body: serde_json::Value = serde_json::from_slice(&message.render(&from)).unwrap();
        assert_eq!(body["echo"], true);
        assert_eq!(message.members().count(), 2);
    }
}
