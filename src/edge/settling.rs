//! What a connection waits for: requests whose outcome comes later, and the outbox.

use std::future::pending;
use std::pin::Pin;
use std::task::{Context, Poll};

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
    match outbox {
        Some(outbox) => outbox.pull().await,
        None => pending().await,
    }
}
