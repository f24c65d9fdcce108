//! What a connection waits for: requests whose outcome comes later, and the outbox.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use crate::app::Pending;
use crate::model::Problem;
use crate::session::{Reply, Ticket};

/// A request whose outcome is not known yet.
pub(super) struct Settling {
    pub(super) ticket: Ticket,
    /// Whether it is a SEND: those are bounded, and always settle soon. A SUBSCRIBE may wait for
    /// location to come back, and must not stop the connection meanwhile.
    pub(super) is_send: bool,
    /// About how many bytes of the client it keeps.
    pub(super) bytes: usize,
    pub(super) pending: Pending,
}

/// The requests of a connection whose outcome is not known; there only while there are any.
#[derive(Default)]
pub(super) struct Unsettled {
    requests: FuturesUnordered<Settling>,
    /// About how many bytes of the client all of them keep.
    bytes: usize,
}

impl Unsettled {
    pub(super) fn push(&mut self, settling: Settling) {
        self.bytes += settling.bytes;
        self.requests.push(settling);
    }

    /// About how many bytes of the client they keep.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// What became of a request.
pub(super) struct Settled {
    pub(super) ticket: Ticket,
    pub(super) is_send: bool,
    bytes: usize,
    pub(super) outcome: Result<Reply, Problem>,
}

impl Future for Settling {
    type Output = Settled;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (ticket, is_send, bytes) = (self.ticket, self.is_send, self.bytes);
        let settled = |outcome| Settled {
            ticket,
            is_send,
            bytes,
            outcome,
        };
        self.pending.as_mut().poll(context).map(settled)
    }
}

/// The next request that is settled; never, where there is none. What held the last one goes with it.
pub(super) async fn next_settled(unsettled: &mut Option<Box<Unsettled>>) -> Settled {
    poll_fn(|context| {
        let Some(waiting) = unsettled else {
            return Poll::Pending;
        };
        let settled = ready!(waiting.requests.poll_next_unpin(context));
        if let Some(settled) = &settled {
            waiting.bytes = waiting.bytes.saturating_sub(settled.bytes);
        }
        if waiting.requests.is_empty() {
            *unsettled = None;
        }
        settled.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}
