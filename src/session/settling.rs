//! How requests are answered: RECEIPTs, replies, and problems that the session survives or not.
//!
//! Not here: what is asked for (`requests`), the bodies (`problems`). Invariant: a request that
//! succeeded gets its RECEIPT after those of earlier ones; one that failed gets none, and its client
//! is told in a frame that it cannot miss: where nobody listens, that is an ERROR and the end.

use std::time::Instant;

use super::contract::{Reply, Ticket};
use super::fatal::{Fatal, JSON, Violation};
use super::problems::{self, About};
use super::receipts::{Asked, PENDING_MAX, Request};
use super::requests::short;
use super::{Session, acks};
use crate::model::{Problem, UserQueue};
use crate::stomp::{Frame, Headers, Message, encode};

impl Session {
    /// A name for a request.
    pub(super) fn ticket(&mut self) -> Result<Ticket, Fatal> {
        if self.receipts.is_full() {
            return Err(Fatal::about(Violation::ManyRequests, PENDING_MAX));
        }
        self.tickets += 1;
        Ok(Ticket(self.tickets))
    }

    /// Answers a frame that has had its effect at once.
    pub(super) fn answer(&mut self, now: Instant, headers: &Headers) -> Result<(), Fatal> {
        self.answer_at_once(now, short(headers, "receipt")?)
    }

    /// The same, with the receipt that it asked for.
    pub(super) fn answer_at_once(
        &mut self,
        now: Instant,
        receipt: Option<Box<str>>,
    ) -> Result<(), Fatal> {
        if let Some(receipt) = receipt {
            let ticket = self.ticket()?;
            let frames = self.receipts.answer(ticket, receipt);
            self.transmit_all(now, &frames);
        }
        Ok(())
    }

    /// A request has its outcome.
    pub(super) fn settle(&mut self, now: Instant, ticket: Ticket, outcome: Result<Reply, Problem>) {
        let Some(request) = self.receipts.settle(ticket) else {
            return;
        };
        let receipts = match outcome {
            Ok(reply) => {
                if let Asked::Send {
                    correlation_id: Some(id),
                } = &request.asked
                {
                    let body = problems::reply_body(reply.result, id);
                    self.tell(now, UserQueue::Replies, &body);
                }
                self.receipts.fulfil(ticket, reply.headers)
            }
            Err(problem) => {
                if let Asked::Subscribe { id } = &request.asked {
                    self.subscriptions.forget(id, ticket);
                }
                if !self.tell_problem(now, &request, &problem) {
                    let fatal = Fatal::from(problem).of_receipt(request.receipt);
                    return self.fail(now, &fatal);
                }
                self.receipts.drop_receipt(ticket)
            }
        };
        self.transmit_all(now, &receipts);
        self.finish_disconnect(now);
    }

    /// Tells a problem that the session survives. Returns whether anybody listens.
    fn tell_problem(&mut self, now: Instant, request: &Request, problem: &Problem) -> bool {
        let about = About {
            destination: request.destination.as_deref(),
            receipt: request.receipt.as_deref(),
        };
        match &request.asked {
            Asked::Subscribe { .. } | Asked::Acknowledge if self.soft == 0 => return false,
            Asked::Send {
                correlation_id: Some(id),
            } => {
                let body = problems::refusal_body(problem, about, id);
                if self.tell(now, UserQueue::Replies, &body) {
                    return true;
                }
            }
            Asked::Send { .. }
            | Asked::Subscribe { .. }
            | Asked::Unsubscribe
            | Asked::Acknowledge
            | Asked::Commit => {}
        }
        self.tell_error(now, problem, about)
    }

    /// Tells a problem on the errors of this session. Returns whether anybody listens.
    pub(super) fn tell_error(&mut self, now: Instant, problem: &Problem, about: About<'_>) -> bool {
        let body = problems::error_body(problem, about);
        self.tell(now, UserQueue::Errors, &body)
    }

    /// Writes to a queue of this session only. Returns whether it is subscribed to.
    fn tell(&mut self, now: Instant, queue: UserQueue, body: &[u8]) -> bool {
        self.told = self.told.saturating_add(1);
        let message_id = acks::own_message_id(self.told.into());
        let frames: Vec<_> = self
            .subscriptions
            .to_queue(queue)
            .map(|subscription| {
                encode::message(&Message {
                    version: self.version,
                    subscription: subscription.named.then_some(&*subscription.id),
                    destination: subscription.written.as_deref().unwrap_or(queue.as_str()),
                    message_id: &message_id,
                    content_type: Some(JSON),
                    headers: &[],
                    body,
                })
            })
            .collect();
        let is_heard = !frames.is_empty();
        for octets in frames {
            self.transmit(now, octets);
        }
        is_heard
    }

    fn transmit_all(&mut self, now: Instant, frames: &[Frame]) {
        for frame in frames {
            self.transmit_frame(now, frame);
        }
    }
}
