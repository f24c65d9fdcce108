//! What a run has to say: a table for people, JSON for machines, a picture, and a verdict.
//!
//! Not here: measuring. Invariant: the JSON holds everything that the table holds, with the parameters
//! and versions that it takes to do it again.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::hearing::Faults;
use super::kernel;
use super::meter::{Look, Meter};
use super::order::Order;
use super::plot::Plot;
use super::table::Table;

/// Times in microseconds, to three digits.
pub(super) type Latency = Histogram<u64>;

/// The longest latency that is told apart from longer ones.
const LATENCY_US_MAX: u64 = 600_000_000;
/// What is read off a distribution: the name and the share of all.
const SHARES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// An empty histogram.
pub(super) fn latency() -> Latency {
    // These bounds are right; were they not, one that grows is right as well.
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).unwrap_or_else(|_| growing())
}

#[expect(
    clippy::expect_used,
    reason = "three digits are among the five that there may be"
)]
fn growing() -> Latency {
    Histogram::new(3).expect("three digits are allowed")
}

/// Whether everything arrived as it should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing was lost, doubled or out of order.
    Clean,
    /// Something was: what, in words.
    Faulty(String),
}

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Report {
    table: String,
    json: Value,
    plot: Option<Plot>,
    verdict: Verdict,
}

impl Report {
    /// The table.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Everything, as JSON.
    #[must_use]
    pub fn json(&self) -> String {
        format!("{:#}\n", self.json)
    }

    /// The picture, where there is something to draw.
    #[must_use]
    pub fn svg(&self) -> Option<String> {
        self.plot.as_ref().map(Plot::svg)
    }

    /// Whether everything arrived as it should have.
    #[must_use]
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }
}

/// A report while it is written.
#[derive(Debug)]
pub(super) struct Draft {
    table: Table,
    figures: Map<String, Value>,
    plot: Option<Plot>,
    wrong: Vec<String>,
    notes: Vec<String>,
    extra: String,
}

impl Draft {
    pub(super) fn new() -> Self {
        Self {
            table: Table::new(&["figure", "value"]),
            figures: Map::new(),
            plot: None,
            wrong: Vec::new(),
            notes: Vec::new(),
            extra: String::new(),
        }
    }

    /// A figure for people and for machines.
    pub(super) fn figure(
        &mut self,
        name: &str,
        shown: impl Into<String>,
        key: &str,
        value: impl Into<Value>,
    ) {
        self.table.pair(name, shown);
        self.figures.insert(key.to_owned(), value.into());
    }

    /// Something for machines only.
    pub(super) fn keep(&mut self, key: &str, value: impl Into<Value>) {
        self.figures.insert(key.to_owned(), value.into());
    }

    /// A number with so many digits behind the point.
    pub(super) fn number(&mut self, name: &str, key: &str, value: f64, digits: usize) {
        self.figure(name, format!("{value:.digits$}"), key, rounded(value));
    }

    /// A distribution of times.
    pub(super) fn times(&mut self, name: &str, key: &str, times: &Latency) {
        if times.is_empty() {
            return;
        }
        let ms = |us: u64| us as f64 / 1e3;
        let mut whole = Map::new();
        for (share_name, share) in SHARES {
            let value = ms(times.value_at_quantile(share));
            self.table
                .pair(&format!("{name} {share_name}, ms"), format!("{value:.2}"));
            whole.insert(
                format!("{}_ms", share_name.replace('.', "")),
                rounded(value),
            );
        }
        let longest = ms(times.max());
        self.table
            .pair(&format!("{name} at most, ms"), format!("{longest:.2}"));
        whole.insert("max_ms".to_owned(), rounded(longest));
        whole.insert("mean_ms".to_owned(), rounded(times.mean() / 1e3));
        whole.insert("count".to_owned(), times.len().into());
        let steps = times.iter_quantiles(2);
        let distribution: Vec<Value> = steps
            .map(|step| json!([step.quantile_iterated_to(), ms(step.value_iterated_to())]))
            .collect();
        whole.insert("distribution".to_owned(), distribution.into());
        self.figures.insert(key.to_owned(), whole.into());
    }

    /// What the processes took between two looks.
    pub(super) fn processes(
        &mut self,
        meter: &Meter,
        before: &[Look],
        after: &[Look],
        took: Duration,
    ) -> Duration {
        let mut sum = Duration::ZERO;
        let mut rows = Vec::new();
        for (((pid, name), before), after) in meter.roots().iter().zip(before).zip(after) {
            let cpu = after.cpu_since(before);
            sum += cpu;
            rows.push(json!({
                "pid": pid, "name": name, "cpu_s": cpu.as_secs_f64(),
                "rss_kib": after.rss_bytes >> 10,
            }));
        }
        if !meter.is_blind() {
            let cores = sum.as_secs_f64() / took.as_secs_f64().max(1e-9);
            let rss: u64 = after.iter().map(|look| look.rss_bytes).sum();
            self.keep("processes", rows);
            self.figure(
                "server CPU, s",
                format!("{:.2}", sum.as_secs_f64()),
                "cpu_s",
                sum.as_secs_f64(),
            );
            self.number("server CPU, cores", "cpu_cores", cores, 4);
            self.figure(
                "server memory, MiB",
                format!("{:.1}", rss as f64 / 1_048_576.0),
                "rss_kib",
                rss >> 10,
            );
        }
        sum
    }

    /// Lost, doubled, out of order: all of it is in the table, also when it is nothing.
    pub(super) fn faults(&mut self, faults: &Faults) {
        let rows = [
            ("lost", faults.lost, "never came"),
            ("duplicated", faults.duplicated, "came more than once"),
            ("reordered", faults.reordered, "came out of order"),
            (
                "astray",
                faults.astray,
                "came to somebody whom they were not for",
            ),
            ("unreceipted", faults.unreceipted, "were not receipted"),
        ];
        for (name, count, words) in rows {
            self.figure(name, count.to_string(), name, count);
            if count > 0 {
                self.wrong.push(format!("{count} {words}"));
            }
        }
    }

    /// A remark below the table.
    pub(super) fn note(&mut self, words: impl Into<String>) {
        self.notes.push(words.into());
    }

    /// A further table.
    pub(super) fn table(&mut self, table: &Table) {
        self.extra = format!("\n{table}");
    }

    /// The picture.
    pub(super) fn draw(&mut self, plot: Plot) {
        self.plot = Some(plot);
    }

    /// The report.
    pub(super) fn done(self, order: &Order) -> Report {
        let verdict = match self.wrong.is_empty() {
            true => Verdict::Clean,
            false => Verdict::Faulty(format!("of what was sent, {}", self.wrong.join(", "))),
        };
        let words = match &verdict {
            Verdict::Clean => "clean".to_owned(),
            Verdict::Faulty(words) => words.clone(),
        };
        let mut table = format!("{}{}", self.table, self.extra);
        for note in &self.notes {
            table.push_str(&format!("{note}\n"));
        }
        let json = json!({
            "stompbox": env!("CARGO_PKG_VERSION"),
            "scenario": order.scenario.name(),
            "parameters": parameters(order),
            "machine": kernel::machine(),
            "load": kernel::load(),
            "figures": self.figures,
            "notes": self.notes,
            "verdict": words,
        });
        Report {
            table,
            json,
            plot: self.plot,
            verdict,
        }
    }
}

/// How latencies are spread, with the far end drawn out: 99 % is half of the way to 99.99 %.
pub(super) fn spread(title: &str, times: &Latency) -> Plot {
    /// To the right end belongs all but a hundred-thousandth.
    const DECADES: f64 = 5.0;
    let place = |share: f64| (-(1.0 - share).max(1e-5).log10() / DECADES).clamp(0.0, 1.0);
    let steps = times.iter_quantiles(4);
    let points = steps
        .map(|step| {
            (
                place(step.quantile_iterated_to()),
                step.value_iterated_to() as f64 / 1e3,
            )
        })
        .collect();
    let ticks = [
        (0.0, "0 %"),
        (0.9, "90 %"),
        (0.99, "99 %"),
        (0.999, "99.9 %"),
        (0.9999, "99.99 %"),
    ];
    Plot {
        title: title.to_owned(),
        across: "share of the deliveries that came within".to_owned(),
        up: "milliseconds".to_owned(),
        points,
        ticks: ticks
            .map(|(share, words)| (place(share), words.to_owned()))
            .to_vec(),
    }
}

fn rounded(value: f64) -> Value {
    // Six digits behind the point say more than any clock here.
    json!((value * 1e6).round() / 1e6)
}

fn parameters(order: &Order) -> Value {
    json!({
        "dialect": order.dialect.name(),
        "urls": order.urls,
        "subscribe": order.subscribe,
        "send": order.send,
        "clients": order.crowd(),
        "rooms": order.rooms,
        "members": order.members,
        "devices": order.devices,
        "rate": order.rate,
        "window": order.window_messages(),
        "duration_s": order.duration.as_secs_f64(),
        "warm_up_s": order.warm_up.as_secs_f64(),
        "messages": order.messages,
        "body_bytes": order.body_bytes,
        "heart_beat": [order.heart_beat.0, order.heart_beat.1],
        "slow_consumers": order.slow_consumers,
        "at_once": order.at_once,
        "steps": order.steps,
        "after_bytes": order.after_bytes,
        "pids": order.pids,
    })
}
