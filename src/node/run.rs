//! Composition: builds the rooms from a configuration, runs the node, ends it in order.

use std::process::ExitCode;

use super::config::Config;

/// Runs the node until it is told to end.
#[must_use]
pub fn serve(_config: Config, _not_used: &[String]) -> ExitCode {
    ExitCode::FAILURE
}
