//! Clients that were cut off come back: each tries until it is let in.
//!
//! Not here: cutting them off (`reconnect`). Invariant: what counts is the time from the first attempt of a
//! client until everything is in force again, however many attempts it took.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use crate::bench::fleet::Fleet;
use crate::bench::gather::TURN;
use crate::bench::link::{Ear, Heard, Why};
use crate::bench::order::Order;
use crate::bench::progress::Progress;
use crate::bench::report::{Latency, latency};
use crate::bench::{BenchError, Outcome};

/// How long a client that was refused waits: the first of its attempts half as long at least, so that
/// those who were refused together do not come again together.
const PAUSE_NS: u64 = 1_000_000_000;

/// How it went.
#[derive(Debug)]
pub(super) struct Returned {
    /// Of each client, from its first attempt until everything was in force.
    pub(super) each: Latency,
    /// From the first attempt of all until the last client was back.
    pub(super) took: Duration,
    /// Attempts that ended in a refusal or a lost connection.
    pub(super) refused: u64,
}

/// Opens all connections, at most `at_once` of them at a time, until all are ready.
pub(super) fn come_back(
    fleet: &mut Fleet<'_>,
    order: &Order,
    progress: &mut Progress,
) -> Outcome<Returned> {
    let count = fleet.len();
    let mut crowd = Crowd {
        first_ns: vec![0; count],
        last_ns: vec![0; count],
        ready: 0,
        refused: 0,
        last: None,
        each: latency(),
        again: BinaryHeap::new(),
        now_ns: fleet.now_ns(),
    };
    let (began, mut moved, mut opened) = (Instant::now(), (0, Instant::now()), 0);
    while crowd.ready < count {
        if fleet.is_stopped() {
            return Err(BenchError::Stopped);
        }
        crowd.now_ns = fleet.now_ns();
        while opened < count && opened - crowd.ready < order.at_once as usize {
            crowd.first_ns[opened] = fleet.now_ns();
            crowd.last_ns[opened] = crowd.first_ns[opened];
            fleet.open(opened, &mut crowd);
            opened += 1;
        }
        while let Some(link) = crowd.due() {
            crowd.last_ns[link] = fleet.now_ns();
            fleet.open(link, &mut crowd);
        }
        fleet.turn(crowd.wait(), &mut crowd)?;
        if crowd.ready > moved.0 {
            moved = (crowd.ready, Instant::now());
        }
        if moved.1.elapsed() > order.patience {
            return Err(crowd.not_back(order));
        }
        progress.show(|| format!("back: {} of {count}", crowd.ready));
    }
    Ok(Returned {
        each: crowd.each,
        took: began.elapsed(),
        refused: crowd.refused,
    })
}

/// Those who come back.
#[derive(Debug)]
struct Crowd {
    /// When each tried first.
    first_ns: Vec<u64>,
    /// When each tried last.
    last_ns: Vec<u64>,
    ready: usize,
    refused: u64,
    /// The last refusal.
    last: Option<Why>,
    each: Latency,
    /// Who tries again, and when.
    again: BinaryHeap<Reverse<(u64, usize)>>,
    now_ns: u64,
}

impl Crowd {
    /// A client whose next attempt is due.
    fn due(&mut self) -> Option<usize> {
        let Reverse((due_ns, link)) = *self.again.peek()?;
        if due_ns > self.now_ns {
            return None;
        }
        self.again.pop();
        Some(link)
    }

    /// How long nothing is due.
    fn wait(&self) -> Duration {
        let due_ns = self.again.peek().map(|Reverse((due_ns, _))| *due_ns);
        let wait = due_ns.map(|due_ns| Duration::from_nanos(due_ns.saturating_sub(self.now_ns)));
        wait.unwrap_or(TURN).min(TURN)
    }

    fn not_back(&self, order: &Order) -> BenchError {
        let (urls, patience) = (order.urls.join(", "), order.patience);
        let (ready, refused) = (self.ready, self.refused);
        BenchError::Silent(format!(
            "{urls} has let nobody in for {patience:?}; {ready} of {} clients are back, {refused} attempts \
             were refused, the last one with {:?}",
            self.first_ns.len(),
            self.last
        ))
    }
}

impl Ear for Crowd {
    fn hear(&mut self, link: usize, heard: &Heard<'_>) {
        match heard {
            Heard::Ready { took_ns } => {
                // `took_ns` is that of the last attempt alone.
                let before_ns = self.last_ns[link].saturating_sub(self.first_ns[link]);
                self.ready += 1;
                self.each.saturating_record((before_ns + took_ns) / 1_000);
            }
            Heard::Ended(why) => {
                self.refused += 1;
                self.last = Some((*why).clone());
                let spread = (link as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) % PAUSE_NS;
                let due_ns = self.now_ns + PAUSE_NS / 2 + spread;
                self.again.push(Reverse((due_ns, link)));
            }
            Heard::Message { .. } | Heard::Receipt { .. } => {}
        }
    }
}
