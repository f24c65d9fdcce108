//! The MESSAGE of a window: what any MESSAGE has, and what only a window can say.
//!
//! Not here: octets (`stomp::encode`). Invariant: `ack` is there in 1.2 only (STOMP 1.2, section
//! MESSAGE), `redelivered:true` in every version and only where it is so.

use super::super::delivery::{Subscriber, framed};
use super::Content;
use crate::stomp::{Message, Version};
use crate::websocket::Framed;

/// Headers that only a window may write.
pub(super) const OWN_HEADERS: [&str; 2] = ["ack", "redelivered"];

/// Writes a message, with this `ack` if it needs one. The headers are as before when this returns.
pub(super) fn write(subscriber: &Subscriber, ack: Option<&str>, content: &mut Content) -> Framed {
    let travelling = content.headers.len();
    if let Some(ack) = ack
        && subscriber.version >= Version::V1_2
    {
        content.headers.push(("ack".into(), ack.into()));
    }
    if content.redelivered {
        content.headers.push(("redelivered".into(), "true".into()));
    }
    let octets = framed(&Message {
        version: subscriber.version,
        subscription: subscriber.id.as_deref(),
        destination: &content.destination,
        message_id: &content.message_id,
        content_type: content.content_type,
        headers: &content.headers,
        body: &content.body,
    });
    content.headers.truncate(travelling);
    octets
}
