//! Every rule of delivery is needed: without it the simulation falls, with it the same seeds pass.
//!
//! Not here: the rules that live in pure code or inside an engine; they have their tests there, as
//! `docs/delivery.md` says. Invariant: the backstop is off in nearly all of these runs, because it
//! alone heals whatever one of the other rules would have prevented, only later.

use std::time::Duration;

use stompbox::broker::Rules;

use super::plan::{Kind, Options, Twist};
use super::world::{TraceMode, Weather};
use super::{all_pass, number_of, run, seeds};

/// The triggers of repair without the backstop.
const TRIGGERS: Rules = Rules {
    backstop: false,
    ..Rules::ALL
};

/// As soon as a silence is noticed.
const SOON: Duration = Duration::from_secs(6);

/// A rule, what takes it away, and the faults in which it matters.
struct Ablation {
    rules: Rules,
    twist: Option<Twist>,
    faults: &'static [Kind],
    hide_interruptions: bool,
    /// How soon after the last fault all is there with the rule. Later than this much is healed by
    /// the second look after a change among the peers.
    bound: Duration,
    /// Among so many seeds one falls.
    seeds: u64,
}

const NOTHING: Ablation = Ablation {
    rules: TRIGGERS,
    twist: None,
    faults: &Kind::ALL,
    hide_interruptions: false,
    bound: Duration::from_secs(16),
    seeds: 2_000,
};

impl Ablation {
    fn options(&self) -> Options {
        Options {
            rules: self.rules,
            twist: self.twist,
            faults: self.faults,
            hide_interruptions: self.hide_interruptions,
            bound: self.bound,
        }
    }

    /// Shows that a seed falls without the rule, and that all up to it pass with the rule.
    fn is_needed(&self) {
        let without = self.options();
        let with = Options {
            rules: TRIGGERS,
            twist: None,
            ..without
        };
        let falls = |seed, options| !run(seed, options, TraceMode::Off).wrong.is_empty();
        if let Some(count) = number_of("SIMULATION_SEEDS") {
            let fallen = (0..count).filter(|&seed| falls(seed, without)).count();
            let with = (0..count).filter(|&seed| falls(seed, with)).count();
            eprintln!("{fallen} of {count} seeds fall without the rule, {with} with it");
            return;
        }
        let first = (0..self.seeds).find(|&seed| falls(seed, without));
        let first = first.expect("a seed that falls without the rule");
        eprintln!("seed {first} falls without the rule");
        for seed in 0..=first.max(40) {
            let outcome = run(seed, with, TraceMode::Off);
            assert!(
                outcome.wrong.is_empty(),
                "seed {seed}: {:#?}",
                outcome.wrong
            );
        }
    }
}

#[test]
fn rule_1_a_repetition_is_published_again() {
    let ablation = Ablation {
        rules: Rules {
            republish_duplicates: false,
            ..TRIGGERS
        },
        faults: &[Kind::Weather(Weather::StoreDoubt), Kind::KillOnCommit],
        ..NOTHING
    };
    ablation.is_needed();
}

#[test]
fn rule_5_the_baseline_is_read_after_the_location_is_acknowledged() {
    let ablation = Ablation {
        twist: Some(Twist::EarlyAttach),
        faults: &[Kind::Weather(Weather::BusSlow)],
        ..NOTHING
    };
    ablation.is_needed();
}

#[test]
fn rule_7_locations_are_read_fresh_after_the_commit() {
    let ablation = Ablation {
        twist: Some(Twist::StaleLocate),
        faults: &[Kind::Weather(Weather::BusSlow)],
        ..NOTHING
    };
    ablation.is_needed();
}

#[test]
fn rule_8_a_late_withdrawal_does_not_undo_a_new_registration() {
    let ablation = Ablation {
        twist: Some(Twist::LateRemoval),
        ..NOTHING
    };
    ablation.is_needed();
}

#[test]
fn rule_10_a_renewal_never_creates_a_lease() {
    let ablation = Ablation {
        twist: Some(Twist::CreatingRenewal),
        faults: &[Kind::Flush, Kind::Expire],
        ..NOTHING
    };
    ablation.is_needed();
}

#[test]
fn rule_11_the_first_claim_is_waited_for() {
    let ablation = Ablation {
        twist: Some(Twist::EarlyClaim),
        faults: &[Kind::Kill],
        bound: SOON,
        ..NOTHING
    };
    ablation.is_needed();
}

#[test]
fn rule_12_everything_is_registered_again_when_the_lease_is_missing() {
    let ablation = Ablation {
        rules: Rules {
            register_when_missing: false,
            ..TRIGGERS
        },
        faults: &[Kind::Flush, Kind::Expire],
        ..NOTHING
    };
    ablation.is_needed();
}

#[test]
fn rule_12_everything_is_registered_again_when_location_was_connected_again() {
    let ablation = Ablation {
        rules: Rules {
            register_when_reconnected: false,
            ..TRIGGERS
        },
        faults: &[Kind::FailOver],
        ..NOTHING
    };
    ablation.is_needed();
}

#[test]
fn rule_13_every_acknowledged_registration_is_followed_by_repair() {
    let ablation = Ablation {
        rules: Rules {
            repair_after_registration: false,
            ..TRIGGERS
        },
        faults: &[Kind::Flush, Kind::FailOver],
        bound: SOON,
        ..NOTHING
    };
    ablation.is_needed();
}

#[test]
fn rule_14_a_look_up_that_fails_is_not_the_end() {
    let ablation = Ablation {
        rules: Rules {
            flood_without_location: false,
            ..TRIGGERS
        },
        faults: &[
            Kind::Weather(Weather::LocationDown),
            Kind::Weather(Weather::LocationFlaky),
            Kind::CutLocation,
        ],
        ..NOTHING
    };
    ablation.is_needed();
}

#[test]
fn rule_15_a_gap_in_a_flow_is_repaired() {
    let ablation = Ablation {
        rules: Rules {
            repair_on_gap: false,
            ..TRIGGERS
        },
        faults: &[
            Kind::Weather(Weather::BusLossy),
            Kind::Weather(Weather::BusDoubt),
        ],
        hide_interruptions: true,
        ..NOTHING
    };
    ablation.is_needed();
}

#[test]
fn rule_16_the_heads_of_flows_find_a_lost_last_message() {
    let ablation = Ablation {
        rules: Rules {
            flow_heads: false,
            ..TRIGGERS
        },
        faults: &[
            Kind::Weather(Weather::BusLossy),
            Kind::Weather(Weather::BusDoubt),
        ],
        hide_interruptions: true,
        bound: SOON,
        ..NOTHING
    };
    ablation.is_needed();
}

#[test]
fn rule_17_a_change_among_the_peers_is_repaired() {
    let ablation = Ablation {
        rules: Rules {
            repair_on_peer_change: false,
            ..TRIGGERS
        },
        faults: &[Kind::KillOnReceipt],
        ..NOTHING
    };
    ablation.is_needed();
}

#[test]
fn rule_20_a_lease_that_was_taken_away_is_looked_after_until_it_would_have_ended() {
    let ablation = Ablation {
        rules: Rules {
            second_look: false,
            ..TRIGGERS
        },
        faults: &[Kind::Flush, Kind::Expire, Kind::Isolate],
        ..NOTHING
    };
    ablation.is_needed();
}

#[test]
fn rule_18_a_node_that_is_cut_off_commits_and_receipts_nothing() {
    let ablation = Ablation {
        rules: Rules {
            fence: false,
            ..TRIGGERS
        },
        faults: &[Kind::Isolate],
        ..NOTHING
    };
    ablation.is_needed();
}

/// The triggers buy time, the backstop gives the guarantee: alone it keeps every promise.
#[test]
fn rule_19_the_backstop_alone_keeps_every_promise() {
    let options = Options {
        rules: Rules {
            register_when_missing: true,
            register_when_reconnected: true,
            republish_duplicates: true,
            backstop: true,
            fence: false,
            repair_after_registration: false,
            flood_without_location: false,
            repair_on_gap: false,
            flow_heads: false,
            repair_on_peer_change: false,
            second_look: false,
        },
        bound: Duration::from_secs(35),
        ..Options::ALL
    };
    all_pass(&seeds(400), options);
}

/// What the ablations compare with: without the backstop, whatever goes wrong, all is clean.
#[test]
fn the_triggers_alone_are_fast() {
    all_pass(&seeds(1_000), Options::WITHOUT_BACKSTOP);
}
