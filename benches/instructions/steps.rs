//! Counts the small steps: a case runs so often and twice as often under callgrind, and the
//! difference is what its runs cost, without start and fixture.
//!
//! Not here: the cases (`cases`). Invariant: the counted process has no environment and one thread,
//! so that nothing but the code decides what it executes.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::cases;
use crate::counted::{profile, total};
use crate::support::Outcome;

/// With this argument, a case and a number the program runs that case so often.
pub(crate) const RUN: &str = "--run";

/// How often a case runs.
const RUNS: u32 = 1_000;

/// Runs a case so often: what is counted.
pub(crate) fn run(name: &str, count: u32) -> Outcome<()> {
    let case = cases::all().find(|case| case.name == name);
    let case = case.ok_or_else(|| format!("there is no case {name}"))?;
    let mut run = (case.make)()?;
    for _ in 0..count {
        run();
    }
    Ok(())
}

/// Instructions for one run of a case.
pub(crate) fn count(name: &str) -> Outcome<f64> {
    let profile = profile(name)?;
    let once = count_of(name, RUNS, &profile)?;
    let twice = count_of(name, 2 * RUNS, &profile)?;
    Ok((twice - once) / f64::from(RUNS))
}

fn count_of(name: &str, runs: u32, profile: &Path) -> Outcome<f64> {
    let output = Command::new("valgrind")
        .env_clear()
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(std::env::current_exe()?)
        .args([RUN, name, &runs.to_string()])
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{name} does not run under valgrind:\n{said}").into());
    }
    total(profile)
}
