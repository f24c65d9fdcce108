//! A request whose outcome comes later, together with the name that the session gave it.

use std::pin::Pin;
use std::task::{Context, Poll};

use crate::app::Pending;
use crate::model::Problem;
use crate::session::{Reply, Ticket};

/// A request whose outcome is not known yet.
pub(super) struct Settling {
    pub(super) ticket: Ticket,
    pub(super) pending: Pending,
}

impl Future for Settling {
    type Output = (Ticket, Result<Reply, Problem>);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let ticket = self.ticket;
        self.pending
            .as_mut()
            .poll(context)
            .map(|outcome| (ticket, outcome))
    }
}
