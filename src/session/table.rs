//! The transitions, as a table: in which phase which command asks for what.
//!
//! Not here: what is then done. Invariant: what is not in the table is an ERROR and the end.

use crate::stomp::{Command, Version};

/// Where in its life a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No frame came yet.
    AwaitingConnect,
    /// CONNECT came, the verdict did not. What the client sends meanwhile is kept undecoded.
    AwaitingVerdict,
    /// CONNECTED went out.
    Connected,
    /// DISCONNECT came, something asked before is not settled. What the client sends is ignored.
    Disconnecting,
    /// The close went out. Every input is ignored.
    Closed,
}

impl Phase {
    /// Every phase.
    #[cfg(test)]
    pub(super) const ALL: [Self; 5] = [
        Self::AwaitingConnect,
        Self::AwaitingVerdict,
        Self::Connected,
        Self::Disconnecting,
        Self::Closed,
    ];

    /// Whether what comes is decoded at once; only these phases have rows in the table.
    pub(super) fn decodes(self) -> bool {
        matches!(self, Self::AwaitingConnect | Self::Connected)
    }
}

/// What a frame asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Negotiate and ask for the verdict.
    Connect,
    /// Check the SEND and pass it on.
    Send,
    /// Check the SUBSCRIBE and pass it on.
    Subscribe,
    /// Check the UNSUBSCRIBE and pass it on.
    Unsubscribe,
    /// Settle everything, answer, close.
    Disconnect,
    /// Check the ACK or NACK and pass it on.
    Acknowledge,
    /// Open a transaction.
    Begin,
    /// Pass on everything of a transaction.
    Commit,
    /// Forget a transaction.
    Abort,
}

const TABLE: [(Phase, Command, Action); 11] = [
    (Phase::AwaitingConnect, Command::Connect, Action::Connect),
    (Phase::AwaitingConnect, Command::Stomp, Action::Connect),
    (Phase::Connected, Command::Send, Action::Send),
    (Phase::Connected, Command::Subscribe, Action::Subscribe),
    (Phase::Connected, Command::Unsubscribe, Action::Unsubscribe),
    (Phase::Connected, Command::Disconnect, Action::Disconnect),
    (Phase::Connected, Command::Ack, Action::Acknowledge),
    (Phase::Connected, Command::Nack, Action::Acknowledge),
    (Phase::Connected, Command::Begin, Action::Begin),
    (Phase::Connected, Command::Commit, Action::Commit),
    (Phase::Connected, Command::Abort, Action::Abort),
];

/// What a frame with this command asks for in this phase, if it may come. NACK is a word since 1.1.
pub(super) fn action(phase: Phase, version: Version, command: Command) -> Option<Action> {
    if command == Command::Nack && version == Version::V1_0 {
        return None;
    }
    TABLE
        .iter()
        .find(|(in_phase, on, _)| (*in_phase, *on) == (phase, command))
        .map(|(_, _, action)| *action)
}
