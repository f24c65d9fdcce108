//! The tables of `docs/destinations.md`, held against the rules and the prefixes.

use stompbox::model::{Code, Destination, Kind, Prefixes};
use stompbox::policy::{Rules, is_reserved, may_send, may_subscribe};

const DOCUMENT: &str = include_str!("../../docs/destinations.md");

/// The rows of the first table under a heading, cell by cell.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let section = DOCUMENT.lines().skip_while(|line| *line != heading);
    let table = section.skip_while(|line| !line.starts_with("|---"));
    let rows = table.skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

/// What stands in a cell between backquotes.
fn named(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// A destination that a pattern of the table stands for.
fn example(pattern: &str) -> Destination {
    let text = pattern
        .replace("{name}", "bob")
        .replace("{token}", "0123456789abcdef0123456789abcdef")
        .replace("{session}", "4f2a91bc")
        .replace("**", "a/b")
        .replace('*', "x");
    Prefixes::default().parse(&text).unwrap()
}

/// Whether a user of this kind may, by the words of a cell.
fn may(cell: &str, kind: Kind) -> bool {
    match cell {
        "no" => false,
        "members" => kind.has_account(),
        _ => true,
    }
}

#[test]
fn the_documented_destinations_are_those_of_the_rules() {
    let rows = rows("# Destinations");
    assert!(rows.len() >= 10, "the table was not found");
    let rules = Rules::default();
    for row in rows {
        for pattern in named(row[0]) {
            let destination = example(pattern);
            for kind in Kind::ALL {
                let found = may_send(&rules, kind, &destination).is_ok();
                assert_eq!(found, may(row[1], kind), "SEND {pattern}: {kind:?}");
                let found = may_subscribe(&rules, kind, &destination).is_ok();
                assert_eq!(found, may(row[2], kind), "SUBSCRIBE {pattern}: {kind:?}");
            }
        }
    }
}

#[test]
fn the_documented_prefixes_are_those_of_the_defaults() {
    let rows = rows("## Prefixes");
    assert_eq!(rows.len(), 4, "the table was not found");
    let Prefixes {
        app,
        topic,
        queue,
        user,
        ..
    } = Prefixes::default();
    for (row, list) in rows.iter().zip([app, topic, queue, user]) {
        let list: Vec<&str> = list.iter().map(|prefix| &**prefix).collect();
        assert_eq!(named(row[1]), list, "{row:?}");
    }
}

#[test]
fn the_documented_rules_and_names_are_those_of_the_service() {
    assert!(DOCUMENT.contains(&Rules::DEFAULT.replace("; ", ";\n")));
    let rows = rows("## Reserved names");
    assert!(rows.len() >= 4, "the table was not found");
    for pattern in rows.iter().flat_map(|row| named(row[0])) {
        let destination = example(pattern);
        for kind in Kind::ALL {
            let open =
                Rules::parse("all /topic/** anyone; all /queue/** anyone; send /user/** anyone");
            let sent = may_send(&open.unwrap(), kind, &destination);
            assert_eq!(
                sent.map_err(|no| no.code),
                Err(Code::Forbidden),
                "{pattern}"
            );
        }
    }
    assert!(is_reserved("/topic/room.1") && !is_reserved("/topic/rooms"));
}

#[test]
fn every_code_has_a_status_and_a_close_code_that_fit() {
    for code in Code::ALL {
        assert!((400..600).contains(&code.status()), "{code:?}");
        let close = code.close_code();
        assert!(
            (1002..=1013).contains(&close) || (4400..4500).contains(&close),
            "{code:?}"
        );
        assert!(!code.title().is_empty());
    }
}
