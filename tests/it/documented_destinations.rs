//! The table of `docs/destinations.md`, held against the rules.

use stompbox::model::{Code, Destination, Kind};
use stompbox::policy::{may_send, may_subscribe};

const DOCUMENT: &str = include_str!("../../docs/destinations.md");

/// The rows of the first table: the destinations, and whether anybody may SEND and SUBSCRIBE.
fn rows() -> Vec<(Vec<String>, bool, bool)> {
    let table = DOCUMENT.lines().skip_while(|line| !line.starts_with("|---"));
    let rows = table.skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let named = cells[0].split('`').skip(1).step_by(2).map(str::to_owned);
        (named.collect(), cells[1] != "no", cells[2] != "no")
    })
    .collect()
}

/// A destination that a pattern of the table stands for.
fn example(pattern: &str) -> Destination {
    let text = pattern.replace("{name}", "bob").replace("**", "a/b").replace('*', "x");
    Destination::parse(&text).unwrap()
}

#[test]
fn the_documented_destinations_are_those_of_the_rules() {
    let rows = rows();
    assert!(rows.len() >= 7, "the table was not found");
    for (patterns, sends, subscribes) in rows {
        for pattern in patterns {
            let destination = example(&pattern);
            for kind in [Kind::Anonymous, Kind::Member] {
                assert_eq!(may_send(kind, &destination).is_ok(), sends, "SEND {pattern}");
                let may = may_subscribe(kind, &destination);
                assert_eq!(may.is_ok(), subscribes, "SUBSCRIBE {pattern}");
            }
        }
    }
}

#[test]
fn every_code_has_a_status_and_a_close_code_that_fit() {
    for code in Code::ALL {
        assert!((400..600).contains(&code.status()), "{code:?}");
        let close = code.close_code();
        assert!((1002..=1013).contains(&close) || (4400..4500).contains(&close), "{code:?}");
        assert!(!code.title().is_empty());
    }
}
