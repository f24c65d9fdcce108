//! The conformance table: what STOMP 1.0, 1.1 and 1.2 say, and what RabbitMQ, Spring and SockJS add, one case per
//! sentence, on each version that it is about, over WebSocket, SockJS (its WebSocket and its streams) and TCP.
//!
//! The sections are files; each has a table of cases and a test per transport, in which
//! its cases run beside each other on one node. `CONFORMANCE_ONLY=part-of-an-id` runs some of them.
//! Not here: how several nodes agree. Invariant: an id names one case.

pub(crate) mod case;

mod acking;
mod carriers;
mod connecting;
mod destinations;
mod dialect;
mod framing;
mod headers;
mod limits;
mod liveness;
mod queues;
mod receipts;
mod sending;
mod transactions;

use std::collections::BTreeSet;

use case::Row;

/// Every section with its cases.
pub(crate) const SECTIONS: [(&str, &[Row]); 13] = [
    ("connecting", connecting::CASES),
    ("framing", framing::CASES),
    ("headers", headers::CASES),
    ("sending", sending::CASES),
    ("receipts", receipts::CASES),
    ("acking", acking::CASES),
    ("queues", queues::CASES),
    ("transactions", transactions::CASES),
    ("destinations", destinations::CASES),
    ("dialect", dialect::CASES),
    ("limits", limits::CASES),
    ("liveness", liveness::CASES),
    ("carriers", carriers::CASES),
];

/// How many sentences there are, and how many runs they make.
pub(crate) fn counts() -> (usize, usize) {
    let rows = || SECTIONS.iter().flat_map(|(_, rows)| rows.iter());
    let runs = rows().map(|row| row.on.versions.len() * row.on.transports.len());
    (rows().count(), runs.sum())
}

#[test]
fn every_case_has_an_id_and_a_sentence_of_its_own() {
    let mut ids = BTreeSet::new();
    for (section, rows) in SECTIONS {
        for row in rows {
            assert!(ids.insert(row.id), "{} stands twice", row.id);
            let sentence = row.sentence;
            assert!(sentence.ends_with('.'), "{section} {}: {sentence}", row.id);
        }
    }
}
