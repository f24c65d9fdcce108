//! The window of a subscription that acknowledges: what was delivered and is not settled, and what
//! waits because too much is.
//!
//! Not here: queues of other nodes (`bus::queue`), frames of ACK (`session`). Invariant: at most
//! `prefetch` messages are unsettled, and what waits is bounded.

use std::sync::Arc;

use bytes::Bytes;

use super::delivery::Subscriber;
use super::outbox::Outbox;
use crate::bus::queue::Tag;
use crate::model::{AckMode, SessionId};

/// A message as a subscription that acknowledges keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The destination that MESSAGE shows.
    pub destination: Arc<str>,
    /// The header `message-id`.
    pub message_id: Box<str>,
    /// `content-type`, where it is not among the headers.
    pub content_type: Option<&'static str>,
    /// Other headers.
    pub headers: Vec<(Box<str>, Box<str>)>,
    /// Any octets.
    pub body: Bytes,
    /// Whether somebody may have had it before.
    pub redelivered: bool,
    /// By what it is settled, if it came from a queue.
    pub tag: Option<Tag>,
}

/// The window of one subscription.
#[derive(Debug)]
pub struct Window {
    /// Names it within its session, for the header `ack`.
    pub number: u64,
    /// The session.
    pub session: SessionId,
    /// The subscription id.
    pub id: Box<str>,
    /// How it acknowledges.
    pub mode: AckMode,
    subscriber: Subscriber,
    outbox: Arc<Outbox>,
}

impl Window {
    /// Takes a message: it goes out now, or waits until something is acknowledged. Of a subscription
    /// whose backlog is full the session is cut.
    pub fn offer(&self, content: Content) {
        let _not_kept_yet = (&self.subscriber, &self.outbox, content);
    }
}
