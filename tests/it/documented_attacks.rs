//! The attacks of `docs/security.md` are those that can be run, and their figures are those that were measured.
//!
//! Not here: the attacks, which `cargo bench --bench hostile` carries out. Invariant: committed figures of this
//! build keep every bound.

#[path = "../../benches/hostile/bounds.rs"]
mod bounds;
#[expect(dead_code, reason = "the benchmark finds an attack by its name")]
#[path = "../../benches/hostile/catalogue.rs"]
mod catalogue;
#[path = "../../benches/hostile/tables.rs"]
mod tables;

use std::collections::BTreeSet;
use std::path::Path;

use catalogue::ATTACKS;
use serde_json::{Value, json};
use tables::{DOCUMENT, FIGURES};

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn figures() -> Value {
    serde_json::from_str(&read(FIGURES)).unwrap()
}

/// The figures of an attack that did no harm.
fn harmless() -> Value {
    let people = json!({
        "p50_ms": 2.0, "p99_ms": 5.0, "due": 1_200, "lost": 0, "disordered": 0, "refused": 0,
        "cut": 0, "reason": null,
    });
    let newcomers = json!({ "tried": 6, "refused": 0, "slowest_ms": 8.0, "reason": null });
    json!({
        "attack": "pings", "origin": "one", "seconds": 6,
        "quiet": people, "sink": people, "during": people, "after": people,
        "ratio": 1.0, "memory_mib": [40.0, 60.0, 50.0], "account_bytes": [4_000_000.0, 9_000_000.0, 4_000_100.0],
        "newcomers": newcomers, "newcomers_after": newcomers, "cores": 0.5, "load": "1 1 1",
    })
}

#[test]
fn tables_are_made_from_the_figures() {
    let document = read(DOCUMENT);
    let expected = tables::replace(&document, &figures()).unwrap();
    assert!(
        document == expected,
        "{DOCUMENT} differs from {FIGURES}; run `cargo bench --bench hostile -- --tables`"
    );
}

#[test]
fn every_attack_has_figures_from_before() {
    let figures = figures();
    for attack in ATTACKS {
        for origin in ["one", "many"] {
            let row = tables::row(&figures, "before", attack.name, origin);
            assert!(
                row.is_some(),
                "{} from {origin} was not measured",
                attack.name
            );
        }
    }
}

#[test]
fn every_attack_of_the_catalogue_is_carried_out() {
    let names: BTreeSet<&str> = ATTACKS.iter().map(|attack| attack.name).collect();
    assert_eq!(names.len(), ATTACKS.len(), "a name stands twice");
    let source = read("benches/hostile/attacks/mod.rs");
    let arms = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix('"'));
    let arms: BTreeSet<&str> = arms
        .filter_map(|line| Some(line.split_once("\" =>")?.0))
        .collect();
    assert_eq!(arms, names);
}

#[test]
fn committed_figures_keep_every_bound() {
    let figures = figures();
    let rows = figures.pointer("/after/rows").and_then(Value::as_array);
    for row in rows.into_iter().flatten() {
        let misses = bounds::misses(row);
        assert!(
            misses.is_empty(),
            "{} from {}: {misses:?}",
            row["attack"],
            row["origin"]
        );
    }
}

#[test]
fn each_bound_can_be_missed() {
    assert_eq!(bounds::misses(&harmless()), Vec::<String>::new());
    for (path, value, miss) in [
        (
            "/during/p99_ms",
            json!(10.0),
            "p99 is 2.0 times the baseline",
        ),
        (
            "/after/p99_ms",
            json!(10.0),
            "p99 afterwards is 2.0 times that before",
        ),
        ("/memory_mib/1", json!(1_024.0), "1024 MiB of memory"),
        ("/memory_mib/1", json!(null), "NaN MiB of memory"),
        (
            "/newcomers/refused",
            json!(1),
            "1 of 6 newcomers refused during: no reason",
        ),
        (
            "/newcomers/tried",
            json!(0),
            "0 of 0 newcomers refused during: no reason",
        ),
        (
            "/newcomers_after/refused",
            json!(1),
            "1 of 6 newcomers refused after: no reason",
        ),
        (
            "/during/lost",
            json!(1),
            "messages during: 1 lost, 0 out of order, 0 refused, 0 sessions cut: no reason",
        ),
        (
            "/during/cut",
            json!(1),
            "messages during: 0 lost, 0 out of order, 0 refused, 1 sessions cut: no reason",
        ),
        (
            "/after/refused",
            json!(1),
            "messages after: 0 lost, 0 out of order, 1 refused, 0 sessions cut: no reason",
        ),
        (
            "/account_bytes/2",
            json!(6_000_000.0),
            "the byte account was at 4000000, and is at 6000000",
        ),
    ] {
        let mut row = harmless();
        *row.pointer_mut(path).unwrap() = value;
        assert_eq!(bounds::misses(&row), [miss.to_owned()], "{path}");
    }
}

#[test]
fn an_older_build_has_no_account_and_may_do_without() {
    let mut row = harmless();
    row["account_bytes"] = json!([null, null, null]);
    assert!(bounds::misses(&row).is_empty());
}
