//! What has to hold under an attack and after it, judged by the row of figures of that attack.
//!
//! The test `documented_attacks` includes this file and judges the committed figures by it. Not here: how they
//! were measured. Invariant: a figure that is missing or is no number misses its bound, except for the byte
//! account of a build before this one, which has none; and a miss is excused only by an entry of [`KNOWN_MISSES`].

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::catalogue::{ATTACKS, find};
use super::tables::{FIGURES, find_row};

/// The p99 of the people during an attack, over that during the same attack on a sink; and that afterwards
/// over that before.
pub(crate) const RATIO_MAX: f64 = 2.0;
/// The default of `MEMORY_LIMIT`.
const MEMORY_LIMIT_MIB: f64 = 1_024.0;
/// By how many bytes the account may differ afterwards: the people have other frames on their way.
const ACCOUNT_TOLERANCE: f64 = 1_048_576.0;
/// The attack whose messages were accepted and stay until their queue goes, five minutes after its last use; and how many
/// bytes of them one address or one /48 may have in queues.
const KEPT_BY: &str = "bytes in queues";
const KEPT_BYTES: f64 = 96.0 * 1_048_576.0;
/// The part of the sockets of an attack that the node has to let in at least: one address gets a share of it.
const NODE_PART: f64 = 0.1;
/// The build that has a byte account.
const WITH_ACCOUNT: &str = "after";
const MIB: f64 = 1_048_576.0;
/// How long an attack of the acceptance lasts at least, and how soon after it everything has to be as before.
const SECONDS_MIN: u64 = 60;
pub(crate) const SETTLE_MAX: u64 = 60;
/// Where each attack comes from.
const ORIGINS: [&str; 2] = ["one", "many"];

/// What was missed. The two ratios have a number that [`KNOWN_MISSES`] can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// The p99 during the attack, over that during the same attack on a sink.
    Ratio,
    /// The p99 afterwards, over that before.
    RatioAfter,
    /// Memory, newcomers, messages, the byte account, an attack that did not happen, or a node that ended.
    Other,
}

/// A bound that was missed.
#[derive(Clone, Debug)]
pub(crate) struct Miss {
    pub(crate) bound: Bound,
    /// What was reached; no number where the bound is not a ratio.
    pub(crate) reached: f64,
    pub(crate) message: String,
}

/// A ratio that is known to miss its bound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownMiss {
    pub(crate) attack: &'static str,
    /// `one` or `many`.
    pub(crate) origin: &'static str,
    pub(crate) bound: Bound,
    /// A row that reaches more than this fails.
    pub(crate) reached: f64,
    /// Why the bound is not kept.
    pub(crate) why: &'static str,
}

/// The ratios that are known to miss their bound. An entry that is kept again has to go.
pub(crate) const KNOWN_MISSES: &[KnownMiss] = &[];

/// Every bound that a row of a build misses; none when all are kept.
pub(crate) fn misses(row: &Value, build: &str) -> Vec<Miss> {
    if let Some(error) = row.get("failed").and_then(Value::as_str) {
        return vec![other(format!("the attack could not be measured: {error}"))];
    }
    let mut misses = Vec::new();
    let ratios = [
        (Bound::Ratio, "/during/p99_ms", "/sink/p99_ms"),
        (Bound::RatioAfter, "/after/p99_ms", "/quiet/p99_ms"),
    ];
    for (bound, over, under) in ratios {
        let reached = number(row, over) / number(row, under);
        // No number is a miss too.
        if reached.is_nan() || reached >= RATIO_MAX {
            misses.push(Miss {
                bound,
                reached,
                message: match bound {
                    Bound::RatioAfter => {
                        format!("p99 afterwards is {reached:.1} times that before")
                    }
                    Bound::Ratio | Bound::Other => {
                        format!("p99 is {reached:.1} times the baseline")
                    }
                },
            });
        }
    }
    let most = number(row, "/memory_mib/1");
    if most.is_nan() || most >= MEMORY_LIMIT_MIB {
        misses.push(other(format!("{most:.0} MiB of memory")));
    }
    misses.extend(newcomers(row));
    misses.extend(messages(row));
    misses.extend(account(row, build));
    misses.extend(attackers(row));
    misses
}

/// The byte account: given back afterwards, and known throughout of a build that has one.
fn account(row: &Value, build: &str) -> Vec<Miss> {
    let mut misses = Vec::new();
    let values = [0, 1, 2].map(|index| number(row, &format!("/account_bytes/{index}")));
    let unanswered = number(row, "/metrics_unanswered");
    if build == WITH_ACCOUNT {
        if values.iter().any(|value| value.is_nan()) {
            misses.push(other("the byte account is not known".to_owned()));
        }
        if unanswered != 0.0 {
            let miss = format!("/metrics was not answered in time, {unanswered} times");
            misses.push(other(miss));
        }
    }
    let kept = match row["attack"] == KEPT_BY {
        true => KEPT_BYTES,
        false => 0.0,
    };
    let [before, most, after] = values;
    if after - before >= kept + ACCOUNT_TOLERANCE {
        let miss = format!("the byte account was at {before}, and is at {after}");
        misses.push(other(miss));
    }
    let least = row["attack"].as_str().and_then(find);
    let least = least.map_or(0.0, |attack| attack.least.account_mib);
    let most = most / MIB;
    if build == WITH_ACCOUNT && most < least {
        let miss = format!("the byte account reached {most:.0} MiB, of at least {least:.0}");
        misses.push(other(miss));
    }
    misses
}

/// Whether the attack happened, by what the attackers counted.
fn attackers(row: &Value) -> Vec<Miss> {
    let Some(attack) = row["attack"].as_str().and_then(find) else {
        return vec![other("there is no such attack".to_owned())];
    };
    let least = attack.least;
    let held = match row["origin"] == "many" {
        true => least.held[1],
        false => least.held[0],
    } as f64;
    let mut misses = Vec::new();
    for (phase, held, attempts) in [("sink", held, 1.0), ("node", held * NODE_PART, held)] {
        if !row["attackers"][phase].is_object() {
            misses.push(other(format!(
                "nothing is known of the attackers at the {phase}"
            )));
            continue;
        }
        let count = |name: &str| number(row, &format!("/attackers/{phase}/{name}"));
        for (what, counted, least) in [
            ("sockets held at a time", count("held_most"), held.max(1.0)),
            ("connections tried", count("attempts"), attempts.max(1.0)),
            ("bytes written", count("bytes_written"), 1.0),
            ("STOMP sessions", count("sessions"), least.sessions as f64),
            (
                "requests a second",
                count("requests") / count("seconds"),
                least.requests,
            ),
        ] {
            // No number is a miss too.
            if counted.is_nan() || counted < least {
                misses.push(other(format!(
                    "the attackers at the {phase}: {counted:.0} {what}, of at least {least:.0}"
                )));
            }
        }
    }
    misses
}

fn other(message: String) -> Miss {
    Miss {
        bound: Bound::Other,
        reached: f64::NAN,
        message,
    }
}

fn newcomers(row: &Value) -> Vec<Miss> {
    let mut misses = Vec::new();
    for (when, path) in [("during", "/newcomers"), ("after", "/newcomers_after")] {
        let [refused, tried] =
            ["refused", "tried"].map(|key| number(row, &format!("{path}/{key}")));
        if refused != 0.0 || tried.is_nan() || tried <= 0.0 {
            let reason = reason(row, path);
            misses.push(other(format!(
                "{refused} of {tried} newcomers refused {when}: {reason}"
            )));
        }
    }
    misses
}

fn messages(row: &Value) -> Vec<Miss> {
    let mut misses = Vec::new();
    for (when, path) in [("during", "/during"), ("after", "/after")] {
        let kinds = ["lost", "disordered", "refused", "cut"];
        let counts = kinds.map(|kind| number(row, &format!("{path}/{kind}")));
        let due = number(row, &format!("{path}/due"));
        if counts != [0.0; 4] || due.is_nan() || due <= 0.0 {
            let [lost, disordered, refused, cut] = counts;
            let reason = reason(row, path);
            misses.push(other(format!(
                "messages {when}: {lost} lost, {disordered} out of order, {refused} refused, \
                 {cut} sessions cut: {reason}"
            )));
        }
    }
    misses
}

fn number(row: &Value, path: &str) -> f64 {
    row.pointer(path)
        .and_then(Value::as_f64)
        .unwrap_or(f64::NAN)
}

fn reason(row: &Value, path: &str) -> String {
    let reason = row.pointer(&format!("{path}/reason"));
    let reason = reason.and_then(Value::as_str);
    reason.unwrap_or("no reason").to_owned()
}

/// The entry that excuses a miss of a row, if any does.
pub(crate) fn excuse<'a>(
    row: &Value,
    miss: &Miss,
    known: &'a [KnownMiss],
) -> Option<&'a KnownMiss> {
    known.iter().find(|entry| {
        is_of(entry, row)
            && entry.bound == miss.bound
            && entry.bound != Bound::Other
            && miss.reached <= entry.reached
    })
}

fn is_of(entry: &KnownMiss, row: &Value) -> bool {
    row["attack"] == entry.attack && row["origin"] == entry.origin
}

/// Why these figures are not those of an acceptance, a sentence for each reason: an attack that was not measured for
/// long enough, rows of several builds, a bound that was missed and is not known to be, and a known miss that is kept again.
pub(crate) fn objections(figures: &Value, build: &str, known: &[KnownMiss]) -> Vec<String> {
    let mut objections = Vec::new();
    for attack in ATTACKS {
        for origin in ORIGINS {
            let name = format!("{} from {origin}", attack.name);
            let Some(row) = find_row(figures, build, attack.name, origin) else {
                objections.push(format!("{name}: not measured"));
                continue;
            };
            objections.extend(
                of_row(row, build, known)
                    .into_iter()
                    .map(|it| format!("{name}: {it}")),
            );
        }
    }
    let rows = figures.pointer(&format!("/{build}/rows"));
    let rows = rows.and_then(Value::as_array).into_iter().flatten();
    let commits: BTreeSet<_> = rows.map(|row| row["commit"].to_string()).collect();
    // Of a row that does not say it, or whose program had changes that were not committed, the build is not known.
    if commits
        .iter()
        .any(|commit| commit == "null" || commit.ends_with("+\""))
    {
        objections.push("a row is of no commit".to_owned());
    }
    if commits.len() > 1 {
        let commits = Vec::from_iter(commits).join(", ");
        objections.push(format!("the rows are of several commits: {commits}"));
    }
    for entry in known {
        if find_row(figures, build, entry.attack, entry.origin).is_none() {
            let (attack, origin) = (entry.attack, entry.origin);
            objections.push(format!(
                "{attack} from {origin} is a known miss without a row"
            ));
        }
    }
    objections
}

fn of_row(row: &Value, build: &str, known: &[KnownMiss]) -> Vec<String> {
    let mut objections = Vec::new();
    let misses = misses(row, build);
    let unexcused = misses
        .iter()
        .filter(|miss| excuse(row, miss, known).is_none());
    objections.extend(unexcused.map(|miss| miss.message.clone()));
    if row.get("failed").is_some() {
        return objections;
    }
    let whole = |key: &str| row.get(key).and_then(Value::as_u64);
    if whole("seconds").is_none_or(|seconds| seconds < SECONDS_MIN) {
        objections.push(format!("lasted less than {SECONDS_MIN} s"));
    }
    if whole("settle_seconds").is_none_or(|seconds| seconds > SETTLE_MAX) {
        objections.push(format!("had more than {SETTLE_MAX} s to settle"));
    }
    for entry in known.iter().filter(|entry| is_of(entry, row)) {
        if !misses.iter().any(|miss| miss.bound == entry.bound) {
            let what = match entry.bound {
                Bound::RatioAfter => "p99 afterwards",
                Bound::Ratio | Bound::Other => "p99",
            };
            objections.push(format!(
                "{what} keeps its bound; take it off the list of known misses"
            ));
        }
    }
    objections
}

/// Whether figures of this build may go into this file: those of the acceptance are whole.
pub(crate) fn may_keep(path: &Path, build: &str, seconds: u64, settle: u64) -> Result<(), String> {
    let is_committed = path.file_name() == Path::new(FIGURES).file_name();
    let is_whole = seconds >= SECONDS_MIN && settle <= SETTLE_MAX;
    if is_committed && build == "after" && !is_whole {
        return Err(format!(
            "{FIGURES} keeps figures `after` of at least {SECONDS_MIN} s for each attack and at most {SETTLE_MAX} s \
             to settle; name another file, or change --seconds and --settle"
        ));
    }
    Ok(())
}
