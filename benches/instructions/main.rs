//! Instructions: of the small steps of the hot path, and of a whole server per delivery, request,
//! arrival and idle second. They repeat where microseconds do not.
//!
//! `cargo bench --bench instructions -- OLD NEW` runs each of the two binaries under callgrind, in
//! turns, and prints what each case costs with both and with a bare server; without names it measures
//! the binary of this build. `-- --gate` compares this build with the committed references, and
//! `scripts/instructions` is the command for that. What is counted begins after start and handshakes.
//! What the kernel does is not in it. Needs valgrind (Debian package `valgrind`).

#[path = "../support/bare.rs"]
mod bare;
#[path = "../cases/mod.rs"]
mod cases;
mod compare;
#[path = "../support/counted.rs"]
mod counted;
mod gate;
mod references;
mod steps;
#[path = "../support/mod.rs"]
mod support;
mod whole;

use support::report::say;
use support::{Outcome, Purpose};

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [run, case, count] = arguments.as_slice()
        && run == steps::RUN
    {
        return steps::run(case, count.parse()?);
    }
    match support::purpose() {
        Purpose::Child => bare::serve(),
        Purpose::Nothing => say("To measure: cargo bench --bench instructions -- OLD NEW"),
        Purpose::Measure => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            match gate::asked_for(&arguments)? {
                Some(gate) => runtime.block_on(gate.run()),
                None => runtime.block_on(compare::measure(&arguments)),
            }
        }
    }
}
