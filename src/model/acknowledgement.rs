//! How a subscription acknowledges what it receives, and what a client says of a message.
//!
//! Not here: which messages wait for it (`hub::window`), headers (`session`). Invariant: plain
//! values.

/// The header `ack` of SUBSCRIBE (STOMP 1.2, section SUBSCRIBE).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AckMode {
    /// What was written is acknowledged.
    #[default]
    Auto,
    /// ACK and NACK speak for the message and every earlier one of the subscription.
    Client,
    /// ACK and NACK speak for one message.
    ClientIndividual,
}

impl AckMode {
    /// Every mode, for tables.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Client, Self::ClientIndividual];

    /// The value of the header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Client => "client",
            Self::ClientIndividual => "client-individual",
        }
    }
}

/// What a client says of a message that it has received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// ACK: it is done.
    Ack,
    /// NACK: somebody shall have it again.
    Requeue,
    /// NACK with `requeue:false`: nobody shall; it goes to the dead letters.
    Reject,
}
