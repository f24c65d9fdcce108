//! What a cluster takes: the model in `docs/performance.md`, section "Beyond one machine".
//!
//! `cargo bench --bench scale` makes the tables of that section again from the committed unit costs in
//! `docs/figures/units.json`; with `-- --measure` it measures these first, on private servers, in about
//! two minutes. Not here: the proof that the model counts as the broker does (`tests/it/scale`).

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark stops at the first thing that is wrong"
)]

mod cpu;
mod engines;
mod figures;
mod measure;
mod model;
mod node;
mod servers;
mod spread;
#[path = "../support/mod.rs"]
mod support;
mod tables;

use std::path::Path;

use figures::Figures;
use support::report::{Table, keep};
use support::{Outcome, Purpose};

fn main() -> Outcome<()> {
    if support::purpose() != Purpose::Measure {
        return Ok(());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let units = root.join("docs/figures/units.json");
    let figures = if std::env::args().any(|argument| argument == "--measure") {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let figures = runtime.block_on(measure::measure(today()));
        let mut table = Table::new(&["unit cost", "measured", ""]);
        for unit in &figures.units {
            table.row(&[unit.what.clone(), unit.value.to_string(), unit.unit.clone()]);
        }
        table.print()?;
        keep("scale", &serde_json::to_value(&figures)?)?;
        std::fs::write(&units, serde_json::to_string_pretty(&figures)? + "\n")?;
        figures
    } else {
        Figures::parse(&std::fs::read_to_string(&units)?)?
    };
    let document = root.join("docs/performance.md");
    let text = std::fs::read_to_string(&document)?;
    std::fs::write(&document, tables::put_into(&text, &figures)?)?;
    Ok(())
}

fn today() -> String {
    jiff::Timestamp::now()
        .to_string()
        .chars()
        .take(10)
        .collect()
}
