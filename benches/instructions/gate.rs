//! The gate: no case may execute more instructions than its reference and its tolerance.
//!
//! Not here: what is counted (`steps`, `whole`), what a count means (`references`). Invariants: a case
//! without a reference and a reference without a case fail; the last line is what `scripts/test`
//! reads, and the gate shows in every run that it can fail.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::cases;
use crate::counted::{Program, profile};
use crate::references::{References, Tools, Verdict, accept};
use crate::support::Outcome;
use crate::support::report::say;
use crate::{steps, whole};

/// The committed counts.
const REFERENCES: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/benches/instructions/references.toml"
);

/// How often a case of the whole server is counted before it is said to cost more. Threads that wait
/// for each other only ever add wake-ups, and a regression is in every round.
const ROUNDS: usize = 3;

/// The case with which the gate shows that it can fail.
const PROBE: &str = "bucket/allowed";

/// What is asked for on the command line.
#[derive(Debug)]
pub(crate) struct Gate {
    references: PathBuf,
    /// Cases whose names begin so.
    only: String,
    /// The counts become the references.
    accepts: bool,
}

/// Reads `--gate [--accept] [--only PREFIX] [--references FILE]`.
pub(crate) fn asked_for(arguments: &[String]) -> Outcome<Option<Gate>> {
    let mut gate = Gate {
        references: REFERENCES.into(),
        only: String::new(),
        accepts: false,
    };
    let mut is_asked_for = false;
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} what?"));
        match argument.as_str() {
            "--gate" => is_asked_for = true,
            "--accept" => gate.accepts = true,
            "--only" => gate.only.clone_from(value()?),
            "--references" => gate.references = value()?.into(),
            "--bench" => {}
            other if is_asked_for => return Err(format!("unknown argument {other}").into()),
            _binary_to_compare => {}
        }
    }
    Ok(is_asked_for.then_some(gate))
}

/// A case of either kind.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Step(&'static str),
    Whole(whole::Case),
}

impl Kind {
    fn all() -> impl Iterator<Item = Self> {
        let steps = cases::all().map(|case| Self::Step(case.name));
        steps.chain(whole::Case::ALL.into_iter().map(Self::Whole))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Step(name) => name,
            Self::Whole(case) => case.name(),
        }
    }

    /// How often it is counted at most.
    fn rounds(self) -> usize {
        match self {
            Self::Step(_) => 1,
            Self::Whole(_) => ROUNDS,
        }
    }

    async fn count(self) -> Outcome<f64> {
        match self {
            Self::Step(name) => steps::count(name),
            Self::Whole(case) => case.count(&Program::this_build()).await,
        }
    }
}

impl Gate {
    pub(crate) async fn run(&self) -> Outcome<()> {
        let tools = tools()?;
        match self.accepts {
            true => self.accept(&tools).await,
            false => self.judge(&tools).await,
        }
    }

    fn chosen(&self) -> Outcome<Vec<Kind>> {
        let mut chosen = Kind::all().collect::<Vec<_>>();
        chosen.retain(|kind| kind.name().starts_with(&self.only));
        match chosen.is_empty() {
            true => Err(format!("no case begins with {}", self.only).into()),
            false => Ok(chosen),
        }
    }

    /// Makes the counts the references: of the whole server the middle of the rounds.
    async fn accept(&self, tools: &Tools) -> Outcome<()> {
        let mut counts = BTreeMap::new();
        for kind in self.chosen()? {
            let mut rounds = Vec::new();
            for _ in 0..kind.rounds() {
                rounds.push(kind.count().await?);
            }
            rounds.sort_by(f64::total_cmp);
            say(&format!("{}: {rounds:.1?}", kind.name()))?;
            counts.insert(kind.name().to_owned(), rounds[rounds.len() / 2]);
        }
        let text = std::fs::read_to_string(&self.references)?;
        std::fs::write(&self.references, accept(&text, tools, &counts))?;
        say(&format!("written to {}", self.references.display()))
    }

    async fn judge(&self, tools: &Tools) -> Outcome<()> {
        let references = References::parse(&std::fs::read_to_string(&self.references)?)?;
        let (mut passed, mut failed) = (0, Vec::new());
        let mut fewer = Vec::new();
        for kind in self.chosen()? {
            let (count, verdict) = judge_one(kind, &references).await?;
            let outcome = if verdict.passes() { "ok" } else { "FAILED" };
            say(&format!("test instructions {} ... {outcome}", kind.name()))?;
            say(&format!("    {count:.1}"))?;
            match verdict.passes() {
                true => passed += 1,
                false => failed.push(verdict.words().to_owned()),
            }
            if matches!(verdict, Verdict::Fewer(_)) {
                fewer.push(verdict.words().to_owned());
            }
        }
        if self.only.is_empty() {
            failed.extend(stale(&references));
            match can_fail(&references) {
                Ok(()) => passed += 1,
                Err(error) => failed.push(format!("the gate does not fail as it must: {error}")),
            }
        }
        for words in fewer.iter().chain(&failed) {
            say(&format!("\n{words}"))?;
        }
        if !failed.is_empty() && references.taken_with != *tools {
            say(&format!(
                "\nThe references were taken with other tools, which alone may be the reason:\n  \
                 {:?}\n  {tools:?}\nTake them anew on the commit before the change: \
                 scripts/instructions --accept",
                references.taken_with
            ))?;
        }
        let outcome = if failed.is_empty() { "ok" } else { "FAILED" };
        say(&format!(
            "\ntest result: {outcome}. {passed} passed; {} failed",
            failed.len()
        ))?;
        match failed.is_empty() {
            true => Ok(()),
            false => Err("more instructions than the references allow".into()),
        }
    }
}

/// Counts a case until it passes, as often as it may be counted. Returns the lowest count.
async fn judge_one(kind: Kind, references: &References) -> Outcome<(f64, Verdict)> {
    let name = kind.name();
    let profile = profile(name)?.display().to_string();
    let mut lowest = f64::INFINITY;
    for _ in 1..kind.rounds() {
        lowest = lowest.min(kind.count().await?);
        let verdict = references.judge(name, lowest, &profile);
        if !matches!(verdict, Verdict::More(_)) {
            return Ok((lowest, verdict));
        }
    }
    lowest = lowest.min(kind.count().await?);
    Ok((lowest, references.judge(name, lowest, &profile)))
}

/// The references of cases that do not exist (any more).
fn stale(references: &References) -> Vec<String> {
    let exists = |name: &str| Kind::all().any(|kind| kind.name() == name);
    let stale = references.names().filter(|name| !exists(name));
    let words = |name| format!("{name}: there is a reference and no such case; remove it");
    stale.map(words).collect()
}

/// Runs the gate once more, on one case with a reference that is a tenth too low: it has to fail,
/// naming the case and the way out.
fn can_fail(references: &References) -> Outcome<()> {
    let low = steps::count(PROBE)? * 0.9 - 10.0;
    let text = std::fs::read_to_string(REFERENCES)?;
    let counts = BTreeMap::from([(PROBE.to_owned(), low)]);
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("references.toml");
    std::fs::write(&file, accept(&text, &references.taken_with, &counts))?;
    let output = Command::new(std::env::current_exe()?)
        .args(["--bench", "--gate", "--only", PROBE, "--references"])
        .arg(&file)
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let expected = [
        format!("test instructions {PROBE} ... FAILED"),
        "callgrind_annotate".to_owned(),
        format!("scripts/instructions --accept --only {PROBE}"),
        "0 passed; 1 failed".to_owned(),
    ];
    match expected.iter().find(|words| !said.contains(*words)) {
        Some(missing) => Err(format!("{missing:?} is not in\n{said}").into()),
        None if output.status.success() => Err("its exit code is 0".into()),
        None => say("test instructions too_many_of_them_fail ... ok"),
    }
}

/// What decides about counts beside the code.
fn tools() -> Outcome<Tools> {
    let version = |program: &str| -> Outcome<String> {
        let output = Command::new(program).arg("--version").output();
        let output = output.map_err(|error| format!("{program} --version: {error}"))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    Ok(Tools {
        architecture: std::env::consts::ARCH.to_owned(),
        rustc: version("rustc")?,
        valgrind: version("valgrind")?,
    })
}
