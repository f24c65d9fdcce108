//! The reference counts of the gate, and the verdict on a count.
//!
//! Not here: counting. Invariant: what is accepted changes numbers only; tolerances and comments are
//! written by people and stay.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;

/// A count differs from its reference by at least so many instructions, or it does not differ: in a
/// step of thirty a single one is more than any sensible per cent.
const SLACK_MIN: f64 = 5.0;

/// What a case that has no reference yet is given.
const TOLERANCE_PERCENT: f64 = 3.0;

/// The committed file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct References {
    /// With what the counts were taken.
    pub(crate) taken_with: Tools,
    cases: BTreeMap<String, Reference>,
}

/// What decides about counts beside the code.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tools {
    pub(crate) architecture: String,
    pub(crate) rustc: String,
    pub(crate) valgrind: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reference {
    instructions: f64,
    tolerance_percent: f64,
}

/// What a count means.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// It is as it was.
    Kept,
    /// It is clearly less: the reference may follow.
    Fewer(String),
    /// It is more than may be.
    More(String),
    /// Nobody has said what it may be.
    New(String),
}

impl Verdict {
    /// Whether the gate lets it through.
    pub(crate) fn passes(&self) -> bool {
        matches!(self, Self::Kept | Self::Fewer(_))
    }

    /// What there is to say.
    pub(crate) fn words(&self) -> &str {
        match self {
            Self::Kept => "",
            Self::Fewer(words) | Self::More(words) | Self::New(words) => words,
        }
    }
}

impl References {
    pub(crate) fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// The cases that have a reference.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.cases.keys().map(String::as_str)
    }

    /// Compares a count with its reference. `profile` is where callgrind wrote what it saw.
    pub(crate) fn judge(&self, case: &str, count: f64, profile: &str) -> Verdict {
        let Some(reference) = self.cases.get(case) else {
            return Verdict::New(format!(
                "{case}: {count:.1} instructions, and there is no reference.\n  \
                 Take it over: scripts/instructions --accept --only {case}"
            ));
        };
        let (expected, tolerance) = (reference.instructions, reference.tolerance_percent);
        let slack = (expected * tolerance / 100.0).max(SLACK_MIN);
        let percent = (count / expected - 1.0) * 100.0;
        if count > expected + slack {
            Verdict::More(format!(
                "{case}: {count:.1} instructions where the reference is {expected:.1}: {percent:+.1} %, \
                 and {tolerance} % are tolerated.\n  \
                 Where they are: callgrind_annotate {profile}\n  \
                 If the change is worth them: scripts/instructions --accept --only {case}\n  \
                 and commit benches/instructions/references.toml with the reason."
            ))
        } else if count < expected - slack {
            Verdict::Fewer(format!(
                "{case}: {count:.1} instructions where the reference is {expected:.1}: {percent:+.1} %. \
                 So that it stays so: scripts/instructions --accept --only {case}"
            ))
        } else {
            Verdict::Kept
        }
    }
}

/// The text of the file with these counts in it, and with what they were taken. Cases that have no
/// reference yet come at the end.
pub(crate) fn accept(text: &str, tools: &Tools, counts: &BTreeMap<String, f64>) -> String {
    let mut new = counts.clone();
    let (mut out, mut section) = (String::new(), String::new());
    for line in text.lines() {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            section = name.replace('"', "");
        }
        let case = section.strip_prefix("cases.").unwrap_or_default();
        let key = line.split_once('=').map_or("", |(key, _)| key.trim());
        let kept = match (section.as_str(), key) {
            ("taken_with", "architecture") => format!("architecture = {:?}", tools.architecture),
            ("taken_with", "rustc") => format!("rustc = {:?}", tools.rustc),
            ("taken_with", "valgrind") => format!("valgrind = {:?}", tools.valgrind),
            (_, "instructions") => match new.remove(case) {
                Some(count) => format!("instructions = {count:.1}"),
                None => line.to_owned(),
            },
            _ => line.to_owned(),
        };
        out.push_str(&kept);
        out.push('\n');
    }
    for (case, count) in new {
        let tolerance = TOLERANCE_PERCENT;
        // Writing to a String does not fail.
        let _written = write!(
            out,
            "\n[cases.\"{case}\"]\ninstructions = {count:.1}\ntolerance_percent = {tolerance:.1}\n"
        );
    }
    out
}
