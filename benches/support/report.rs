//! What a benchmark says: a table for people, a JSON file for machines.
//!
//! Not here: the figures. Invariant: the file stands below the build directory and is replaced
//! whole by the next run.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Outcome;

/// Rows under a heading, all of the same number of columns.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new(columns: &[&str]) -> Self {
        Self {
            rows: vec![columns.iter().map(ToString::to_string).collect()],
        }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: &[String]) {
        self.rows.push(cells.to_vec());
    }

    /// Prints it, as it may stand in a Markdown document.
    pub(crate) fn print(&self) -> Outcome<()> {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::from("\n");
        for (index, row) in self.rows.iter().enumerate() {
            for (cell, width) in row.iter().zip(&widths) {
                write!(text, "| {cell:<width$} ")?;
            }
            text.push_str("|\n");
            if index == 0 {
                text.push_str(&"|---".repeat(columns));
                text.push_str("|\n");
            }
        }
        say(&text)
    }
}

/// Says something on stdout, with a line end.
pub(crate) fn say(text: &str) -> Outcome<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

/// Writes `target/bench/NAME.json`, with the machine and its load, and says where it is.
pub(crate) fn keep(name: &str, figures: &Value) -> Outcome<()> {
    let folder = folder();
    std::fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{name}.json"));
    let whole = json!({ "machine": machine(), "load": load(), "figures": figures });
    std::fs::write(&path, serde_json::to_string_pretty(&whole)?)?;
    say(&format!(
        "\n{}\nload {}\n{}",
        machine(),
        load(),
        path.display()
    ))
}

/// Where the files of benchmarks are: below the build directory.
pub(crate) fn folder() -> PathBuf {
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    temporary.parent().unwrap_or(temporary).join("bench")
}

/// The processor, how many of it, and the kernel.
pub(crate) fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("an unknown processor", |rest| {
            rest.trim_start_matches([' ', '\t', ':'])
        });
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{model}, {cores} threads, Linux {}", kernel.trim())
}

/// The load averages: what else the machine was doing.
pub(crate) fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace()
        .take(3)
        .collect::<Vec<_>>()
        .join(" ")
}
