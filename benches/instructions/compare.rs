//! Two binaries side by side, beside the bare server.
//!
//! Not here: the references of the gate. Invariant: the binaries take turns, so that what changes on
//! the machine meets all of them.

use serde_json::{Value, json};

use crate::counted::Program;
use crate::support::Outcome;
use crate::support::report::{Table, keep, say};
use crate::whole::Case;

/// How often each case is measured with each binary.
const ROUNDS: usize = 2;

/// The bare server, and the binaries named on the command line or the one of this build.
fn programs(arguments: &[String]) -> Vec<Program> {
    let named = arguments.iter().filter(|arg| !arg.starts_with('-'));
    let mut programs = vec![Program::Bare];
    programs.extend(named.map(|path| Program::Broker(path.into())));
    if programs.len() == 1 {
        programs.push(Program::this_build());
    }
    programs
}

pub(crate) async fn measure(arguments: &[String]) -> Outcome<()> {
    let programs = programs(arguments);
    let mut table = Table::new(&["instructions of", "server", "count", "ratio"]);
    let mut figures = Vec::new();
    for case in Case::ALL {
        let able = |program: &&Program| case.is_bare_too() || !matches!(program, Program::Bare);
        let programs: Vec<&Program> = programs.iter().filter(able).collect();
        let mut sums = vec![0.0; programs.len()];
        for round in 0..ROUNDS {
            for (program, sum) in programs.iter().zip(&mut sums) {
                say(&format!(
                    "{}, round {round}: {}",
                    case.title(),
                    program.name()
                ))?;
                *sum += case.count(program).await? / ROUNDS as f64;
            }
        }
        let first = sums.first().copied().unwrap_or_default();
        for (program, sum) in programs.iter().zip(&sums) {
            table.row(&[
                case.title().to_owned(),
                program.name(),
                format!("{sum:.0}"),
                format!("{:.3}", sum / first),
            ]);
            figures.push(json!({
                "case": case.title(), "server": program.name(), "instructions": sum.round(),
            }));
        }
    }
    table.print()?;
    keep("instructions", &Value::from(figures))
}
