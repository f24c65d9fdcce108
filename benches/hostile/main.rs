//! What hostile clients cost everybody else: the latency of the people who chat, the memory of the node, and
//! whether newcomers get in.
//!
//! `cargo bench --bench hostile` starts a node with its default limits for each attack. 200 people chat by direct
//! messages, in four phases: quiet; while the attackers attack a sink that only reads and drops, so that the
//! processor time which the attackers take is part of the baseline; while the same attackers attack the node; and
//! after that. The attackers are a process of the lowest priority, which reports what it does. Not here: whether each attacker is answered
//! as documented (the tests do that). Invariant: a missed bound is printed, and the exit code is 1 unless it is one
//! of `bounds::KNOWN_MISSES`.

mod arrivals;
mod attackers;
mod attacks;
mod bounds;
mod catalogue;
mod counted;
mod figures;
mod measure;
mod newcomers;
mod origin;
mod people;
#[path = "../support/percentile.rs"]
mod percentile;
mod server;
mod sink;
#[expect(dead_code, reason = "its client is for one address and without TLS")]
#[path = "../support/mod.rs"]
mod support;
mod tables;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use attacks::Crowd;
use bounds::KNOWN_MISSES;
use catalogue::{ATTACKS, Attack};
use measure::{Figure, Plan};
use origin::Origin;
use support::report::{Table, say};
use support::{Outcome, Purpose};

/// How hostile clients affect everybody else.
#[derive(Debug, Parser)]
#[command(name = "hostile", args_override_self = true)]
struct Options {
    /// How long each attack lasts: on a sink, and again on the node.
    #[arg(long, value_name = "N", default_value_t = 6)]
    seconds: u64,
    /// How long each of the phases without an attack lasts.
    #[arg(long, value_name = "N", default_value_t = 6)]
    baseline: u64,
    /// How long after an attack it is looked for the first time whether everything is as before; until a minute after it
    /// there are further looks.
    #[arg(long, value_name = "N", default_value_t = 5)]
    settle: u64,
    /// Only this attack; may be repeated; --list names them.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Another build of the node.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Where attackers come from: `one` address, `many` addresses of one IPv6 /48, or `both`.
    #[arg(long, value_name = "ORIGIN", default_value = "both", value_parser = ["one", "many", "both"])]
    from: String,
    /// Keep the figures in this file, as those of a build. docs/figures/hostile.json takes those of `after` only when
    /// each attack lasts for 60 s.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The build whose figures they are.
    #[arg(long, default_value = "after", value_parser = ["before", "after"])]
    label: String,
    /// The commit of the build [default: the last one here that changed the program].
    #[arg(long, value_name = "HASH")]
    commit: Option<String>,
    /// Name the attacks.
    #[arg(long)]
    list: bool,
    /// Only write the tables of docs/security.md from docs/figures/hostile.json.
    #[arg(long)]
    tables: bool,
    /// Only judge docs/figures/hostile.json: every attack was measured for 60 s and keeps its bounds.
    #[arg(long)]
    check: bool,
    /// Measure what an arrival costs, beside the build of --binary-before.
    #[arg(long, requires = "binary_before")]
    arrivals: bool,
    /// The older build of --arrivals.
    #[arg(long, value_name = "PATH")]
    binary_before: Option<PathBuf>,
    /// How many rounds --arrivals gives each build; the median counts.
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Outcome<ExitCode> {
    match support::purpose() {
        Purpose::Child => child(&std::env::args().skip(2).collect::<Vec<_>>()),
        Purpose::Nothing => {
            say("To measure: cargo bench --bench hostile")?;
            Ok(ExitCode::SUCCESS)
        }
        Purpose::Measure => runtime()?.block_on(run(Options::parse())),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

/// What this program does as a process of its own.
fn child(arguments: &[String]) -> Outcome<ExitCode> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["sink"] => sink::serve()?,
        ["attack", name, origin, target, bytes] => {
            let crowd = Crowd {
                origin: origin.parse()?,
                target: target.parse()?,
                request_bytes: bytes.parse()?,
            };
            counted::report();
            runtime()?.block_on(attacks::run(name, crowd))?;
        }
        _ => return Err(format!("unknown child: {arguments:?}").into()),
    }
    Ok(ExitCode::SUCCESS)
}

async fn run(options: Options) -> Outcome<ExitCode> {
    let this_build = PathBuf::from(env!("CARGO_BIN_EXE_stompbox"));
    let binary = options.binary.clone().unwrap_or(this_build);
    if options.list {
        for attack in ATTACKS {
            say(&format!("{:28} {}", attack.name, attack.about))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if options.tables {
        figures::write_tables()?;
        return Ok(ExitCode::SUCCESS);
    }
    if options.check {
        let objections = figures::objections()?;
        for objection in &objections {
            say(objection)?;
        }
        return Ok(verdict(objections.is_empty()));
    }
    if let (true, Some(before)) = (options.arrivals, &options.binary_before) {
        let is_kept = arrivals::measure(before, &binary, options.rounds).await?;
        return Ok(verdict(is_kept));
    }
    if let Some(path) = &options.json {
        bounds::may_keep(path, &options.label, options.seconds, options.settle)?;
    }
    let plan = Plan {
        binary,
        build: options.label.clone(),
        attack: Duration::from_secs(options.seconds),
        baseline: Duration::from_secs(options.baseline),
        settle: Duration::from_secs(options.settle),
    };
    let (figures, failed) = measure_all(&options, &plan).await?;
    let is_kept = show(&figures)? && !failed;
    Ok(verdict(is_kept))
}

/// The exit code.
fn verdict(is_kept: bool) -> ExitCode {
    ExitCode::from(u8::from(!is_kept))
}

/// The figures, and whether an attack could not be measured.
async fn measure_all(options: &Options, plan: &Plan) -> Outcome<(Vec<Figure>, bool)> {
    let mut measured = Vec::new();
    let mut failed = false;
    for attack in chosen(&options.only)? {
        for origin in origins(&options.from) {
            say(&format!("{} from {}", attack.name, origin.name()))?;
            if let Some(path) = &options.json {
                figures::remove(path, &options.label, attack.name, origin.name())?;
            }
            let result = plan.measure(attack, origin).await;
            if let Some(path) = &options.json {
                let row = match &result {
                    Ok(figure) => figure.json(),
                    Err(error) => plan.failed(attack, origin, &error.to_string()),
                };
                figures::keep(path, &options.label, options.commit.as_deref(), row)?;
            }
            let figure = match result {
                Ok(figure) => figure,
                // A node that ends under an attack is a result too; the others are measured all the same.
                Err(error) => {
                    say(&format!("  failed: {error}"))?;
                    failed = true;
                    continue;
                }
            };
            say_misses(&figure, &options.label)?;
            measured.push(figure);
        }
    }
    Ok((measured, failed))
}

fn say_misses(figure: &Figure, build: &str) -> Outcome<()> {
    let row = figure.json();
    for phase in ["sink", "node"] {
        say(&format!("  at the {phase}: {}", row["attackers"][phase]))?;
    }
    for miss in bounds::misses(&row, build) {
        let known = bounds::excuse(&row, &miss, KNOWN_MISSES);
        let known = known.map_or(String::new(), |known| {
            format!(" (known, up to {}: {})", known.reached, known.why)
        });
        say(&format!("  missed: {}{known}", miss.message))?;
    }
    Ok(())
}

fn chosen(names: &[String]) -> Outcome<Vec<&'static Attack>> {
    if names.is_empty() {
        return Ok(ATTACKS.iter().collect());
    }
    let find = |name: &String| {
        catalogue::find(name).ok_or_else(|| format!("no attack {name:?}; see --list"))
    };
    Ok(names.iter().map(find).collect::<Result<_, _>>()?)
}

fn origins(word: &str) -> Vec<Origin> {
    match word.parse() {
        Ok(origin) => vec![origin],
        Err(_both) => vec![Origin::One, Origin::Many],
    }
}

/// Prints the table. Returns whether every bound was kept, or is known to be missed by as much.
fn show(figures: &[Figure]) -> Outcome<bool> {
    let mut table = Table::new(&[
        "attack",
        "from",
        "p99 ms sink",
        "p50 ms",
        "p99 ms",
        "ratio",
        "p99 ms after",
        "MiB",
        "MiB at most",
        "MiB after",
        "newcomers refused",
        "kept",
    ]);
    for figure in figures {
        let (during, newcomers) = (&figure.during, &figure.newcomers);
        let mut cells = vec![figure.attack.to_owned(), figure.origin.name().to_owned()];
        let latencies = [
            figure.sink.p99,
            during.p50,
            during.p99,
            figure.ratio(),
            figure.after.p99,
        ];
        cells.extend(latencies.map(|n| format!("{n:.1}")));
        cells.extend(figure.memory.map(|mib| format!("{mib:.0}")));
        cells.push(format!("{} of {}", newcomers.refused, newcomers.tried));
        cells.push(if figure.is_kept() { "yes" } else { "NO" }.to_owned());
        table.row(&cells);
    }
    table.print()?;
    say(&support::report::machine())?;
    Ok(figures.iter().all(Figure::is_kept))
}
