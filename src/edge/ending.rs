//! The ways in which a connection ends, and what its client is told.

use std::task::Poll;
use std::time::Duration;

use tokio::time::timeout;

use super::slow_reader::Stalled;
use super::socket::Gone;
use crate::model::{CloseReason, Code, Problem};

/// How a connection ends.
#[derive(Debug)]
pub(super) enum Ending {
    /// We close, with this reason.
    Ours(CloseReason),
    /// The peer closes, with this code.
    Theirs(u16),
    /// The peer has not read for too long.
    Stalled,
    /// The line is dead.
    Gone,
}

impl From<Gone> for Ending {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl From<Stalled> for Ending {
    fn from(_: Stalled) -> Self {
        Self::Stalled
    }
}

impl Ending {
    /// Whether the client has left, or is not heard any more, rather than that the node wants it gone.
    pub(super) fn is_of_the_client(&self) -> bool {
        match self {
            Self::Gone | Self::Theirs(_) => true,
            Self::Ours(reason) => {
                *reason == CloseReason::NORMAL || *reason == CloseReason::HEART_BEAT_LOST
            }
            Self::Stalled => false,
        }
    }

    /// What we say, if it is on us to say something, and the code that is counted.
    pub(super) fn close(&self) -> (Option<CloseReason>, u16) {
        let slow = CloseReason::SLOW_CONSUMER;
        match self {
            Self::Ours(reason) => (Some(reason.clone()), reason.code),
            Self::Stalled => (Some(slow.clone()), slow.code),
            Self::Theirs(code) => (None, *code),
            // 1006: there was no close at all (RFC 6455 section 7.1.5).
            Self::Gone => (None, 1006),
        }
    }
}

/// The words for an ERROR frame before a cut that the client should know the cause of.
pub(super) fn cut_problem(reason: &CloseReason) -> Option<Problem> {
    let words = match reason.code {
        4490 => "You read more slowly than you are written to; connect again.",
        1008 => {
            "Others need the memory that your connection holds. Send less at a time, and connect again later."
        }
        4409 => "A newer session took the place of this one.",
        _ => return None,
    };
    Some(Problem::new(Code::LimitExceeded, words))
}

/// Waits for the peer to take something. Nearly every peer takes it at once, and costs no timer.
/// What is waited for is pinned already: it has room for every transport, and is not moved about.
pub(super) async fn taken_within(
    stall: Duration,
    mut taken: impl Future<Output = Result<(), Gone>> + Unpin,
) -> Result<(), Ending> {
    if let Poll::Ready(outcome) = futures_util::poll!(&mut taken) {
        return Ok(outcome?);
    }
    Ok(timeout(stall, taken).await.map_err(|_| Ending::Stalled)??)
}
