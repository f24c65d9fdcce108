//! The table of settings as people read it: a commented `stompbox.toml`, and the Markdown of
//! `docs/configuration.md`.
//!
//! Invariant: what [`toml`] writes is a file that reads back as the same configuration, secrets and
//! passwords apart.

use std::fmt::Write as _;

use super::settings::{Row, TABLE};
use super::valid::Config;

/// A whole `stompbox.toml` with the effective values. Settings without a value, and secrets, are
/// written as comments.
#[must_use]
pub fn toml(config: &Config) -> String {
    let mut text = String::from("# Stompbox: every setting with its effective value.\n");
    let mut group = "";
    for (row, (_, value, source)) in TABLE.iter().zip(config.shown()) {
        if row.group != group {
            group = row.group;
            let _ = write!(text, "\n# === {group}\n");
        }
        let _ = writeln!(text, "\n# {}", row.about.replace('`', ""));
        let _ = writeln!(text, "# Allowed: {}. From: {source}.", row.allowed());
        let plain = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
        let value = match plain || ["true", "false"].contains(&value.as_str()) {
            true => value,
            false => toml::Value::String(value).to_string(),
        };
        let off = if value == "\"\"" || row.secret {
            "# "
        } else {
            ""
        };
        let key = row.name.to_ascii_lowercase();
        let _ = writeln!(text, "{off}{key} = {value}");
    }
    text
}

/// The tables of `docs/configuration.md`, one per group.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::new();
    let mut group = "";
    for row in TABLE {
        if row.group != group {
            group = row.group;
            let _ = write!(
                text,
                "\n### {group}\n\n| setting | default | what it is for | allowed | beyond it |\n\
                 |---|---|---|---|---|\n"
            );
        }
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            names(row),
            if row.default.is_empty() {
                String::new()
            } else {
                format!("`{}`", row.default)
            },
            row.about,
            row.allowed().replace('*', "\\*"),
            row.beyond
        );
    }
    text.trim_start().to_owned()
}

fn names(row: &Row) -> String {
    let mut text = format!("`{}`", row.name);
    if row.secret {
        let _ = write!(text, " (or `{}_FILE`)", row.name);
    }
    for alias in row.aliases {
        let _ = write!(text, ", alias `{alias}`");
    }
    text
}
