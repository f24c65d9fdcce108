//! Bringing connections up, so many at a time.
//!
//! Not here: what they do then. Invariant: it ends when all are ready, when one is refused, or when
//! nothing has happened for as long as the order is patient.

use std::time::{Duration, Instant};

use super::fleet::Fleet;
use super::link::{Ear, Heard, Why};
use super::order::Order;
use super::progress::Progress;
use super::report::{Latency, latency};
use super::{BenchError, Outcome};

/// How long one turn of the poll may wait.
pub(super) const TURN: Duration = Duration::from_millis(50);

/// How it went.
#[derive(Debug)]
pub(super) struct Gathered {
    /// From the first dial to the last one ready.
    pub(super) took: Duration,
    /// Of each connection, from its dial until everything was in force.
    pub(super) each: Latency,
}

/// Opens these connections and waits until all are ready.
pub(super) fn gather(
    fleet: &mut Fleet<'_>,
    links: &[usize],
    order: &Order,
    progress: &mut Progress,
) -> Outcome<Gathered> {
    let mut awaited = Awaited {
        ready: 0,
        each: latency(),
        ended: None,
    };
    let began = Instant::now();
    let mut moved = (0, began);
    let mut opened = 0;
    while awaited.ready < links.len() {
        if fleet.is_stopped() {
            return Err(BenchError::Stopped);
        }
        while opened < links.len() && opened - awaited.ready < order.at_once as usize {
            fleet.open(links[opened], &mut awaited);
            opened += 1;
        }
        fleet.turn(TURN, &mut awaited)?;
        if let Some((link, why)) = &awaited.ended {
            return Err(fleet.explain(*link, why));
        }
        if awaited.ready > moved.0 {
            moved = (awaited.ready, Instant::now());
        }
        if moved.1.elapsed() > order.patience {
            return Err(not_ready(fleet, links, order, awaited.ready));
        }
        progress.show(|| format!("connecting: {} of {}", awaited.ready, links.len()));
    }
    Ok(Gathered {
        took: began.elapsed(),
        each: awaited.each,
    })
}

/// Says what the server left unanswered.
fn not_ready(fleet: &Fleet<'_>, links: &[usize], order: &Order, ready: usize) -> BenchError {
    use super::link::Phase;
    let at = |phase| links.iter().any(|&link| fleet.phase(link) == phase);
    let what = if at(Phase::Subscribing) {
        "a SUBSCRIBE (a server without receipts is measured with --without-receipts)"
    } else if at(Phase::Greeting) {
        "a CONNECT"
    } else if at(Phase::Upgrading) {
        "the WebSocket handshake"
    } else {
        "a TCP connection"
    };
    let (url, patience) = (order.urls.join(", "), order.patience);
    BenchError::Silent(format!(
        "{url} has not answered {what} for {patience:?}; {ready} of {} clients are ready",
        links.len()
    ))
}

/// Counts those who are ready.
#[derive(Debug)]
struct Awaited {
    ready: usize,
    each: Latency,
    ended: Option<(usize, Why)>,
}

impl Ear for Awaited {
    fn hear(&mut self, link: usize, heard: &Heard<'_>) {
        match heard {
            Heard::Ready { took_ns } => {
                self.ready += 1;
                self.each.saturating_record(took_ns / 1_000);
            }
            Heard::Ended(why) => {
                self.ended.get_or_insert_with(|| (link, (*why).clone()));
            }
            Heard::Message { .. } | Heard::Receipt { .. } => {}
        }
    }
}
