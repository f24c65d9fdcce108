//! A cluster of up to fifty nodes in one process, counted: what a message costs when nodes are added,
//! and whether the model behind `docs/performance.md` says the same as the real broker.
//!
//! Not here: faults (`simulation`), what the engines take in microseconds (the unit costs of the
//! model). Time is tokio's, paused, so that a look-up takes exactly as long as is said.

#[path = "../../benches/scale/figures.rs"]
mod figures;
#[path = "../../benches/scale/model.rs"]
mod model;
#[path = "../../benches/scale/spread.rs"]
mod spread;
#[path = "../../benches/scale/tables.rs"]
mod tables;

mod cluster;
mod counting;
mod people;

use std::time::Duration;

use cluster::Cluster;
use counting::Counts;
use figures::{Figures, UNITS};
use model::Traffic;
use people::{Crowd, QUIET};
use spread::Targets;

/// How long a look-up takes in the crowds: long, because tokio's clock goes by milliseconds, and what
/// decides about batches is how many messages come while one is routed.
const LOOKUP: Duration = Duration::from_millis(20);

/// How long a crowd writes.
const SECONDS: u32 = 4;

/// How far the model may be from what was counted. The crowds are small, so chance is in it.
const WITHIN: f64 = 0.05;

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(test)
}

/// Compares what the model says with what was counted.
#[track_caller]
fn alike(what: &str, model: f64, counted: f64, within: f64) {
    eprintln!("  {what}: model {model:.3}, counted {counted:.3}");
    assert!(
        (model / counted - 1.0).abs() <= within,
        "{what}: the model says {model:.3}, counted were {counted:.3}"
    );
}

/// A crowd writes on so many nodes, so many messages per node while a look-up lasts.
fn crowd(nodes: u32, users: usize, per_lookup: f64) {
    let (counts, crowd) = run(async {
        let cluster = Cluster::start(nodes as usize, LOOKUP).await;
        let crowd = Crowd::gather(&cluster, users).await;
        // Between two ticks, so that whole seconds have as many of what happens once a second.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let before = cluster.counts();
        crowd
            .write(&cluster, per_lookup / LOOKUP.as_secs_f64(), SECONDS)
            .await;
        (cluster.counts().since(&before), crowd)
    });
    eprintln!("{nodes} nodes, {per_lookup} messages a look-up: {counts:?}");
    assert_eq!(crowd.received(), crowd.owed(), "everything arrives once");

    let traffic = Traffic::asked_for(users as f64);
    let per = |count: u64, of: u64| count as f64 / of as f64;
    let messages = counts.direct + counts.room;
    alike(
        "nodes of a message to a person",
        Traffic::direct_targets(nodes).mean(),
        per(counts.direct_arrivals, counts.direct),
        WITHIN,
    );
    alike(
        "nodes of a message to a room",
        traffic.room_targets(nodes).mean(),
        per(counts.room_arrivals, counts.room),
        WITHIN,
    );
    let targets = traffic.targets(nodes);
    let batch = targets.batch(per_lookup);
    alike(
        "messages of a batch",
        batch.messages,
        per(messages, counts.lookups),
        WITHIN,
    );
    let envelopes = batch.envelopes / batch.parcels;
    alike(
        "envelopes of a parcel",
        envelopes,
        per(counts.envelopes, counts.parcels),
        WITHIN,
    );
    let parcels = batch.parcels / batch.messages;
    alike(
        "parcels of a message",
        parcels,
        per(counts.parcels, messages),
        WITHIN,
    );
    let arrivals = batch.arrivals / batch.messages;
    alike(
        "arrivals of a message",
        arrivals,
        per(counts.parcel_arrivals, messages),
        WITHIN,
    );
    // In a batch nobody is looked up twice, which the model leaves out.
    let asked = 2.0 * per(counts.direct, messages) + per(counts.room, messages);
    let counted = per(counts.users_asked + counts.destinations_asked, messages);
    alike(
        "names looked up for a message",
        asked,
        counted,
        2.0 * WITHIN,
    );
    check_heads(nodes, &counts);
}

/// Every node tells every node, once a second, whatever is written.
fn check_heads(nodes: u32, counts: &Counts) {
    let nodes = u64::from(nodes);
    let seconds = u64::from(SECONDS) + QUIET.as_secs();
    assert_eq!(counts.heads, nodes * seconds);
    assert_eq!(counts.head_arrivals, nodes * nodes * seconds);
}

#[test]
fn the_model_says_what_three_nodes_send_each_other() {
    crowd(3, 2_400, 0.5);
    crowd(3, 2_400, 20.0);
}

#[test]
fn the_model_says_what_ten_nodes_send_each_other() {
    crowd(10, 4_000, 4.0);
}

#[test]
fn the_model_says_what_twenty_nodes_send_each_other() {
    crowd(20, 6_000, 0.5);
    crowd(20, 6_000, 4.0);
}

#[test]
fn the_model_says_what_fifty_nodes_send_each_other() {
    crowd(50, 10_000, 1.5);
}

/// What so many messages cost, one after the other, with an audience on the first three nodes of so
/// many.
fn audience_of_three(nodes: usize, stored: bool) -> Counts {
    const MESSAGES: usize = 100;
    run(async {
        let cluster = Cluster::start(nodes, Duration::ZERO).await;
        let crowd = Crowd::on_the_first_three(&cluster).await;
        let before = cluster.counts();
        for _ in 0..MESSAGES {
            crowd.write_one(&cluster, stored).await;
        }
        let counts = cluster.counts().since(&before);
        assert_eq!(crowd.received(), crowd.owed(), "everything arrives once");
        Counts {
            heads: 0,
            head_arrivals: 0,
            ..counts
        }
    })
}

#[test]
fn a_topic_costs_the_same_however_many_nodes_have_no_subscriber() {
    let three = audience_of_three(3, false);
    assert_eq!(three.parcels, 100, "one parcel for both of the others");
    assert_eq!(three.parcel_arrivals, 200);
    assert_eq!(three.destinations_asked, 100);
    for nodes in [10, 20, 50] {
        assert_eq!(audience_of_three(nodes, false), three, "{nodes} nodes");
    }
}

#[test]
fn a_stored_message_costs_the_same_on_three_nodes_and_on_fifty() {
    let three = audience_of_three(3, true);
    assert_eq!(
        three.parcels, 100,
        "one parcel for both of the recipient's nodes"
    );
    assert_eq!(three.parcel_arrivals, 200);
    assert_eq!(three.users_asked, 200);
    for nodes in [10, 20, 50] {
        assert_eq!(audience_of_three(nodes, true), three, "{nodes} nodes");
    }
}

#[test]
fn the_spread_over_nodes_is_a_distribution() {
    for nodes in [1, 2, 3, 20] {
        let targets = Traffic::asked_for(1.0).targets(nodes);
        let others = f64::from(nodes) - 1.0;
        assert!(targets.mean() <= others && targets.any() <= 1.0, "{nodes}");
        // One message alone: a parcel if it needs another node, and an arrival for each of these.
        let batch = targets.batch(1e-9);
        assert!((batch.parcels - targets.any()).abs() < 1e-6, "{nodes}");
        assert!((batch.arrivals - targets.mean()).abs() < 1e-6, "{nodes}");
    }
    assert!((Targets::of(1, 0, 4).mean() - 0.75).abs() < 1e-9);
}

#[test]
fn the_tables_of_beyond_one_machine_are_those_of_the_committed_unit_costs() {
    let units = include_str!("../../docs/figures/units.json");
    let document = include_str!("../../docs/performance.md");
    let figures = Figures::parse(units).unwrap();
    let named: Vec<_> = figures
        .units
        .iter()
        .map(|unit| unit.name.as_str())
        .collect();
    assert_eq!(named, UNITS.map(|(name, ..)| name));
    let again = tables::put_into(document, &figures).unwrap();
    assert!(
        again == document,
        "make them again: cargo bench --bench scale"
    );
}
