//! The file of figures: rows by build, attack and origin.
//!
//! Not here: what is in a row. Invariant: a run replaces the rows that it measured and no others, and the file
//! is replaced whole.

use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::bounds::{self, KNOWN_MISSES};
use super::support::Outcome;
use super::support::report::machine;
use super::tables::{DOCUMENT, FIGURES, replace};

/// Puts a row into the file, which is made when it is missing, with the commit of its build.
pub(crate) fn keep(path: &Path, build: &str, of: Option<&str>, mut row: Value) -> Outcome<()> {
    row["commit"] = match of {
        Some(commit) => commit.into(),
        None => commit()?.into(),
    };
    let mut figures = read(path)?;
    let mut rows = rows(&figures, build);
    rows.retain(|other| !is_same(other, &row));
    rows.push(row);
    figures[build] = json!({ "machine": machine(), "rows": rows });
    write(path, &figures)
}

/// Takes the row of an attack and origin out of the file, if it is there, so that a measurement that fails leaves no
/// older one behind.
pub(crate) fn remove(path: &Path, build: &str, attack: &str, origin: &str) -> Outcome<()> {
    let mut figures = read(path)?;
    let mut rows = rows(&figures, build);
    let before = rows.len();
    let gone = json!({ "attack": attack, "origin": origin });
    rows.retain(|other| !is_same(other, &gone));
    if rows.len() == before {
        return Ok(());
    }
    figures[build]["rows"] = rows.into();
    write(path, &figures)
}

/// The last commit that changed the program, with a `+` when it was changed since.
fn commit() -> Outcome<String> {
    const PROGRAM: [&str; 7] = [
        "--",
        "src",
        "migrations",
        "web",
        "build.rs",
        "Cargo.toml",
        "Cargo.lock",
    ];
    let git = |arguments: &[&str]| -> Outcome<String> {
        let output = Command::new("git")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(arguments)
            .args(PROGRAM)
            .output()?;
        let missing = "no git here to ask for the commit; name it with --commit";
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout)?.trim().to_owned()),
            false => Err(missing.into()),
        }
    };
    let changed = match git(&["status", "--porcelain"])?.is_empty() {
        true => "",
        false => "+",
    };
    Ok(git(&["log", "-1", "--format=%h"])? + changed)
}

/// Why the committed figures are not those of an acceptance.
pub(crate) fn objections() -> Outcome<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FIGURES);
    Ok(bounds::objections(&read(&path)?, "after", KNOWN_MISSES))
}

fn read(path: &Path) -> Outcome<Value> {
    Ok(match std::fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text)?,
        Err(error) if error.kind() == ErrorKind::NotFound => json!({}),
        Err(error) => return Err(error.into()),
    })
}

fn write(path: &Path, figures: &Value) -> Outcome<()> {
    let text = format!("{}\n", serde_json::to_string_pretty(figures)?);
    let beside = path.with_extension("json.new");
    std::fs::write(&beside, text)?;
    Ok(std::fs::rename(&beside, path)?)
}

fn rows(figures: &Value, build: &str) -> Vec<Value> {
    let rows = figures.pointer(&format!("/{build}/rows"));
    rows.and_then(Value::as_array).cloned().unwrap_or_default()
}

fn is_same(one: &Value, other: &Value) -> bool {
    ["attack", "origin"]
        .iter()
        .all(|key| one[key] == other[key])
}

/// Makes the tables of the document again.
pub(crate) fn write_tables() -> Outcome<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let figures = serde_json::from_str(&std::fs::read_to_string(root.join(FIGURES))?)?;
    let document = std::fs::read_to_string(root.join(DOCUMENT))?;
    let replaced = replace(&document, &figures).ok_or("the document has no markers")?;
    Ok(std::fs::write(root.join(DOCUMENT), replaced)?)
}
