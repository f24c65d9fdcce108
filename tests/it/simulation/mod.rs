//! A simulation of a whole cluster: the real broker over the engines in memory, with everything
//! that can go wrong, from a seed.
//!
//! Time is tokio's, paused: hours pass in milliseconds. A run is 3 to 7 nodes and 2 to 4 people
//! with 1 to 3 devices, who come, go, subscribe and write, while engines are slow, lose, double,
//! stand still and forget, and nodes are killed, frozen and cut off. Then calm: within a bound
//! everything that was receipted has to be on every subscription that it is owed to (what was
//! committed after its SUBSCRIBE settled), once and in the order of `seq`, the last included.
//!
//! A seed that falls is run alone by `SIMULATION_SEED=n cargo nextest run simulation`, with its
//! events by `SIMULATION_TRACE=1`; `SIMULATION_SEEDS=n` runs so many instead of the usual number.

mod ablation;
mod bus;
mod clients;
mod cluster;
mod ledger;
mod location;
mod plan;
mod store;
mod topics;
mod world;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use clients::Device;
use cluster::Cluster;
use plan::Options;
use world::{TraceMode, World};

/// How many seeds the ordinary test command runs, in four parts.
const SEEDS: u64 = 6_000;

const PARTS: u64 = 4;

/// What came of a run.
#[derive(Debug)]
struct Outcome {
    wrong: Vec<String>,
    trace: u64,
    worst_delay: Duration,
    delivered: u64,
}

/// Runs one seed.
fn run(seed: u64, options: Options, mode: TraceMode) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(simulate(seed, options, mode))
}

async fn simulate(seed: u64, options: Options, mode: TraceMode) -> Outcome {
    let started = Instant::now();
    let world = Arc::new(World::new(seed, options, mode));
    let plan = &world.plan;
    let cluster = Cluster::new(Arc::clone(&world), plan.nodes);
    for slot in 0..plan.nodes {
        Arc::clone(&cluster).start(slot).await;
    }
    let busy_until = started + plan.busy.max(plan.calm);
    for (number, devices) in plan.devices.iter().enumerate() {
        for _ in 0..*devices {
            let seed = world.below(u64::MAX);
            // Whoever stays early is owed most.
            let stays_at = started + plan.busy.mul_f64(world.below(1_000) as f64 / 1_000.0);
            let device = Device::new(&cluster, clients::user(number), seed, stays_at);
            world.tracker.spawn(device.run());
        }
    }
    let writing = clients::write_all(Arc::clone(&cluster), started);
    let writing = world.tracker.spawn(writing);
    for fault in &plan.faults {
        tokio::time::sleep_until(started + fault.at).await;
        cluster.apply(fault);
    }
    writing.await.unwrap();
    tokio::time::sleep_until(busy_until).await;
    world.note(format_args!("calm"));
    world.ledger().calm_since = Some(Instant::now());
    let mut wrong = settle(&world).await;
    wrong.extend(topics::check(&cluster).await);
    let ledger = world.ledger();
    Outcome {
        wrong,
        trace: world.trace_hash(),
        worst_delay: ledger.worst_delay,
        delivered: ledger.delivered,
    }
}

/// Waits until nothing is missing, and a little longer for what comes too often. Returns what is
/// wrong.
async fn settle(world: &World) -> Vec<String> {
    let deadline = Instant::now() + world.options.bound;
    // Whoever waits for a receipt or for a node that starts again is given the time.
    let mut quiet = 0;
    while Instant::now() < deadline && quiet < 15 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let ledger = world.ledger();
        if !ledger.violations.is_empty() {
            break;
        }
        quiet = if ledger.missing().is_empty() {
            quiet + 1
        } else {
            0
        };
    }
    let ledger = world.ledger();
    let mut wrong = ledger.violations.clone();
    wrong.extend(ledger.missing());
    wrong
}

fn number_of(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
    )
}

fn mode() -> TraceMode {
    match std::env::var_os("SIMULATION_TRACE") {
        Some(_) => TraceMode::Print,
        None => TraceMode::Off,
    }
}

/// The seeds to run: the one that is asked for, so many as are asked for, or the usual number.
fn seeds(usual: u64) -> Vec<u64> {
    match number_of("SIMULATION_SEED") {
        Some(seed) => vec![seed],
        None => (0..number_of("SIMULATION_SEEDS").unwrap_or(usual)).collect(),
    }
}

/// Runs seeds, tells every one that falls and how late the latest was, and fails if any fell.
fn all_pass(seeds: &[u64], options: Options) {
    let (mut worst, mut delivered, mut fallen) = (Duration::ZERO, 0, Vec::new());
    for &seed in seeds {
        let outcome = run(seed, options, mode());
        worst = worst.max(outcome.worst_delay);
        delivered += outcome.delivered;
        if !outcome.wrong.is_empty() {
            eprintln!("seed {seed} falls:\n  {}", outcome.wrong.join("\n  "));
            eprintln!("  alone, with its events: SIMULATION_SEED={seed} SIMULATION_TRACE=1");
            fallen.push(seed);
        }
    }
    eprintln!(
        "{} seeds, {delivered} deliveries, {worst:?} the worst delay after the last fault",
        seeds.len()
    );
    assert!(fallen.is_empty(), "seeds that fall: {fallen:?}");
}

/// Runs one of the parts into which the seeds are divided, so that they run on several cores.
fn run_part(part: u64) {
    let mut seeds = seeds(SEEDS);
    seeds.retain(|seed| seed % PARTS == part);
    all_pass(&seeds, Options::ALL);
}

#[test]
fn everything_receipted_arrives_once_and_in_order_part_1() {
    run_part(0);
}

#[test]
fn everything_receipted_arrives_once_and_in_order_part_2() {
    run_part(1);
}

#[test]
fn everything_receipted_arrives_once_and_in_order_part_3() {
    run_part(2);
}

#[test]
fn everything_receipted_arrives_once_and_in_order_part_4() {
    run_part(3);
}

#[test]
fn a_seed_always_takes_the_same_course() {
    for seed in 0..20 {
        let first = run(seed, Options::ALL, TraceMode::Hash).trace;
        assert_eq!(
            run(seed, Options::ALL, TraceMode::Hash).trace,
            first,
            "seed {seed}"
        );
    }
}
