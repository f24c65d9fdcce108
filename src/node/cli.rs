//! The command line: what a person types, and the exit code that comes back.
//!
//! Not here: what the settings mean (`config`), the node itself (`run`). Invariant: exit codes are
//! 0 for done, 1 for failed, 2 for a command line that cannot be understood, 3 for a node that does not
//! answer, 4 for what whoever asks may not do.

mod bench;
mod client;
mod keep;
mod service;
mod shown;

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use self::service::Ask;
use super::config::{Config, Mistake, Source, Sources, layers, reference};
use super::run;

const ABOUT: &str = "\
A STOMP broker over WebSocket, SockJS and TCP, and the chat service that lives on it.

Alone it needs nothing: messages go to an SQLite file. Given Redis, RabbitMQ and PostgreSQL, the
same program is one node of many.";

const EXAMPLES: &str = "\
Examples:
  stompbox                                 serve on http://127.0.0.1:8080
  stompbox --host 0.0.0.0 --port 9000      let the network in: phones, other machines
  stompbox --set RATE_ANON_PER_MIN=0       any setting, by its name
  stompbox config check                    say whether the configuration is right
  stompbox config print                    every setting, with what it is for
  stompbox user create --email kim@example.com --name Kim --role admin < password
  stompbox ban add --network 192.0.2.1 --seconds 3600 --reason spam
  stompbox route user_0123456789abc        where somebody is, and how a message would go
  stompbox bench fanout --pid PID          what a delivery costs, at any STOMP server

  REDIS_URL=redis://... RABBITMQ_URL=amqp://... DATABASE_URL=postgres://... \\
  JWT_SECRET_FILE=... SERVER_ID=a stompbox     one node of several

Settings come from their defaults, then ./stompbox.toml, then the environment, then flags; later
ones win. `stompbox config print` explains each one, and docs/configuration.md has them in a table.

What asks a node uses the service's own secret: JWT_SECRET, or the one in DATA_DIR.

Exit codes: 0 done, 1 failed, 2 the command line cannot be understood, 3 the node does not answer,
4 forbidden.";

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "stompbox", version, about = ABOUT, after_help = EXAMPLES,
    max_term_width = 100, disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the node until SIGTERM or Ctrl-C (what happens without a command, too)
    Serve,
    /// Load a STOMP server over WebSocket, this one or another, and say what it took
    Bench(Box<bench::Args>),
    /// Bring the schema of the store up to date (a node does it too when it starts)
    Migrate,
    /// Copy the SQLite database to a new file, while a node may run
    Backup {
        /// The new file
        file: PathBuf,
    },
    /// Put a copy in the place of the SQLite database, while no node runs
    Restore {
        /// The copy
        file: PathBuf,
        /// Put away the database that is there; it stays beside it as *.before-restore
        #[arg(long)]
        yes: bool,
    },
    /// Ask the node of this configuration whether it is ready; exit code 0 when it is, 1 when it
    /// is not, 3 when it does not answer
    Health,
    /// Accounts of a running node
    User {
        #[command(subcommand)]
        action: service::User,
        #[command(flatten)]
        asking: service::Asking,
    },
    /// Access tokens of a running node
    Token {
        #[command(subcommand)]
        action: service::Token,
        #[command(flatten)]
        asking: service::Asking,
    },
    /// Bans and mutes of a running node
    Ban {
        #[command(subcommand)]
        action: service::Ban,
        #[command(flatten)]
        asking: service::Asking,
    },
    /// What became of a message, on every node
    Trace {
        /// The id of the message
        id: String,
        #[command(flatten)]
        asking: service::Asking,
    },
    /// Where a user is, and the way that a message to him would take
    Route {
        /// The address: user_...
        user: String,
        #[command(flatten)]
        asking: service::Asking,
    },
    /// What each kind of user may do
    Policy {
        /// Write a table of Markdown
        #[arg(long, conflicts_with = "json")]
        markdown: bool,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// The OpenAPI document of REST
    Openapi {
        /// It is JSON in any case
        #[arg(long)]
        json: bool,
    },
    /// Look at the configuration without starting anything
    Config {
        #[command(subcommand)]
        action: ConfigAction,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigAction {
    /// Say whether the configuration is right, and what it comes to
    Check,
    /// Write a stompbox.toml with every setting, its value and what it is for (secrets hidden)
    Print {
        /// Write the tables of docs/configuration.md instead
        #[arg(long)]
        markdown: bool,
    },
}

/// The flags: the settings that people change most, and `--set` for all the others.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Settings of a node")]
struct Flags {
    /// Read this file instead of ./stompbox.toml
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The address to listen on [SERVER_HOST; default 127.0.0.1]
    #[arg(long, global = true, value_name = "ADDRESS")]
    host: Option<String>,
    /// The port to listen on; 0 takes a free one [SERVER_PORT; default 8080]
    #[arg(long, global = true)]
    port: Option<String>,
    /// Where this node keeps its files [DATA_DIR; default ./data]
    #[arg(long, global = true, value_name = "DIRECTORY")]
    data_dir: Option<String>,
    /// The name of this node in the cluster [SERVER_ID; default: made once and kept]
    #[arg(long, global = true, value_name = "NAME")]
    server_id: Option<String>,
    /// The store: sqlite://FILE or postgres://... [DATABASE_URL]
    #[arg(long, global = true, value_name = "URL")]
    database_url: Option<String>,
    /// Redis, for several nodes: redis://... [REDIS_URL]
    #[arg(long, global = true, value_name = "URL")]
    redis_url: Option<String>,
    /// RabbitMQ, for several nodes: amqp://... [RABBITMQ_URL]
    #[arg(long, global = true, value_name = "URL")]
    rabbitmq_url: Option<String>,
    /// error, warn, info, debug, trace, or finer [LOG_LEVEL; default info]
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
    /// text or json [LOG_FORMAT; default text]
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Any setting by its name; may be repeated
    #[arg(long, global = true, value_name = "NAME=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
}

impl Flags {
    /// The flags as a layer of the configuration; `--set` first, so that a named flag wins.
    fn layer(self) -> Vec<(String, String, String)> {
        let set = self.set.into_iter();
        let set = set.map(|(name, value)| ("--set".to_owned(), name, value));
        let named = [
            ("--host", "SERVER_HOST", self.host),
            ("--port", "SERVER_PORT", self.port),
            ("--data-dir", "DATA_DIR", self.data_dir),
            ("--server-id", "SERVER_ID", self.server_id),
            ("--database-url", "DATABASE_URL", self.database_url),
            ("--redis-url", "REDIS_URL", self.redis_url),
            ("--rabbitmq-url", "RABBITMQ_URL", self.rabbitmq_url),
            ("--log-level", "LOG_LEVEL", self.log_level),
            ("--log-format", "LOG_FORMAT", self.log_format),
        ];
        let named = named.into_iter().filter_map(|(flag, name, value)| {
            value.map(|value| (flag.to_owned(), name.to_owned(), value))
        });
        set.chain(named).collect()
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("allowed: NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.to_owned()))
}

/// Runs the program with the arguments and the environment of the process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => {
            // Help and version are answers too, and go to stdout with code 0.
            let _ = answer.print();
            return ExitCode::from(if answer.use_stderr() { 2 } else { 0 });
        }
    };
    // What measures a server has no configuration of its own, nor has what is always the same.
    match cli.command {
        Some(Command::Bench(arguments)) => bench::run(*arguments),
        Some(Command::Policy { markdown, json }) => show(&match (markdown, json) {
            (true, _) => shown::policy_markdown(),
            (false, true) => shown::policy_json(),
            (false, false) => shown::policy(),
        }),
        Some(Command::Openapi { .. }) => show(&shown::json(&crate::edge::openapi())),
        command => configured(command.unwrap_or(Command::Serve), cli.flags),
    }
}

/// Runs a command that needs a configuration.
fn configured(command: Command, flags: Flags) -> ExitCode {
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let sources = Sources {
        file: flags.config.clone(),
        directory: PathBuf::from("."),
        environment,
        flags: flags.layer(),
    };
    let config = match Config::load(&sources) {
        Ok(config) => config,
        Err(mistake) => return refuse(&mistake),
    };
    match command {
        Command::Serve => run::serve(&config, &layers::not_used(&sources.environment)),
        Command::User { action, asking } => service::run(&config, &asking, Ask::User(action)),
        Command::Token { action, asking } => service::run(&config, &asking, Ask::Token(action)),
        Command::Ban { action, asking } => service::run(&config, &asking, Ask::Ban(action)),
        Command::Trace { id, asking } => service::run(&config, &asking, Ask::Trace(id)),
        Command::Route { user, asking } => service::run(&config, &asking, Ask::Route(user)),
        // Done above.
        Command::Bench(_) | Command::Policy { .. } | Command::Openapi { .. } => ExitCode::SUCCESS,
        Command::Migrate => keep::migrate(&config),
        Command::Backup { file } => keep::backup(&config, &file),
        Command::Restore { file, yes } => keep::restore(&config, &file, yes),
        Command::Health => health(&config),
        Command::Config { action } => {
            let text = match action {
                ConfigAction::Check => check(&config),
                ConfigAction::Print { markdown: false } => reference::toml(&config),
                ConfigAction::Print { markdown: true } => reference::markdown(),
            };
            show(&text)
        }
    }
}

/// Says what is wrong in one line.
fn refuse(mistake: &Mistake) -> ExitCode {
    let _ = writeln!(io::stderr().lock(), "stompbox: {mistake}");
    ExitCode::from(if mistake.is_usage() { 2 } else { 1 })
}

fn show(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read it (`| head`) has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The exit code when the node does not answer.
const NO_ANSWER: u8 = 3;

/// Asks over HTTP, as an orchestrator would: for images that hold no other client.
fn health(config: &Config) -> ExitCode {
    let address = address(config);
    match ask(address) {
        Ok(answer) => {
            let ready = answer.starts_with("HTTP/1.1 200 ");
            let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
            let _ = show(&format!("{}\n", body.trim()));
            ExitCode::from(u8::from(!ready))
        }
        Err(error) => {
            let _ = writeln!(io::stderr().lock(), "stompbox: {address}: {error}");
            ExitCode::from(NO_ANSWER)
        }
    }
}

/// Where the node of this configuration can be reached from here.
fn address(config: &Config) -> SocketAddr {
    let settings = &config.settings;
    let host = match settings.server_host {
        IpAddr::V4(host) if host.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(host) if host.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        host @ (IpAddr::V4(_) | IpAddr::V6(_)) => host,
    };
    SocketAddr::new(host, settings.server_port)
}

fn ask(address: SocketAddr) -> io::Result<String> {
    let patience = Duration::from_secs(4);
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    let request =
        "GET /api/v1/health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(64 << 10).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The verdict, then what was chosen, then what was left at its default.
fn check(config: &Config) -> String {
    let shown = config.shown();
    let width = shown.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
    let mut text = String::from("ok: the configuration is valid.\n");
    match config.file() {
        Some(path) => text.push_str(&format!(
            "It comes from {} and what follows.\n",
            path.display()
        )),
        None => text.push_str("There is no stompbox.toml here.\n"),
    }
    for (heading, chosen) in [("Chosen:", true), ("Left at the default:", false)] {
        let of_kind = |source: &Source| (*source != Source::Default) == chosen;
        let mut rows = shown
            .iter()
            .filter(|(.., source)| of_kind(source))
            .peekable();
        if rows.peek().is_some() {
            text.push_str(&format!("\n{heading}\n"));
        }
        for (name, value, source) in rows {
            let value = if value.is_empty() { "-" } else { value };
            let origin = if chosen {
                format!("  ({source})")
            } else {
                String::new()
            };
            text.push_str(&format!("  {name:width$}  {value}{origin}\n"));
        }
    }
    text
}
