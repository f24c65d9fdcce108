//! The file of figures: rows by build, attack and origin.
//!
//! Not here: what is in a row. Invariant: a run replaces the rows that it measured and no others, and the file
//! is replaced whole.

use std::path::Path;

use serde_json::{Value, json};

use super::support::Outcome;
use super::support::report::machine;
use super::tables::{DOCUMENT, FIGURES, replace};

/// Puts a row into the file, which is made when it is missing.
pub(crate) fn keep(path: &Path, build: &str, row: &Value) -> Outcome<()> {
    let mut figures = match std::fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text)?,
        Err(_) => json!({}),
    };
    let rows = figures.pointer(&format!("/{build}/rows"));
    let mut rows = rows.and_then(Value::as_array).cloned().unwrap_or_default();
    let is_same = |other: &Value| {
        ["attack", "origin"]
            .iter()
            .all(|key| other[key] == row[key])
    };
    rows.retain(|other| !is_same(other));
    rows.push(row.clone());
    figures[build] = json!({ "machine": machine(), "rows": rows });
    let text = format!("{}\n", serde_json::to_string_pretty(&figures)?);
    let beside = path.with_extension("json.new");
    std::fs::write(&beside, text)?;
    Ok(std::fs::rename(&beside, path)?)
}

/// Makes the tables of the document again.
pub(crate) fn write_tables() -> Outcome<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let figures = serde_json::from_str(&std::fs::read_to_string(root.join(FIGURES))?)?;
    let document = std::fs::read_to_string(root.join(DOCUMENT))?;
    let replaced = replace(&document, &figures).ok_or("the document has no markers")?;
    Ok(std::fs::write(root.join(DOCUMENT), replaced)?)
}
