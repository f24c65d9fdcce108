//! What a connection wakes up for by itself, and how often it may be woken for nothing.
//!
//! Not here: what is done then (`connection`). Invariant: a connection has one timer, however many
//! things it waits for.

use std::time::Duration;

use tokio::time::Instant;

use super::socket::is_line_ends;
use super::wheel::{Alarm, Wheel};

/// The window over which messages without a frame are counted.
const IDLE_WINDOW: Duration = Duration::from_secs(10);

/// The one alarm of a connection and what it may ring for.
#[derive(Debug)]
pub(super) struct Clock {
    pub(super) alarm: Alarm,
    pub(super) session_at: Option<Instant>,
    pub(super) drain_at: Option<Instant>,
    /// When the rest of a message must be there.
    pub(super) unfinished_at: Option<Instant>,
    pub(super) heard_at: Instant,
    pub(super) pinged_at: Instant,
    /// What the alarm is set for; nothing once it has rung.
    armed: Option<Instant>,
}

/// See [`Clock::set_aside`].
#[derive(Clone, Copy, Debug)]
pub(super) struct SetAside {
    drain_at: Option<Instant>,
    unfinished_after: Option<Duration>,
}

impl Clock {
    pub(super) fn new(wheel: &Wheel, now: Instant, ping_after: Duration) -> Self {
        Self {
            alarm: wheel.alarm(now + ping_after),
            session_at: None,
            drain_at: None,
            unfinished_at: None,
            heard_at: now,
            pinged_at: now,
            armed: None,
        }
    }

    pub(super) fn heard(&mut self) {
        self.heard_at = Instant::now();
    }

    pub(super) fn ping_at(&self, ping_after: Duration) -> Instant {
        self.heard_at.max(self.pinged_at) + ping_after
    }

    /// Sets the alarm to the next thing. Moving it costs a store, so that it never rings for
    /// nothing; most of what happens on a connection moves nothing.
    pub(super) fn arm(&mut self, ping_after: Duration) {
        let at = [self.session_at, self.drain_at, self.unfinished_at]
            .into_iter()
            .flatten()
            .fold(self.ping_at(ping_after), Ord::min);
        if self.armed != Some(at) {
            self.armed = Some(at);
            self.alarm.set(at);
        }
    }

    /// Takes out what the alarm is not to ring for while nothing is read.
    pub(super) fn set_aside(&mut self) -> SetAside {
        SetAside {
            drain_at: self.drain_at.take(),
            unfinished_after: self.unfinished_at.take().map(|at| at - Instant::now()),
        }
    }

    /// Puts it back: what a client has left to end a message is what it had.
    pub(super) fn put_back(&mut self, set_aside: SetAside) {
        self.drain_at = set_aside.drain_at;
        self.unfinished_at = set_aside.unfinished_after.map(|rest| Instant::now() + rest);
    }

    /// The alarm has rung, and is set anew in any case.
    pub(super) fn rang(&mut self) {
        self.armed = None;
    }
}

/// Counts messages that bring no frame: they cost work and are worth nothing.
#[derive(Debug)]
pub(super) struct IdleMessages {
    max: u32,
    count: u32,
    since: Instant,
    /// Whether the next line end belongs to a frame: over TCP it may come by itself.
    ends_a_frame: bool,
}

impl IdleMessages {
    pub(super) fn new(now: Instant, max: u32) -> Self {
        Self {
            max,
            count: 0,
            since: now,
            ends_a_frame: false,
        }
    }

    /// Looks at what came, with so many messages among it that hold nothing but line ends. Returns how
    /// many are idle: not one that ends a frame.
    pub(super) fn idle(&mut self, octets: &[u8], empty: u32) -> u32 {
        let is_empty = is_line_ends(octets);
        let ends_a_frame = std::mem::replace(&mut self.ends_a_frame, !is_empty);
        empty.saturating_sub(u32::from(ends_a_frame))
    }

    /// Counts so many more; whether all are still within the limit.
    pub(super) fn admit(&mut self, now: Instant, count: u32) -> bool {
        if now - self.since >= IDLE_WINDOW {
            self.since = now;
            self.count = 0;
        }
        self.count = self.count.saturating_add(count);
        self.count <= self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING_AFTER: Duration = Duration::from_secs(25);

    #[tokio::test(start_paused = true)]
    async fn messages_without_a_frame_are_limited_per_window() {
        let mut idle = IdleMessages::new(Instant::now(), 3);
        let admitted =
            |idle: &mut IdleMessages| (0..9).filter(|_| idle.admit(Instant::now(), 1)).count();
        assert_eq!(admitted(&mut idle), 3);
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(admitted(&mut idle), 0);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(admitted(&mut idle), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_end_after_a_frame_is_part_of_it() {
        let mut idle = IdleMessages::new(Instant::now(), 3);
        let found = [
            &b"\n"[..],
            b"SEND..\0",
            b"\r\n",
            b"\n",
            b"x\n",
            b"\n\n",
            b"\n",
        ]
        .map(|octets| idle.idle(octets, u32::from(is_line_ends(octets))));
        assert_eq!(found, [1, 0, 0, 1, 0, 0, 1]);
        assert_eq!(idle.idle(b"SEND..\0\n\n", 2), 2, "several at once");
    }

    #[tokio::test(start_paused = true)]
    async fn the_alarm_rings_for_whatever_comes_first() {
        let wheel = Wheel::new(tokio_util::task::TaskTracker::new());
        let now = Instant::now();
        let mut clock = Clock::new(&wheel, now, PING_AFTER);
        clock.arm(PING_AFTER);
        assert_eq!(clock.alarm.deadline(), now + PING_AFTER);
        clock.session_at = Some(now + Duration::from_secs(5));
        clock.arm(PING_AFTER);
        assert_eq!(clock.alarm.deadline(), now + Duration::from_secs(5));
        clock.unfinished_at = Some(now + Duration::from_secs(4));
        clock.arm(PING_AFTER);
        (&mut clock.alarm).await;
        clock.rang();
        assert!(now.elapsed() < Duration::from_millis(4_060));
        clock.heard();
        clock.session_at = None;
        clock.unfinished_at = None;
        clock.arm(PING_AFTER);
        let ping = clock.heard_at + PING_AFTER;
        assert!(clock.alarm.deadline() - ping < super::super::wheel::TICK);
    }
}
