//! The log: how lines are written and which are.
//!
//! Not here: what is logged, how much of it at most (`lines`). Lines go to stderr; stdout is for what the program was asked to
//! show.

mod lines;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt, registry};

pub(super) use self::lines::report_missing;
use self::lines::{LineLimit, Lines};
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
    let limited = registry().with(LineLimit::default()).with(filter);
    // Otherwise a line that cannot be written would be reported by `eprintln!`, which panics then.
    let lines = fmt::layer()
        .with_writer(|| Lines)
        .log_internal_errors(false);
    // A log was started already when a test runs two nodes in one process: that one stays.
    let _ = match settings.log_format {
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true);
            limited.with(lines).try_init()
        }
        LogFormat::Text => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            let lines = lines.with_target(false).with_ansi(colours);
            limited.with(lines).try_init()
        }
    };
}
