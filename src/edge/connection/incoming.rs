//! What a connection reads: octets for the session, and everything that WebSocket says by itself.
//!
//! Not here: how octets travel (`socket`). Invariant: a message of many requests is answered
//! piece by piece, so that what it asks for never waits in memory all at once.

use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::{Connection, Ending, Step, std_now};
use crate::edge::settling::next_settled;
use crate::edge::socket::Received;
use crate::hub::Outbox;
use crate::model::{CloseReason, Code, Problem};
use crate::session::Input;

/// A message is taken in pieces of this size, and what a piece asks for is answered before the next:
/// a thousand requests in one message must not leave a thousand answers waiting to be written.
const PIECE_BYTES: usize = 4 << 10;

/// After so many bytes of one client others have their turn.
pub(in crate::edge) const TURN_BYTES: u16 = 32 << 10;

impl Connection {
    pub(super) async fn received(&mut self, received: Received) -> Step {
        self.clock.heard();
        if let Some(slow) = &mut self.slow {
            slow.was_read();
        }
        self.give_way_beside(&received).await?;
        match received {
            Received::Octets { octets, empty } => {
                self.clock.unfinished_at = None;
                let idle = self.idle.idle(&octets, empty);
                if idle > 0 {
                    self.count_idle_messages(idle);
                }
                if octets.len() > PIECE_BYTES {
                    return Box::pin(self.take_in_pieces(&octets)).await;
                }
                self.give_way(octets.len()).await?;
                self.session
                    .handle_input(std_now(), Input::Received(&octets));
            }
            Received::Unfinished => {
                let rest = self.session.partial_frame_timeout();
                self.clock.unfinished_at = Some(self.clock.heard_at + rest);
            }
            // The caller looks at what is buffered after anything that was received.
            Received::Buffered => {}
            Received::Pinged(pong) => {
                self.count_idle_messages(1);
                if let Some(pong) = pong {
                    self.say(pong).await?;
                }
            }
            Received::Ponged => {
                self.count_idle_messages(1);
                self.session.handle_input(std_now(), Input::Ponged);
            }
            Received::TooLarge => {
                let detail = "A WebSocket message is longer than any frame may be.";
                self.refuse(Problem::new(Code::PayloadTooLarge, detail), None);
            }
            Received::Fragments => {
                let detail =
                    "A WebSocket message is in too many fragments; send it in larger ones.";
                self.refuse(Problem::new(Code::BadRequest, detail), None);
            }
            Received::NoMemory => {
                let detail = "Your network uses its share of this node's memory. Reconnect later.";
                self.refuse(Problem::new(Code::LimitExceeded, detail), None);
            }
            Received::NotUtf8 => {
                let detail = "A text message is not UTF-8; send other octets as binary messages.";
                let reason = CloseReason::of(1007, "bad_request");
                self.refuse(Problem::new(Code::BadRequest, detail), Some(reason));
            }
            Received::Malformed => {
                let detail = "The WebSocket frames break RFC 6455.";
                self.refuse(Problem::new(Code::BadRequest, detail), None);
            }
            Received::Closed(code) => return Err(Ending::Theirs(code)),
            Received::Gone => return Err(Ending::Gone),
        }
        Ok(())
    }

    /// What follows a cut is not looked at.
    async fn take_in_pieces(&mut self, octets: &[u8]) -> Step {
        let mut left = octets.len();
        for piece in octets.chunks(PIECE_BYTES) {
            left -= piece.len();
            if self.outbox.as_deref().is_some_and(Outbox::is_cut) {
                return Ok(());
            }
            self.session.handle_input(std_now(), Input::Received(piece));
            self.perform_covered(left).await?;
            while self.unsettled.is_some()
                && let Some(settled) = next_settled(&mut self.unsettled).now_or_never()
            {
                self.settled(settled);
                self.perform().await?;
            }
            self.give_way(piece.len()).await?;
        }
        Ok(())
    }

    /// Counts what was read besides the octets of STOMP: control frames, the heads of fragments, what SockJS adds, and
    /// what is not told yet.
    async fn give_way_beside(&mut self, received: &Received) -> Step {
        let mut read = self.socket.take_read();
        if let Received::Octets { octets, .. } = received {
            read = read.saturating_sub(octets.len());
        }
        match read {
            0 => Ok(()),
            beside => self.give_way(beside).await,
        }
    }

    /// Lets others have their turn after every [`TURN_BYTES`], however small the pieces are that they come in.
    async fn give_way(&mut self, bytes: usize) -> Step {
        let bytes = u16::try_from(bytes).unwrap_or(u16::MAX);
        self.taken = self.taken.saturating_add(bytes);
        if self.taken <= TURN_BYTES {
            return Ok(());
        }
        self.taken = 0;
        Box::pin(self.await_others()).await
    }

    fn count_idle_messages(&mut self, count: u32) {
        if !self.socket.is_amid_message() {
            self.clock.unfinished_at = None;
        }
        if !self.idle.admit(Instant::now(), count) {
            let detail = "Too many messages without a STOMP frame.";
            self.refuse(
                Problem::new(Code::RateLimited, detail).retry_after_ms(10_000),
                None,
            );
        }
    }

    /// Ends the session with an ERROR frame.
    pub(super) fn refuse(&mut self, problem: Problem, reason: Option<CloseReason>) {
        self.count_refusal(problem.code);
        let reason = reason.unwrap_or_else(|| CloseReason::from_problem(&problem));
        let problem = Some(problem);
        self.session
            .handle_input(std_now(), Input::End { problem, reason });
    }
}
