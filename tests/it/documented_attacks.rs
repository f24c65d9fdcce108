//! The attacks of `docs/security.md` are those that can be run, and their figures are those that were measured.
//!
//! Not here: the attacks, which `cargo bench --bench hostile` carries out. Invariant: committed figures of this
//! build are whole, and each keeps its bounds or is a known miss that is no worse than listed; what has no figures
//! is called `not measured` in the document.

#[path = "../../benches/hostile/bounds.rs"]
mod bounds;
#[expect(dead_code, reason = "the benchmark alone carries the attacks out")]
#[path = "../../benches/hostile/catalogue.rs"]
mod catalogue;
mod rows;
#[path = "../../benches/hostile/tables.rs"]
mod tables;

use std::collections::BTreeSet;
use std::path::Path;

use bounds::{Bound, KNOWN_MISSES, KnownMiss};
use catalogue::ATTACKS;
use serde_json::{Value, json};
use tables::{DOCUMENT, FIGURES, NO_FIGURE, NOT_MEASURED};

/// Attacks that were added when the release before could not be measured any more.
const NOT_BEFORE: [&str; 3] = ["fan-out to readers", "ACK storm", "frames after the ERROR"];
const ORIGINS: [&str; 2] = ["one", "many"];

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
    let counts = json!({
        "seconds": 60.0, "attempts": 100_000, "opened": 100_000, "held": 20, "held_most": 19_500, "sessions": 20_000,
        "requests": 600_000, "bytes_written": 1_000_000, "bytes_read": 1_000, "refused": 0, "closed": 0,
    });
    json!({
        "attack": "pings", "origin": "one", "seconds": 60, "settle_seconds": 60,
        "quiet": people, "sink": people, "during": people, "after": people,
        "ratio": 1.0, "memory_mib": [40.0, 60.0, 50.0], "account_bytes": [4_000_000.0, 450_000_000.0, 4_000_100.0],
        "metrics_unanswered": 0, "attackers": { "sink": counts, "node": counts },
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
        for origin in ORIGINS {
            let row = tables::find_row(&figures, "before", attack.name, origin);
            assert_eq!(
                row.is_none(),
                NOT_BEFORE.contains(&attack.name),
                "{} from {origin}",
                attack.name
            );
        }
    }
}

/// The cells of an attack in one of the two tables of the document, without its name: before, after, before, and so on.
fn cells<'a>(document: &'a str, attack: &str, origin: &str) -> Vec<&'a str> {
    let title = match origin {
        "one" => "From one address, before and after:",
        _ => "From 50 addresses, before and after:",
    };
    let (_, table) = document.split_once(title).unwrap();
    let beginning = format!("| {attack} |");
    let line = table.lines().find_map(|line| line.strip_prefix(&beginning));
    let cells = line.unwrap().trim_end_matches('|').split('|');
    cells.map(str::trim).collect()
}

/// That a document says of every attack without figures of a build that it was not measured, and shows no figure.
fn assert_gaps_are_said(document: &str, figures: &Value) {
    for (index, build) in ["before", "after"].into_iter().enumerate() {
        for (attack, origin) in ATTACKS
            .iter()
            .flat_map(|it| ORIGINS.map(|origin| (it.name, origin)))
        {
            let shown: Vec<&str> = cells(document, attack, origin)
                .into_iter()
                .skip(index)
                .step_by(2)
                .collect();
            let (first, others) = shown.split_first().unwrap();
            let is_measured = tables::find_row(figures, build, attack, origin).is_some();
            assert_eq!(
                *first != NOT_MEASURED,
                is_measured,
                "{attack} from {origin}, {build}: {shown:?}"
            );
            let is_empty = others.iter().all(|cell| *cell == NO_FIGURE);
            assert!(
                is_measured || is_empty,
                "{attack} from {origin}, {build}: {shown:?}"
            );
        }
        let is_said = document.contains(&format!("Figures {build}: {NOT_MEASURED}."));
        assert_eq!(is_said, figures.get(build).is_none(), "{build}");
    }
}

#[test]
fn what_was_not_measured_is_called_that() {
    let mut figures = acceptance("", &[]);
    let rows = figures["after"]["rows"].as_array_mut().unwrap();
    rows.retain(|row| row["attack"] != "logins" || row["origin"] != "many");
    let document = tables::replace(&read(DOCUMENT), &figures).unwrap();
    assert_gaps_are_said(&document, &figures);
    assert_eq!(cells(&document, "logins", "many")[1], "not measured");
    assert_eq!(cells(&document, "logins", "one")[1], "5");
    let document = tables::replace(&document, &json!({})).unwrap();
    assert_gaps_are_said(&document, &json!({}));
    assert!(document.contains("Figures after: not measured."));
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

/// The messages of all bounds that a row misses.
fn misses(row: &Value) -> Vec<String> {
    let misses = bounds::misses(row, "after").into_iter();
    misses.map(|miss| miss.message).collect()
}

/// A whole measurement in which nothing was harmed, but for changes to the row of one attack from one address.
fn acceptance(attack: &str, changes: &[(&str, Value)]) -> Value {
    let mut rows = Vec::new();
    for each in ATTACKS {
        for origin in ORIGINS {
            let mut row = harmless();
            row["attack"] = each.name.into();
            row["origin"] = origin.into();
            row["commit"] = "aaaaaaa".into();
            if each.name == attack && origin == "one" {
                for (path, value) in changes {
                    *row.pointer_mut(path).unwrap() = value.clone();
                }
            }
            rows.push(row);
        }
    }
    json!({ "after": { "machine": "any", "rows": rows } })
}

const KNOWN: KnownMiss = KnownMiss {
    attack: "logins",
    origin: "one",
    bound: Bound::Ratio,
    reached: 2.4,
    why: "a hash uses the memory that others wait for",
};

#[test]
fn committed_figures_keep_every_bound() {
    let figures = figures();
    // `cargo bench --bench hostile -- --check` fails for what was not measured; here the document has to say so.
    assert_gaps_are_said(&read(DOCUMENT), &figures);
    let mut objections = bounds::objections(&figures, "after", KNOWN_MISSES);
    objections.retain(|objection| !objection.ends_with(": not measured"));
    assert!(objections.is_empty(), "\n{}", objections.join("\n"));
}

#[test]
fn figures_are_accepted_only_when_every_attack_was_measured() {
    let nothing = bounds::objections(&json!({}), "after", &[]);
    assert_eq!(nothing.len(), 2 * ATTACKS.len());
    let mut figures = acceptance("", &[]);
    let none: [String; 0] = [];
    assert_eq!(bounds::objections(&figures, "after", &[]), none);
    let rows = figures["after"]["rows"].as_array_mut().unwrap();
    rows.retain(|row| row["attack"] != "pings" || row["origin"] != "many");
    assert_eq!(
        bounds::objections(&figures, "after", &[]),
        ["pings from many: not measured"]
    );
}

#[test]
fn figures_of_several_builds_are_not_accepted() {
    let mut figures = acceptance("", &[]);
    let none: [String; 0] = [];
    assert_eq!(bounds::objections(&figures, "after", &[]), none);
    figures["after"]["rows"][3]["commit"] = "bbbbbbb".into();
    assert_eq!(
        bounds::objections(&figures, "after", &[]),
        ["the rows are of several commits: \"aaaaaaa\", \"bbbbbbb\""]
    );
    for unknown in [json!(null), json!("aaaaaaa+")] {
        for row in figures["after"]["rows"].as_array_mut().unwrap() {
            row["commit"] = unknown.clone();
        }
        assert_eq!(
            bounds::objections(&figures, "after", &[]),
            ["a row is of no commit"]
        );
    }
}

#[test]
fn figures_of_short_attacks_are_not_accepted() {
    for (path, value, objection) in [
        ("/seconds", json!(59), "lasted less than 60 s"),
        ("/seconds", json!(null), "lasted less than 60 s"),
        ("/settle_seconds", json!(61), "had more than 60 s to settle"),
    ] {
        let figures = acceptance("pings", &[(path, value)]);
        assert_eq!(
            bounds::objections(&figures, "after", &[]),
            [format!("pings from one: {objection}")]
        );
    }
}

#[test]
fn short_attacks_are_not_kept_as_figures_of_this_build() {
    let committed = Path::new(FIGURES);
    bounds::may_keep(committed, "after", 60, 60).unwrap();
    bounds::may_keep(committed, "before", 6, 5).unwrap();
    bounds::may_keep(Path::new("/tmp/short.json"), "after", 6, 5).unwrap();
    for (seconds, settle) in [(59, 60), (60, 61)] {
        let refused = bounds::may_keep(committed, "after", seconds, settle).unwrap_err();
        assert!(refused.contains("name another file"), "{refused}");
    }
}

#[test]
fn known_miss_is_excused_up_to_what_is_listed() {
    for (p99, objections) in [
        (12.0, vec![]),
        (
            12.5,
            vec!["logins from one: p99 is 2.5 times the baseline".to_owned()],
        ),
        (
            9.9,
            vec![
                "logins from one: p99 keeps its bound; take it off the list of known misses"
                    .to_owned(),
            ],
        ),
    ] {
        let figures = acceptance("logins", &[("/during/p99_ms", json!(p99))]);
        assert_eq!(bounds::objections(&figures, "after", &[KNOWN]), objections);
    }
}

#[test]
fn known_miss_excuses_nothing_else() {
    let missed = ("/during/p99_ms", json!(11.0));
    for (other, objection) in [
        (
            ("/after/p99_ms", json!(11.0)),
            "p99 afterwards is 2.2 times that before",
        ),
        (("/memory_mib/1", json!(2_000.0)), "2000 MiB of memory"),
    ] {
        let figures = acceptance("logins", &[missed.clone(), other]);
        assert_eq!(
            bounds::objections(&figures, "after", &[KNOWN]),
            [format!("logins from one: {objection}")]
        );
    }
    // The same ratio from many addresses, and of another attack.
    let mut figures = acceptance("logins", std::slice::from_ref(&missed));
    let row = &mut figures["after"]["rows"].as_array_mut().unwrap()[3];
    row["during"]["p99_ms"] = json!(11.0);
    assert_eq!(
        bounds::objections(&figures, "after", &[KNOWN]),
        ["logins from many: p99 is 2.2 times the baseline"]
    );
    let excuses_all = KnownMiss {
        bound: Bound::Other,
        reached: f64::INFINITY,
        ..KNOWN
    };
    let figures = acceptance("logins", &[("/during/lost", json!(1))]);
    let objections = bounds::objections(&figures, "after", &[excuses_all]);
    assert_eq!(objections.len(), 1, "{objections:?}");
}

#[test]
fn known_miss_names_a_row() {
    let unknown = KnownMiss {
        attack: "an attack that is gone",
        ..KNOWN
    };
    assert_eq!(
        bounds::objections(&acceptance("", &[]), "after", &[unknown]),
        ["an attack that is gone from one is a known miss without a row"]
    );
}

#[test]
fn node_that_ends_misses_its_bounds() {
    let row = json!({
        "attack": "logins", "origin": "one", "seconds": 60, "settle_seconds": 60,
        "failed": "the node has ended", "commit": "aaaaaaa",
    });
    assert_eq!(
        misses(&row),
        ["the attack could not be measured: the node has ended"]
    );
    let mut figures = acceptance("", &[]);
    figures["after"]["rows"][2] = row;
    assert_eq!(
        bounds::objections(&figures, "after", &[KNOWN]),
        ["logins from one: the attack could not be measured: the node has ended"]
    );
}
