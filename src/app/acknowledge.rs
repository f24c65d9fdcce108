//! ACK and NACK.
//!
//! Not here: what is outstanding (`hub::window`). Invariant: to answer a message that was delivered
//! is never refused; only answers to nothing are counted.

use std::sync::Arc;

use super::{App, Live, Pending, refused};
use crate::model::{Code, Problem};
use crate::session::{Acknowledge, Delivered, Reply};

impl App {
    /// Takes an ACK or a NACK. Await the call before the next request of the session.
    pub async fn acknowledge(self: &Arc<Self>, live: &Live, acknowledge: Acknowledge) -> Pending {
        let Acknowledge { verdict, of, .. } = acknowledge;
        let Ok(settled) = live.hub.settle(&of, verdict) else {
            return self.refused_frame(live, never_sent(&of));
        };
        if !settled.is_expected
            && let Err(problem) = self.take_frame(live)
        {
            return refused(problem);
        }
        // A cumulative answer settles many messages, and one to be delivered again costs as much as a delivery.
        let count = settled.count;
        let told = self.broker.settle_window(settled, verdict);
        self.deliveries(live).made(count).await;
        Box::pin(async move {
            told.await;
            Ok(Reply::default())
        })
    }

    /// Whether an answer is to a message that this session was sent.
    pub(super) fn check_answer(live: &Live, of: &Delivered) -> Result<(), Problem> {
        match live.hub.is_issued(of) {
            true => Ok(()),
            false => Err(never_sent(of)),
        }
    }
}

/// The refusal of an answer to a message that this session was never sent.
fn never_sent(of: &Delivered) -> Problem {
    let named = match of {
        Delivered::Ack(id) => format!("id:{id}"),
        Delivered::Message { message_id, .. } => format!("message-id:{message_id}"),
    };
    let named: String = named
        .chars()
        .filter(|c| !c.is_control())
        .take(128)
        .collect();
    let words = format!("No message with {named} was sent to this session to be acknowledged.");
    Problem::new(Code::NotFound, words)
}
