//! What the edge counts.
//!
//! Not here: the recorder and its text (`node`). Invariant: every label is one of a fixed set;
//! nothing that a client writes becomes a label.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use metrics::{Counter, Gauge, counter, gauge};

use crate::model::{CloseReason, Code, EveryMinute, Kind, Network};
use crate::session::Event;

/// The commands that clients send and that are told apart, and those that the server sends.
const IN: [&str; 6] = [
    "CONNECT",
    "SEND",
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "ACK",
    "COMMIT",
];
const OUT: [&str; 5] = ["CONNECTED", "MESSAGE", "RECEIPT", "ERROR", "HEARTBEAT"];

/// The close codes that have a row of their own.
const CLOSE_CODES: [u16; 19] = [
    1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1011, 1012, 1013, 4401, 4403, 4408, 4409,
    4410, 4429, 4490,
];

/// Handles to the counters, looked up once. The recorder must be installed before.
#[derive(Debug)]
pub(super) struct Meters {
    frames_in: [Counter; IN.len()],
    frames_out: [Counter; OUT.len()],
    /// The active connections by transport and kind: a dozen at most. A std mutex: held for one search.
    active: Mutex<Vec<(Labels, Gauge)>>,
    /// What is logged of clients that were closed with 4490 and with 1008.
    slow: EveryMinute,
    over_limit: EveryMinute,
}

/// Transport and kind.
type Labels = (&'static str, &'static str);

impl Meters {
    pub(super) fn new() -> Self {
        let frames = |dir: &'static str, command: &'static str| counter!("stomp_frames_total", "dir" => dir, "command" => command);
        Self {
            frames_in: IN.map(|command| frames("in", command)),
            frames_out: OUT.map(|command| frames("out", command)),
            active: Mutex::default(),
            slow: EveryMinute::new(),
            over_limit: EveryMinute::new(),
        }
    }

    /// A request of a client came.
    pub(super) fn received(&self, event: &Event) {
        let [connect, send, subscribe, unsubscribe, ack, commit] = &self.frames_in;
        match event {
            Event::Connect(_) => connect,
            Event::Send(_) => send,
            Event::Subscribe(_) => subscribe,
            Event::Unsubscribe(_) => unsubscribe,
            Event::Acknowledge(_) => ack,
            Event::Commit(_) => commit,
        }
        .increment(1);
    }

    /// A frame or a heart-beat goes out.
    pub(super) fn transmitted(&self, frame: &[u8]) {
        let command = frame
            .split(|octet| *octet == b'\n')
            .next()
            .unwrap_or_default();
        let found = OUT.iter().position(|known| known.as_bytes() == command);
        let index = found.unwrap_or(OUT.len() - 1);
        if let Some(counter) = self.frames_out.get(index) {
            counter.increment(1);
        }
    }

    /// Counts the MESSAGEs that go out past the connection drivers.
    pub(super) fn deliveries(&self) -> Counter {
        let [_connected, message, ..] = &self.frames_out;
        message.clone()
    }

    /// One connection more, whose client is not known yet (`None`), or is.
    pub(super) fn active(&self, transport: &'static str, kind: Option<Kind>) -> Active {
        let labels = (transport, kind.map_or("connecting", Kind::as_str));
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        let known = active.iter().find(|(known, _)| *known == labels);
        let gauge = match known {
            Some((_, gauge)) => gauge.clone(),
            None => {
                let (transport, kind) = labels;
                let gauge =
                    gauge!("chat_connections_active", "transport" => transport, "kind" => kind);
                active.push((labels, gauge.clone()));
                gauge
            }
        };
        gauge.increment(1.0);
        Active(gauge)
    }

    /// Something was refused.
    pub(super) fn refused(&self, code: Code) {
        counter!("stomp_errors_total", "code" => code.as_str()).increment(1);
    }

    /// A connection closed with this code, ours or the peer's.
    pub(super) fn closed(&self, code: u16) {
        let label = match CLOSE_CODES.contains(&code) {
            true => code.to_string(),
            false => "other".to_owned(),
        };
        counter!("ws_close_total", "code" => label).increment(1);
    }

    /// This node closes a connection. What operators are asked about is logged: one line a minute for slow consumers, and one
    /// for clients beyond a limit.
    pub(super) fn cut(&self, reason: &CloseReason, network: Network) {
        let (events, why) = match reason {
            it if *it == CloseReason::SLOW_CONSUMER => (
                &self.slow,
                "they read or acknowledge more slowly than they are written to, or their share of memory is used up",
            ),
            it if *it == CloseReason::LIMIT_EXCEEDED => (
                &self.over_limit,
                "they wanted more than they may have, or others needed what their network held most of",
            ),
            _ => return,
        };
        if let Some(closed) = events.due(Instant::now()) {
            tracing::warn!(
                code = reason.code,
                closed,
                last_of = %network.truncated(),
                "clients were closed, because {why}"
            );
        }
    }
}

/// Counts one connection among the active ones for as long as it lives.
#[derive(Debug)]
pub(super) struct Active(Gauge);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CloseReason;

    #[test]
    fn every_close_that_there_is_has_a_row_of_its_own() {
        for code in Code::ALL {
            assert!(CLOSE_CODES.contains(&code.close_code()), "{code:?}");
        }
        for reason in [
            CloseReason::NORMAL,
            CloseReason::RESTART,
            CloseReason::SLOW_CONSUMER,
            CloseReason::HEART_BEAT_LOST,
        ] {
            assert!(CLOSE_CODES.contains(&reason.code), "{reason:?}");
        }
    }
}
