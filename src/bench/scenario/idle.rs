//! Connections that do nothing: what one of them keeps, and what being there costs.
//!
//! Memory is the slope between the first and the last step, so that what a server has once is not in it.
//! What the kernel keeps is read of the whole machine and halved, because both ends of every
//! connection are here. Invariant: memory is read when nothing has happened for a while.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Stage;
use crate::bench::crew::Crew;
use crate::bench::gather::{TURN, gather};
use crate::bench::kernel;
use crate::bench::link::{Deaf, Ear, Heard, Why};
use crate::bench::plot::Plot;
use crate::bench::report::{Draft, Report};
use crate::bench::table::Table;
use crate::bench::{BenchError, Outcome};

/// How long an allocator has for giving back what it does not need.
const SETTLING: Duration = Duration::from_secs(3);

/// What was read at one number of connections.
#[derive(Clone, Copy, Debug)]
struct Step {
    connections: usize,
    rss_bytes: u64,
    kernel_bytes: Option<u64>,
    /// Processor time of one arrival, in microseconds.
    arrival_us: f64,
    arrivals_per_second: f64,
    arrival_p99_ms: f64,
    /// Of a core, while nothing happens.
    idle_cores: f64,
}

pub(super) fn run(mut stage: Stage<'_>) -> Outcome<Report> {
    let order = stage.order;
    let mut steps = vec![Step {
        connections: 0,
        rss_bytes: stage.meter.rss_bytes(),
        kernel_bytes: kernel::memory_bytes(),
        arrival_us: 0.0,
        arrivals_per_second: 0.0,
        arrival_p99_ms: 0.0,
        idle_cores: 0.0,
    }];
    for &connections in &order.steps {
        if stage.fleet.is_stopped() && steps.len() > 1 {
            break;
        }
        let from = steps.last().map_or(0, |step| step.connections);
        steps.push(step(&mut stage, from, connections as usize)?);
    }
    let mut draft = Draft::new();
    tell(&mut draft, &steps);
    if let Some(bytes) = order.after_bytes
        && !stage.fleet.is_stopped()
    {
        after(&mut stage, &mut draft, &steps, bytes)?;
    }
    for link in 0..stage.fleet.len() {
        stage.fleet.leave(link, true, &mut Deaf);
    }
    Ok(draft.done(order))
}

fn step(stage: &mut Stage<'_>, from: usize, to: usize) -> Outcome<Step> {
    let links: Vec<usize> = (from..to).collect();
    let before = stage.meter.look();
    let gathered = gather(&mut stage.fleet, &links, stage.order, &mut stage.progress)?;
    let after = stage.meter.look();
    let arrived = before
        .iter()
        .zip(&after)
        .map(|(before, after)| after.cpu_since(before));
    let arrived: Duration = arrived.sum();
    wait(stage, SETTLING, "settling")?;
    let (rss_bytes, kernel_bytes) = (stage.meter.rss_bytes(), kernel::memory_bytes());
    let before = stage.meter.look();
    let began = Instant::now();
    wait(stage, stage.order.duration, "idle")?;
    let took = began.elapsed().as_secs_f64();
    let after = stage.meter.look();
    let idle = before
        .iter()
        .zip(&after)
        .map(|(before, after)| after.cpu_since(before));
    let idle: Duration = idle.sum();
    let count = links.len() as f64;
    Ok(Step {
        connections: to,
        rss_bytes,
        kernel_bytes,
        arrival_us: arrived.as_secs_f64() * 1e6 / count,
        arrivals_per_second: count / gathered.took.as_secs_f64(),
        arrival_p99_ms: gathered.each.value_at_quantile(0.99) as f64 / 1e3,
        idle_cores: idle.as_secs_f64() / took.max(1e-9),
    })
}

/// Lets time pass. That a connection ends meanwhile is a failure.
fn wait(stage: &mut Stage<'_>, length: Duration, words: &str) -> Outcome<()> {
    let mut quiet = Quiet::default();
    let until = Instant::now() + length;
    while Instant::now() < until && !stage.fleet.is_stopped() {
        let left = until.saturating_duration_since(Instant::now());
        stage.fleet.turn(left.min(TURN * 4), &mut quiet)?;
        quiet.is_whole(stage)?;
        stage
            .progress
            .show(|| format!("{words}: {:.0} s", left.as_secs_f64()));
    }
    Ok(())
}

/// Each connection sends one large message; then memory is read again.
fn after(stage: &mut Stage<'_>, draft: &mut Draft, steps: &[Step], bytes: usize) -> Outcome<()> {
    let order = stage.order;
    let Some(last) = steps.last() else {
        return Ok(());
    };
    let large = stage
        .fleet
        .introduction()
        .plain(Crew::nowhere(order), bytes);
    let mut quiet = Quiet::default();
    let (mut sent, mut moved) = (0, (0, Instant::now()));
    while quiet.receipts < last.connections {
        while sent < last.connections && sent - quiet.receipts < order.at_once as usize {
            stage.fleet.say(sent, large.as_bytes(), &mut quiet);
            sent += 1;
        }
        stage.fleet.turn(TURN, &mut quiet)?;
        quiet.is_whole(stage)?;
        if quiet.receipts > moved.0 {
            moved = (quiet.receipts, Instant::now());
        }
        if moved.1.elapsed() > order.patience || stage.fleet.is_stopped() {
            return Err(BenchError::Silent(format!(
                "only {} of {} large messages were receipted",
                quiet.receipts, last.connections
            )));
        }
        stage
            .progress
            .show(|| format!("large messages: {} receipted", quiet.receipts));
    }
    wait(stage, SETTLING, "settling")?;
    let grown = stage.meter.rss_bytes() as f64 - last.rss_bytes as f64;
    let per_connection =
        slope(steps, |step| step.rss_bytes as f64) + grown / last.connections as f64;
    draft.number(
        &format!("KiB/connection after {bytes} octets in"),
        "kib_after_bytes",
        per_connection / 1_024.0,
        2,
    );
    Ok(())
}

/// What grows with each connection, from the first step to the last; with one step, from none.
fn slope(steps: &[Step], of: impl Fn(&Step) -> f64) -> f64 {
    let first = match steps {
        [none, _] => none,
        [_, first, ..] => first,
        _ => return 0.0,
    };
    let last = steps.last().unwrap_or(first);
    (of(last) - of(first)) / (last.connections - first.connections).max(1) as f64
}

fn tell(draft: &mut Draft, steps: &[Step]) {
    let kib = |bytes: f64| bytes / 1_024.0;
    let rss = kib(slope(steps, |step| step.rss_bytes as f64));
    draft.number("KiB/connection", "kib_per_connection", rss, 2);
    if steps.iter().all(|step| step.kernel_bytes.is_some()) {
        let both = kib(slope(steps, |step| step.kernel_bytes.unwrap_or(0) as f64));
        draft.number(
            "KiB/connection with kernel memory",
            "kib_with_kernel",
            rss + both / 2.0,
            2,
        );
    }
    let mut table = Table::new(&[
        "connections",
        "memory, MiB",
        "idle cores",
        "arrival CPU us",
        "arrivals/s",
        "arrival p99, ms",
    ]);
    let mut kept = Vec::new();
    for step in &steps[1..] {
        let mib = step.rss_bytes as f64 / 1_048_576.0;
        table.row(&[
            step.connections.to_string(),
            format!("{mib:.1}"),
            format!("{:.4}", step.idle_cores),
            format!("{:.1}", step.arrival_us),
            format!("{:.0}", step.arrivals_per_second),
            format!("{:.1}", step.arrival_p99_ms),
        ]);
        kept.push(json!({
            "connections": step.connections, "rss_kib": step.rss_bytes >> 10,
            "kernel_kib": step.kernel_bytes.map(|bytes| bytes >> 10), "idle_cores": step.idle_cores,
            "arrival_cpu_us": step.arrival_us, "arrivals_per_second": step.arrivals_per_second,
            "arrival_p99_ms": step.arrival_p99_ms,
        }));
    }
    if let Some(last) = steps.last() {
        draft.number("idle CPU, cores", "idle_cores", last.idle_cores, 4);
        draft.number("arrival CPU us", "arrival_cpu_us", last.arrival_us, 1);
    }
    draft.keep("steps", Value::from(kept));
    draft.table(&table);
    draft.draw(picture(steps));
}

/// Memory over connections.
fn picture(steps: &[Step]) -> Plot {
    let most = steps.last().map_or(1, |step| step.connections).max(1) as f64;
    let place = |step: &Step| step.connections as f64 / most;
    Plot {
        title: "memory of the server over idle connections".to_owned(),
        across: "connections".to_owned(),
        up: "MiB resident".to_owned(),
        points: steps
            .iter()
            .map(|step| (place(step), step.rss_bytes as f64 / 1_048_576.0))
            .collect(),
        ticks: steps
            .iter()
            .map(|step| (place(step), step.connections.to_string()))
            .collect(),
    }
}

/// Notes that nobody leaves, and counts receipts.
#[derive(Debug, Default)]
struct Quiet {
    receipts: usize,
    ended: Option<(usize, Why)>,
}

impl Quiet {
    fn is_whole(&self, stage: &Stage<'_>) -> Outcome<()> {
        match &self.ended {
            Some((link, why)) => Err(stage.fleet.explain(*link, why)),
            None => Ok(()),
        }
    }
}

impl Ear for Quiet {
    fn hear(&mut self, link: usize, heard: &Heard<'_>) {
        match heard {
            Heard::Receipt { .. } => self.receipts += 1,
            Heard::Ended(why) => {
                self.ended.get_or_insert_with(|| (link, (*why).clone()));
            }
            Heard::Ready { .. } | Heard::Message { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_leaves_out_what_a_server_has_once() {
        let step = |connections, rss_bytes| Step {
            connections,
            rss_bytes,
            kernel_bytes: None,
            arrival_us: 0.0,
            arrivals_per_second: 0.0,
            arrival_p99_ms: 0.0,
            idle_cores: 0.0,
        };
        let check = |steps: &[Step], expected: f64| {
            assert!((slope(steps, |step| step.rss_bytes as f64) - expected).abs() < 1e-9);
        };
        check(&[step(0, 100), step(10, 300)], 20.0);
        check(&[step(0, 100), step(10, 300), step(30, 400)], 5.0);
        check(&[step(0, 100)], 0.0);
    }
}
