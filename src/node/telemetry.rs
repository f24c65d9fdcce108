//! The log: how lines are written and which are.
//!
//! Not here: what is logged. Lines go to stderr; stdout is for what the program was asked to show.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use super::config::{AppEnv, Config, LogFormat};
use crate::bus::rabbitmq::LOG_DIRECTIVE;

/// Starts the log of this process. A second call changes nothing.
pub fn start(config: &Config) {
    let settings = &config.settings;
    let words = match (settings.log_level.0.as_str(), settings.app_env) {
        ("", AppEnv::Production) => "warn",
        ("", AppEnv::Development) => "info,refinery_core=warn",
        (written, _) => written,
    };
    let mut filter = EnvFilter::builder().parse_lossy(words);
    // Whatever else is asked for: these libraries log what people write, as bodies of returned
    // messages and as parameters of statements.
    for directive in [LOG_DIRECTIVE, "tokio_postgres=warn"] {
        if let Ok(directive) = directive.parse() {
            filter = filter.add_directive(directive);
        }
    }
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A log was started already when a test runs two nodes in one process: that one stays.
    let _ = match settings.log_format {
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
        LogFormat::Text => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            lines.with_target(false).with_ansi(colours).try_init()
        }
    };
}
