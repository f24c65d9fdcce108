//! The tables of `docs/performance.md` that follow from the model, between their markers.
//!
//! Not here: any figure. Invariant: the same unit costs give the same text, so that a test can make
//! the tables again and compare.

use std::fmt::Write as _;

use super::figures::Figures;
use super::model::{Load, Machine, Traffic, Units, users_max};

/// How many people the tables are for.
const USERS: [f64; 3] = [10_000.0, 100_000.0, 1_000_000.0];

/// How many nodes the table of flows is for.
const NODES: [u32; 3] = [3, 10, 20];

/// What is done when an engine is the bottleneck, in the order of [`Load::engines`].
const ADD: [&str; 3] = [
    "shards by target node: each RabbitMQ has the queues of a part of the nodes, and a parcel for \
     several nodes goes to the shard of each",
    "a larger primary; then shards by conversation, since no statement needs two of them",
    "shards by user and by destination: each look-up needs one key",
];

/// The document with its tables made anew. Fails, naming the marker, where one is missing.
pub(crate) fn put_into(document: &str, figures: &Figures) -> Result<String, String> {
    let units = &figures.costs();
    let tables = [
        ("assumptions", assumptions()),
        ("units", costs(figures)),
        ("machines", machines(units)),
        ("bottlenecks", bottlenecks(units)),
        ("flows", flows(units)),
    ];
    let mut document = document.to_owned();
    for (name, table) in tables {
        let begin = format!("<!-- scale:begin {name} -->\n");
        let (before, rest) = document
            .split_once(&begin)
            .ok_or_else(|| format!("{begin:?} is missing"))?;
        let (_, after) = rest
            .split_once("<!-- scale:end -->")
            .ok_or_else(|| format!("nothing ends {begin:?}"))?;
        document = format!("{before}{begin}{table}<!-- scale:end -->{after}");
    }
    Ok(document)
}

/// Rows as Markdown; the first is the heading.
fn table(rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        // Writing to a String does not fail.
        let _written = writeln!(text, "| {} |", row.join(" | "));
        if number == 0 {
            text.push_str(&"|---".repeat(row.len()));
            text.push_str("|\n");
        }
    }
    text
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

fn assumptions() -> String {
    let (traffic, machine) = (Traffic::asked_for(1.0), Machine::ORDINARY);
    let per_minute = traffic.messages_per_user * 60.0;
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    table(&[
        row(["assumption", "value", "because"]),
        row([
            "messages that each of the connected sends",
            &format!("{per_minute:.0} a minute"),
            "a million people and 100,000 messages a second; \"less than 10 a minute\"",
        ]),
        row([
            "to a room (`/topic/**`), the rest to a person and stored",
            &percent(traffic.to_rooms),
            "our choice",
        ]),
        row([
            "connected members of a room",
            &traffic.room_members.to_string(),
            "our choice",
        ]),
        row([
            "people with a second device",
            &percent(traffic.second_device),
            "one or two devices",
        ]),
        row([
            "a connection lasts",
            &format!("{:.0} minutes", traffic.connection_seconds / 60.0),
            "telephones come and go",
        ]),
        row([
            "a machine",
            &format!("{:.0} cores, {} busy", machine.cores, percent(machine.busy)),
            "as the one that was measured; half is for peaks and for what fails",
        ]),
        row([
            "sessions of a node at most",
            &grouped(machine.sessions),
            "20 gateways for a million people",
        ]),
        row([
            "sessions are spread evenly, messages independent of each other",
            "",
            "a load balancer, and many people",
        ]),
    ])
}

fn costs(figures: &Figures) -> String {
    let mut rows = vec![row(["unit cost", "measured"])];
    for unit in &figures.units {
        rows.push(vec![
            unit.what.clone(),
            format!("{} {}", short(unit.value), unit.unit),
        ]);
    }
    let Figures {
        taken,
        machine,
        command,
        ..
    } = figures;
    format!("{}\nBy `{command}`, {taken}, {machine}.\n", table(&rows))
}

fn machines(units: &Units) -> String {
    let heading = [
        "people",
        "sessions",
        "messages/s",
        "nodes",
        "RabbitMQ",
        "PostgreSQL",
        "Redis",
        "parcels/s",
        "memory of a node for connections",
    ];
    let mut rows = vec![row(heading)];
    for users in USERS {
        let traffic = Traffic::asked_for(users);
        let load = Load::with_enough_nodes(&traffic, units);
        let engine = |number: usize| match load.nodes {
            1 => "-".to_owned(),
            _ => load.engines()[number].1.ceil().max(1.0).to_string(),
        };
        let per_node = traffic.sessions() / f64::from(load.nodes);
        rows.push(vec![
            grouped(users),
            grouped(traffic.sessions()),
            grouped(traffic.messages()),
            load.nodes.to_string(),
            engine(0),
            engine(1),
            engine(2),
            if load.nodes == 1 {
                "-".to_owned()
            } else {
                grouped(load.parcels)
            },
            format!("{:.0} MiB", per_node * units.idle_kib / 1024.0),
        ]);
    }
    table(&rows)
}

fn bottlenecks(units: &Units) -> String {
    let names = Load::of(&Traffic::asked_for(1.0), units, 2).engines();
    let engines = names.iter().map(|(name, _)| *name);
    let mut limits: Vec<(f64, &str, &str)> = engines
        .zip(ADD)
        .enumerate()
        .map(|(number, (name, add))| (users_max(units, number), name, add))
        .collect();
    limits.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut rows = vec![row(["one machine of", "is enough for", "then"])];
    for (users, name, add) in limits {
        let users = format!("{} people", grouped(rounded(users)));
        rows.push(vec![name.to_owned(), users, add.to_owned()]);
    }
    table(&rows)
}

fn flows(units: &Units) -> String {
    let heading = [
        "people",
        "nodes",
        "flows",
        "messages of a batch",
        "envelopes of a parcel",
        "parcels/s",
        "arrivals of a flow/s",
        "heads/s",
        "cores of RabbitMQ",
        "with parcels by target, 5 ms",
    ];
    let mut rows = vec![row(heading)];
    for users in [USERS[1], USERS[2]] {
        for nodes in NODES {
            let traffic = Traffic::asked_for(users);
            let load = Load::of(&traffic, units, nodes);
            rows.push(vec![
                grouped(users),
                nodes.to_string(),
                grouped(load.flows()),
                format!("{:.1}", load.batch.messages),
                format!("{:.2}", load.batch.envelopes / load.batch.parcels),
                grouped(rounded(load.parcels)),
                grouped(rounded(load.arrivals / load.flows())),
                grouped(load.heads),
                format!("{:.1}", load.rabbitmq_cores),
                format!(
                    "{:.1}",
                    load.rabbitmq_cores_by_target(&traffic, units, 0.005)
                ),
            ]);
        }
    }
    table(&rows)
}

/// Two digits that count.
fn rounded(value: f64) -> f64 {
    if value < 100.0 {
        return value.round();
    }
    let step = 10_f64.powf(value.log10().floor() - 1.0);
    (value / step).round() * step
}

/// Three digits that count.
fn short(value: f64) -> String {
    match value {
        ..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// A whole number with commas.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
