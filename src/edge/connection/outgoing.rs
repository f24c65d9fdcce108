//! What a connection writes: through its outbox as soon as there is one, else to the socket itself.
//!
//! Not here: who else writes (`hub::flusher`), how octets travel (`socket`). Invariant: what is said
//! goes out behind everything that was said before.

use std::pin::pin;

use tokio::time::{Instant, timeout};

use super::{Connection, Ending, Step, std_now};
use crate::edge::ending::{cut_problem, taken_within};
use crate::edge::slow_reader::SlowReader;
use crate::hub::{Frames, Outbox, Pulled};
use crate::session::Input;
use crate::websocket::Framed;

impl Connection {
    /// Says something of our own, behind everything that was said before.
    pub(super) async fn say(&mut self, frame: Framed) -> Step {
        let Some(outbox) = &self.outbox else {
            self.is_unflushed = true;
            return self.write(&frame).await;
        };
        if let Some(slow) = &mut self.slow {
            if frame == Framed::BEAT {
                // What waits for the peer is one.
                return Ok(());
            }
            slow.answered(frame.len());
        }
        if self.has_wire {
            self.edge.meters.transmitted(frame.octets(false));
        }
        outbox.push_own(frame);
        Ok(())
    }

    pub(super) async fn pulled(&mut self, pulled: Pulled) -> Step {
        match pulled {
            Pulled::Frames(frames) => {
                let Some(outbox) = self.outbox.clone() else {
                    return Ok(());
                };
                // A peer that reads nothing, or a frame now and then, does not outlive its own cut.
                let written = tokio::select! {
                    biased;
                    written = self.write_all(frames) => Some(written?),
                    () = outbox.until_cut() => None,
                };
                if written.is_some() {
                    self.session.handle_input(std_now(), Input::Transmitted);
                }
            }
            Pulled::Blocked => self.go_on()?,
            Pulled::Gone => return Err(Ending::Gone),
            Pulled::Cut(reason) => {
                // Nothing more comes out of it; what follows is said to the socket itself.
                Box::pin(self.take_over()).await?;
                let problem = cut_problem(&reason);
                self.session
                    .handle_input(std_now(), Input::End { problem, reason });
            }
        }
        Ok(())
    }

    /// The peer takes no more, or takes something again: writes what waits for it. The session is read beside, see
    /// [`SlowReader`].
    fn go_on(&mut self) -> Step {
        let Some(outbox) = &self.outbox else {
            return Ok(());
        };
        let Some(slow) = &mut self.slow else {
            let stall = self.edge.settings.outbox_stall;
            let wire = self.socket.plain_wire();
            self.slow = wire.map(|wire| Box::new(SlowReader::new(wire, stall)));
            return Ok(());
        };
        let was_read = slow.may_read(Some(outbox));
        if slow.has_room()? {
            match outbox.go_on() {
                true => self.slow = None,
                false => slow.filled(),
            }
        }
        self.excuse_silence(was_read);
        Ok(())
    }

    /// The peer takes what is written, so it is there. What was not read of it is not held against it.
    fn excuse_silence(&mut self, was_read: bool) {
        self.clock.heard();
        if !was_read {
            let outputs = self.session.pause();
            self.session.resume(std_now(), outputs);
            let rest = self.session.partial_frame_timeout();
            if let Some(at) = &mut self.clock.unfinished_at {
                *at = Instant::now() + rest;
            }
        } else if self.session.agreed_beats().1.is_none() {
            self.session.handle_input(std_now(), Input::Ponged);
        }
    }

    /// Takes back what waits in the outbox: from now on this task writes.
    async fn take_over(&mut self) -> Step {
        self.slow = None;
        if let Some(outbox) = self.outbox.take() {
            let unwritten = outbox.take_over().await;
            self.is_unflushed = true;
            self.socket.put_back(unwritten).await?;
        }
        Ok(())
    }

    async fn write_all(&mut self, frames: Frames) -> Step {
        for frame in frames {
            if self.outbox.as_deref().is_some_and(Outbox::is_cut) {
                return Ok(());
            }
            self.write(&frame).await?;
        }
        self.flush().await
    }

    /// Asks a peer for a sign of life of which nothing was heard for a while.
    pub(super) async fn ping_if_silent(&mut self, now: Instant) -> Step {
        if self.clock.ping_at(self.edge.settings.ping_after) > now {
            return Ok(());
        }
        self.clock.pinged_at = now;
        if self.has_wire && self.outbox.is_some() {
            return self.say(self.socket.ping_frame()).await;
        }
        let stall = self.edge.settings.outbox_stall;
        timeout(stall, Box::pin(self.socket.ping()))
            .await
            .map_err(|_| Ending::Stalled)??;
        Ok(())
    }

    async fn write(&mut self, frame: &Framed) -> Step {
        let stall = self.edge.settings.outbox_stall;
        self.edge.meters.transmitted(frame.octets(false));
        taken_within(stall, pin!(self.socket.write(frame))).await
    }

    pub(super) async fn flush(&mut self) -> Step {
        let stall = self.edge.settings.outbox_stall;
        taken_within(stall, pin!(self.socket.flush())).await
    }
}

/// What there is to write. Of a peer that takes no more, that it takes something again, or does not for too long.
/// Safe to drop and call again.
pub(super) async fn pull(outbox: Option<&Outbox>, slow: &mut Option<Box<SlowReader>>) -> Pulled {
    let Some(outbox) = outbox else {
        return std::future::pending().await;
    };
    let Some(slow) = slow else {
        return outbox.pull().await;
    };
    // Boxed: an idle connection needs no room for it.
    Box::pin(async {
        tokio::select! {
            biased;
            () = outbox.until_cut() => outbox.pull().await,
            () = slow.wait() => Pulled::Blocked,
        }
    })
    .await
}

#[cfg(test)]
mod tests;
