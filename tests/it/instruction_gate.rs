//! The verdicts of the instruction gate, and its committed references.
//!
//! Not here: counting, which `scripts/instructions` does; in every run it also shows with a real count
//! that it can fail.

#[path = "../../benches/instructions/references.rs"]
mod references;

use std::collections::BTreeMap;

use references::{References, Tools, Verdict, accept};

const TEXT: &str = "# A comment.\n\
    [taken_with]\narchitecture = \"x86_64\"\nrustc = \"old\"\nvalgrind = \"old\"\n\n\
    # Why so wide.\n\
    [cases.\"hub/fan_out\"]\ninstructions = 1000.0\ntolerance_percent = 3.0\n\n\
    [cases.\"bucket/allowed\"]\ninstructions = 30.0\ntolerance_percent = 3.0\n";

#[test]
fn more_than_the_tolerance_fails_and_says_what_to_do() {
    let references = References::parse(TEXT).unwrap();
    let judge = |case: &str, count: f64| references.judge(case, count, "target/x.out");
    for (case, count) in [
        ("hub/fan_out", 971.0),
        ("hub/fan_out", 1_030.0),
        // A step of thirty instructions: one more is no regression.
        ("bucket/allowed", 35.0),
        ("bucket/allowed", 25.0),
    ] {
        assert_eq!(judge(case, count), Verdict::Kept, "{case} {count}");
    }
    let more = judge("hub/fan_out", 1_100.0);
    assert!(!more.passes());
    for words in [
        "hub/fan_out: 1100.0 instructions where the reference is 1000.0: +10.0 %",
        "3 % are tolerated",
        "callgrind_annotate target/x.out",
        "scripts/instructions --accept --only hub/fan_out",
    ] {
        assert!(more.words().contains(words), "{words:?} is not in {more:?}");
    }
    let fewer = judge("hub/fan_out", 900.0);
    assert!(fewer.passes() && matches!(fewer, Verdict::Fewer(_)));
    assert!(fewer.words().contains("-10.0 %"), "{fewer:?}");
    let new = judge("hub/new", 1.0);
    assert!(
        !new.passes() && new.words().contains("no reference"),
        "{new:?}"
    );
    assert!(!judge("bucket/allowed", 36.0).passes());
}

#[test]
fn accepting_changes_counts_and_tools_and_nothing_else() {
    let tools = Tools {
        architecture: "x86_64".to_owned(),
        rustc: "new".to_owned(),
        valgrind: "new".to_owned(),
    };
    let counts = [("hub/fan_out", 900.25), ("hub/new", 7.0)];
    let counts: BTreeMap<_, _> = counts.map(|(case, count)| (case.to_owned(), count)).into();
    let accepted = accept(TEXT, &tools, &counts);
    let expected = TEXT
        .replace("\"old\"", "\"new\"")
        .replace("1000.0", "900.2")
        + "\n[cases.\"hub/new\"]\ninstructions = 7.0\ntolerance_percent = 3.0\n";
    assert_eq!(accepted, expected);
    let references = References::parse(&accepted).unwrap();
    assert_eq!(references.taken_with, tools);
    assert_eq!(references.judge("hub/new", 7.0, ""), Verdict::Kept);
}

#[test]
fn the_committed_references_can_be_read_and_hold_something() {
    let text = include_str!("../../benches/instructions/references.toml");
    let references = References::parse(text).unwrap();
    let names: Vec<&str> = references.names().collect();
    for group in [
        "codec/",
        "envelope/",
        "routing/",
        "bucket/",
        "hub/",
        "server/",
    ] {
        assert!(names.iter().any(|name| name.starts_with(group)), "{group}");
    }
    for case in names {
        let verdict = references.judge(case, 1e12, "");
        assert!(!verdict.passes(), "{case}");
        assert!(!verdict.words().contains("inf"), "{case} has no reference");
    }
}
