//! Answers of a node and the permission table, as text for people and as JSON for programs.
//!
//! Invariant: what a client wrote (names, reasons) reaches a terminal without control characters.

use serde_json::{Value, json};

use crate::model::Kind;
use crate::policy::permission::{Action, grant};

/// As JSON.
pub(super) fn json(value: &Value) -> String {
    if value.is_null() {
        return "{}\n".to_owned();
    }
    format!("{value:#}\n")
}

/// As a table when it is a list, else as lines of a name and a value.
pub(super) fn text(value: &Value) -> String {
    if let Some(items) = value["items"].as_array() {
        return list(items);
    }
    match value.as_object() {
        Some(fields) => {
            let rows = fields
                .iter()
                .map(|(name, value)| vec![name.clone(), cell(value)]);
            columns(&rows.collect::<Vec<_>>())
        }
        None => "done\n".to_owned(),
    }
}

fn list(items: &[Value]) -> String {
    let Some(first) = items
        .iter()
        .max_by_key(|item| item.as_object().map_or(0, |o| o.len()))
    else {
        return "none\n".to_owned();
    };
    let names: Vec<String> = first
        .as_object()
        .map(|o| o.keys().cloned().collect())
        .unwrap_or_default();
    let mut rows = vec![names.clone()];
    for item in items {
        rows.push(
            names
                .iter()
                .map(|name| cell(&item[name.as_str()]))
                .collect(),
        );
    }
    columns(&rows)
}

/// A value without anything that a terminal would obey.
fn cell(value: &Value) -> String {
    let text = match value.as_str() {
        Some(text) => text.to_owned(),
        None if value.is_null() => "-".to_owned(),
        None => value.to_string(),
    };
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The permission table for people.
pub(super) fn policy() -> String {
    let mut rows = vec![head()];
    rows.extend(Action::ALL.iter().map(|action| row(*action)));
    columns(&rows)
}

/// The permission table as a table of Markdown.
pub(super) fn policy_markdown() -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = line(head());
    text.push_str("|---|---|---|---|---|---|\n");
    for action in Action::ALL {
        text.push_str(&line(row(*action)));
    }
    text
}

/// The permission table for programs, as `GET /api/v1/admin/policy` has it.
pub(super) fn policy_json() -> String {
    let actions: Vec<_> = Action::ALL
        .iter()
        .map(|action| {
            let grants = Kind::ALL.map(|kind| grant(kind, *action).as_str());
            json!({"action": action.as_str(), "about": action.about(), "grants": grants})
        })
        .collect();
    json(&json!({"kinds": Kind::ALL.map(Kind::as_str), "actions": actions}))
}

fn head() -> Vec<String> {
    let mut head = vec!["action".to_owned()];
    head.extend(Kind::ALL.map(|kind| kind.as_str().to_owned()));
    head.push("what it is".to_owned());
    head
}

fn row(action: Action) -> Vec<String> {
    let mut row = vec![action.as_str().to_owned()];
    row.extend(Kind::ALL.map(|kind| grant(kind, action).as_str().to_owned()));
    row.push(action.about().to_owned());
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_a_table_and_nothing_in_it_moves_the_cursor() {
        let value = json!({"items": [{"a": "x", "b": 1}, {"a": "lo\u{1b}[2Jng\n"}]});
        assert_eq!(text(&value), "a          b\nx          1\nlo [2Jng   -\n");
        assert_eq!(text(&json!({"items": []})), "none\n");
        assert_eq!(text(&Value::Null), "done\n");
        assert_eq!(text(&json!({"ended": 2})), "ended  2\n");
    }

    #[test]
    fn the_permission_table_has_every_action() {
        for action in Action::ALL {
            assert!(policy().contains(action.about()));
            assert!(policy_markdown().contains(&format!("| {} |", action.as_str())));
            assert!(policy_json().contains(action.as_str()));
        }
    }
}
