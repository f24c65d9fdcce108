//! How one row of figures is judged: each bound can be missed, and an attack that did not happen misses its own.
//!
//! Not here: whole files of figures, and known misses. Invariant: the row that each test begins with misses nothing.

use serde_json::json;

use super::catalogue::ATTACKS;
use super::{ORIGINS, bounds, harmless, misses};

#[test]
fn each_bound_can_be_missed() {
    assert_eq!(misses(&harmless()), Vec::<String>::new());
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
        assert_eq!(misses(&row), [miss.to_owned()], "{path}");
    }
}

#[test]
fn what_is_not_known_of_the_account_or_of_the_attackers_is_a_miss() {
    for (path, value, miss) in [
        (
            "/account_bytes/1",
            json!(null),
            "the byte account is not known",
        ),
        (
            "/metrics_unanswered",
            json!(1),
            "/metrics was not answered in time, 1 times",
        ),
        (
            "/attackers/node",
            json!(null),
            "nothing is known of the attackers at the node",
        ),
        (
            "/attackers/sink/held_most",
            json!(0),
            "the attackers at the sink: 0 sockets held at a time, of at least 1",
        ),
        (
            "/attackers/node/sessions",
            json!(19),
            "the attackers at the node: 19 STOMP sessions, of at least 20",
        ),
        (
            "/attackers/node/requests",
            json!(540),
            "the attackers at the node: 9 requests a second, of at least 10",
        ),
        (
            "/attackers/sink/bytes_written",
            json!(0),
            "the attackers at the sink: 0 bytes written, of at least 1",
        ),
    ] {
        let mut row = harmless();
        *row.pointer_mut(path).unwrap() = value;
        assert_eq!(misses(&row), [miss.to_owned()], "{path}");
    }
}

#[test]
fn an_older_build_has_no_account_and_may_do_without() {
    let mut row = harmless();
    row["account_bytes"] = json!([null, null, null]);
    assert_eq!(bounds::misses(&row, "before").len(), 0);
    assert_eq!(misses(&row), ["the byte account is not known"]);
}

#[test]
fn an_attack_that_is_not_known_to_have_happened_misses_its_bounds() {
    for attack in ATTACKS {
        for origin in ORIGINS {
            let mut row = harmless();
            row["attack"] = attack.name.into();
            row["origin"] = origin.into();
            assert_eq!(misses(&row), Vec::<String>::new());
            for phase in ["sink", "node"] {
                // Attackers who are connected, and get nowhere.
                let mut idle = row.clone();
                for count in ["sessions", "requests"] {
                    idle["attackers"][phase][count] = json!(0);
                }
                idle["attackers"][phase]["held_most"] = json!(1);
                assert!(!misses(&idle).is_empty(), "{} at the {phase}", attack.name);
            }
            row.as_object_mut().unwrap().remove("attackers");
            assert_eq!(
                misses(&row),
                [
                    "nothing is known of the attackers at the sink",
                    "nothing is known of the attackers at the node"
                ]
            );
        }
    }
}

#[test]
fn attackers_whom_the_node_refuses_pass_by_their_attempts() {
    let mut row = harmless();
    row["attack"] = "withheld REST bodies".into();
    for (phase, held, attempts, is_missed) in [
        ("node", 500, 5_000, false),
        ("node", 499, 5_000, true),
        ("node", 500, 4_999, true),
        ("sink", 4_999, 100_000, true),
    ] {
        let mut row = row.clone();
        row["attackers"][phase]["held_most"] = json!(held);
        row["attackers"][phase]["attempts"] = json!(attempts);
        assert_eq!(
            misses(&row).len(),
            usize::from(is_missed),
            "{phase}, {held}, {attempts}"
        );
    }
}

#[test]
fn an_attack_on_memory_has_to_use_up_the_share_of_one_address() {
    let mut row = harmless();
    row["attack"] = "withheld REST bodies".into();
    row["account_bytes"][1] = json!(299.0 * 1_048_576.0);
    assert_eq!(
        misses(&row),
        ["the byte account reached 299 MiB, of at least 300"]
    );
}

#[test]
fn accepted_messages_in_queues_may_stay_up_to_the_share_of_one_address() {
    let mib = 1_048_576.0;
    for (attack, kept, is_missed) in [
        ("bytes in queues", 96.0 * mib, false),
        ("bytes in queues", 97.0 * mib, true),
        ("queues", 2.0 * mib, true),
    ] {
        let mut row = harmless();
        row["attack"] = attack.into();
        row["account_bytes"] = json!([4.0 * mib, 200.0 * mib, 4.0 * mib + kept]);
        assert_eq!(
            misses(&row).len(),
            usize::from(is_missed),
            "{attack}, {kept}"
        );
    }
}
