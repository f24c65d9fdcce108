//! A request whose outcome comes later, together with the name that the session gave it.

use std::pin::Pin;
use std::task::{Context, Poll};

use crate::app::Pending;
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
