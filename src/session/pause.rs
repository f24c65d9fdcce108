//! A session whose driver does not get to do what it asks for now, and reads nothing meanwhile.
//!
//! Not here: why (`edge` waits for its turn). Invariants: what the session asked for before the pause comes after
//! it, in the same order; the client's silence during a pause is never held against it.

use std::collections::VecDeque;
use std::time::Instant;

use super::{Output, Phase, Session};

impl Session {
    /// Takes out what waits to be polled, so that what follows from other inputs can be polled at once. Give it
    /// back with [`Session::resume`]. Hand in no `Received`, `Timeout` or `Unfinished` before that.
    #[must_use]
    pub fn pause(&mut self) -> VecDeque<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// When the next heart-beat of this server is due during a pause.
    #[must_use]
    pub fn beat_at(&self) -> Option<Instant> {
        self.heart_beat.beat_at()
    }

    /// Whether a heart-beat of this server is due during a pause. Then it counts as sent: write it.
    pub fn take_beat(&mut self, now: Instant) -> bool {
        let is_due = self.phase == Phase::Connected && self.beat_at().is_some_and(|at| at <= now);
        if is_due {
            self.heart_beat.sent(now);
        }
        is_due
    }

    /// Ends a pause. What was held back comes before what is there now.
    pub fn resume(&mut self, now: Instant, mut held: VecDeque<Output>) {
        held.append(&mut self.outputs);
        self.outputs = held;
        if self.phase == Phase::Closed {
            // It ended before the pause: what says so, and closes it, is among what was held.
            return;
        }
        self.heart_beat.heard(now);
        if self.partial_since.is_some() {
            self.partial_since = Some(now);
        }
        // The driver has set its timer for the beats of the pause.
        self.armed = None;
        self.arm();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Kind, Proof, SessionId};
    use crate::session::{Accepted, Event, Input, SessionConfig};

    fn connected(now: Instant) -> Session {
        let mut session = Session::new(now, SessionConfig::default());
        let connect = b"CONNECT\naccept-version:1.2\nheart-beat:10000,10000\n\n\0";
        session.handle_input(now, Input::Received(connect));
        let accepted = Accepted {
            session: SessionId(1),
            user_id: "user_a".parse().unwrap(),
            kind: Kind::Anonymous,
            proof: Proof::New,
            node: "n1".parse().unwrap(),
            limits: "{}".to_owned(),
            headers: Vec::new(),
        };
        session.handle_input(now, Input::Accepted(accepted));
        while session.poll_output().is_some() {}
        session
    }

    #[test]
    fn a_paused_session_beats_and_asks_afterwards_for_what_it_asked_before() {
        let now = Instant::now();
        let mut session = connected(now);
        let frames =
            b"SUBSCRIBE\nid:1\ndestination:/topic/a\n\n\0SEND\ndestination:/topic/a\n\n\0SE";
        session.handle_input(now, Input::Received(frames));
        let held = session.pause();
        assert!(session.poll_output().is_none());
        let at = session.beat_at().unwrap();
        assert!(at <= now + Duration::from_secs(10));
        assert!(!session.take_beat(now));
        assert!(session.take_beat(at));
        assert!(!session.take_beat(at));
        // Two minutes later neither silence nor the frame that has begun ends the session.
        let later = now + Duration::from_secs(120);
        session.resume(later, held);
        session.handle_input(later, Input::Timeout);
        let mut events = Vec::new();
        while let Some(output) = session.poll_output() {
            match output {
                Output::Event(Event::Subscribe(_)) => events.push("SUBSCRIBE"),
                Output::Event(Event::Send(_)) => events.push("SEND"),
                Output::Event(_) | Output::Close(_) => panic!("{output:?}"),
                Output::Transmit(_) | Output::Timeout(_) => {}
            }
        }
        assert_eq!(events, ["SUBSCRIBE", "SEND"]);
        assert!(!session.is_closed());
    }
}
