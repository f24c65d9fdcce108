//! What SEND and SUBSCRIBE may say about a `/queue/**`.
//!
//! Not here: queues (`bus::queue`). Invariant: plain values; nothing given means the node's
//! settings.

use std::time::Duration;

/// The arguments of a queue. Whoever names a queue with other arguments than it has is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueArguments {
    /// `x-message-ttl`: how long a message is kept at most.
    pub message_ttl: Option<Duration>,
    /// `x-expires`: how long the queue is kept without a consumer and without use.
    pub expires: Option<Duration>,
    /// `x-max-length`: how many messages it keeps; more are refused to their sender.
    pub length_max: Option<u32>,
}
