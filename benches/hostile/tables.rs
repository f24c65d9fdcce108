//! The tables of `docs/security.md` about attacks, made from `docs/figures/hostile.json`.
//!
//! Not here: how the figures were measured. The test `documented_attacks` includes this file. Invariant: a
//! table has nothing that is not in the figures or in the catalogue; a row of figures that is missing is called that.

use std::fmt::Write as _;

use serde_json::Value;

use super::bounds::{Bound, KNOWN_MISSES};
use super::catalogue::ATTACKS;

/// The document.
pub(crate) const DOCUMENT: &str = "docs/security.md";
/// The figures.
pub(crate) const FIGURES: &str = "docs/figures/hostile.json";

const BEGIN: &str = "<!-- attacks -->\n";
const END: &str = "<!-- /attacks -->";
const ORIGINS: [(&str, &str); 2] = [("one", "one address"), ("many", "50 addresses")];
const BUILDS: [&str; 2] = ["before", "after"];
/// What stands in the first cell of a build for an attack without figures, and in the other ones.
pub(crate) const NOT_MEASURED: &str = "not measured";
pub(crate) const NO_FIGURE: &str = "–";

/// The document with the tables of these figures; `None` without the markers.
pub(crate) fn replace(document: &str, figures: &Value) -> Option<String> {
    let (head, rest) = document.split_once(BEGIN)?;
    let (_, tail) = rest.split_once(END)?;
    Some(format!("{head}{BEGIN}\n{}\n{END}{tail}", tables(figures)))
}

fn tables(figures: &Value) -> String {
    let mut text = String::from("| attack | what the attackers do |\n|---|---|\n");
    for attack in ATTACKS {
        let tls = if attack.tls {
            " (the node with TLS)"
        } else {
            ""
        };
        let _infallible = writeln!(text, "| {} | {}{tls} |", attack.name, attack.about);
    }
    for (origin, words) in ORIGINS {
        let _infallible = write!(
            text,
            "\nFrom {words}, before and after:\n\n\
             | attack | p99, ms | | times the baseline | | MiB at most | | of them in the account | | newcomers refused | \
             | lost | | sockets of attackers at most | |\n\
             |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
        );
        for attack in ATTACKS {
            let rows = BUILDS.map(|build| find_row(figures, build, attack.name, origin));
            let cells = [p99, ratio, memory, account, newcomers, lost, held];
            let _infallible = write!(text, "| {} |", attack.name);
            for (index, cell) in cells.iter().enumerate() {
                for row in &rows {
                    let missing = match row.is_none() && index == 0 {
                        true => NOT_MEASURED,
                        false => NO_FIGURE,
                    };
                    let shown = row.and_then(cell).unwrap_or_else(|| missing.to_owned());
                    let _infallible = write!(text, " {shown} |");
                }
            }
            text.push('\n');
        }
    }
    for build in BUILDS {
        let missing = || format!("\nFigures {build}: {NOT_MEASURED}.\n");
        text.push_str(&foot(figures, build).unwrap_or_else(missing));
    }
    text.push_str(&known_misses());
    text
}

/// The bounds that are known to be missed, each with its reason.
fn known_misses() -> String {
    let mut text = String::new();
    for known in KNOWN_MISSES {
        let when = match known.bound {
            Bound::RatioAfter => "afterwards ",
            Bound::Ratio | Bound::Other => "",
        };
        let _infallible = writeln!(
            text,
            "\nMissed: {} from {}, p99 {when}at most {} times: {}",
            known.attack, known.origin, known.reached, known.why
        );
    }
    text
}

/// Where the figures of a build come from.
fn foot(figures: &Value, build: &str) -> Option<String> {
    let figures = figures.get(build)?;
    let machine = figures.get("machine")?.as_str()?;
    let rows = figures.get("rows")?.as_array()?;
    if rows.is_empty() {
        return None;
    }
    let range = |value: &dyn Fn(&Value) -> Option<f64>| {
        let values: Vec<f64> = rows.iter().filter_map(value).collect();
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(0.0, f64::max);
        match low < high {
            true => format!("{low} to {high}"),
            false => format!("{high}"),
        }
    };
    let seconds = range(&|row| row.get("seconds")?.as_f64());
    let load = range(&|row| row.get("load")?.as_str()?.split(' ').next()?.parse().ok());
    Some(format!(
        "\nFigures {build}: {seconds} s for each attack, on {machine}, at a load average of {load}, attackers included.\n"
    ))
}

/// What was measured of an attack with a build.
pub(crate) fn find_row<'a>(
    figures: &'a Value,
    build: &str,
    attack: &str,
    origin: &str,
) -> Option<&'a Value> {
    let rows = figures.get(build)?.get("rows")?.as_array()?;
    let is_it = |row: &&Value| {
        let is = |key: &str, text: &str| row.get(key).and_then(Value::as_str) == Some(text);
        is("attack", attack) && is("origin", origin)
    };
    rows.iter().find(is_it)
}

fn number(row: &Value, path: &str) -> Option<f64> {
    row.pointer(path)?.as_f64()
}

fn p99(row: &Value) -> Option<String> {
    if row.get("failed").is_some() {
        return Some("failed".to_owned());
    }
    Some(format!("{:.0}", number(row, "/during/p99_ms")?))
}

fn ratio(row: &Value) -> Option<String> {
    Some(format!("{:.1}", number(row, "/ratio")?))
}

fn memory(row: &Value) -> Option<String> {
    Some(format!("{:.0}", number(row, "/memory_mib/1")?))
}

fn account(row: &Value) -> Option<String> {
    Some(format!(
        "{:.0}",
        number(row, "/account_bytes/1")? / 1_048_576.0
    ))
}

fn held(row: &Value) -> Option<String> {
    Some(format!("{}", number(row, "/attackers/node/held_most")?))
}

fn newcomers(row: &Value) -> Option<String> {
    let [refused, tried] = ["refused", "tried"].map(|key| {
        let during = number(row, &format!("/newcomers/{key}"));
        let after = number(row, &format!("/newcomers_after/{key}"));
        during.zip(after).map(|(during, after)| during + after)
    });
    Some(format!("{} of {}", refused?, tried?))
}

fn lost(row: &Value) -> Option<String> {
    Some(format!(
        "{}",
        number(row, "/during/lost")? + number(row, "/after/lost")?
    ))
}
