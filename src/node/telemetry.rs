//! The log: how lines are written and which are.
//!
//! Not here: what is logged, how much of it at most (`lines`). Lines go to stderr; stdout is for what the program was asked to
//! show. Invariant: a task that logs never waits for the reader of the log.

mod lines;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt, registry};

pub(super) use self::lines::report_missing;
use self::lines::{LineLimit, Lines};
use super::config::{AppEnv, Config, LogFormat};
use crate::bus::rabbitmq::LOG_DIRECTIVE;

/// How many lines wait for the reader of the log; beyond that they are lost and counted.
const WAITING_MAX: usize = 4_096;

/// The thread that writes the log. When this is dropped, it has a second to write the lines that wait.
#[must_use]
#[derive(Debug)]
pub struct Log {
    _writer: WorkerGuard,
}

/// Starts the log of this process. A second call changes nothing.
pub fn start(config: &Config) -> Log {
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
    let (lines, writer) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(WAITING_MAX)
        .thread_name("log")
        .finish(Lines);
    let lost = lines.error_counter();
    // Otherwise a line that cannot be written would be reported by `eprintln!`, which panics then.
    let lines = fmt::layer().with_writer(lines).log_internal_errors(false);
    // A log was started already when a test runs two nodes in one process: that one stays.
    let started = match settings.log_format {
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
    if started.is_ok() {
        lines::count_lost(lost);
    }
    Log { _writer: writer }
}
