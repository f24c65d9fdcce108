//! What a connection waits for: requests whose outcome comes later, and the outbox.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use crate::app::Pending;
use crate::hub::{Outbox, Pulled};
use crate::model::Problem;
use crate::session::{Reply, Ticket};

/// A request whose outcome is not known yet.
pub(super) struct Settling {
    pub(super) ticket: Ticket,
    /// Whether it is a SEND: those are bounded, and always settle soon. A SUBSCRIBE may wait for
    /// location to come back, and must not stop the connection meanwhile.
    pub(super) is_send: bool,
    pub(super) pending: Pending,
}

/// What became of a request.
pub(super) struct Settled {
    pub(super) ticket: Ticket,
    pub(super) is_send: bool,
    pub(super) outcome: Result<Reply, Problem>,
}

impl Future for Settling {
    type Output = Settled;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (ticket, is_send) = (self.ticket, self.is_send);
        let settled = |outcome| Settled {
            ticket,
            is_send,
            outcome,
        };
        self.pending.as_mut().poll(context).map(settled)
    }
}

/// What there is to write; never, before there is a session.
pub(super) async fn pull(outbox: Option<&Outbox>) -> Pulled {
    poll_fn(|context| outbox.map_or(Poll::Pending, |outbox| outbox.poll_pull(context))).await
}

/// The next request that is settled; never, where there is none. What held the last one goes with it.
pub(super) async fn next_settled(
    unsettled: &mut Option<Box<FuturesUnordered<Settling>>>,
) -> Settled {
    poll_fn(|context| {
        let Some(settling) = unsettled else {
            return Poll::Pending;
        };
        let settled = ready!(settling.poll_next_unpin(context));
        if settling.is_empty() {
            *unsettled = None;
        }
        settled.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}
