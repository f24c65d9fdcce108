//! What has to hold under an attack and after it, judged by the row of figures of that attack.
//!
//! The test `documented_attacks` includes this file and judges the committed figures by it. Not here: how they
//! were measured. Invariant: a figure that is missing or is no number misses its bound, except for the byte
//! account, which older builds do not have.

use serde_json::Value;

/// The p99 of the people during an attack, over that during the same attack on a sink; and that afterwards
/// over that before.
const RATIO_MAX: f64 = 2.0;
/// The default of `MEMORY_LIMIT`.
const MEMORY_LIMIT_MIB: f64 = 1_024.0;
/// By how many bytes the account may differ afterwards: the people have other frames on their way.
const ACCOUNT_TOLERANCE: f64 = 1_048_576.0;

/// Every bound that was missed, in words; none when all were kept.
pub(crate) fn misses(row: &Value) -> Vec<String> {
    let number = |path: &str| {
        row.pointer(path)
            .and_then(Value::as_f64)
            .unwrap_or(f64::NAN)
    };
    let reason = |path: &str| {
        let reason = row.pointer(&format!("{path}/reason"));
        reason
            .and_then(Value::as_str)
            .unwrap_or("no reason")
            .to_owned()
    };
    let mut misses = Vec::new();
    let mut check = |is_kept: bool, miss: String| {
        if !is_kept {
            misses.push(miss);
        }
    };

    let ratio = number("/during/p99_ms") / number("/sink/p99_ms");
    check(
        ratio < RATIO_MAX,
        format!("p99 is {ratio:.1} times the baseline"),
    );
    let back = number("/after/p99_ms") / number("/quiet/p99_ms");
    check(
        back < RATIO_MAX,
        format!("p99 afterwards is {back:.1} times that before"),
    );
    let most = number("/memory_mib/1");
    check(most < MEMORY_LIMIT_MIB, format!("{most:.0} MiB of memory"));

    for (when, path) in [("during", "/newcomers"), ("after", "/newcomers_after")] {
        let [refused, tried] = ["refused", "tried"].map(|key| number(&format!("{path}/{key}")));
        let miss = format!(
            "{refused} of {tried} newcomers refused {when}: {}",
            reason(path)
        );
        check(refused == 0.0 && tried > 0.0, miss);
    }
    for (when, path) in [("during", "/during"), ("after", "/after")] {
        let kinds = ["lost", "disordered", "refused", "cut"];
        let counts = kinds.map(|kind| number(&format!("{path}/{kind}")));
        let [lost, disordered, refused, cut] = counts;
        let miss = format!(
            "messages {when}: {lost} lost, {disordered} out of order, {refused} refused, {cut} sessions cut: {}",
            reason(path)
        );
        check(
            counts == [0.0; 4] && number(&format!("{path}/due")) > 0.0,
            miss,
        );
    }

    let account = |index: usize| row.pointer(&format!("/account_bytes/{index}"))?.as_f64();
    if let (Some(before), Some(after)) = (account(0), account(2)) {
        let miss = format!("the byte account was at {before}, and is at {after}");
        check(after - before < ACCOUNT_TOLERANCE, miss);
    }
    misses
}
